/* control_dir.c - the run-dir: who serves it. */
#include "lib/os/control_private.h"
#include "lib/os/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LOCK_NAME "control.lock"

/* A lock of this process alone: children of a fork do not hold it on, and the kernel drops it with
 * the process. So a socket file whose lock is free belongs to a dead daemon. */
int
control_take_lock(const char *run_dir, const char *own, struct err *e)
{
    _cleanup_free_ char *path = own != NULL ? xasprintf("%s/%s.lock", run_dir, own)
                                            : xasprintf("%s/" LOCK_NAME, run_dir);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", path);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        if (errno != EAGAIN && errno != EACCES)
            return err_sys(e, ERR_IO, "lock %s", path);
        if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
            lock.l_pid = 0;
        return err_set(e, ERR_BUSY, "another instance, process %d, serves %s", lock.l_pid, run_dir);
    }
    int taken = fd;
    fd = -1;
    return taken;
}

int
control_prepare_dir(const char *run_dir, gid_t *ret_group, struct err *e)
{
    struct stat st;
    if (strlen(run_dir) + sizeof("/" CONTROL_SOCKET) > sizeof(((struct sockaddr_un *)0)->sun_path))
        return err_set(e, ERR_CONFIG, "the run-dir %s is too long for a socket in it", run_dir);
    int made = mkdir(run_dir, 0755);
    if (made < 0 && errno != EEXIST)
        return err_sys(e, ERR_IO, "make the run-dir %s", run_dir);
    if (made == 0 && chmod(run_dir, 0755) < 0) /* whatever the umask: others come for the barrier */
        return err_sys(e, ERR_IO, "set the mode of the run-dir %s", run_dir);
    if (stat(run_dir, &st) < 0)
        return err_sys(e, ERR_IO, "look at the run-dir %s", run_dir);
    *ret_group = st.st_gid;
    return 0;
}
