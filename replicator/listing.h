/* listing.h - what a directory holds, as both sides of a comparison see it: a sorted list of
 * entries and a digest over it. Sender: from the index; receiver and verify: from the directory
 * itself. */
#ifndef MAILTWIN_LISTING_H
#define MAILTWIN_LISTING_H

#include "lib/data/wire.h"
#include "lib/store/store.h"

struct listing {
    struct attr self;   /* the directory itself; size and mtime are not compared */
    bool has_self_hash; /* of a store's root: its extended attributes */
    uint8_t self_hash[WIRE_DIGEST_SIZE];
    struct wire_entry *entries; /* owned, sorted by name as bytes; names owned as well */
    size_t count;
    size_t cap;
    bool partial; /* the disk did not give some names */
};

void listing_free(struct listing *l);
#define _cleanup_listing_ _cleanup_(listing_free)

/* Copies the entry. */
void listing_add(struct listing *l, const struct wire_entry *entry);
/* By name, and no name twice: a directory that changes while it is read may give one twice. */
void listing_sort(struct listing *l);
/* In a sorted listing; NULL when it is not there. */
const struct wire_entry *listing_find(const struct listing *l, struct span name);

#define LISTING_NAME_BYTES 256 /* what looking at a name counts as: an inode of ext4 */

/* How fast a listing is read. tick() is called with the bytes read since, a name counted as
 * LISTING_NAME_BYTES; it may sleep, and ends the reading with -1. */
struct listing_pace {
    int (*tick)(void *arg, uint64_t bytes, struct err *e);
    void *arg;
};

/* Reads the directory dirfd (store path `dir`): ignored names, sockets, devices and mount
 * points are left out, for symlinks `hash` is
 * that of the target, for files and directories over their extended attributes when they have some
 * (those of a store's root are in self_hash), with content for every file over bytes and extended
 * attributes. A file that changes or vanishes meanwhile is listed as last seen. pace: NULL as fast
 * as it goes. */
int listing_read(const struct store_rules *rules, int dirfd, struct span dir, bool content,
                 const struct listing_pace *pace, struct listing *ret_listing,
                 struct err *e) _must_check_;

/* Over self (mode, uid, gid, for a root its hash) and, per entry: name, type, mode, uid, gid, size
 * and mtime of what is not a directory, the hash where there is one, and nlink where it is above 1
 * (files only). The size of a directory, symlink or fifo does not count. */
void listing_digest(const struct listing *l, uint8_t ret_digest[WIRE_DIGEST_SIZE]);
/* The disk counts links in places that are not replicated, too: a copy that was cut off left one in
 * a Maildir's tmp, a folder that was removed took some along to where it is retained. Counts those
 * that the index has; dir is the directory's id in it. */
struct state_txn;
int listing_count_links(struct listing *l, struct state_txn *txn, uint64_t dir,
                        struct err *e) _must_check_;
/* Are the two the same for a comparison? (nlink aside when !with_nlink) */
bool listing_entry_equal(const struct wire_entry *a, const struct wire_entry *b, bool with_nlink);

/* The same hash, or none. */
bool listing_hash_equal(const struct wire_entry *a, const struct wire_entry *b);

/* A symlink's target. 1 read, 0 it is no longer a symlink. */
int listing_symlink(int dirfd, const char *name, struct buf *ret_target,
                    struct err *e) _must_check_;
/* The hash of a file or directory whose content is not compared: over its extended attributes, none
 * when it has none, is gone, or the disk fails (event UNREADABLE). dir: its path, for people. */
int listing_xattrs(int dirfd, struct span dir, const char *name, struct wire_entry *entry,
                   struct err *e) _must_check_;
/* Of a store's root, too: self_hash. */
int listing_root(int dirfd, struct listing *l, struct err *e) _must_check_;
/* The hash of a symlink: over its target. */
void listing_hash(struct span bytes, uint8_t ret_digest[WIRE_DIGEST_SIZE]);

/* A number for a directory's extended attributes, 0 when it has none. */
int listing_dir_xattrs(int dirfd, uint64_t *ret_xattrs, struct err *e) _must_check_;

/* To and from the packed form of DIGEST_ANSWER. */
void listing_pack(const struct listing *l, size_t first, size_t max_bytes, struct buf *out,
                  size_t *ret_next);
int listing_unpack(struct span entries, struct listing *into, struct err *e) _must_check_;

#endif
