/* recover_private.h - what recover.c and recover_redo.c share. recover_redo.c: names are given and
 * taken again as the journal says; recover.c: what is still missing then is held. */
#ifndef MAILTWIN_RECOVER_PRIVATE_H
#define MAILTWIN_RECOVER_PRIVATE_H

#include "replicator/compare.h"

struct recovery {
    struct compare *c;
    uint64_t redone;
    struct buf made;  /* directories made anew: the lost one's handle, the new one's, span16 each */
    struct buf moves; /* renames of directories, see recover.c */
    struct hints first;  /* by store and handle: due_ms is the first record of the object, */
    struct hints newest; /* and the last one with its content */
};

/* Every record behind the checkpoint, in order. */
int recover_each(struct recovery *r,
                 int (*each)(struct recovery *r, const struct record *record, struct err *e),
                 struct err *e) _must_check_;
/* Does what the record says once more, where the disk does not have it yet. */
int recover_redo(struct recovery *r, const struct record *record, struct err *e) _must_check_;
/* Is the directory looked at one that was made in the place of a lost one? */
bool recover_was_made(const struct recovery *r, const struct look *look);

#endif
