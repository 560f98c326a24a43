/* fixups.h - records without a number that make a name on a peer what the index says it is. The
 * peer's tree must be at the journal's tail. */
#ifndef MAILTWIN_FIXUPS_H
#define MAILTWIN_FIXUPS_H

#include "replicator/place.h"
#include "replicator/reclist.h"

struct fixups {
    struct state_txn *txn;
    struct place *place; /* the directory in hand */
    struct reclist *out;
    struct buf path, other; /* owned */
};

void fixups_free(struct fixups *f);
int fixups_make(struct fixups *f, struct span name, const struct state_entry *entry,
                struct err *e) _must_check_;
void fixups_remove(struct fixups *f, struct span name, bool is_dir);
/* The first name of an object carries its content; the others are links to it. 1: `other` holds the
 * first. */
int fixups_further_link(struct fixups *f, struct span name, const struct state_entry *entry,
                        struct err *e) _must_check_;

#endif
