#include "lib/os/watch.h"

#include "lib/os/file.h"

#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fanotify.h>
#include <sys/statfs.h>
#include <unistd.h>

#define READ_SIZE (256 * 1024)
#define XFS_MAGIC 0x58465342

#define EVENTS \
    (FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_ONDIR)

struct watch {
    int fd;
    char *buffer;
    uint8_t dir[WATCH_HANDLE_MAX], object[WATCH_HANDLE_MAX]; /* of the event being given */
};

static const struct {
    unsigned long magic;
    const char *name;
} filesystems[] = {
    { EXT4_SUPER_MAGIC, "ext4" },
    { XFS_MAGIC, "xfs" },
    { BTRFS_SUPER_MAGIC, "btrfs" },
    { TMPFS_MAGIC, "tmpfs" },
    { OVERLAYFS_SUPER_MAGIC, "overlayfs" },
    { NFS_SUPER_MAGIC, "nfs" },
    { 0x65735546, "fuse" },
    { 0xff534d42, "cifs" },
    { 0x2fc12fc1, "zfs" },
    { 0xf2f52010, "f2fs" },
};

const char *
watch_fs_name(int dirfd)
{
    static _Thread_local char unknown[32];
    struct statfs fs;
    if (fstatfs(dirfd, &fs) < 0)
        return "unknown";
    for (size_t i = 0; i < ARRAY_LEN(filesystems); i++) {
        if ((unsigned long)fs.f_type == filesystems[i].magic)
            return filesystems[i].name;
    }
    snprintf(unknown, sizeof(unknown), "0x%lx", (unsigned long)fs.f_type);
    return unknown;
}

struct watch *
watch_adopt(int fd)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));
    watch->fd = fd;
    watch->buffer = xmalloc(READ_SIZE);
    return watch;
}

int
watch_new(struct watch **ret_watch, struct err *e)
{
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME_TARGET | FAN_CLOEXEC |
                               FAN_NONBLOCK,
                           O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == EPERM)
        return err_sys(
            e, ERR_UNSUITABLE,
            "watching a filesystem needs CAP_SYS_ADMIN; start mailtwin-replicatord as root");
    if (fd < 0)
        return err_sys(
            e, ERR_UNSUITABLE,
            "the kernel cannot report changes by directory and name (fanotify, Linux 5.17)");
    *ret_watch = watch_adopt(fd);
    return 0;
}

void
watch_free(struct watch **watch)
{
    if (*watch == NULL)
        return;
    file_closep(&(*watch)->fd);
    free((*watch)->buffer);
    free(*watch);
    *watch = NULL;
}

int
watch_fd(const struct watch *watch)
{
    return watch->fd;
}

int
watch_add(struct watch *watch, int dirfd, const char *path, struct err *e)
{
    if (fanotify_mark(watch->fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, EVENTS, dirfd, ".") == 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == ENODEV || errno == EXDEV || errno == EINVAL)
        return err_errnum(
            e, ERR_UNSUITABLE, errno,
            "%s lies on %s, which cannot be watched; put the store on ext4, xfs, btrfs "
            "or tmpfs",
            path, watch_fs_name(dirfd));
    return err_sys(e, ERR_IO, "watch the filesystem of %s", path);
}

int
watch_fsid(int dirfd, uint8_t ret_fsid[WATCH_FSID_SIZE], struct err *e)
{
    struct statfs fs;
    if (fstatfs(dirfd, &fs) < 0)
        return err_sys(e, ERR_IO, "ask for the filesystem's id");
    _Static_assert(sizeof(fs.f_fsid) == WATCH_FSID_SIZE, "fsid has 8 bytes");
    memcpy(ret_fsid, &fs.f_fsid, WATCH_FSID_SIZE);
    return 0;
}

static unsigned
what_of(uint64_t mask)
{
    unsigned what = 0;
    what |= mask & FAN_CREATE ? WATCH_MADE : 0u;
    what |= mask & FAN_DELETE ? WATCH_GONE : 0u;
    what |= mask & FAN_MODIFY ? WATCH_MODIFIED : 0u;
    what |= mask & FAN_CLOSE_WRITE ? WATCH_CLOSED : 0u;
    what |= mask & FAN_ATTRIB ? WATCH_ATTRIB : 0u;
    what |= mask & FAN_ONDIR ? WATCH_IS_DIR : 0u;
    return what;
}

/* One info record: a handle, and behind that of a directory a name. The kernel is trusted with its
 * own lengths, but not with an unknown future: what does not fit is passed over. 0: not so. */
static size_t
info_handle(const char *info, uint8_t ret_handle[WATCH_HANDLE_MAX])
{
    struct fanotify_event_info_header header;
    memcpy(&header, info, sizeof(header));
    size_t fixed = sizeof(header) + WATCH_FSID_SIZE + 8;
    if (header.len < fixed)
        return 0;
    uint32_t handle_len;
    int32_t handle_type;
    const char *fsid = info + sizeof(header);
    memcpy(&handle_len, fsid + WATCH_FSID_SIZE, sizeof(handle_len));
    memcpy(&handle_type, fsid + WATCH_FSID_SIZE + 4, sizeof(handle_type));
    if (handle_len > 128 || header.len < fixed + handle_len)
        return 0;
    memcpy(ret_handle, fsid, WATCH_FSID_SIZE);
    put_le32(ret_handle + WATCH_FSID_SIZE, (uint32_t)handle_type);
    memcpy(ret_handle + WATCH_FSID_SIZE + 4, info + fixed, handle_len);
    return WATCH_FSID_SIZE + 4 + handle_len;
}

static bool
info_decode(const char *info, uint8_t dir[WATCH_HANDLE_MAX], struct watch_event *ret_event)
{
    struct fanotify_event_info_header header;
    memcpy(&header, info, sizeof(header));
    size_t len = info_handle(info, dir);
    size_t name_at = sizeof(header) + 4 + len; /* the length of the handle stands before it */
    if (len == 0 || header.len < name_at + 1)
        return false;
    ret_event->dir = span_of(dir, len);
    ret_event->name = span_of(info + name_at, strnlen(info + name_at, header.len - name_at));
    return true;
}

static unsigned
what_of_info(uint8_t type, uint64_t mask)
{
    unsigned what = what_of(mask);
    if (type == FAN_EVENT_INFO_TYPE_OLD_DFID_NAME)
        return WATCH_MOVED | (what & WATCH_IS_DIR);
    if (type == FAN_EVENT_INFO_TYPE_NEW_DFID_NAME)
        return WATCH_ARRIVED | what;
    return what;
}

/* The next info record of an event, NULL at its end. */
static const char *
info_next(const char *at, const char *end, struct fanotify_event_info_header *ret_header)
{
    if (end - at < (ptrdiff_t)sizeof(*ret_header))
        return NULL;
    memcpy(ret_header, at, sizeof(*ret_header));
    return ret_header->len < sizeof(*ret_header) || ret_header->len > end - at ? NULL : at;
}

/* The record of the object comes behind those of its places. */
static struct span
event_object(struct watch *watch, const char *at, const char *end)
{
    struct fanotify_event_info_header header;
    for (; (at = info_next(at, end, &header)) != NULL; at += header.len) {
        if (header.info_type == FAN_EVENT_INFO_TYPE_FID)
            return span_of(watch->object, info_handle(at, watch->object));
    }
    return (struct span){ 0 };
}

/* start: where the event lies in the buffer, which the kernel does not align. */
static void
event_give(struct watch *watch, const struct fanotify_event_metadata *meta, const char *start,
           void (*give)(void *arg, const struct watch_event *event), void *arg)
{
    const char *end = start + meta->event_len;
    const char *at = start + meta->metadata_len;
    struct fanotify_event_info_header header;
    struct watch_event event = { .object = event_object(watch, at, end) };
    bool placed = false;
    for (; (at = info_next(at, end, &header)) != NULL; at += header.len) {
        event.what = what_of_info(header.info_type, meta->mask);
        if (header.info_type == FAN_EVENT_INFO_TYPE_FID || !info_decode(at, watch->dir, &event))
            continue;
        placed = true;
        give(arg, &event);
    }
    event.what = what_of(meta->mask);
    if (!placed && event.object.len > 0)
        give(arg, &event);
}

int
watch_read(struct watch *watch, void (*give)(void *arg, const struct watch_event *event), void *arg,
           bool *ret_overflow, struct err *e)
{
    *ret_overflow = false;
    ssize_t len = read(watch->fd, watch->buffer, READ_SIZE);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (len < 0)
        return err_sys(e, ERR_IO, "read change events");
    int count = 0;
    for (const char *at = watch->buffer; len >= (ssize_t)sizeof(struct fanotify_event_metadata);) {
        struct fanotify_event_metadata meta;
        memcpy(&meta, at, sizeof(meta));
        if (meta.vers != FANOTIFY_METADATA_VERSION || meta.metadata_len < sizeof(meta) ||
            meta.event_len < meta.metadata_len || meta.event_len > (size_t)len)
            return err_set(e, ERR_UNSUITABLE,
                           "the kernel reports changes in a form not known here");
        if (meta.mask & FAN_Q_OVERFLOW)
            *ret_overflow = true;
        else
            event_give(watch, &meta, at, give, arg);
        at += meta.event_len;
        len -= meta.event_len;
        count++;
    }
    return count;
}
