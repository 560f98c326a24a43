/* apply.h - a simulated receiver: START, operations, the marker, questions. */
#ifndef MAILTWIN_SIM_APPLY_H
#define MAILTWIN_SIM_APPLY_H

#include "tests/sim/check.h"

enum applied_how {
    HOW_DONE,
    HOW_NEED
};

static inline void
send_msg(struct conn *c, unsigned side, const struct msg *m)
{
    struct queue *q = &c->from[side];
    if (q->count < QUEUE_MAX)
        q->msgs[(q->first + q->count++) % QUEUE_MAX] = *m;
}

static inline unsigned
queue_room(const struct conn *c, unsigned side)
{
    return QUEUE_MAX - c->from[side].count;
}

/* --- operations, as replicator/apply_ops.c carries them out --- */

static inline bool
make_parents(struct world *w, struct tree *t, path_t path)
{
    path_t up = path_up(path);
    if (up == 0)
        return true;
    const struct ent *e = tree_find(t, up);
    if (e != NULL)
        return e->dir != 0;
    if (!make_parents(w, t, up))
        return false;
    if (!tree_put(t, up, 0, 0))
        sim_fail(w, "model", "no room for a name");
    return true;
}

static inline bool
is_meant(const struct ent *e, const struct msg *m)
{
    if ((e->dir != 0) != m->rec.is_dir)
        return false;
    return m->rec.is_dir ||
           (e->obj == m->rec.obj && (e->ver == m->rec.ver || e->ver == m->now_ver));
}

static inline enum applied_how
apply_make(struct world *w, struct tree *t, const struct msg *m)
{
    const struct ent *e = tree_find(t, m->rec.path);
    if (m->gone)
        return HOW_DONE;
    if (!make_parents(w, t, m->rec.path))
        return HOW_NEED;
    if (m->rec.op == OP_PUT && e != NULL && e->dir != 0)
        return HOW_NEED;
    if (m->rec.op == OP_MKDIR && e != NULL && e->dir != 0)
        return HOW_DONE;
    if (!tree_put(t, m->rec.path, m->rec.obj, m->rec.op == OP_PUT ? m->now_ver : 0))
        sim_fail(w, "model", "no room for a name");
    return HOW_DONE;
}

static inline enum applied_how
apply_rename(struct world *w, struct tree *t, const struct msg *m)
{
    const struct ent *from = tree_find(t, m->rec.other), *to = tree_find(t, m->rec.path);
    if (from == NULL || !is_meant(from, m))
        return to != NULL && is_meant(to, m) ? HOW_DONE : HOW_NEED;
    if (!make_parents(w, t, m->rec.path) || path_in(m->rec.path, m->rec.other) ||
        !tree_can_move(t, m->rec.other, m->rec.path))
        return HOW_NEED;
    tree_move(t, m->rec.other, m->rec.path);
    return HOW_DONE;
}

static inline enum applied_how
apply_op(struct world *w, struct tree *t, const struct msg *m)
{
    const struct ent *e = tree_find(t, m->rec.path);
    switch (m->rec.op) {
    case OP_MKDIR:
    case OP_PUT:
        return apply_make(w, t, m);
    case OP_RENAME:
        return apply_rename(w, t, m);
    case OP_UNLINK:
    case OP_RMTREE:
        if (e == NULL)
            return HOW_DONE;
        if ((e->dir != 0) != (m->rec.op == OP_RMTREE))
            return HOW_NEED;
        tree_remove(t, m->rec.path);
        return HOW_DONE;
    default:
        return HOW_DONE;
    }
}

/* --- a run --- */

static inline void
asked_add(struct node *n, path_t path)
{
    for (unsigned i = 0; i < n->asked_count; i++)
        if (n->asked[i] == path)
            return;
    if (n->asked_count < NEEDS_MAX)
        n->asked[n->asked_count++] = path;
}

/* Of a name whose way is blocked it is the block that must be asked for: the name itself would not
 * fit again, and be asked for again. */
static inline path_t
what_blocks(struct world *w, struct tree *t, path_t path)
{
    for (path_t up = path_up(path); up != 0 && !broken(w, BROKEN_NEED_STORM); up = path_up(up)) {
        const struct ent *e = tree_find(t, up);
        if (e != NULL && e->dir == 0)
            return up;
    }
    return path;
}

static inline void
send_need(struct world *w, struct conn *c, unsigned side, struct node *n, path_t path, uint64_t seq)
{
    path = what_blocks(w, &n->live, path);
    struct msg need = { .type = M_NEED, .rec = { .path = path, .seq = seq } };
    need.rec.is_dir = tree_is_dir(&n->live, path);
    sim_trace(w, "mx%u needs %x", n->id + 1, path);
    asked_add(n, path);
    send_msg(c, side, &need);
}

static inline void
asked_settled(struct node *n, path_t path)
{
    for (unsigned i = 0; i < n->asked_count;)
        if (n->asked[i] == path)
            n->asked[i] = n->asked[--n->asked_count];
        else
            i++;
}

static inline void
asked_moved(struct node *n, path_t from, path_t to)
{
    for (unsigned i = 0; i < n->asked_count; i++)
        if (path_in(n->asked[i], from) && n->asked[i] != from)
            n->asked[i] = path_moved(n->asked[i], from, to);
}

/* What the sender itself waits for comes from it as it is: its follower waits too. */
static inline void
asked_inherit(struct node *n, const struct node *from)
{
    for (unsigned i = 0; i < from->asked_count && from->mem.role != WIRE_ROLE_PRIMARY; i++)
        asked_add(n, from->asked[i]);
}

/* A question that went down with its link is asked again. */
static inline void
ask_again(struct world *w, struct conn *c, unsigned side, struct node *n)
{
    for (unsigned i = 0; i < n->asked_count && !broken(w, BROKEN_NEED_FORGOTTEN); i++) {
        struct msg need = { .type = M_NEED, .rec = { .path = n->asked[i], .seq = n->mem.tail } };
        need.rec.is_dir = tree_is_dir(&n->live, n->asked[i]);
        send_msg(c, side, &need);
    }
}

static inline bool
dies_here(struct world *w, struct node *n)
{
    if (w->calm || (w->opts.without & 1u << FAULT_PARTIAL) || !one_in(w, 150))
        return false;
    node_down(w, n);
    return true;
}

/* false: the node died. */
static inline bool
run_op(struct world *w, struct conn *c, unsigned side, struct node *n, const struct msg *m)
{
    if (m->rec.seq != 0 && m->rec.seq <= n->marker && !broken(w, BROKEN_MARKER))
        return true;
    if (dies_here(w, n))
        return false;
    node_touch(w, n, &n->live, &m->rec);
    enum applied_how how = apply_op(w, &n->live, m);
    sim_trace(w, "mx%u carries out seq %u %s %x %x obj %u.%u%s%s", n->id + 1, (unsigned)m->rec.seq,
              record_op_word(m->rec.op), m->rec.path, m->rec.other, m->rec.obj, m->now_ver,
              m->gone ? ", gone" : "", how == HOW_NEED ? ": does not fit" : "");
    if (how == HOW_DONE && !m->gone) {
        asked_settled(n, m->rec.path);
        asked_settled(n, m->rec.op == OP_RENAME ? m->rec.other : 0);
        if (m->rec.op == OP_RENAME && m->rec.is_dir)
            asked_moved(n, m->rec.other, m->rec.path);
    } else if (how == HOW_NEED && !broken(w, BROKEN_NEED)) {
        send_need(w, c, side, n, m->rec.path, m->at);
        if (m->rec.op == OP_RENAME && !broken(w, BROKEN_NEED_OLD_NAME))
            send_need(w, c, side, n, m->rec.other, m->at);
    }
    if (dies_here(w, n)) /* between the operation and the rename of the marker */
        return false;
    if (m->rec.seq != 0) {
        n->marker = m->rec.seq;
        n->marker_truth = m->rec.truth;
    }
    return !dies_here(w, n);
}

static inline void
ledger_note(struct world *w, struct node *n, const struct rec *r)
{
    if (r->seq == 0 || r->seq <= n->mem.tail)
        return;
    check_follows(w, n, r);
    journal_add(n, r);
}

static inline void
send_ack(struct world *w, struct conn *c, unsigned side, struct node *n, const struct msg *commit)
{
    struct msg ack = { .type = M_ACK, .run = commit->run, .seq = commit->seq };
    check_ack(w, n, &c->sess[side]);
    if (n->mem.sync_base == 0)
        n->acked_truth = n->mem.truth;
    send_msg(c, side, &ack);
}

/* 3: what a standby has is a beginning of the primary's history. */
static inline void
receive_commit(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = &w->nodes[c->node[side]];
    struct sess *s = &c->sess[side];
    if (broken(w, BROKEN_ACK_EARLY)) {
        n->acked_truth = m->truth;
        send_msg(c, side, &(struct msg){ .type = M_ACK, .run = m->run, .seq = m->seq });
    }
    if (n->full) {
        end_close(w, c, side);
        return;
    }
    for (unsigned i = 0; i < s->op_count; i++)
        if (!run_op(w, c, side, n, &s->ops[i]))
            return;
    for (unsigned i = 0; i < s->op_count; i++)
        ledger_note(w, n, &s->ops[i].rec);
    s->op_count = 0;
    asked_inherit(n, &w->nodes[c->node[1 - side]]);
    n->mem.index = n->live;
    store_synced(n);
    if (dies_here(w, n))
        return;
    if (!broken(w, BROKEN_LEDGER_LATE) || one_in(w, 4))
        node_commit(n);
    if (dies_here(w, n))
        return;
    send_ack(w, c, side, n, m);
    if (s->sync_done) {
        s->sync_done = n->doomed = false;
        n->mem.sync_base = 0;
        n->acked_truth = n->mem.truth;
        node_commit(n);
        links_end(w, n->id, c);
        sim_trace(w, "mx%u is level at seq %u", n->id + 1, (unsigned)n->mem.tail);
    }
    check_commit(w, n, m);
}

/* --- START --- */

/* The sender decided by a HELLO: what that said of this node must be so still. */
static inline bool
start_fits(const struct world *w, const struct node *n, const struct wire_hello *ours,
           const struct msg *m)
{
    const struct state_of_node *s = &n->mem;
    if (s->role == WIRE_ROLE_PRIMARY)
        return false;
    if (broken(w, BROKEN_START_STALE))
        return m->base != 0 || m->seq == s->tail;
    return s->history == ours->history[0] && s->epoch == ours->epoch && s->tail == ours->tail &&
           s->sync_base == ours->sync_base && accepts_sync(n) == ours->accept_sync;
}

static inline void
take_epochs(struct state_of_node *s, const struct wire_hello *theirs)
{
    s->epoch_count = theirs->epoch_count;
    for (unsigned i = 0; i < s->epoch_count; i++)
        s->epochs[i] = theirs->epochs[i];
}

static inline void
receive_start(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = &w->nodes[c->node[side]];
    const struct wire_hello *theirs = &c->hello[1 - side];
    struct state_of_node *s = &n->mem;
    if (!start_fits(w, n, &c->hello[side], m)) {
        end_close(w, c, side);
        return;
    }
    check_start(w, n, c, side, m);
    bool other = s->history != theirs->history[0] || s->epoch != m->epoch;
    bool anew = m->base != 0 && !m->again;
    bool told = other || anew || s->sync_base != m->base || s->role != WIRE_ROLE_STANDBY;
    if ((other || anew) && !broken(w, BROKEN_MARKER_KEPT)) {
        n->marker = m->seq; /* apply_reset(): it counted another history's operations */
        n->marker_truth = m->truth;
        store_synced(n);
    }
    tree_adopt_dirs(&n->live, &s->index);
    s->history = theirs->history[0];
    s->epoch = m->epoch;
    s->role = WIRE_ROLE_STANDBY;
    s->sync_base = m->base;
    s->told_resync = s->kept.bound = false;
    s->held_count = 0;
    take_epochs(s, theirs);
    if (anew) {
        journal_reset(n, m->seq);
        s->truth = m->truth;
        n->asked_count = 0;
    }
    node_commit(n);
    c->sess[side].started = true;
    c->sess[side].epoch = m->epoch;
    ask_again(w, c, side, n);
    if (told) /* what its HELLOs said is no longer so */
        links_end(w, n->id, c);
}

/* --- questions --- */

static inline void
receive_ask(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = &w->nodes[c->node[side]];
    struct msg answer = { .type = M_ANSWER, .dir = m->dir, .path = m->path };
    tree_list(&n->live, m->path, &answer.list);
    if (!tree_is_dir(&n->live, m->path))
        answer.verdict = WIRE_DIR_ABSENT;
    else
        answer.verdict = list_digest(&answer.list) == m->digest ? WIRE_DIR_SAME
                                                                : WIRE_DIR_DIFFERENT;
    sim_trace(w, "mx%u answers %d for %x, %u names", n->id + 1, (int)answer.verdict, m->path,
              answer.list.count);
    send_msg(c, side, &answer);
}

static inline void
receive_fetch(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = &w->nodes[c->node[side]];
    const struct ent *e = tree_find(&n->live, m->rec.path);
    struct msg answer = { .type = M_FETCHED, .rec = { .path = m->rec.path }, .gone = true };
    if (e != NULL && e->dir == 0) {
        answer.gone = false;
        answer.rec.obj = e->obj;
        answer.rec.ver = e->ver;
    }
    send_msg(c, side, &answer);
}

static inline void
receiver_handle(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct sess *s = &c->sess[side];
    if (m->type == M_START) {
        receive_start(w, c, side, m);
        return;
    }
    if (!s->started)
        return;
    if (m->type == M_REC && s->op_count < QUEUE_MAX)
        s->ops[s->op_count++] = *m;
    else if (m->type == M_COMMIT)
        receive_commit(w, c, side, m);
    else if (m->type == M_ASK)
        receive_ask(w, c, side, m);
    else if (m->type == M_FETCH)
        receive_fetch(w, c, side, m);
    else if (m->type == M_SYNC_DONE)
        s->sync_done = true;
}

#endif
