#include "lib/os/state_dir.h"

#include "lib/os/fault.h"
#include "lib/os/file.h"

#include <fcntl.h>
#include <sys/stat.h>

int
state_dir_open(const struct conf *conf, struct err *e)
{
    int fd = open(conf->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(e, ERR_IO, "open the state directory %s", conf->state_dir) : fd;
}

int
state_dir_folder(int state_dirfd, const char *name, struct err *e)
{
    if ((fault("mkdir") < 0 || mkdirat(state_dirfd, name, 0700) < 0) && errno != EEXIST)
        return err_sys(e, ERR_IO, "make %s in the state directory", name);
    int fd = openat(state_dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s in the state directory", name);
    if (file_sync(state_dirfd, e) == 0) /* also of a folder that a crash left without */
        return fd;
    file_closep(&fd);
    return -1;
}
