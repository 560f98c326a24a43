#include "lib/os/attrs.h"

#include "lib/os/fault.h"
#include "lib/os/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HANDLE_TRIES   200
#define HANDLE_WAIT_US 100

#define NS_PER_SECOND INT64_C(1000000000)

int64_t
attrs_ns(const struct timespec *ts)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)ts->tv_sec, NS_PER_SECOND, &ns) ||
        __builtin_add_overflow(ns, ts->tv_nsec, &ns))
        ns = ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return MAX(ns, ATTRS_NS_MIN);
}

struct timespec
attrs_timespec(int64_t ns)
{
    int64_t sec = ns / NS_PER_SECOND;
    int64_t nsec = ns % NS_PER_SECOND;
    if (nsec < 0) /* before 1970: the nanoseconds still count forward */
        return (struct timespec){ .tv_sec = sec - 1, .tv_nsec = nsec + NS_PER_SECOND };
    return (struct timespec){ .tv_sec = sec, .tv_nsec = nsec };
}

int
attrs_set_owner(int fd, uid_t uid, gid_t gid, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the owner");
    if (st.st_uid == uid && st.st_gid == gid)
        return 0;
    /* AT_EMPTY_PATH and not fchown(): also for a symlink, held by an O_PATH descriptor */
    if (fault("chown") < 0 || fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
        return err_sys(e, ERR_IO, "set the owner to %u:%u", uid, gid);
    return 0;
}

int
attrs_set_mode(int fd, mode_t mode, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the mode");
    if ((st.st_mode & 07777) == (mode & 07777))
        return 0;
    if (fault("chmod") < 0 || fchmod(fd, mode & 07777) < 0)
        return err_sys(e, ERR_IO, "set the mode to %04o", mode & 07777);
    return 0;
}

int
attrs_set_mtime(int fd, int64_t mtime_ns, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the times");
    if (attrs_ns(&st.st_mtim) == mtime_ns)
        return 0;
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, attrs_timespec(mtime_ns) };
    if (fault("utimens") < 0 || utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
        return err_sys(e, ERR_IO, "set the modification time");
    return 0;
}

static bool
is_replicated(struct span name)
{
    return (name.len > 5 && memcmp(name.ptr, "user.", 5) == 0) ||
           span_equal(name, span_str("system.posix_acl_access")) ||
           span_equal(name, span_str("system.posix_acl_default"));
}

/* The names, each with a NUL behind it; no names where the filesystem has none. */
static int
list_names(int fd, struct buf *ret_names, struct err *e)
{
    ssize_t len = 256; /* mostly there are none, and one call tells */
    for (;;) {
        buf_reset(ret_names);
        buf_reserve(ret_names, (size_t)len + 1);
        len = flistxattr(fd, (char *)ret_names->ptr, ret_names->cap);
        if (len >= 0)
            break;
        if (errno == EOPNOTSUPP)
            return 0;
        if (errno == ERANGE)
            len = flistxattr(fd, NULL, 0); /* and there may be one more when they are listed */
        if (len < 0)
            return err_sys(e, ERR_IO, "list extended attributes");
    }
    ret_names->len = (size_t)len;
    return 0;
}

/* Appends the value. 1 read, 0 removed meanwhile. */
static int
read_value(int fd, const char *name, struct buf *into, struct err *e)
{
    for (;;) {
        ssize_t need = fgetxattr(fd, name, NULL, 0);
        ssize_t len = need;
        if (need > 0) {
            buf_reserve(into, (size_t)need);
            len = fgetxattr(fd, name, into->ptr + into->len, (size_t)need);
        }
        if (len < 0 && errno == ERANGE)
            continue; /* it grew in between */
        if (len < 0 && errno == ENODATA)
            return 0;
        if (len < 0)
            return err_sys(e, ERR_IO, "read extended attribute %s", name);
        into->len += (size_t)len;
        return 1;
    }
}

static int
compare_names(const void *a, const void *b)
{
    const struct attrs_xattr *x = a, *y = b;
    int order = memcmp(x->name.ptr, y->name.ptr, MIN(x->name.len, y->name.len));
    return order != 0 ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* The buffer moves while it grows, so the spans are made when it is complete. */
static void
point_into(struct attrs_xattrs *x, const size_t *lengths)
{
    size_t at = 0;
    for (size_t i = 0; i < x->count; i++) {
        x->list[i].name = span_from(buf_span(&x->bytes), at, lengths[2 * i]);
        at += lengths[2 * i];
        x->list[i].value = span_from(buf_span(&x->bytes), at, lengths[2 * i + 1]);
        at += lengths[2 * i + 1];
    }
    qsort(x->list, x->count, sizeof(x->list[0]), compare_names);
}

void
attrs_xattrs_free(struct attrs_xattrs *xattrs)
{
    buf_free(&xattrs->bytes);
    xattrs->count = 0;
}

static int
compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Those that are replicated, in order: of too many the same ones on each host. */
static const char **
sort_names(const struct buf *names, size_t *ret_count)
{
    const char *end = (const char *)names->ptr + names->len;
    const char **list = xcalloc(names->len / 2 + 1, sizeof(*list));
    *ret_count = 0;
    for (const char *name = (const char *)names->ptr; name < end; name += strlen(name) + 1) {
        if (is_replicated(span_str(name)))
            list[(*ret_count)++] = name;
    }
    qsort(list, *ret_count, sizeof(*list), compare_texts);
    return list;
}

static int
read_all(int fd, const struct buf *names, struct attrs_xattrs *x, size_t *lengths, struct err *e)
{
    size_t count;
    _cleanup_free_ const char **list = sort_names(names, &count);
    for (size_t i = 0; i < count; i++) {
        const char *name = list[i];
        if (x->count == ATTRS_XATTRS_MAX) {
            x->left_out = count - i;
            return 0;
        }
        size_t start = x->bytes.len;
        buf_add(&x->bytes, name, strlen(name));
        int got = read_value(fd, name, &x->bytes, e);
        if (got < 0)
            return -1;
        if (got == 0) {
            x->bytes.len = start;
            continue;
        }
        lengths[2 * x->count] = strlen(name);
        lengths[2 * x->count + 1] = x->bytes.len - start - strlen(name);
        x->count++;
    }
    return 0;
}

int
attrs_xattrs_read(int fd, struct attrs_xattrs *ret_xattrs, struct err *e)
{
    ret_xattrs->count = 0;
    ret_xattrs->left_out = 0;
    ret_xattrs->bytes = (struct buf){ 0 };
    size_t lengths[2 * ATTRS_XATTRS_MAX] = { 0 };
    _cleanup_buf_ struct buf names = { 0 };
    if (list_names(fd, &names, e) < 0)
        return -1;
    if (names.len > 0 && read_all(fd, &names, ret_xattrs, lengths, e) < 0) {
        attrs_xattrs_free(ret_xattrs);
        return -1;
    }
    point_into(ret_xattrs, lengths);
    return 0;
}

bool
attrs_xattrs_any(int dirfd, const char *name)
{
    char path[32 + NAME_MAX + 1]; /* there is no llistxattrat() before Linux 6.13 */
    char names[1024];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
    ssize_t len = llistxattr(path, names, sizeof(names));
    if (len < 0)
        return errno != ENOTSUP && errno != ENOENT;
    for (const char *at = names; at < names + len; at += strlen(at) + 1) {
        if (is_replicated(span_str(at)))
            return true;
    }
    return false;
}

static bool
is_listed(struct span name, const struct attrs_xattr *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (span_equal(name, list[i].name))
            return true;
    }
    return false;
}

int
attrs_xattrs_prune(int fd, const struct attrs_xattr *list, size_t count, struct err *e)
{
    _cleanup_buf_ struct buf names = { 0 };
    if (list_names(fd, &names, e) < 0)
        return -1;
    const char *end = (const char *)names.ptr + names.len;
    for (const char *name = (const char *)names.ptr; name < end; name += strlen(name) + 1) {
        if (!is_replicated(span_str(name)) || is_listed(span_str(name), list, count))
            continue;
        if ((fault("removexattr") < 0 || fremovexattr(fd, name) < 0) && errno != ENODATA)
            return err_sys(e, ERR_IO, "remove extended attribute %s", name);
    }
    return 0;
}

static int
write_one(int fd, const struct attrs_xattr *xattr, struct err *e)
{
    char name[XATTR_NAME_MAX + 1];
    if (!is_replicated(xattr->name) || xattr->name.len > XATTR_NAME_MAX ||
        memchr(xattr->name.ptr, '\0', xattr->name.len) != NULL)
        return err_set(e, ERR_PROTOCOL, "extended attribute %.*s is not one that is replicated",
                       (int)MIN(xattr->name.len, (size_t)XATTR_NAME_MAX), xattr->name.ptr);
    memcpy(name, xattr->name.ptr, xattr->name.len);
    name[xattr->name.len] = '\0';
    const void *value = xattr->value.len == 0 ? "" : (const void *)xattr->value.ptr;
    if (fault("setxattr") < 0 || fsetxattr(fd, name, value, xattr->value.len, 0) < 0)
        return err_sys(e, errno == EOPNOTSUPP ? ERR_UNSUITABLE : ERR_IO,
                       "set extended attribute %s", name);
    return 0;
}

int
attrs_xattrs_write(int fd, const struct attrs_xattr *list, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        if (write_one(fd, &list[i], e) < 0)
            return -1;
    }
    return 0;
}

/* The kernel's struct file_handle with room behind it. */
union handle_room {
    struct file_handle handle;
    uint8_t bytes[sizeof(struct file_handle) + ATTRS_HANDLE_MAX];
};

int
attrs_handle_get(int dirfd, const char *name, struct attrs_handle *ret_handle, struct err *e)
{
    union handle_room room = { .handle.handle_bytes = ATTRS_HANDLE_MAX - 4 };
    int mount_id;
    if (name_to_handle_at(dirfd, name, &room.handle, &mount_id, AT_EMPTY_PATH) < 0) {
        bool none = errno == EOPNOTSUPP || errno == EOVERFLOW;
        return err_sys(e, none ? ERR_UNSUITABLE : ERR_IO, "get the file handle of \"%.255s\"",
                       name);
    }
    ASSERT(room.handle.handle_bytes <= ATTRS_HANDLE_MAX - 4);
    put_le32(ret_handle->bytes, (uint32_t)room.handle.handle_type);
    memcpy(ret_handle->bytes + 4, room.handle.f_handle, room.handle.handle_bytes);
    ret_handle->len = 4 + room.handle.handle_bytes;
    return 0;
}

uint64_t
attrs_handle_ino(struct span handle)
{
    enum {
        INO32_GEN = 1,   /* FILEID_INO32_GEN: the number, the generation */
        INO64_GEN = 0x81 /* the same of xfs, for large numbers */
    };
    uint32_t type = handle.len < 4 ? 0 : get_le32(handle.ptr);
    if (type == INO32_GEN && handle.len == 4 + 8)
        return get_le32(handle.ptr + 4);
    return type == INO64_GEN && handle.len == 4 + 12 ? get_le64(handle.ptr + 4) : 0;
}

/* ext4 says ENOMEM while it gives the number of a deleted file to a new one: the file is gone, and
 * a moment later it says so. */
static int
open_handle(int mount_fd, struct file_handle *handle, int flags)
{
    for (unsigned tries = 0;; tries++) {
        int fd = open_by_handle_at(mount_fd, handle, flags | O_CLOEXEC);
        if (fd >= 0 || errno != ENOMEM || tries == HANDLE_TRIES)
            return fd;
        usleep(HANDLE_WAIT_US);
    }
}

int
attrs_handle_open(int mount_fd, struct span handle, int flags, struct err *e)
{
    if (handle.len < 4 || handle.len > ATTRS_HANDLE_MAX)
        return err_set(e, ERR_CORRUPT, "a file handle of %zu bytes", handle.len);
    union handle_room room = { .handle.handle_bytes = (unsigned)handle.len - 4 };
    room.handle.handle_type = (int)get_le32(handle.ptr);
    memcpy(room.handle.f_handle, handle.ptr + 4, handle.len - 4);
    int fd = open_handle(mount_fd, &room.handle, flags);
    if (fd < 0) {
        bool gone = errno == ESTALE || errno == ENOENT || errno == ENOTDIR; /* no such directory */
        return err_sys(e, gone ? ERR_GONE : ERR_IO, "open by file handle");
    }
    return fd;
}
