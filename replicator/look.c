#include "replicator/look.h"

#include "lib/os/file.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* File times come from a clock that ticks every 1 to 10 ms; four ticks of the slowest. */
#define YOUNG_NS  (40LL * 1000 * 1000)
#define LOOKS_MAX 100

struct attr
look_attr(const struct stat *st)
{
    return (struct attr){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
        .mtime_ns = attrs_ns(&st->st_mtim),
    };
}

/* 1 there, 0 not, -1. */
static int
stat_name(int dirfd, const char *name, struct stat *ret_st, struct err *e)
{
    int flags = AT_SYMLINK_NOFOLLOW | (name[0] == '\0' ? AT_EMPTY_PATH : 0);
    if (fstatat(dirfd, name, ret_st, flags) == 0)
        return 1;
    if (errno == ENOENT || errno == ESTALE || errno == ENOTDIR)
        return 0;
    return err_sys(e, ERR_IO, "look at %s", name);
}

/* 0, 1 got it, -1: of the name in dirfd, or of the open object when it is "". */
static int
handle_of(int dirfd, const char *name, struct attrs_handle *ret_handle, struct err *e)
{
    struct err why;
    if (attrs_handle_get(dirfd, name, ret_handle, &why) == 0)
        return 1;
    if (why.sys == ENOENT || why.sys == ESTALE || why.sys == ENOTDIR)
        return 0;
    if (e != NULL)
        *e = why;
    return -1;
}

/* By way of a descriptor, which is of one object whatever the name does. */
static int
look_open(int dirfd, const char *name, struct stat *ret_st, struct attrs_handle *ret_handle,
          struct err *e)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ESTALE || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", name);
    int found = stat_name(fd, "", ret_st, e);
    return found > 0 ? handle_of(fd, "", ret_handle, e) : found;
}

/* Attributes and handle come by two calls, and the name may go to another object in between. Mostly
 * the handle tells its object's number. *ret_one: they are of one object. */
static int
look_once(int dirfd, const char *name, struct stat *ret_st, struct attrs_handle *ret_handle,
          bool *ret_one, struct err *e)
{
    int found = handle_of(dirfd, name, ret_handle, e);
    if (found <= 0)
        return found;
    uint64_t ino = attrs_handle_ino(attrs_handle_span(ret_handle));
    *ret_one = true;
    if (ino == 0 && name[0] != '\0')
        return look_open(dirfd, name, ret_st, ret_handle, e);
    found = stat_name(dirfd, name, ret_st, e);
    *ret_one = name[0] == '\0' || ino == ret_st->st_ino;
    return found;
}

int
look_at(int dirfd, const char *name, struct look *ret_look, struct err *e)
{
    ret_look->exists = false;
    struct stat st;
    bool one = false;
    for (unsigned tries = 0; !one; tries++) {
        if (tries == LOOKS_MAX)
            return err_set(e, ERR_IO, "%s is another object each time", name);
        int found = look_once(dirfd, name, &st, &ret_look->handle, &one, e);
        if (found <= 0)
            return found;
    }
    ret_look->exists = true;
    ret_look->attr = look_attr(&st);
    ret_look->ctime_ns = attrs_ns(&st.st_ctim);
    ret_look->ino = st.st_ino;
    ret_look->device = st.st_dev;
    ret_look->nlink = (uint32_t)st.st_nlink;
    return 0;
}

int
known_get(struct state_txn *txn, uint64_t dir, struct span name, struct known *ret_known,
          struct err *e)
{
    int found = state_entry_get(txn, dir, name, &ret_known->entry, e);
    if (found <= 0)
        return found;
    struct span handle = ret_known->entry.handle;
    if (handle.len > sizeof(ret_known->handle))
        return err_set(e, ERR_CORRUPT, "a handle of %zu bytes in the index", handle.len);
    if (handle.len > 0)
        memcpy(ret_known->handle, handle.ptr, handle.len);
    ret_known->entry.handle = span_of(ret_known->handle, handle.len);
    return 1;
}

bool
look_same_object(const struct look *look, const struct state_entry *entry)
{
    return look->exists && look->ino == entry->ino &&
           (look->attr.mode & S_IFMT) == (entry->attr.mode & S_IFMT) &&
           span_equal(attrs_handle_span(&look->handle), entry->handle);
}

bool
look_is_less(const struct look *look, const struct state_entry *entry)
{
    if (!look->exists || (look->attr.mode & S_IFMT) != (entry->attr.mode & S_IFMT))
        return true;
    if (!S_ISREG(entry->attr.mode))
        return false;
    return look->attr.mtime_ns < entry->attr.mtime_ns ||
           (look->attr.mtime_ns == entry->attr.mtime_ns && look->attr.size < entry->attr.size);
}

bool
look_came_later(const struct look *look, const struct state_entry *entry)
{
    int64_t known_ns = entry->ctime_ns < 0 ? -entry->ctime_ns : entry->ctime_ns; /* < 0: young */
    if (!look->exists || S_ISDIR(entry->attr.mode))
        return look->exists && !S_ISDIR(look->attr.mode);
    return known_ns != 0 && look->ctime_ns >= known_ns && !look_same_object(look, entry);
}

bool
look_is_as_left(const struct look *look, const struct state_held *held)
{
    if (!look->exists || held->left.len == 0)
        return look->exists == (held->left.len > 0);
    if (!span_equal(attrs_handle_span(&look->handle), held->left))
        return false;
    return !S_ISREG(look->attr.mode) ||
           (look->attr.size == held->size && look->attr.mtime_ns == held->mtime_ns);
}

int64_t
look_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return attrs_ns(&now);
}

bool
look_time_is_young(int64_t ctime_ns, int64_t now_ns)
{
    return ctime_ns > now_ns - YOUNG_NS; /* also what lies behind now: now may be a while ago */
}

bool
look_content_is_young(const struct state_entry *entry)
{
    return entry->ctime_ns <= 0 && -entry->ctime_ns - entry->attr.mtime_ns <= YOUNG_NS;
}

void
look_to_entry(const struct look *look, int64_t now_ns, uint64_t dir, struct state_entry *ret_entry)
{
    *ret_entry = (struct state_entry){
        .attr = look->attr,
        .ctime_ns = look_time_is_young(look->ctime_ns, now_ns) ? -look->ctime_ns : look->ctime_ns,
        .ino = look->ino,
        .nlink = 1,
        .dir = dir,
        .handle = attrs_handle_span(&look->handle),
    };
}
