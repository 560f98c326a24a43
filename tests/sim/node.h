/* node.h - a simulated node: its journal and index, capture, crashes, and changes of role. */
#ifndef MAILTWIN_SIM_NODE_H
#define MAILTWIN_SIM_NODE_H

#include "tests/sim/tree.h"

#include <string.h>

void links_end(struct world *w, unsigned node, const struct conn *except);

static inline bool
broken(const struct world *w, enum broken what)
{
    return w->opts.broken == what;
}

static inline uint32_t
chance(struct world *w, uint32_t below)
{
    uint64_t z = (w->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % below;
}

static inline bool
one_in(struct world *w, uint32_t times)
{
    return chance(w, times) == 0;
}

/* --- the journal --- */

static inline struct rec *
journal_at(struct state_of_node *s, uint64_t seq)
{
    return &s->journal[seq % JOURNAL_MAX];
}

static inline void
journal_add(struct node *n, const struct rec *r)
{
    struct state_of_node *s = &n->mem;
    *journal_at(s, r->seq) = *r;
    s->tail = r->seq;
    s->truth = r->truth;
    while (s->tail + 1 - s->oldest > n->journal_max)
        s->oldest++;
}

static inline void
journal_reset(struct node *n, uint64_t tail)
{
    n->mem.tail = tail;
    n->mem.oldest = tail + 1;
    memset(n->touched, 0, sizeof(n->touched));
}

static inline void
node_commit(struct node *n)
{
    n->disk = n->mem;
}

/* The record is in the truth before `truth`, or is it. */
static inline bool
truth_has(const struct world *w, unsigned truth, unsigned earlier)
{
    while (truth != 0 && truth != earlier && w->truth[truth].seq > w->truth[earlier].seq)
        truth = w->truth[truth].parent;
    return truth == earlier;
}

static inline unsigned
truth_add(struct world *w, const struct node *n, const struct rec *r)
{
    unsigned place = w->truth_count++;
    w->truth[place] = (struct truth){ .parent = n->mem.truth,
                                      .seq = r->seq,
                                      .epoch = r->epoch,
                                      .history = n->mem.history,
                                      .tree = n->mem.index };
    return place;
}

static inline void
index_apply(struct tree *t, const struct rec *r)
{
    switch (r->op) {
    case OP_MKDIR:
    case OP_PUT:
        tree_put(t, r->path, r->obj, r->ver);
        break;
    case OP_RENAME:
        tree_move(t, r->other, r->path);
        break;
    case OP_UNLINK:
    case OP_RMTREE:
        tree_remove(t, r->path);
        break;
    default:
        break;
    }
    struct ent *changed = tree_find(t, r->path);
    if (changed != NULL)
        changed->changed = r->when;
}

static inline uint32_t
dir_of(struct tree *t, path_t path)
{
    const struct ent *e = tree_find(t, path);
    return path == 0 ? ROOT_DIR : e == NULL ? 0 : e->dir;
}

/* Remembers which directories the record changes, for a walk that is asking about them. One that is
 * moved counts, with all below it: the peer may have had none under the old path, and have another
 * one under the new. */
static inline void
node_touch(const struct world *w, struct node *n, struct tree *t, const struct rec *r)
{
    n->touched[dir_of(t, path_up(r->path)) % TOUCHED_MAX] = r->seq;
    if (r->op != OP_RENAME)
        return;
    n->touched[dir_of(t, path_up(r->other)) % TOUCHED_MAX] = r->seq;
    for (unsigned i = 0; i < t->count && !broken(w, BROKEN_MOVED); i++)
        if (t->ents[i].dir != 0 && path_in(t->ents[i].path, r->other))
            n->touched[t->ents[i].dir % TOUCHED_MAX] = r->seq;
}

/* A primary's next record. */
static inline void
node_append(struct world *w, struct node *n, struct rec r)
{
    if (w->truth_count == TRUTH_MAX)
        return;
    r.seq = n->mem.tail + 1;
    r.epoch = n->mem.epoch;
    node_touch(w, n, &n->mem.index, &r);
    index_apply(&n->mem.index, &r);
    r.truth = truth_add(w, n, &r);
    w->journalled[r.obj] = true;
    journal_add(n, &r);
    sim_trace(w, "mx%u journals %s %x %x obj %u.%u as seq %u epoch %u", n->id + 1,
              record_op_word(r.op), r.path, r.other, r.obj, r.ver, (unsigned)r.seq,
              (unsigned)r.epoch);
}

static inline bool
accepts_sync(const struct node *n)
{
    return n->mem.told_resync || (n->mem.history == 0 && n->live.count == 0);
}

/* --- capture --- */

/* Records that a name is (or is not) as the store shows it now. */
static inline void
capture_name(struct world *w, struct node *n, path_t path, bool force)
{
    const struct ent *now = tree_find(&n->live, path), *known = tree_find(&n->mem.index, path);
    struct rec r = { .path = path };
    if (known != NULL && (now == NULL || (now->dir != 0) != (known->dir != 0))) {
        r.op = known->dir != 0 ? OP_RMTREE : OP_UNLINK;
        r.is_dir = known->dir != 0;
        node_append(w, n, r);
        known = NULL;
    }
    if (now == NULL || (known != NULL && ent_same(now, known) && !force))
        return;
    const struct ent *old = tree_find_obj(&n->mem.index, now->obj);
    const struct ent *there = old == NULL ? NULL : tree_find(&n->live, old->path);
    if (old != NULL && old->path != path && (there == NULL || there->obj != now->obj)) {
        r = (struct rec){ .op = OP_RENAME, .path = path, .other = old->path, .obj = old->obj };
        r.ver = old->ver;
        r.when = now->changed;
        node_append(w, n, r);
        if (r.ver == now->ver)
            return;
    }
    r = (struct rec){ .path = path, .obj = now->obj, .ver = now->ver, .when = now->changed };
    r.is_dir = now->dir != 0;
    r.op = r.is_dir ? OP_MKDIR : OP_PUT;
    node_append(w, n, r);
}

static inline bool
is_held(const struct state_of_node *s, path_t path)
{
    for (unsigned i = 0; i < s->held_count; i++)
        if (s->held[i].path == path)
            return true;
    return false;
}

static inline bool
is_above_held(const struct state_of_node *s, path_t path)
{
    for (unsigned i = 0; i < s->held_count; i++)
        if (path_in(s->held[i].path, path))
            return true;
    return false;
}

/* What is held is not looked at, nor what is above or below it, nor a name whose object now has
 * a held name: it would be recorded as gone, and its new name could not be. */
static inline bool
may_look(const struct world *w, struct node *n, path_t path)
{
    const struct ent *known = tree_find(&n->mem.index, path);
    const struct ent *here = known == NULL ? NULL : tree_find_obj(&n->live, known->obj);
    if (here != NULL && here->path != path && is_held(&n->mem, here->path) &&
        !broken(w, BROKEN_HELD_HIDES))
        return false;
    return !is_above_held(&n->mem, path) && tree_is_dir(&n->mem.index, path_up(path));
}

/* The sweep: directories before what they hold, what is there before what is gone. */
static inline void
capture_sweep(struct world *w, struct node *n)
{
    for (unsigned depth = 1; depth <= 3; depth++)
        for (unsigned i = 0; i < n->live.count; i++)
            if (path_depth(n->live.ents[i].path) == depth && may_look(w, n, n->live.ents[i].path))
                capture_name(w, n, n->live.ents[i].path, false);
    struct tree before = n->mem.index;
    for (unsigned depth = 1; depth <= 3; depth++)
        for (unsigned i = 0; i < before.count; i++) {
            path_t path = before.ents[i].path;
            if (path_depth(path) == depth && tree_find(&n->live, path) == NULL &&
                may_look(w, n, path))
                capture_name(w, n, path, false);
        }
    n->sweep = false;
    n->pending_count = 0;
}

/* Everything seen so far goes into the journal. */
static inline void
capture_drain(struct world *w, struct node *n, unsigned most)
{
    if (n->sweep) {
        capture_sweep(w, n);
    } else {
        unsigned count = n->pending_count < most ? n->pending_count : most;
        for (unsigned i = 0; i < count; i++)
            node_append(w, n, n->pending[i]);
        n->pending_count -= count;
        for (unsigned i = 0; i < n->pending_count; i++)
            n->pending[i] = n->pending[i + count];
    }
    node_commit(n);
}

/* --- what mail clients were promised --- */

static inline bool
returns(const struct world *w)
{
    return !(w->opts.without & 1u << FAULT_RETURN);
}

static inline bool
is_kept(const struct world *w, uint32_t obj)
{
    for (unsigned i = 0; i < w->opts.nodes; i++)
        for (unsigned k = 0; k < w->nodes[i].kept_count; k++)
            if (w->nodes[i].kept[k].obj == obj)
                return true;
    return false;
}

static inline bool
exists_somewhere(struct world *w, uint32_t obj)
{
    for (unsigned i = 0; i < w->opts.nodes; i++)
        if (!w->nodes[i].doomed && tree_find_obj(&w->nodes[i].live, obj) != NULL)
            return true;
    return is_kept(w, obj);
}

static inline bool
exists_on_whole(struct world *w, uint32_t obj)
{
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        struct node *n = &w->nodes[i];
        if (!n->doomed && n->disk.sync_base == 0 && tree_find_obj(&n->live, obj) != NULL)
            return true;
    }
    return is_kept(w, obj);
}

/* --- power --- */

static inline bool
has_place(struct tree *t, path_t path)
{
    return tree_find(t, path) == NULL && tree_is_dir(t, path_up(path));
}

/* The index knows changes that the disk lost, and the disk may have changes that were not seen. */
static inline void
recover_redo(struct tree *index, struct tree *live)
{
    for (unsigned depth = 1; depth <= 3; depth++)
        for (unsigned i = 0; i < index->count; i++) {
            const struct ent *e = &index->ents[i], *old = tree_find_obj(live, e->obj);
            if (path_depth(e->path) != depth || !has_place(live, e->path))
                continue;
            if (e->dir != 0)
                tree_put(live, e->path, 0, 0);
            else if (old != NULL)
                tree_move(live, old->path, e->path);
        }
}

/* Between which records the object's content came. */
static inline struct held
held_of(struct state_of_node *s, const struct ent *e)
{
    struct held held = { .path = e->path };
    for (uint64_t seq = s->oldest; seq <= s->tail; seq++) {
        const struct rec *r = journal_at(s, seq);
        if (r->op != OP_PUT || r->obj != e->obj)
            continue;
        if (held.newest == 0 && s->oldest == 1)
            held.seq = seq;
        held.newest = seq;
    }
    return held;
}

/* What recover.c does at start: what the journal knows is done again, and what the disk lacks and
 * a standby may have is held. */
static inline void
recover_begin(struct world *w, struct node *n)
{
    struct state_of_node *s = &n->mem;
    recover_redo(&s->index, &n->live);
    for (unsigned i = 0; i < s->index.count; i++) {
        const struct ent *e = &s->index.ents[i], *here = tree_find_obj(&n->live, e->obj);
        bool lost = e->dir == 0 && (here == NULL || here->ver < e->ver);
        if (lost && !is_held(s, e->path))
            s->held[s->held_count++] = held_of(s, e);
    }
    if (s->held_count > 0)
        sim_trace(w, "mx%u holds %u names after the power loss", n->id + 1, s->held_count);
}

static inline void
store_synced(struct node *n)
{
    n->synced = n->live;
    n->synced_marker = n->marker;
    n->synced_marker_truth = n->marker_truth;
    n->unsynced_count = 0;
}

/* On a node that is a primary, or was one and has not followed since. */
static inline bool
exists_on_old(struct world *w, uint32_t obj)
{
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        struct node *n = &w->nodes[i];
        if (!n->doomed && n->disk.role != WIRE_ROLE_STANDBY && tree_find_obj(&n->live, obj) != NULL)
            return true;
    }
    return is_kept(w, obj);
}

/* An operator gave away the only copy, but for what a standby has of it. */
static inline void
owed_given_up(struct world *w)
{
    for (uint32_t obj = 1; obj <= w->obj_count; obj++)
        w->owed[obj] = w->owed[obj] && exists_on_old(w, obj);
}

/* A power loss took what was not on the disk yet. Of what a standby has of that 4 speaks. */
static inline void
owed_lost(struct world *w, const struct tree *before)
{
    for (unsigned i = 0; i < before->count; i++) {
        uint32_t obj = before->ents[i].obj;
        w->owed[obj] = w->owed[obj] && (w->given[obj] || exists_on_old(w, obj));
    }
}

/* An operator gave a node free; what no other whole node has is lost by his own hand. */
static inline void
operator_gave_up(struct world *w)
{
    for (unsigned i = 0; i < w->opts.nodes; i++)
        for (unsigned k = 0; w->nodes[i].doomed && k < w->nodes[i].live.count; k++) {
            uint32_t obj = w->nodes[i].live.ents[k].obj;
            w->given_up[obj] = true;
            if (obj != 0 && !exists_on_whole(w, obj))
                w->confirmed[obj] = false;
        }
}

/* One copy fewer, on a day when the others have been checkpointed since. */
static inline void
operator_dooms(struct world *w, struct node *n)
{
    n->doomed = true;
    operator_gave_up(w);
    owed_given_up(w);
    for (unsigned i = 0; i < w->opts.nodes; i++)
        store_synced(&w->nodes[i]);
}

static inline void
node_down(struct world *w, struct node *n)
{
    n->up = n->finished = false;
    n->mem = n->disk;
    links_end(w, n->id, NULL);
    n->pending_count = 0;
    n->waiter_count = 0;
    memset(n->heard, 0, sizeof(n->heard));
    memset(n->touched, 0, sizeof(n->touched));
    sim_trace(w, "mx%u is down", n->id + 1);
}

static inline void
node_power_loss(struct world *w, struct node *n)
{
    struct tree before = n->live;
    unsigned kept = chance(w, n->unsynced_count + 1);
    n->live = kept == 0 ? n->synced : n->unsynced[kept - 1];
    n->marker = n->synced_marker;
    n->marker_truth = n->synced_marker_truth;
    operator_gave_up(w);
    node_down(w, n);
    store_synced(n);
    if (n->mem.history != 0 && n->mem.sync_base == 0 && n->mem.role == WIRE_ROLE_PRIMARY)
        recover_begin(w, n);
    owed_lost(w, &before);
    node_commit(n);
}

static inline void
node_start(struct world *w, struct node *n)
{
    n->up = true;
    n->sweep = true;
    if (broken(w, BROKEN_HELD_FORGOTTEN))
        n->mem.held_count = n->disk.held_count = 0;
    sim_trace(w, "mx%u starts", n->id + 1);
}

/* --- roles --- */

static inline void
role_changed(struct world *w, struct node *n)
{
    node_commit(n);
    n->waiter_count = 0;
    links_end(w, n->id, NULL);
    sim_trace(w, "mx%u is now role %d epoch %u tail %u", n->id + 1, (int)n->mem.role,
              (unsigned)n->mem.epoch, (unsigned)n->mem.tail);
}

/* Where nobody keeps what a node has alone, what was hidden behind held names and no journal names
 * is journalled before the node follows somebody, and the held names with it: it has a past of its
 * own then, and is refused. */
static inline void
held_settle(struct world *w, struct node *n)
{
    for (unsigned i = 0; i < n->live.count && n->mem.held_count > 0; i++) {
        uint32_t obj = n->live.ents[i].obj;
        if (obj != 0 && !w->journalled[obj]) {
            n->mem.held_count = 0;
            capture_sweep(w, n);
        }
    }
}

/* What a power loss took is missing still: as one who follows, it is brought level by a sync. */
static inline void
role_end(struct world *w, struct node *n)
{
    n->mem.role = WIRE_ROLE_NONE;
    if (n->mem.held_count > 0 && !broken(w, BROKEN_HELD_IGNORED))
        n->mem.sync_base = n->mem.tail > 0 ? n->mem.tail : 1;
    role_changed(w, n);
}

static inline void
node_demote(struct world *w, struct node *n)
{
    if (n->mem.role == WIRE_ROLE_PRIMARY && !broken(w, BROKEN_DEMOTE_UNDRAINED)) {
        capture_drain(w, n, PENDING_MAX);
        if (!returns(w))
            held_settle(w, n);
        store_synced(n);
        n->finished = true;
    }
    role_end(w, n);
}

/* Another was promoted. What is not in the journal yet is not waited for, nor what held names hide
 * from it. */
static inline void
node_step_down(struct world *w, struct node *n)
{
    if (!returns(w) || (n->mem.held_count == 0 && one_in(w, 2))) {
        node_demote(w, n);
        return;
    }
    n->pending_count = 0;
    role_end(w, n);
}

/* An epoch that was told but never reached is not in this node's past. */
static inline void
epochs_begin(struct state_of_node *s)
{
    while (s->epoch_count > 0 && s->epochs[s->epoch_count - 1].first_seq > s->tail)
        s->epoch_count--;
    if (s->epoch_count == EPOCHS_MAX)
        s->epoch_count--;
    s->epochs[s->epoch_count++] = (struct wire_epoch){ s->epoch, s->tail + 1 };
}

static inline bool
can_promote(const struct node *n)
{
    const struct state_of_node *s = &n->mem;
    return n->up && !n->full && s->role != WIRE_ROLE_PRIMARY && s->epoch_count < EPOCHS_MAX - 1 &&
           s->sync_base == 0;
}

static inline void
node_promote(struct world *w, struct node *n, bool drift)
{
    struct state_of_node *s = &n->mem;
    links_end(w, n->id, NULL);
    node_commit(n); /* the receiver's last words */
    if (s->history == 0) {
        s->history = ++w->history_count;
        s->epoch = s->tail = s->truth = s->epoch_count = 0;
        s->oldest = 1;
        tree_clear(&s->index);
    }
    size_t index = drift ? 0 : n->id;
    s->epoch = broken(w, BROKEN_EPOCH_SHARED) ? s->epoch + 1
                                              : link_next_epoch(s->epoch, index, w->opts.nodes);
    epochs_begin(s);
    s->role = WIRE_ROLE_PRIMARY;
    s->sync_base = 0;
    s->kept.bound = false;
    s->told_resync = n->consent = n->doomed = n->finished = false;
    for (unsigned i = 0; i < NODES_MAX; i++)
        s->places[i] = (struct place_of_sync){ 0 };
    node_append(w, n, (struct rec){ .op = OP_EPOCH });
    store_synced(n);
    n->sweep = true; /* a crash may have left the store ahead of the index */
    role_changed(w, n);
}

static inline void
node_wipe(struct world *w, struct node *n)
{
    struct state_of_node *s = &n->mem;
    *s = (struct state_of_node){ .oldest = 1 };
    s->role = one_in(w, 2) ? WIRE_ROLE_STANDBY : WIRE_ROLE_NONE; /* as it was set up */
    tree_clear(&s->index);
    journal_reset(n, 0);
    n->marker = 0;
    n->marker_truth = n->acked_truth = 0;
    n->consent = n->doomed = false;
    for (unsigned i = 0; i < 8; i++)
        n->epoch_seen[i] = 0;
    node_commit(n);
}

static inline void
node_init(struct world *w, unsigned id)
{
    struct node *n = &w->nodes[id];
    *n = (struct node){ .id = id, .up = true, .follow = -1, .versions = 1, .journal_max = 16 };
    tree_clear(&n->live);
    node_wipe(w, n);
    store_synced(n);
    if (!(w->opts.without & 1u << FAULT_SMALL))
        n->journal_max = one_in(w, 2) ? 8 + chance(w, 12) : JOURNAL_MAX - 2;
}

#endif
