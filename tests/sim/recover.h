/* recover.h - a simulated primary after a power loss: who may have what it lost, and how it comes
 * back.
 */
#ifndef MAILTWIN_SIM_RECOVER_H
#define MAILTWIN_SIM_RECOVER_H

#include "tests/sim/apply.h"

static inline struct node *
node_of(struct world *w, const struct conn *c, unsigned side)
{
    return &w->nodes[c->node[side]];
}

/* Could the node have the name? Any node of the cluster could that did not say how far it has come.
 */
static inline bool
could_have(const struct node *n, unsigned peer, const struct held *h)
{
    if (peer == n->id || (h->without & 1u << peer) != 0)
        return false;
    return !n->heard[peer] || (n->heard_tail[peer] > 0 && n->heard_tail[peer] >= h->seq);
}

static inline const struct held *
to_fetch(const struct node *n, unsigned peer)
{
    for (unsigned i = 0; i < n->mem.held_count; i++)
        if (n->heard[peer] && could_have(n, peer, &n->mem.held[i]))
            return &n->mem.held[i];
    return NULL;
}

static inline bool
another_could_have(const struct world *w, const struct node *n, unsigned peer, const struct held *h)
{
    for (unsigned i = 0; i < w->opts.nodes; i++)
        if (i != peer && could_have(n, i, h))
            return true;
    return false;
}

/* As long as names are held, a peer that may lack one which another may have is sent nothing: it
 * would be level without it, and could be promoted. */
static inline bool
waits_for_held(const struct world *w, const struct node *n, unsigned peer)
{
    if (n->mem.role != WIRE_ROLE_PRIMARY || broken(w, BROKEN_SHIP_HELD))
        return false;
    for (unsigned i = 0; i < n->mem.held_count; i++) {
        const struct held *h = &n->mem.held[i];
        bool has = n->heard_tail[peer] > 0 && n->heard_tail[peer] >= h->newest &&
                   (h->without & 1u << peer) == 0;
        if (!has && another_could_have(w, n, peer, h))
            return true;
    }
    return false;
}

static inline void
release(struct world *w, struct node *n, path_t path, const char *why)
{
    sim_trace(w, "mx%u: held %x: %s", n->id + 1, path, why);
    for (unsigned i = 0; i < n->mem.held_count; i++)
        if (n->mem.held[i].path == path)
            n->mem.held[i] = n->mem.held[--n->mem.held_count];
    n->sweep = true;
    node_commit(n);
}

/* Nobody has it: from now on it is an ordinary name. */
static inline void
release_hopeless(struct world *w, struct node *n)
{
    for (unsigned i = 0; i < n->mem.held_count;) {
        const struct held *h = &n->mem.held[i];
        bool hope = false;
        for (unsigned peer = 0; peer < w->opts.nodes; peer++)
            hope = hope || (could_have(n, peer, h) && !broken(w, BROKEN_FETCH_FROM_ANY));
        if (hope)
            i++;
        else
            release(w, n, h->path, "nobody has it");
    }
}

static inline void
hear(struct world *w, struct node *n, unsigned peer, uint64_t tail)
{
    n->heard[peer] = true;
    n->heard_tail[peer] = tail;
    if (n->mem.role == WIRE_ROLE_PRIMARY) /* another reviews them when it is to be overwritten */
        release_hopeless(w, n);
}

static inline void
fetch_step(struct world *w, struct conn *c, unsigned side)
{
    struct msg m = { .type = M_FETCH };
    const struct held *h = to_fetch(node_of(w, c, side), c->node[1 - side]);
    if (h == NULL)
        return;
    m.rec.path = h->path;
    c->sess[side].fetching = true;
    send_msg(c, side, &m);
}

/* Under its own name, or beside what has that name by now. */
static inline path_t
put_back(struct tree *live, const struct msg *m)
{
    struct ent *older = tree_find_obj(live, m->rec.obj);
    path_t path = older != NULL ? older->path : m->rec.path;
    for (unsigned name = 5; older == NULL && !has_place(live, path); name++)
        path = path_join(0, name);
    tree_put(live, path, m->rec.obj, m->rec.ver);
    return path;
}

static inline void
take_fetched(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = node_of(w, c, side);
    unsigned peer = c->node[1 - side];
    const struct ent *known = tree_find(&n->mem.index, m->rec.path);
    c->sess[side].fetching = false;
    if (!is_held(&n->mem, m->rec.path) || n->full)
        return;
    if (known == NULL || m->gone || m->rec.obj != known->obj) {
        for (unsigned i = 0; i < n->mem.held_count; i++)
            if (n->mem.held[i].path == m->rec.path)
                n->mem.held[i].without |= 1u << peer;
        release_hopeless(w, n);
        return;
    }
    path_t path = put_back(&n->live, m);
    store_synced(n);
    release(w, n, m->rec.path, "got back");
    capture_name(w, n, path, true);
    node_commit(n);
}

#endif
