/* look.h - what a name is right now. */
#ifndef MAILTWIN_LOOK_H
#define MAILTWIN_LOOK_H

#include "lib/data/state.h"
#include "lib/os/attrs.h"

struct look {
    bool exists;
    struct attr attr;
    int64_t ctime_ns;
    uint64_t ino;
    uint64_t device;
    uint32_t nlink;
    struct attrs_handle handle;
};

/* What is replicated of it: only a file has a size. */
struct stat;
struct attr look_attr(const struct stat *st);
/* No symlink is followed. A missing name is an answer (exists false), not a failure. "" looks at
 * dirfd itself. */
int look_at(int dirfd, const char *name, struct look *ret_look, struct err *e) _must_check_;

/* A row of the index with its handle copied, so that it outlives the next write. */
struct known {
    struct state_entry entry;
    uint8_t handle[RECORD_HANDLE_MAX];
};

/* 1 known, 0 not in the index. */
int known_get(struct state_txn *txn, uint64_t dir, struct span name, struct known *ret_known,
              struct err *e) _must_check_;

/* Is what the disk has older or less than what the index says? After a power loss that is what was
 * lost. */
bool look_is_less(const struct look *look, const struct state_entry *entry);
/* Is it another object, which may have got the name when the known one was there already? Of what
 * is no directory, in the place of one, that is assumed. Else its mtime does not say it, a rename
 * keeps that; its ctime does, and changes with an owner or a recovery too: what came earlier may
 * pass for later, never the other way round while the clock goes forward. */
bool look_came_later(const struct look *look, const struct state_entry *entry);
/* Is it as the power loss left it? Nobody has put anything there since. */
bool look_is_as_left(const struct look *look, const struct state_held *held);
bool look_same_object(const struct look *look, const struct state_entry *entry);
/* The row for what was seen. A change time so young that the clock may not have ticked since is
 * stored as a negative number: that it is still the same proves nothing at the next look. */
void look_to_entry(const struct look *look, int64_t now_ns, uint64_t dir,
                   struct state_entry *ret_entry);
bool look_time_is_young(int64_t ctime_ns, int64_t now_ns);
/* May what the row tells have been written once more without another modification time? Not when
 * something later was seen of the object than its time. */
bool look_content_is_young(const struct state_entry *entry);
int64_t look_now_ns(void); /* CLOCK_REALTIME, what file times are made of */

#endif
