#include "replicator/reach.h"

void
reach_ask(struct reach *r, const struct wire_barrier *barrier)
{
    seq_mark_unref(&r->mark);
    if (r->capture == NULL)
        return;
    r->id = barrier->id;
    r->mark = seq_mark_new(r->wake_fd);
    capture_barrier(r->capture, seq_mark_set, seq_mark_ref(r->mark));
}

int
reach_answer(struct reach *r, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    uint64_t seq = r->mark == NULL ? UINT64_MAX : seq_mark_get(r->mark);
    if (seq == UINT64_MAX)
        return 0;
    seq_mark_unref(&r->mark);
    msg.type = WIRE_REACHED;
    msg.reached = (struct wire_reached){ r->id, seq };
    return link_io_send(r->io, &msg, e) < 0 ? -1 : link_io_flush(r->io, e);
}

void
reach_free(struct reach *r)
{
    seq_mark_unref(&r->mark);
}
