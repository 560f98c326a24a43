/* handover.h - how this node comes to be the next primary: did the last one hand everything over,
 * or did it die with something that nobody else has? In doubt it did. What follows from that is
 * ordered with the promotion. Main thread. */
#ifndef MAILTWIN_HANDOVER_H
#define MAILTWIN_HANDOVER_H

#include "replicator/daemon.h"

#define HANDOVER_SERVED "served" /* row of the state: the epoch in which this node was primary */

enum handover_kind {
    HANDOVER_FIRST,   /* there was no primary before */
    HANDOVER_OWN,     /* it was this node, which was demoted, and all others are there to say so */
    HANDOVER_PLANNED, /* it was demoted and is there to say so, and all it had is here */
    HANDOVER_NONE,    /* all else */
};

struct handover {
    enum handover_kind kind;
    bool incomplete; /* a sync of this node was not finished */
    uint64_t unseen; /* promotions that were heard of and not followed, at most: epochs may jump */
};

/* Pure. Does it say that it knows of no promotion behind this epoch? One that is away may know of
 * one, or have been promoted itself; so may one that was made anew since. */
bool handover_knows_no_newer(const struct handover_peer *peer, uint64_t epoch);
/* Pure. Was it the primary of this epoch, is it none any more, and is all it had here? */
bool handover_is_complete(const struct handover_peer *peer, uint64_t epoch, uint64_t tail);

/* The primary that this node followed, whose connection ended and has not come back: it may have
 * been demoted. NULL: none. */
struct peer *handover_awaited(struct daemon *d);
/* Before the sessions end: they know. */
int handover_look(struct daemon *d, struct handover *ret_handover, struct err *e) _must_check_;
/* In the promotion's transaction, which has its epoch and its record already: the order to make the
 * mailboxes' numbers safe (renumber.h) and, where something may be missing, the loss statement. */
int handover_order(struct daemon *d, struct state_txn *txn, const struct handover *handover,
                   struct err *e) _must_check_;

#endif
