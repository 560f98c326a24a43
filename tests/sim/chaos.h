/* chaos.h - what happens to the nodes: mail clients, faults, operators. */
#ifndef MAILTWIN_SIM_CHAOS_H
#define MAILTWIN_SIM_CHAOS_H

#include "tests/sim/links.h"

/* --- mail clients --- */

static inline path_t
any_path(struct world *w)
{
    path_t p = path_join(0, 1 + chance(w, 4));
    while (path_depth(p) < 3 && one_in(w, 2))
        p = path_join(p, 1 + chance(w, 4));
    return p;
}

static inline struct ent *
any_ent(struct world *w, struct tree *t)
{
    return t->count == 0 ? NULL : &t->ents[chance(w, t->count)];
}

/* What a client removes may vanish everywhere. */
static inline void
client_kills(struct world *w, struct tree *t, path_t path)
{
    for (unsigned i = 0; i < t->count; i++)
        if (path_in(t->ents[i].path, path))
            w->dead[t->ents[i].obj] = true;
}

static inline void
client_did(struct world *w, struct node *n, struct rec *r, bool synced)
{
    r->when = w->now;
    if (r->op == OP_UNLINK || r->op == OP_RMTREE || r->op == OP_RENAME)
        client_kills(w, &n->live, r->path);
    index_apply(&n->live, r);
    if (n->pending_count == PENDING_MAX || n->sweep)
        n->sweep = true;
    else
        n->pending[n->pending_count++] = *r;
    if (n->unsynced_count == UNSYNCED_MAX || synced)
        store_synced(n);
    else
        n->unsynced[n->unsynced_count++] = n->live;
    sim_trace(w, "client on mx%u: %s %x %x obj %u.%u", n->id + 1, record_op_word(r->op), r->path,
              r->other, r->obj, r->ver);
}

static inline void
client_delivers(struct world *w, struct node *n, path_t path)
{
    const struct ent *e = tree_find(&n->live, path);
    if (!tree_is_dir(&n->live, path_up(path)) || (e != NULL && e->dir != 0))
        return;
    struct rec r = { .op = OP_PUT, .path = path };
    if (e != NULL) { /* written in place */
        r.obj = e->obj;
        r.ver = ++w->ver_of[e->obj];
    } else {
        if (n->live.count >= CLIENT_MAX || w->obj_count + 1 == TRUTH_MAX)
            return;
        r.obj = ++w->obj_count;
        r.ver = w->ver_of[r.obj] = 1;
    }
    client_did(w, n, &r, one_in(w, 2));
    if (e == NULL && n->waiter_count < WAITERS_MAX) /* seq: not before it is journalled */
        n->waiters[n->waiter_count++] = (struct waiter){ r.obj, UINT64_MAX };
}

static inline void
client_renames(struct world *w, struct node *n)
{
    const struct ent *e = any_ent(w, &n->live);
    path_t to = any_path(w);
    if (e == NULL || path_in(to, e->path) || !tree_is_dir(&n->live, path_up(to)) ||
        !tree_can_move(&n->live, e->path, to))
        return;
    const struct ent *target = tree_find(&n->live, to);
    if (target != NULL && (target->dir != 0 || e->dir != 0))
        return;
    path_t from = e->path;
    struct rec r = { .op = OP_RENAME, .path = to, .other = from, .obj = e->obj, .ver = e->ver };
    r.is_dir = e->dir != 0;
    client_did(w, n, &r, false);
    if (one_in(w, 2)) /* the old name is used again at once */
        client_delivers(w, n, from);
    else if (r.is_dir && one_in(w, 2))
        client_did(w, n, &(struct rec){ .op = OP_MKDIR, .path = from, .is_dir = true }, false);
}

static inline void
client_step(struct world *w, struct node *n)
{
    path_t path = any_path(w);
    const struct ent *e = any_ent(w, &n->live);
    unsigned what = chance(w, 20);
    if (what < 9) {
        client_delivers(w, n, path);
    } else if (what < 14) {
        client_renames(w, n);
    } else if (what < 17) {
        if (tree_find(&n->live, path) == NULL && path_depth(path) < 3 &&
            tree_is_dir(&n->live, path_up(path)) && n->live.count < CLIENT_MAX)
            client_did(w, n, &(struct rec){ .op = OP_MKDIR, .path = path, .is_dir = true }, false);
    } else if (e != NULL && (e->dir == 0 || one_in(w, 2))) {
        struct rec r = { .op = e->dir != 0 ? OP_RMTREE : OP_UNLINK, .path = e->path };
        r.is_dir = e->dir != 0;
        client_did(w, n, &r, false);
    }
}

/* The record that names the object ends its client's wait, when it is acknowledged. */
static inline void
waiters_note(struct node *n)
{
    for (unsigned i = 0; i < n->waiter_count; i++)
        if (n->waiters[i].seq == UINT64_MAX && tree_find_obj(&n->mem.index, n->waiters[i].obj))
            n->waiters[i].seq = n->mem.tail;
}

static inline void
primary_step(struct world *w, struct node *n)
{
    if (!n->up || n->mem.role != WIRE_ROLE_PRIMARY)
        return;
    if (!w->calm && n->mem.held_count == 0 && one_in(w, 4))
        client_step(w, n);
    if (n->full || !one_in(w, 3))
        return;
    capture_drain(w, n, 1 + chance(w, 8));
    waiters_note(n);
    if (one_in(w, 30))
        store_synced(n); /* a checkpoint */
}

/* --- faults --- */

static inline struct node *
any_node(struct world *w)
{
    return &w->nodes[chance(w, w->opts.nodes)];
}

static inline bool
is_whole(const struct node *n)
{
    return n->disk.history != 0 && (n->disk.sync_base == 0 || n->disk.held_count > 0);
}

static inline unsigned
whole_copies(struct world *w)
{
    unsigned count = 0;
    for (unsigned i = 0; i < w->opts.nodes; i++)
        count += is_whole(&w->nodes[i]);
    return count;
}

static inline void
fault_cut(struct world *w)
{
    struct conn *c = &w->conns[chance(w, CONNS_MAX)];
    if (!c->used)
        return;
    unsigned side = chance(w, 2);
    if (one_in(w, 2))
        c->cut[side] = !c->cut[side];
    else
        end_close(w, c, side);
}

static inline void
fault_config(struct world *w, struct node *n)
{
    unsigned which = chance(w, 6);
    n->versions = which == 0;
    n->cluster = which == 1;
    n->stores = which == 2;
    links_end(w, n->id, NULL); /* read at the start of the daemon */
}

static inline void
fault_role(struct world *w, struct node *n)
{
    if (!n->up)
        return;
    if (n->mem.role == WIRE_ROLE_PRIMARY)
        node_demote(w, n);
    else if (n->mem.history != 0 && can_promote(n))
        node_promote(w, n, false);
}

/* With the disks, by the operator's hand. */
static inline void
kept_lost(struct world *w, struct node *n)
{
    while (n->kept_count > 0) {
        uint32_t obj = n->kept[--n->kept_count].obj;
        w->confirmed[obj] = w->confirmed[obj] && exists_on_whole(w, obj);
    }
}

static inline void
fault_wipe(struct world *w, struct node *n, bool keep_store)
{
    if (n->disk.role == WIRE_ROLE_PRIMARY || whole_copies(w) - is_whole(n) < 1)
        return;
    if (n->up)
        node_down(w, n);
    if (!keep_store) {
        kept_lost(w, n);
        operator_dooms(w, n);
        tree_clear(&n->live);
    }
    node_wipe(w, n);
    store_synced(n);
    sim_trace(w, "mx%u lost its %s", n->id + 1, keep_store ? "state" : "disks");
}

static inline void
operator_resync(struct world *w, struct node *n)
{
    if (!n->up || n->mem.role == WIRE_ROLE_PRIMARY)
        return;
    n->mem.told_resync = n->consent = true;
    n->mem.kept.bound = false;
    operator_dooms(w, n);
    role_changed(w, n);
}

static inline void
fault_foreign(struct world *w, struct node *n)
{
    if (n->up && n->mem.history == 0 && w->history_count < 6)
        node_promote(w, n, false);
}

static inline void
fault(struct world *w, enum fault_kind kind)
{
    struct node *n = any_node(w);
    switch (kind) {
    case FAULT_CRASH:
        if (n->up)
            node_down(w, n);
        break;
    case FAULT_POWER:
        if (n->up)
            node_power_loss(w, n);
        break;
    case FAULT_CUT:
        fault_cut(w);
        break;
    case FAULT_DOUBLE:
        conn_open(w, n->id, (n->id + 1) % w->opts.nodes);
        break;
    case FAULT_FULL:
        n->full = one_in(w, 2);
        break;
    case FAULT_ROLE:
        fault_role(w, n);
        break;
    case FAULT_RESYNC:
        operator_resync(w, n);
        break;
    case FAULT_FOLLOW:
        n->follow = (int)chance(w, w->opts.nodes + 1) - 1;
        n->follow = n->follow == (int)n->id ? -1 : n->follow;
        links_end(w, n->id, NULL);
        break;
    case FAULT_WIPE:
        fault_wipe(w, n, false);
        break;
    case FAULT_LOST:
        fault_wipe(w, n, true);
        break;
    case FAULT_CONFIG:
        fault_config(w, n);
        break;
    case FAULT_FOREIGN:
        fault_foreign(w, n);
        break;
    case FAULT_OVERFLOW:
        n->sweep = n->sweep || n->mem.role == WIRE_ROLE_PRIMARY;
        break;
    case FAULT_PARTIAL:
    case FAULT_SMALL:
    case FAULT_RETURN:
    case FAULT_COUNT:
        break; /* not events: circumstances of the whole run */
    }
}

static const struct {
    enum fault_kind kind;
    unsigned weight;
    const char *name;
} faults[] = {
#define FAULT(name, weight, help) { FAULT_##name, weight, #name },
#include "tests/sim/faults.def"
#undef FAULT
};

static inline void
chaos_step(struct world *w)
{
    if (!one_in(w, 12))
        return;
    unsigned sum = 0, at;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        sum += faults[i].weight;
    at = chance(w, sum);
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if (at < faults[i].weight) {
            if (!(w->opts.without & 1u << faults[i].kind))
                fault(w, faults[i].kind);
            return;
        }
        at -= faults[i].weight;
    }
}

/* Daemons are started again, and somebody makes sure that there is a primary. */
static inline void
operators_step(struct world *w)
{
    bool primary = false;
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        struct node *n = &w->nodes[i];
        if (!n->up && one_in(w, 40))
            node_start(w, n);
        primary = primary || (n->up && n->mem.role == WIRE_ROLE_PRIMARY);
    }
    struct node *n = any_node(w);
    if (!primary && one_in(w, 80) && n->mem.history != 0 && can_promote(n))
        node_promote(w, n, false);
}

#endif
