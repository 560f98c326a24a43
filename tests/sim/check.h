/* check.h - the invariants, checked against what only the simulator knows. */
#ifndef MAILTWIN_SIM_CHECK_H
#define MAILTWIN_SIM_CHECK_H

#include "tests/sim/node.h"

#include <string.h>

void end_close(struct world *w, struct conn *c, unsigned side);

/* A name of the truth may look different on a node in two ways: its content was read when it was
 * shipped, so it may be newer; and it may have been gone by then, which a later record explains. */
static inline bool
name_as_told(const struct world *w, const struct ent *told, const struct ent *here)
{
    if (told->obj != 0 && w->gone[told->obj])
        return true;
    if (here == NULL)
        return false;
    if ((here->dir != 0) != (told->dir != 0) || here->obj != told->obj)
        return false;
    return here->ver >= told->ver && here->ver <= w->ver_of[told->obj];
}

/* A name somebody sent NEED for: he, and who follows him, have it right when the answer comes. */
static inline bool
is_asked_for(const struct world *w, path_t path)
{
    for (unsigned k = 0; k < w->opts.nodes; k++)
        for (unsigned i = 0; i < w->nodes[k].asked_count; i++)
            if (path_in(path, w->nodes[k].asked[i]))
                return true;
    return false;
}

static inline void
check_tree(struct world *w, struct node *n, unsigned truth, const char *when)
{
    struct tree *told = &w->truth[truth].tree;
    for (unsigned i = 0; i < told->count; i++) {
        const struct ent *e = &told->ents[i], *here = tree_find(&n->live, e->path);
        if (!name_as_told(w, e, here) && !is_asked_for(w, e->path))
            sim_fail(w, "3 prefix", "mx%u %s at seq %u: %x is %s, not obj %u.%u", n->id + 1, when,
                     (unsigned)w->truth[truth].seq, e->path, here == NULL ? "missing" : "another",
                     e->obj, e->ver);
    }
    for (unsigned i = 0; i < n->live.count; i++)
        if (tree_find(told, n->live.ents[i].path) == NULL && !is_asked_for(w, n->live.ents[i].path))
            sim_fail(w, "3 prefix", "mx%u %s at seq %u: %x (obj %u) should not be there", n->id + 1,
                     when, (unsigned)w->truth[truth].seq, n->live.ents[i].path,
                     n->live.ents[i].obj);
}

/* 3: each record continues what the standby has. */
static inline void
check_follows(struct world *w, const struct node *n, const struct rec *r)
{
    if (w->truth[r->truth].parent != n->mem.truth || r->seq != n->mem.tail + 1)
        sim_fail(w, "3 prefix", "mx%u takes seq %u, which does not follow its seq %u", n->id + 1,
                 (unsigned)r->seq, (unsigned)n->mem.tail);
}

static inline void
check_commit(struct world *w, struct node *n, const struct msg *commit)
{
    if (n->mem.tail != commit->seq)
        sim_fail(w, "3 prefix", "mx%u has seq %u after a run up to %u", n->id + 1,
                 (unsigned)n->mem.tail, (unsigned)commit->seq);
    /* A run of another sender may have been broken off further on. */
    bool ahead = truth_has(w, n->marker_truth, n->mem.truth);
    if (n->mem.sync_base == 0)
        check_tree(w, n, ahead ? n->marker_truth : n->mem.truth, "after a run");
}

/* 1: a lower epoch gets no ack. */
static inline void
check_ack(struct world *w, const struct node *n, const struct sess *s)
{
    if (n->mem.role == WIRE_ROLE_PRIMARY)
        sim_fail(w, "1 epochs", "mx%u is primary and acknowledges", n->id + 1);
    if (s->epoch < n->mem.epoch)
        sim_fail(w, "1 epochs", "mx%u knows epoch %u and acknowledges to epoch %u", n->id + 1,
                 (unsigned)n->mem.epoch, (unsigned)s->epoch);
}

static inline bool
span_is(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* 7: who sends to whom is what the configuration says, and both have the same one. */
static inline void
check_parties(struct world *w, const struct wire_hello *ours, const struct wire_hello *theirs)
{
    bool primary = theirs->role == WIRE_ROLE_PRIMARY, fed = span_is(ours->follow, theirs->node);
    if (ours->version_min != theirs->version_min || !span_is(ours->cluster, theirs->cluster) ||
        ours->store_count != theirs->store_count)
        sim_fail(w, "7 parties", "a node with another configuration is sent something");
    if (ours->follow.len > 0 ? !fed : !primary)
        sim_fail(w, "7 parties", "a node is sent something by one it does not follow");
    if (!primary && span_is(theirs->follow, ours->node))
        sim_fail(w, "7 parties", "a node is sent something by one that follows it");
    if (theirs->history[0] == 0)
        sim_fail(w, "7 parties", "a node without data sends");
}

/* 6: what clients changed, and no journal names, is not overwritten either. */
static inline void
check_unseen(struct world *w, struct node *n)
{
    for (unsigned i = 0; i < n->live.count; i++) {
        uint32_t obj = n->live.ents[i].obj;
        if (obj != 0 && !w->journalled[obj] && !w->dead[obj] && !w->given_up[obj])
            sim_fail(w, "6 held", "mx%u is overwritten, and obj %u was never journalled", n->id + 1,
                     obj);
    }
}

/* 6: nothing is overwritten but a beginning of what comes, or what an operator gave free. */
static inline void
check_start(struct world *w, struct node *n, const struct conn *c, unsigned side,
            const struct msg *m)
{
    unsigned history = c->hello[1 - side].history[0];
    check_parties(w, &c->hello[side], &c->hello[1 - side]);
    bool empty = n->mem.history == 0 && n->live.count == 0;
    bool prefix = n->mem.history == history && truth_has(w, m->truth, n->mem.truth);
    if (!n->consent && !empty && !prefix)
        sim_fail(w, "6 held", "mx%u is overwritten at seq %u and nobody allowed it", n->id + 1,
                 (unsigned)n->mem.tail);
    if (!n->consent && !n->doomed)
        check_unseen(w, n);
    if (m->base == 0 && !(prefix && m->truth == n->mem.truth))
        sim_fail(w, "3 prefix", "mx%u goes on from another seq %u", n->id + 1, (unsigned)m->seq);
    if (m->base == 0 && n->mem.sync_base != 0)
        sim_fail(w, "3 prefix", "mx%u: an unfinished sync is taken for a finished one", n->id + 1);
    for (unsigned i = 0; n->mem.history != history && i < 8; i++)
        n->epoch_seen[i] = 0; /* epochs are counted anew in another history */
    bool keeps_acked = truth_has(w, m->truth, n->acked_truth);
    if (!n->consent && !keeps_acked)
        sim_fail(w, "4 durable", "mx%u acknowledged seq %u, and it is overwritten unasked",
                 n->id + 1, (unsigned)w->truth[n->acked_truth].seq);
    if (!keeps_acked)
        n->acked_truth = 0;
    n->consent = n->consent && m->base == 0;
}

/* 4: after any crash, what was told to be durable is in the store. */
static inline void
check_survival(struct world *w, struct node *n)
{
    if (n->mem.role == WIRE_ROLE_PRIMARY || n->mem.sync_base != 0 || n->acked_truth == 0)
        return;
    if (!truth_has(w, n->marker_truth, n->acked_truth) &&
        !truth_has(w, n->mem.truth, n->acked_truth))
        sim_fail(w, "4 durable", "mx%u acknowledged seq %u and has only %u", n->id + 1,
                 (unsigned)w->truth[n->acked_truth].seq, (unsigned)w->truth[n->marker_truth].seq);
}

/* 4: what a barrier confirmed, and no client deleted, exists on some node. */
static inline void
check_confirmed(struct world *w)
{
    for (uint32_t obj = 1; obj <= w->obj_count; obj++)
        if (w->confirmed[obj] && !w->dead[obj] && !exists_somewhere(w, obj))
            sim_fail(w, "4 durable", "obj %u was confirmed, deleted by nobody, and is nowhere",
                     obj);
}

/* 2: epochs only grow on a disk. 1: one primary in an epoch. 3: applied <= durable <= appended. */
static inline void
check_node(struct world *w, struct node *n)
{
    const struct state_of_node *s = &n->disk;
    uint64_t *seen = &n->epoch_seen[s->history % 8];
    if (s->epoch < *seen)
        sim_fail(w, "2 epochs grow", "mx%u had epoch %u and now has %u", n->id + 1, (unsigned)*seen,
                 (unsigned)s->epoch);
    *seen = s->epoch;
    if (s->tail > n->mem.tail && n->up)
        sim_fail(w, "3 prefix", "mx%u: more is durable than was noted", n->id + 1);
    for (unsigned i = 0; i < n->id; i++) {
        const struct state_of_node *o = &w->nodes[i].disk;
        if (s->role == WIRE_ROLE_PRIMARY && o->role == WIRE_ROLE_PRIMARY &&
            s->history == o->history && s->epoch == o->epoch && !w->drift)
            sim_fail(w, "1 epochs", "mx%u and mx%u are both primary in epoch %u", i + 1, n->id + 1,
                     (unsigned)s->epoch);
    }
}

/* 7: what a primary took, or one that was, is in a store or kept in a salvage, unless a client
 * removed it. */
static inline void
check_owed(struct world *w)
{
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        const struct node *n = &w->nodes[i];
        for (unsigned k = 0; n->disk.role != WIRE_ROLE_STANDBY && k < n->live.count; k++)
            w->owed[n->live.ents[k].obj] = !n->doomed || w->owed[n->live.ents[k].obj];
    }
    for (uint32_t obj = 1; obj <= w->obj_count; obj++)
        if (w->owed[obj] && !w->dead[obj] && !exists_somewhere(w, obj))
            sim_fail(w, "7 salvage", "obj %u was removed by nobody, and is nowhere", obj);
}

static inline void
check_step(struct world *w)
{
    for (unsigned i = 0; i < w->opts.nodes; i++)
        check_node(w, &w->nodes[i]);
    if (returns(w))
        check_owed(w);
}

#endif
