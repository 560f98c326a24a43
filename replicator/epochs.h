/* epochs.h - the list of promotions in this node's past, a row of the state:
 * docs/formats/journal.md. By two such lists two nodes find where they parted (link.h). */
#ifndef MAILTWIN_EPOCHS_H
#define MAILTWIN_EPOCHS_H

#include "replicator/daemon.h"

/* The number of this node's next promotion: above all that were heard of, and no other node's. */
int epochs_next(const struct daemon *d, struct state_txn *txn, uint64_t *ret_epoch,
                struct err *e) _must_check_;

/* Has this node been promoted after that epoch? As its list has it. */
int epochs_own_since(const struct daemon *d, struct state_txn *txn, uint64_t epoch, bool *ret_own,
                     struct err *e) _must_check_;

/* The promotion that ended that epoch in the lineage of this node's list. 1, 0 none did. */
int epochs_after(struct state_txn *txn, uint64_t epoch, uint64_t *ret_epoch, uint64_t *ret_first,
                 struct err *e) _must_check_;

/* Puts the epoch of the state's meta, which begins behind the tail, at the end of the list, and its
 * record into the journal. whole: is this node's copy complete? One that is not shares no past with
 * anybody, whatever its journal says: the list begins anew, for who has more than it must not be
 * taken for a beginning of it. */
int epochs_append(struct state_txn *txn, bool whole, struct err *e) _must_check_;

#endif
