/* links.h - simulated connections: HELLO, decision, what happens when one ends. */
#ifndef MAILTWIN_SIM_LINKS_H
#define MAILTWIN_SIM_LINKS_H

#include "tests/sim/salvage.h"

#include <string.h>

void sim_decide(struct world *w, const struct wire_hello *ours, const struct wire_hello *theirs,
                struct link_decision *ret_decision);

static const char *const node_names[NODES_MAX] = { "mx1", "mx2", "mx3" };

void
end_close(struct world *w, struct conn *c, unsigned side)
{
    if (!c->open[side])
        return;
    c->open[side] = false;
    c->from[1 - side].count = 0;
    if (c->sess[side].state == SESS_RECEIVE && node_of(w, c, side)->up)
        node_commit(node_of(w, c, side));
    if (!c->open[0] && !c->open[1])
        c->used = false;
}

void
links_end(struct world *w, unsigned node, const struct conn *except)
{
    for (unsigned i = 0; i < CONNS_MAX; i++)
        for (unsigned side = 0; side < 2; side++) {
            struct conn *c = &w->conns[i];
            if (c != except && c->used && c->node[side] == node)
                end_close(w, c, side);
        }
}

/* A new connection takes the place of an older one with the same node. */
static inline void
end_attach(struct world *w, const struct conn *c, unsigned side)
{
    for (unsigned i = 0; i < CONNS_MAX; i++)
        for (unsigned s = 0; s < 2; s++) {
            struct conn *o = &w->conns[i];
            if (o->used && o != c && o->node[s] == c->node[side] &&
                o->node[1 - s] == c->node[1 - side])
                end_close(w, o, s);
        }
}

static inline void
say_hello(struct world *w, struct conn *c, unsigned side)
{
    const struct node *n = node_of(w, c, side);
    const struct state_of_node *s = &n->disk;
    struct wire_hello *h = &c->hello[side];
    *h = (struct wire_hello){
        .version_min = (uint16_t)(1 + n->versions),
        .version_max = (uint16_t)(1 + n->versions),
        .cluster = span_str(n->cluster == 0 ? "example" : "other"),
        .node = span_str(node_names[n->id]),
        .follow = span_str(n->follow < 0 ? "" : node_names[n->follow]),
        .role = (uint8_t)s->role,
        .history = { (uint8_t)s->history },
        .epoch = s->epoch,
        .tail = s->tail,
        .oldest = s->oldest,
        .sync_base = s->sync_base,
        .accept_sync = accepts_sync(n),
        .epoch_count = (uint16_t)s->epoch_count,
        .store_count = (uint16_t)(1 + n->stores),
        .stores = { { span_str("mail"), 1 }, { span_str("sieve"), 2 } },
    };
    memcpy(h->epochs, s->epochs, s->epoch_count * sizeof(s->epochs[0]));
    send_msg(c, side, &(struct msg){ .type = M_HELLO });
}

/* All but the large arrays whose count is 0 then. */
static inline void
conn_clear(struct conn *c)
{
    memset(c, 0, offsetof(struct conn, hello));
    for (unsigned side = 0; side < 2; side++) {
        c->from[side].first = c->from[side].count = 0;
        memset(&c->sess[side], 0, offsetof(struct sess, ops));
    }
}

static inline void
conn_open(struct world *w, unsigned a, unsigned b)
{
    struct conn *c = NULL;
    for (unsigned i = 0; i < CONNS_MAX && c == NULL; i++)
        if (!w->conns[i].used)
            c = &w->conns[i];
    if (c == NULL || !w->nodes[a].up || !w->nodes[b].up)
        return;
    conn_clear(c);
    c->used = c->open[0] = c->open[1] = true;
    c->node[0] = a;
    c->node[1] = b;
    c->slow = one_in(w, 4) ? 8 : 1;
    end_attach(w, c, 0);
    say_hello(w, c, 0);
}

/* --- decisions --- */

/* As decide_permitted() in session.c. */
static inline void
decide_permitted(struct world *w, struct conn *c, unsigned side)
{
    const struct node *n = node_of(w, c, side);
    struct wire_hello *ours = &c->hello[side];
    struct sess *s = &c->sess[side];
    uint8_t accept = ours->accept_sync;
    if (accept != 0 && !broken(w, BROKEN_SALVAGE_FORK) &&
        !salvage_permits(&n->disk.kept, ours, &c->hello[1 - side]))
        ours->accept_sync = 0;
    sim_decide(w, ours, &c->hello[1 - side], &s->decision);
    ours->accept_sync = accept;
}

static inline void
decide(struct world *w, struct conn *c, unsigned side)
{
    struct sess *s = &c->sess[side];
    decide_permitted(w, c, side);
    sim_trace(w, "mx%u with mx%u: row %u act %d from %u fork %u", c->node[side] + 1,
              c->node[1 - side] + 1, s->decision.row, (int)s->decision.act,
              (unsigned)s->decision.from, (unsigned)s->decision.fork);
    hear(w, node_of(w, c, side), c->node[1 - side], tail_of_ours(c, side));
    s->state = SESS_HOLD;
    switch (s->decision.act) {
    case LINK_SEND:
    case LINK_SYNC:
        s->acked = s->decision.act == LINK_SEND ? c->hello[1 - side].tail : 0;
        sender_begin(w, c, side);
        break;
    case LINK_RECEIVE:
        s->epoch = c->hello[1 - side].epoch;
        if (returns(w) && look_first(w, c, side))
            end_close(w, c, side);
        else if (may_receive(w, c, side))
            s->state = SESS_RECEIVE;
        else
            end_close(w, c, side);
        break;
    case LINK_STEP_DOWN:
        if (!broken(w, BROKEN_STEP_DOWN))
            node_step_down(w, node_of(w, c, side));
        break;
    case LINK_IDLE:
    case LINK_REFUSE:
        break;
    }
}

static inline void
take_hello(struct world *w, struct conn *c, unsigned side)
{
    if (c->sess[side].state != SESS_HELLO)
        return;
    if (side == 1) {
        end_attach(w, c, 1);
        say_hello(w, c, 1);
    }
    decide(w, c, side);
}

/* --- delivery --- */

static inline void
deliver(struct world *w, struct conn *c, unsigned from)
{
    struct queue *q = &c->from[from];
    unsigned to = 1 - from;
    if (q->count == 0) {
        if (!c->open[from])
            end_close(w, c, to); /* the end of the stream */
        return;
    }
    struct msg m = q->msgs[q->first];
    q->first = (q->first + 1) % QUEUE_MAX;
    q->count--;
    if (!c->open[to])
        return;
    if (m.type == M_HELLO)
        take_hello(w, c, to);
    else if (m.type == M_GIVE && c->sess[to].state == SESS_SEND)
        take_give(w, c, to, &m);
    else if (m.type == M_GIVEN)
        take_given(w, c, to, &m);
    else if (c->sess[to].state == SESS_RECEIVE)
        receiver_handle(w, c, to, &m);
    else if (c->sess[to].state == SESS_SEND)
        sender_handle(w, c, to, &m);
}

/* A link that is only held is tried again from time to time: the facts may be others by then. */
static inline void
conn_step(struct world *w, struct conn *c)
{
    for (unsigned side = 0; side < 2 && c->used; side++) {
        if (!c->cut[side] && one_in(w, c->slow * 2))
            deliver(w, c, side);
        if (!c->used || !c->open[side])
            continue;
        if ((c->cut[0] || c->cut[1]) && one_in(w, 60))
            end_close(w, c, side); /* no sign of life */
        else if (c->sess[side].state == SESS_SEND && one_in(w, 2))
            sender_step(w, c, side);
        else if (c->sess[side].state == SESS_HOLD && one_in(w, 40))
            end_close(w, c, side);
        else if (c->sess[side].state == SESS_HOLD && returns(w))
            keep_step(w, c, side);
        else if (c->sess[side].state == SESS_RECEIVE && node_of(w, c, side)->kept_count > 0)
            give_step(w, c, side);
    }
}

static inline bool
connected(const struct world *w, unsigned a, unsigned b)
{
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        const struct conn *c = &w->conns[i];
        if (c->used && ((c->node[0] == a && c->node[1] == b && c->open[0]) ||
                        (c->node[0] == b && c->node[1] == a && c->open[1])))
            return true;
    }
    return false;
}

static inline void
links_step(struct world *w)
{
    for (unsigned i = 0; i < CONNS_MAX; i++)
        if (w->conns[i].used)
            conn_step(w, &w->conns[i]);
    unsigned a = chance(w, w->opts.nodes), b = chance(w, w->opts.nodes);
    if (a != b && !connected(w, a, b) && one_in(w, 4))
        conn_open(w, a, b);
}

#endif
