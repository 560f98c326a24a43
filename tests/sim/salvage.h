/* salvage.h - a simulated node that returns with something of its own: its journal is completed,
 * what it has alone is kept, it may be overwritten, and it gives. What is decided decides the real
 * code: salvage_core.c, salvage_set.c, intake_core.c. */
#ifndef MAILTWIN_SIM_SALVAGE_H
#define MAILTWIN_SIM_SALVAGE_H

#include "replicator/intake_core.h"
#include "replicator/salvage_set.h"
#include "tests/sim/send.h"

#include <stdio.h>
#include <sys/stat.h>

#define GIVE_ROOM 20 /* names in a store that still takes what is given */

/* --- paths, as records have them --- */

static inline struct span
path_text(path_t path, char text[16])
{
    int at = 0;
    for (unsigned shift = 16; path_depth(path) * 8 > 16 - shift; shift -= 8)
        at += snprintf(text + at, 16 - (size_t)at, "%s%u", at > 0 ? "/" : "", path >> shift & 0xff);
    return span_of(text, (size_t)at);
}

static inline path_t
text_path(struct span text)
{
    path_t path = 0;
    unsigned name = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != '/') {
            name = name * 10 + (unsigned)(text.ptr[i] - '0');
            continue;
        }
        path = path_join(path, name);
        name = 0;
    }
    return path;
}

/* --- keeping --- */

static inline void
keep_change(void *arg, const struct salvage_change *change)
{
    static const struct store_rules files = { .kind = STORE_FILES };
    struct keeping *k = arg;
    enum salvage_kind kind = salvage_kind_of(&files, "", change);
    if (kind != 0 && salvage_has_content(kind) && k->count < TREE_MAX)
        k->items[k->count++].path = text_path(change->path);
}

/* What the records behind the fork amount to. */
static inline void
keep_list(struct node *n, uint64_t fork, struct keeping *k)
{
    struct salvage_set *set = salvage_set_new();
    for (uint64_t seq = fork + 1; seq <= n->mem.tail; seq++) {
        const struct rec *r = journal_at(&n->mem, seq);
        char path[16], other[16];
        struct record record = { .op = r->op, .seq = seq };
        record.path = path_text(r->path, path);
        record.other = path_text(r->other, other);
        record.attr.mode = r->is_dir ? S_IFDIR : S_IFREG;
        salvage_set_add(set, &record);
    }
    salvage_set_each(set, keep_change, k);
    salvage_set_free(&set);
}

/* An earlier attempt is made anew: nothing was overwritten since. */
static inline void
kept_forget(struct node *n, uint64_t fork)
{
    for (unsigned i = 0; i < n->kept_count;)
        if (n->kept[i].epoch == n->mem.epoch && n->kept[i].fork == fork)
            n->kept[i] = n->kept[--n->kept_count];
        else
            i++;
}

/* How far the peer has come in our history, as a whole. */
static inline uint64_t
tail_of_ours(const struct conn *c, unsigned side)
{
    const struct wire_hello *ours = &c->hello[side], *theirs = &c->hello[1 - side];
    bool whole = theirs->history[0] == ours->history[0] && theirs->sync_base == 0;
    return whole ? link_fork(ours, theirs) : 0;
}

/* As hides_a_newer() in capture_held.c. */
static inline bool
hides_a_newer(struct node *n, path_t path)
{
    const struct ent *here = tree_find(&n->live, path), *known = tree_find(&n->mem.index, path);
    for (path_t above = path_up(path); above != 0; above = path_up(above)) {
        const struct ent *e = tree_find(&n->live, above);
        if (e != NULL && e->dir == 0)
            return true;
    }
    if (here == NULL || known == NULL)
        return false;
    return known->dir != 0 ? here->dir == 0
                           : here->obj != known->obj && here->changed >= known->changed;
}

static inline void
release_hiding(struct world *w, struct node *n)
{
    for (unsigned i = 0; i < n->mem.held_count;) {
        path_t path = n->mem.held[i].path;
        if (hides_a_newer(n, path))
            release(w, n, path, "it hides a newer one");
        else
            i++;
    }
}

/* Who overwrites this node alone counts as one that may have a name: what a third one has of them
 * that one brings itself. The peer has not what it parted before. */
static inline void
names_let_go(struct world *w, struct node *n, const struct conn *c, unsigned side)
{
    bool heard[NODES_MAX];
    uint64_t tail[NODES_MAX];
    memcpy(heard, n->heard, sizeof(heard));
    memcpy(tail, n->heard_tail, sizeof(tail));
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        n->heard[i] = true;
        n->heard_tail[i] = i == c->node[1 - side] ? tail_of_ours(c, side) : 0;
    }
    release_hopeless(w, n);
    release_hiding(w, n);
    memcpy(n->heard, heard, sizeof(heard));
    memcpy(n->heard_tail, tail, sizeof(tail));
}

static inline void
journal_finish(struct world *w, struct node *n, const struct conn *c, unsigned side)
{
    if (n->mem.held_count == 0 && (n->mem.role != WIRE_ROLE_NONE || n->finished))
        return;
    if (!broken(w, BROKEN_SALVAGE_HELD))
        names_let_go(w, n, c, side);
    if (!broken(w, BROKEN_SALVAGE_UNFINISHED))
        capture_sweep(w, n);
    n->finished = true;
    node_commit(n);
}

static inline void
keep_begin(struct world *w, struct conn *c, unsigned side, uint64_t fork)
{
    struct node *n = node_of(w, c, side);
    struct keeping *k = &c->sess[side].keeping;
    journal_finish(w, n, c, side);
    if (n->mem.oldest > fork + 1)
        return; /* held as before: what it has alone cannot be told */
    *k = (struct keeping){ .begun = true };
    keep_list(n, fork, k);
    kept_forget(n, fork);
    sim_trace(w, "mx%u keeps %u files from behind seq %u", n->id + 1, k->count, (unsigned)fork);
}

/* Copies one; what a power loss took cannot be. */
static inline void
keep_one(struct node *n, uint64_t fork, struct keeping *k)
{
    struct kept *item = &k->items[k->next++];
    const struct ent *e = tree_find(&n->live, item->path);
    item->obj = e == NULL ? 0 : e->obj;
    item->epoch = n->mem.epoch;
    item->fork = fork;
}

/* The manifest, and behind it the permission. Before it the filesystem is synced, which has the
 * store as well: what is made anew after a crash finds no less there. */
static inline bool
keep_end(struct world *w, struct node *n, uint64_t fork, const struct keeping *k)
{
    store_synced(n);
    for (unsigned i = 0; i < k->count && !broken(w, BROKEN_SALVAGE_LISTED); i++)
        if (k->items[i].obj != 0)
            n->kept[n->kept_count++] = k->items[i];
    if (dies_here(w, n))
        return false;
    n->mem.told_resync = n->consent = true;
    n->mem.kept = (struct salvage_permission){ true, fork, n->mem.tail };
    n->mem.sync_base = n->mem.tail > 0 ? n->mem.tail : 1;
    node_commit(n);
    sim_trace(w, "mx%u may be overwritten by who shares seq %u", n->id + 1, (unsigned)fork);
    return true;
}

/* One session receives or keeps at a time: the one of the newer epoch, else the newer one. */
static inline bool
may_receive(struct world *w, struct conn *c, unsigned side)
{
    for (unsigned i = 0; i < CONNS_MAX; i++)
        for (unsigned s = 0; s < 2; s++) {
            struct conn *o = &w->conns[i];
            bool has_turn = o->sess[s].state == SESS_RECEIVE || o->sess[s].keeping.begun;
            if (!o->used || o == c || !o->open[s] || o->node[s] != c->node[side] || !has_turn)
                continue;
            if (o->sess[s].epoch > c->hello[1 - side].epoch && !w->calm)
                return false;
            end_close(w, o, s);
        }
    return true;
}

/* One step of a session that was refused as diverged. */
static inline void
keep_step(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    struct keeping *k = &s->keeping;
    uint64_t fork = s->decision.fork;
    if (n->full || !salvage_is_due(&c->hello[side], &c->hello[1 - side], &s->decision, n->marker))
        return;
    if (n->mem.role == WIRE_ROLE_PRIMARY || n->mem.epoch != c->hello[side].epoch)
        return; /* told to stop */
    s->epoch = c->hello[1 - side].epoch;
    if (!may_receive(w, c, side))
        return;
    if (!k->begun)
        keep_begin(w, c, side, fork);
    else if (k->next < k->count && !broken(w, BROKEN_SALVAGE_EARLY))
        keep_one(n, fork, k);
    else if (n->kept_count + k->count <= KEPT_MAX && keep_end(w, n, fork, k))
        end_close(w, c, side); /* the two greet again */
    if (n->up)
        dies_here(w, n);
}

/* Before a deposed node follows: 1 it has something of its own, the two greet again. */
static inline bool
look_first(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    bool finished = n->mem.held_count == 0 && (n->mem.role != WIRE_ROLE_NONE || n->finished);
    if (finished || broken(w, BROKEN_SALVAGE_LOOK))
        return false;
    if (!n->full)
        journal_finish(w, n, c, side);
    return n->full || n->mem.tail > c->hello[side].tail;
}

/* --- giving --- */

static inline void
give_step(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    if (n->kept_count == 0 || s->giving || !s->started || s->op_count > 0 ||
        n->mem.sync_base != 0 || queue_room(c, side) < QUEUE_MAX / 2)
        return;
    const struct kept *item = &n->kept[chance(w, n->kept_count)];
    struct msg m = { .type = M_GIVE, .rec = { .path = item->path, .obj = item->obj } };
    s->giving = true;
    send_msg(c, side, &m);
    if (broken(w, BROKEN_GIVE_EARLY))
        n->kept[item - n->kept] = n->kept[--n->kept_count];
}

/* Its own name, or one that nobody has. */
static inline path_t
place_for(struct tree *live, path_t path)
{
    for (unsigned name = 5; !has_place(live, path); name++)
        path = path_join(0, name);
    return path;
}

static inline void
arrives(struct world *w, struct node *n, const struct msg *m)
{
    struct rec r = { .op = OP_PUT, .obj = m->rec.obj, .ver = w->ver_of[m->rec.obj] };
    r.when = w->now;
    r.path = place_for(&n->live, m->rec.path);
    index_apply(&n->live, &r);
    if (n->pending_count == PENDING_MAX || n->sweep)
        n->sweep = true;
    else
        n->pending[n->pending_count++] = r;
    n->unsynced[n->unsynced_count++ % UNSYNCED_MAX] = n->live;
    if (n->unsynced_count > UNSYNCED_MAX)
        n->unsynced_count = UNSYNCED_MAX;
    sim_trace(w, "mx%u takes obj %u as %x", n->id + 1, r.obj, r.path);
}

/* The primary. Nothing is answered before it is on the disk, also what was there already. */
static inline void
take_give(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = node_of(w, c, side);
    struct msg given = { .type = M_GIVEN, .rec = m->rec };
    bool found = tree_find_obj(&n->live, m->rec.obj) != NULL;
    struct intake_found here = { found, found, found }, elsewhere = { 0 };
    bool may = n->mem.role == WIRE_ROLE_PRIMARY && !n->full && n->mem.held_count == 0 &&
               n->live.count < GIVE_ROOM;
    given.gone = !may;
    if (may && intake_decide(WIRE_GIVE_DELIVER, &here, &elsewhere) == INTAKE_MAKE)
        arrives(w, n, m);
    if (may && !broken(w, BROKEN_GIVEN_UNSYNCED))
        store_synced(n);
    send_msg(c, side, &given);
}

/* 7: what is settled is on the disk of another. */
static inline void
take_given(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct node *n = node_of(w, c, side);
    c->sess[side].giving = false;
    for (unsigned i = 0; i < n->kept_count && !m->gone; i++)
        if (n->kept[i].obj == m->rec.obj)
            n->kept[i--] = n->kept[--n->kept_count];
    if (m->gone)
        return;
    w->given[m->rec.obj] = true;
    sim_trace(w, "mx%u has given obj %u", n->id + 1, m->rec.obj);
}

#endif
