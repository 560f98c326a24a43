#include "lib/store/retained_census.h"

#include "lib/os/dir.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64 /* of a directory whose files are looked at */

/* A name of a file that has several. */
struct name_of {
    dev_t dev;
    ino_t ino;
};

struct retained_census {
    int retained_fd;
    bool taken;
    struct name_of *names; /* sorted once they are taken */
    size_t count, cap;
};

struct retained_census *
retained_census_new(int retained_fd)
{
    struct retained_census *c = xcalloc(1, sizeof(*c));
    c->retained_fd = retained_fd;
    return c;
}

void
retained_census_free(struct retained_census **census)
{
    if (*census == NULL)
        return;
    free((*census)->names);
    freep(census);
}

static void
note(struct retained_census *c, const struct stat *st)
{
    if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
        return;
    if (c->count == c->cap) {
        c->cap = MAX(c->cap * 2, (size_t)64);
        c->names = xrealloc(c->names, c->cap * sizeof(c->names[0]));
    }
    c->names[c->count++] = (struct name_of){ st->st_dev, st->st_ino };
}

static int note_below(struct retained_census *c, int at, const char *name, unsigned depth,
                      struct err *e);

static int
note_name(struct retained_census *c, int dirfd, const char *name, unsigned depth, struct err *e)
{
    struct stat st;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at a retained file");
    note(c, &st);
    return S_ISDIR(st.st_mode) && depth < DEPTH_MAX ? note_below(c, dirfd, name, depth + 1, e) : 0;
}

/* What expires meanwhile is not there. */
static int
note_below(struct retained_census *c, int at, const char *name, unsigned depth, struct err *e)
{
    _cleanup_dir_ DIR *dir = NULL;
    int found = dir_find(at, name, &dir, e);
    if (found <= 0)
        return found < 0 ? err_wrap(e, "read what is retained") : 0;
    const struct dirent *item;
    int rc = 0, more = 0;
    while (rc == 0 && (more = dir_next(dir, &item, e)) > 0)
        rc = note_name(c, dirfd(dir), item->d_name, depth, e);
    return more < 0 ? err_wrap(e, "read what is retained") : rc;
}

static int
note_object(void *arg, const struct retained_object *object, struct err *e)
{
    struct retained_census *c = arg;
    note(c, &object->st);
    return S_ISDIR(object->st.st_mode) ? note_below(c, object->dirfd, object->entry, 0, e) : 0;
}

static int
compare(const void *a, const void *b)
{
    const struct name_of *x = a;
    const struct name_of *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino == y->ino ? 0 : x->ino < y->ino ? -1 : 1;
}

static int
take(struct retained_census *c, struct err *e)
{
    struct retained_read read = { .each = note_object, .arg = c };
    uint64_t strange;
    c->count = 0;
    if (retained_read(c->retained_fd, &read, &strange, e) < 0)
        return -1;
    if (c->count > 0)
        qsort(c->names, c->count, sizeof(c->names[0]), compare);
    c->taken = true;
    return 0;
}

static size_t
count_names(const struct retained_census *c, const struct name_of *name)
{
    const struct name_of *end = c->names + c->count;
    const struct name_of *found = c->count == 0 ? NULL
                                                : bsearch(name, c->names, c->count,
                                                          sizeof(c->names[0]), compare);
    if (found == NULL)
        return 0;
    const struct name_of *first = found;
    while (first > c->names && compare(first - 1, name) == 0)
        first--;
    while (found < end && compare(found, name) == 0)
        found++;
    return (size_t)(found - first);
}

int
retained_census_lives(struct retained_census *c, const struct stat *st, struct err *e)
{
    if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
        return 0;
    if (!c->taken && take(c, e) < 0)
        return -1;
    return count_names(c, &(struct name_of){ st->st_dev, st->st_ino }) < st->st_nlink;
}
