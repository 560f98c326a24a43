/* compare_private.h - what compare.c and compare_move.c share. compare.c: what a name is, and that
 * it goes; compare_move.c: the same object under another name. */
#ifndef MAILTWIN_COMPARE_PRIVATE_H
#define MAILTWIN_COMPARE_PRIVATE_H

#include "replicator/compare.h"

/* --- compare.c --- */

/* Appends a record about the object that the index has under this name. */
int compare_emit_known(struct compare *c, enum record_op op, const struct place *place,
                       struct span name, const struct state_entry *entry,
                       struct err *e) _must_check_;
/* RENAME and LINK: `other` is a second name, in another directory of the same store. */
int compare_emit_two(struct compare *c, enum record_op op, const struct place *place,
                     struct span name, struct span other_dir, struct span other_name,
                     const struct state_entry *entry, struct err *e) _must_check_;
/* The name has the object that the index has: content and attributes. */
int compare_same(struct compare *c, struct place *place, struct span name, const struct known *old,
                 const struct look *look, unsigned what, struct err *e) _must_check_;
/* A name goes that was one of several of its object: what was written through it shows in the
 * others, and nobody may have told of those. */
int compare_look_at_others(struct compare *c, const struct place *place, struct span name,
                           const struct known *old, struct err *e) _must_check_;
/* The name goes, in journal and index. */
int compare_remove(struct compare *c, struct place *place, struct span name,
                   const struct known *old, struct err *e) _must_check_;
/* A directory's handle as events name it. */
struct span compare_dir_handle(const struct compare *c, uint16_t store, const struct look *look,
                               uint8_t handle[WATCH_HANDLE_MAX]);
void compare_join(struct buf *out, struct span dir, struct span name);

/* --- compare_move.c --- */

bool compare_object_lives(const struct compare *c, uint16_t store, struct span handle);
/* What the index has under this name is another object: takes it out of the way where a plain
 * replacement would not do. */
int compare_clear_name(struct compare *c, struct place *place, struct span name,
                       const struct known *old, const struct look *look,
                       struct err *e) _must_check_;
/* The object is in the index under another name: a RENAME when it no longer has that one, else a
 * LINK. 1 it was and is done, 0 it is nowhere else. */
int compare_elsewhere(struct compare *c, struct place *place, struct span name,
                      const struct look *look, unsigned what, struct err *e) _must_check_;
/* A directory's place now, by way of its own "..": 1 found in the store (and compared there), 0
 * not. */
int compare_follow_dir(struct compare *c, uint16_t store, const struct known *old,
                       struct err *e) _must_check_;

#endif
