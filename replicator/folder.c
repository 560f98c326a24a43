#include "replicator/folder.h"

#include "lib/os/attrs.h"
#include "lib/os/dir.h"
#include "lib/os/fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void
folder_number_name(uint64_t number, char ret_name[FOLDER_NUMBER_SIZE])
{
    snprintf(ret_name, FOLDER_NUMBER_SIZE, "%016" PRIx64, number);
}

int
folder_each(int dirfd, int (*each)(void *arg, const char *name, struct err *e), void *arg,
            struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(dirfd, ".", e);
    const struct dirent *item;
    int r = dir == NULL ? -1 : 0, more = 0;
    while (r == 0 && (more = dir_next(dir, &item, e)) > 0)
        r = each(arg, item->d_name, e);
    return more < 0 ? -1 : r;
}

int
folder_open(int dirfd, const char *name, int *ret_fd, struct err *e)
{
    bool made = fault("mkdir") == 0 && mkdirat(dirfd, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return err_sys(e, ERR_IO, "make %s", name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", name);
    *ret_fd = fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at %s", name);
    if (st.st_uid != geteuid()) /* who owns it could plant names in it */
        return err_set(e, ERR_UNSUITABLE, "%s belongs to uid %u and not to this daemon (uid %u)",
                       name, st.st_uid, geteuid());
    if (attrs_set_mode(fd, 0700, e) < 0)
        return -1;
    return made ? file_sync(dirfd, e) : 0;
}

/* --- trash --- */

void
trash_init(struct trash *trash, int fd, const atomic_bool *stop)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* so that names of earlier runs are rarely met */
    trash->fd = fd;
    trash->stop = stop;
    atomic_store(&trash->number, (uint64_t)attrs_ns(&now));
}

int
trash_take(struct trash *trash, int dirfd, const char *name, struct err *e)
{
    for (;;) {
        char to[FOLDER_NUMBER_SIZE];
        folder_number_name(atomic_fetch_add(&trash->number, 1), to);
        struct err why = { 0 };
        if (file_rename(dirfd, name, trash->fd, to, true, &why) == 0)
            return 0;
        if (why.sys == EEXIST)
            continue; /* left over from before the clock was set back */
        if (e != NULL)
            *e = why;
        return -1;
    }
}

/* What is being emptied: the trash itself, or a directory in it. */
struct emptying {
    struct trash *trash;
    int dirfd;
};

static int remove_all(struct trash *trash, int dirfd, struct err *e);

/* Empties and removes a directory in the trash. */
static int
remove_dir(struct trash *trash, const char *name, struct err *e)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = openat(trash->fd, name, flags);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open the removed directory %.255s", name);
    int r = remove_all(trash, fd, e);
    if (r == 0 && unlinkat(trash->fd, name, AT_REMOVEDIR) < 0)
        return err_sys(e, ERR_IO, "delete the directory %.255s", name);
    return r;
}

static int
remove_name(void *arg, const char *name, struct err *e)
{
    struct emptying *x = arg;
    if (atomic_load(x->trash->stop))
        return 1;
    if (unlinkat(x->dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return err_sys(e, ERR_IO, "delete %.255s", name);
    if (x->dirfd == x->trash->fd)
        return remove_dir(x->trash, name, e);
    /* flat: a tree of any depth then needs neither a path nor recursion */
    return trash_take(x->trash, x->dirfd, name, e);
}

/* 0 empty, 1 told to stop, -1 failed. */
static int
remove_all(struct trash *trash, int dirfd, struct err *e)
{
    struct emptying x = { .trash = trash, .dirfd = dirfd };
    return folder_each(dirfd, remove_name, &x, e);
}

/* Again, because emptying a directory brings others here. */
int
trash_clear(struct trash *trash, struct err *e)
{
    for (uint64_t before = 0; !atomic_load(trash->stop);) {
        uint64_t now = atomic_load(&trash->number);
        if (now == before)
            return 0;
        before = now;
        if (remove_all(trash, trash->fd, e) < 0)
            return -1;
    }
    return 0;
}
