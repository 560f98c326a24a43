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
    bool look; /* the index may lack folders that are there: every directory is read for them */
};

struct renumber_done {
    uint64_t folders;  /* looked at */
    uint64_t raised;   /* lists of UIDs, with their next UID beyond the gap */
    uint64_t prepared; /* folders that were as renumber_prepare() had left them */
    uint64_t failed;   /* folders of which something could not be done; each is told */
};

/* With the promotion, in its transaction. NULL: nobody else has served these mailboxes since this
 * node did, so that everything is right as it is. */
int renumber_order(struct state_txn *txn, const struct renumber_order *order,
                   struct err *e) _must_check_;
/* What a standby has done beforehand: in each folder where nothing else is to be removed there is a
 * log that begins with a sequence made of base_s. Whether a folder is still as it was left is told
 * by the times of its directory and its log. Zeroes: nothing was done. */
struct renumber_prepared {
    uint8_t history[WIRE_HISTORY_SIZE];
    uint64_t epoch;           /* that was followed */
    uint64_t since_s, base_s; /* of identity_clock() */
    int64_t wrote_ns;         /* no log with that base is older */
    int64_t seen_ns;          /* all folders have been looked at since then; 0: not all were */
    int64_t clock_ns;         /* since 1970, when the machine started: no clock was set since */
};

/* Before the capture of a primary starts: carries out what was ordered, unless it is known to be
 * done. prepared: NULL, or what renumber_prepared_holds(). alive() is called about once a second
 * meanwhile. A folder that fails is told and passed over; -1 only when the state fails. *ret_done:
 * zeroes when nothing was due. */
int renumber_begin(struct node *node, const struct renumber_prepared *prepared, void (*alive)(void),
                   struct renumber_done *ret_done, struct err *e) _must_check_;

/* Beforehand, on a standby, in all folders, again and again. What is not as it should be any more,
 * or never was, is made so. *ret_made: logs that were made or written. A folder that fails is
 * passed over, and then, or where `stop` ended it early, nothing counts as seen. -1: some failed.
 * The first two seconds under a primary nothing is done yet. */
int renumber_prepare(struct node *node, struct renumber_prepared *prepared, const atomic_bool *stop,
                     uint64_t *ret_made, struct err *e) _must_check_;
/* Right before a promotion: does what was prepared count for it? */
bool renumber_prepared_holds(struct node *node, const struct renumber_prepared *prepared);

/* The work itself, with threads of its own. live: a mail server may be running (a machine that
 * comes back as the primary after a power loss). */
int renumber_carry_out(struct node *node, const struct renumber_order *order,
                       const struct renumber_prepared *prepared, bool live, void (*alive)(void),
                       struct renumber_done *ret_done, struct err *e) _must_check_;

#endif
