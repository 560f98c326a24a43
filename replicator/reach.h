/* reach.h - the primary's half of BARRIER: who gives asks where the journal is when it has all that
 * was taken from it, and waits until it has applied so much itself. Session thread. */
#ifndef MAILTWIN_REACH_H
#define MAILTWIN_REACH_H

#include "replicator/capture.h"
#include "replicator/link_io.h"
#include "replicator/seq_mark.h"

/* All zero but for capture and io before the first question. */
struct reach {
    struct capture *capture; /* NULL on a node that is not the primary: it does not answer */
    struct link_io *io;
    int wake_fd;           /* of the session: written to when there is something to say */
    uint64_t id;           /* of the question */
    struct seq_mark *mark; /* NULL none is open */
};

void reach_ask(struct reach *r, const struct wire_barrier *barrier);
/* REACHED, once the journal is there. */
int reach_answer(struct reach *r, struct err *e) _must_check_;
void reach_free(struct reach *r);

#endif
