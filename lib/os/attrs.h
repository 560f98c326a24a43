/* attrs.h - what an object carries besides its content (owner, mode, times, extended attributes
 * with POSIX ACLs) and the handle that finds it under whatever name.
 *
 * By descriptor, never by path. Replicated are user.* and the POSIX ACLs, as the kernel's bytes;
 * trusted.* and security.* belong to a host and stay there. */
#ifndef MAILTWIN_ATTRS_H
#define MAILTWIN_ATTRS_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#include <sys/stat.h>

#define ATTRS_XATTRS_MAX 64
#define ATTRS_HANDLE_MAX 128

/* The oldest time that ext4 and xfs hold: what btrfs and tmpfs have that is older would differ from
 * every copy. The newest, in 2262, is the last that the number holds; all of them hold it. */
#define ATTRS_NS_MIN (-2147483648 * INT64_C(1000000000))

/* Times as one number; times before 1970 are negative. What is older or newer than it holds becomes
 * its oldest or newest. */
int64_t attrs_ns(const struct timespec *ts);
struct timespec attrs_timespec(int64_t ns);

/* Each changes only what differs, so that a process without the right to chown gets EPERM exactly
 * when the owner would have become another. Owner before mode: chown clears setuid. */
int attrs_set_owner(int fd, uid_t uid, gid_t gid, struct err *e) _must_check_;
int attrs_set_mode(int fd, mode_t mode, struct err *e) _must_check_;
int attrs_set_mtime(int fd, int64_t mtime_ns, struct err *e) _must_check_;

struct attrs_xattr {
    struct span name; /* no NUL behind it */
    struct span value;
};

struct attrs_xattrs {
    size_t count;
    size_t left_out;
    struct attrs_xattr list[ATTRS_XATTRS_MAX]; /* sorted by name */
    struct buf bytes;                          /* owned: what the spans point into */
};

void attrs_xattrs_free(struct attrs_xattrs *xattrs);
#define _cleanup_xattrs_ _cleanup_(attrs_xattrs_free)

/* Reads the replicated ones of a file or directory; none where the filesystem has no such thing.
 * Beyond ATTRS_XATTRS_MAX the last ones by name are left out, and counted. */
int attrs_xattrs_read(int fd, struct attrs_xattrs *ret_xattrs, struct err *e) _must_check_;
/* Has the name in dirfd replicated ones? True also when nobody can say without opening it. */
bool attrs_xattrs_any(int dirfd, const char *name);
/* Removes what is not in the list; before the mode is set: an ACL's mask hides in the mode. */
int attrs_xattrs_prune(int fd, const struct attrs_xattr *list, size_t count,
                       struct err *e) _must_check_;
/* Sets what is in the list; after the mode is set. A name that is not replicated is ERR_PROTOCOL.
 */
int attrs_xattrs_write(int fd, const struct attrs_xattr *list, size_t count,
                       struct err *e) _must_check_;

/* A file handle: its type (4 bytes, little-endian), then the filesystem's bytes. */
struct attrs_handle {
    uint8_t bytes[ATTRS_HANDLE_MAX];
    size_t len;
};

static inline struct span
attrs_handle_span(const struct attrs_handle *handle)
{
    return span_of(handle->bytes, handle->len);
}

/* The inode number in a handle, where the kernel documents its place: on ext4 and xfs. Without it
 * (0 is no inode) only opening tells. */
uint64_t attrs_handle_ino(struct span handle);
/* Of `name` in dirfd, no symlink followed; "" is dirfd itself. e->sys tells ENOENT. */
int attrs_handle_get(int dirfd, const char *name, struct attrs_handle *ret_handle,
                     struct err *e) _must_check_;
/* Opens by handle; mount_fd is any descriptor (not O_PATH) on the filesystem. ERR_GONE: the object
 * no longer exists. Returns the descriptor or -1. */
int attrs_handle_open(int mount_fd, struct span handle, int flags, struct err *e) _must_check_;

#endif
