/* compare_private.h - what the files of compare share. compare.c: what a name is, and that it goes;
 * compare_links.c: an object with several names; compare_move.c: the same object under another
 * name; compare_held.c: what a power loss took. */
#ifndef MAILTWIN_COMPARE_PRIVATE_H
#define MAILTWIN_COMPARE_PRIVATE_H

#include "replicator/compare.h"

/* --- compare.c --- */

int compare_emit(struct compare *c, struct record *r, const struct place *place, struct span name,
                 struct err *e) _must_check_;
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
/* Not everything could be read: what lives and turned up nowhere may be where nobody could look. Of
 * a directory below such a place the kernel says ESTALE, as of one that is gone. */
bool compare_may_be_in_a_gap(const struct compare *c, uint16_t store, const struct known *old);
/* The name goes, in journal and index. */
int compare_remove(struct compare *c, struct place *place, struct span name,
                   const struct known *old, struct err *e) _must_check_;

/* --- compare_links.c --- */

bool compare_owner_moved(const struct attr *old, const struct attr *now);
/* What was seen of an object holds for all of its names in the store, in journal and index. */
int compare_others_follow(struct compare *c, const struct place *place, struct span name,
                          const struct look *look, bool content, struct err *e) _must_check_;
/* The same for its names in other stores on the same filesystem: they are looked at again, unless
 * they were since it changed. */
int compare_tell_stores(struct compare *c, uint16_t store, const struct look *look, unsigned what,
                        struct err *e) _must_check_;
/* A name goes that was one of several of its object: what was written through it shows in the
 * others, and nobody may have told of those. */
int compare_look_at_others(struct compare *c, const struct place *place, struct span name,
                           const struct known *old, struct err *e) _must_check_;
/* The same for an object that lost a name with the directory around it. */
int compare_look_at_bereaved(struct compare *c, uint16_t store, uint64_t ino,
                             struct err *e) _must_check_;

/* --- compare_move.c --- */

/* 1 it does, 0 it is gone (the kernel says so: ENOENT, ESTALE), -1 nobody can say now. */
int compare_object_lives(const struct compare *c, uint16_t store, struct span handle,
                         struct err *e) _must_check_;
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
 * not, -1 failed; ERR_IO: nobody can say now. */
int compare_follow_dir(struct compare *c, uint16_t store, const struct known *old,
                       struct err *e) _must_check_;

/* --- compare_held.c --- */

/* 1: what is there is what the loss left, and is not recorded; or it was recorded here. 0: a name
 * like others, from now on. */
int compare_present_held(struct compare *c, struct place *place, struct span name,
                         const struct known *old, const struct look *look, unsigned what,
                         struct err *e) _must_check_;
/* The same for a name that is not there. 1: it is not recorded as gone. */
int compare_absent_held(struct compare *c, struct place *place, struct span name,
                        const struct known *old, struct err *e) _must_check_;
/* Would a record about this name tell of an object that has a held name, or remove one that stands
 * under a held name, or a directory that holds some? Then it is left out for now: 1. Either of old
 * and look may be NULL. */
int compare_hides(struct compare *c, struct place *place, struct span name, const struct known *old,
                  const struct look *look, struct err *e) _must_check_;
/* The directory that is there now is the one that the index has: it was made in its place. */
int compare_adopt_dir(struct compare *c, uint16_t store, uint64_t dir, struct span name,
                      const struct known *old, const struct look *look, struct err *e) _must_check_;

#endif
