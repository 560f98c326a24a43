#include "lib/os/dir.h"

#include "lib/os/file.h"

#include <string.h>
#include <sys/stat.h>

DIR *
dir_open(int dirfd, const char *name, struct err *e)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        err_sys(e, ERR_IO, "open a directory");
        return NULL;
    }
    fd = -1; /* the stream's */
    return dir;
}

int
dir_find(int dirfd, const char *name, DIR **ret_dir, struct err *e)
{
    struct err why = { 0 };
    *ret_dir = dir_open(dirfd, name, &why);
    if (*ret_dir != NULL)
        return 1;
    if (why.sys != ENOENT && e != NULL)
        *e = why;
    return why.sys == ENOENT ? 0 : -1;
}

void
dir_closep(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
    *dir = NULL;
}

static bool
is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int
dir_next(DIR *dir, const struct dirent **ret_item, struct err *e)
{
    do {
        errno = 0;
        *ret_item = readdir(dir);
    } while (*ret_item != NULL && is_dots((*ret_item)->d_name));
    if (*ret_item != NULL)
        return 1;
    return errno != 0 ? err_sys(e, ERR_IO, "read a directory") : 0;
}

bool
dir_item_is_dir(DIR *dir, const struct dirent *item)
{
    struct stat st;
    if (item->d_type != DT_UNKNOWN)
        return item->d_type == DT_DIR;
    return fstatat(dirfd(dir), item->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}
