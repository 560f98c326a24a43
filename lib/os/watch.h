/* watch.h - fanotify: where on a filesystem something happened. One mark per filesystem, none per
 * directory.
 *
 * Every writer is seen. What is told is a place (directory handle and name), not what is there now:
 * the kernel merges events, and the object may have moved on. One queue for all filesystems, in
 * order. Used by one thread. */
#ifndef MAILTWIN_WATCH_H
#define MAILTWIN_WATCH_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define WATCH_FSID_SIZE 8
/* An object as events name it: the filesystem's id, then the handle as in attrs.h. */
#define WATCH_HANDLE_MAX (WATCH_FSID_SIZE + 4 + 128)

struct watch;

enum watch_what {
    WATCH_MADE = 1,      /* created or linked */
    WATCH_GONE = 2,      /* unlinked */
    WATCH_MOVED = 4,     /* renamed: from here (old name) */
    WATCH_ARRIVED = 8,   /* renamed: to here (new name) */
    WATCH_MODIFIED = 16, /* written or truncated; may still be open */
    WATCH_CLOSED = 32,   /* closed after writing */
    WATCH_ATTRIB = 64,   /* mode, owner, times, xattrs, link count */
    WATCH_IS_DIR = 128,
};

struct watch_event {
    struct span dir;  /* fsid and handle; empty: the kernel does not know where (an NFS client's) */
    struct span name; /* "." : the directory itself */
    struct span object; /* what it happened to: fsid and handle; may be empty */
    unsigned what;      /* of enum watch_what */
};

/* A new queue. ERR_UNSUITABLE: the kernel lacks what is needed (5.17), or rights are missing. */
int watch_new(struct watch **ret_watch, struct err *e) _must_check_;
/* Goes on with a queue that an earlier instance left with the service manager; takes fd over. */
struct watch *watch_adopt(int fd);
void watch_free(struct watch **watch); /* NULL is fine */
int watch_fd(const struct watch *watch);

/* Marks the whole filesystem that dirfd lies on. ERR_UNSUITABLE with a sentence naming path and
 * filesystem when that one cannot be watched. */
int watch_add(struct watch *watch, int dirfd, const char *path, struct err *e) _must_check_;

/* The id events carry for this filesystem. */
int watch_fsid(int dirfd, uint8_t ret_fsid[WATCH_FSID_SIZE], struct err *e) _must_check_;
/* The words for what statfs says of it: "ext4", "overlayfs", "0x1234". */
const char *watch_fs_name(int dirfd);

/* Reads what is queued (up to ~256 KiB) and gives each event in order. *ret_overflow: the kernel
 * dropped some. Returns the number of events, 0: the queue is empty, -1. */
int watch_read(struct watch *watch, void (*give)(void *arg, const struct watch_event *event),
               void *arg, bool *ret_overflow, struct err *e) _must_check_;

#endif
