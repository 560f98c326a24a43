/* sync_row.h - how far a sync of a peer has come: a row of the primary's state, where the sync goes
 * on after an interruption. Format: docs/formats/journal.md.
 *
 * A standby that feeds another keeps none: digests make a repeated walk cheap. */
#ifndef MAILTWIN_SYNC_ROW_H
#define MAILTWIN_SYNC_ROW_H

#include "replicator/session.h"

struct sync_row {
    uint64_t base;  /* the tail at its beginning */
    uint64_t place; /* directories below this id are level */
};

/* The row of the session's peer, when it is of the sync that the peer was interrupted in: same
 * history, epoch and base, told by both, and the journal reaches from there. 1 found, else *row
 * stays. */
int sync_row_find(const struct session *s, struct state_txn *txn, struct sync_row *row,
                  struct err *e) _must_check_;
/* Durable with the capture's next commit. */
void sync_row_note(const struct session *s, const struct sync_row *row);
/* Where the sync of this peer goes on: from its row when it is of the same sync, else from the
 * beginning. The row is the new sync's before the peer hears of it: found later, the place of the
 * one before would be taken for its own. *ret_cursor: the records behind it are shipped. */
int sync_row_opts(const struct session *s, struct walk_opts *ret_opts, uint64_t *ret_cursor,
                  struct err *e) _must_check_;
/* Durable when it returns 0. */
int sync_row_reset(const struct session *s, const struct sync_row *row, struct err *e) _must_check_;

#endif
