/* answer.h - what a receiver answers when it is asked: how its directories look, a file's
 * signature, and what it has of a name that the sender lost. */
#ifndef MAILTWIN_ANSWER_H
#define MAILTWIN_ANSWER_H

#include "replicator/apply.h"
#include "replicator/link_io.h"
#include "replicator/receiver.h"
#include "replicator/scrub.h"

struct answers {
    struct node *node;
    struct link_io *io;
    struct apply *apply;
    struct wire_msg *out;  /* room for an answer: messages are large */
    struct ledger *ledger; /* in a sync: its index learns of what is looked at; else NULL */
    bool lacks; /* names that were asked for have not come: what is not here may be on its way */
};

/* Each checks nothing of the store's number, sends its answers and flushes them. -1: the link is
 * down, or the disk; what cannot be looked at is an answer, too. */
int answer_digests(struct answers *x, const struct wire_digest_ask *ask,
                   struct err *e) _must_check_;
/* The same for a comparison, which records do not wait for: the directories are read by `scrub`,
 * and what it has read is told by answer_reading(). */
int answer_later(struct scrub *scrub, const struct wire_digest_ask *ask,
                 struct err *e) _must_check_;
/* One piece of that. The primary that is shipping a large run meanwhile must hear no more than a
 * little: who calls this reads what came between two pieces. 1 there is more to tell, 0 not now. */
struct answer_reading {
    struct scrub_item *item; /* being told; NULL none */
    size_t next;             /* from this name on */
};
int answer_reading(struct answers *x, struct scrub *scrub, struct answer_reading *r,
                   struct err *e) _must_check_;
int answer_signature(struct answers *x, const struct wire_sig_ask *ask, struct err *e) _must_check_;
int answer_fetch(struct answers *x, const struct wire_fetch *fetch, struct err *e) _must_check_;

#endif
