#include "lib/store/queue_disk.h"

#include "lib/os/dir.h"
#include "lib/os/file.h"
#include "lib/store/queue.h"

#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DEPTH_MAX 8 /* of hashed directories; Postfix has 1 or 2 */

static const char *const parts[] = { "incoming", "active", "deferred", "hold" };

static int count_dir(int at, const char *name, unsigned depth, struct queue_count *count,
                     struct err *e);

static void
count_file(const char *name, const struct stat *st, struct queue_count *count)
{
    uint64_t ino;
    if ((st->st_mode & S_IXUSR) == 0)
        return;
    count->messages++;
    count->foreign += queue_name_ino(span_str(name), &ino) && ino != st->st_ino;
}

static int
count_name(int dirfd, const char *name, unsigned depth, struct queue_count *count, struct err *e)
{
    struct stat st;
    if (name[0] == '.')
        return 0;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at %.255s", name);
    if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
        return count_dir(dirfd, name, depth + 1, count, e);
    if (S_ISREG(st.st_mode))
        count_file(name, &st, count);
    return 0;
}

static int
count_dir(int at, const char *name, unsigned depth, struct queue_count *count, struct err *e)
{
    _cleanup_dir_ DIR *dir = NULL;
    int found = dir_find(at, name, &dir, e);
    if (found <= 0)
        return found < 0 ? err_wrap(e, "read %.255s", name) : 0;
    const struct dirent *item;
    int more;
    while ((more = dir_next(dir, &item, e)) > 0) {
        if (count_name(dirfd(dir), item->d_name, depth, count, e) < 0)
            return -1;
    }
    return more < 0 ? err_wrap(e, "read %.255s", name) : 0;
}

static int
open_queue(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(e, ERR_IO, "open the queue %s", path) : fd;
}

int
queue_count(const char *path, struct queue_count *ret_count, struct err *e)
{
    *ret_count = (struct queue_count){ 0 };
    _cleanup_close_ int fd = open_queue(path, e);
    if (fd < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (count_dir(fd, parts[i], 0, ret_count, e) < 0)
            return err_wrap(e, "count the mail in %s", path);
    return 0;
}

int
queue_in_use(const char *path, struct err *e)
{
    _cleanup_close_ int dirfd = open_queue(path, e);
    if (dirfd < 0)
        return -1;
    _cleanup_close_ int fd = openat(dirfd, "pid/master.pid", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s/pid/master.pid", path);
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return 0; /* closing it lets go */
    return errno == EWOULDBLOCK ? 1 : err_sys(e, ERR_IO, "lock %s/pid/master.pid", path);
}
