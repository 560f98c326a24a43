/* renumber.h - the mailboxes of a node that becomes primary: UIDs, UIDVALIDITY, modification
 * sequences, counted quotas. What is done and why: docs/identity.md; the decision is pure:
 * lib/store/identity.h.
 *
 * The order is a row of the state, written with the promotion itself, and carried out before the
 * stores are watched and before anybody is told that this node is primary: no mail server serves
 * meanwhile. A crash on the way is made good by the next start as primary. What was done twice has
 * cost UIDs, nothing else. */
#ifndef MAILTWIN_RENUMBER_H
#define MAILTWIN_RENUMBER_H

#include "replicator/node.h"

#include <stdatomic.h>

#define RENUMBER_KEY "identity" /* row of the state, see docs/formats/journal.md */

struct renumber_order {
    uint64_t epoch; /* of the promotion */
    uint64_t seq;   /* the promotion's record: a checkpoint at or above it has all of this */
    uint32_t gap;   /* of UIDs; 0: the last primary handed everything over, none are missing */
    uint32_t validity_gap; /* of UIDVALIDITY; counts where the gap does */
    uint64_t modseq;       /* that folders begin at */
};

struct renumber_done {
    uint64_t folders; /* looked at */
    uint64_t raised;  /* lists of UIDs, with their next UID beyond the gap */
    uint64_t failed;  /* folders of which something could not be done; each is told */
};

/* With the promotion, in its transaction. NULL: nobody else has served these mailboxes since this
 * node did, so that everything is right as it is. */
int renumber_order(struct state_txn *txn, const struct renumber_order *order,
                   struct err *e) _must_check_;
/* Before the capture of a primary starts: carries out what was ordered, unless it is known to be
 * done. alive() is called about once a second meanwhile. A folder that fails is told and passed
 * over; -1 only when the state fails. *ret_done: zeroes when nothing was due. */
int renumber_begin(struct node *node, void (*alive)(void), struct renumber_done *ret_done,
                   struct err *e) _must_check_;

/* Beforehand, on a standby: makes the files that are written over then, in folders of directories
 * from this id on. *ret_next: the next id that there will be. A folder that fails is passed over;
 * `stop` ends it early. */
int renumber_prepare(struct node *node, uint64_t from, const atomic_bool *stop, uint64_t *ret_next,
                     struct err *e) _must_check_;

/* The work itself, with threads of its own. live: a mail server may be running (a machine that
 * comes back as the primary after a power loss). */
int renumber_carry_out(struct node *node, const struct renumber_order *order, bool live,
                       void (*alive)(void), struct renumber_done *ret_done,
                       struct err *e) _must_check_;

#endif
