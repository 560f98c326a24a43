/* send.h - a simulated sender: runs, the walk of a sync, answers. What is next says link_next(). */
#ifndef MAILTWIN_SIM_SEND_H
#define MAILTWIN_SIM_SEND_H

#include "tests/sim/recover.h"

#define WINDOW_MAX 3 /* runs not acknowledged */

static inline unsigned
truth_at(const struct world *w, unsigned truth, uint64_t seq)
{
    while (w->truth[truth].seq > seq)
        truth = w->truth[truth].parent;
    return truth;
}

static inline void
snapshot_take(struct node *n, struct sess *s)
{
    s->snapshot = n->disk.index;
    s->snapshot_tail = n->disk.tail;
    s->fresh = true;
}

/* --- runs --- */

/* The content is read now, by handle, wherever the file is by now. */
static inline void
send_rec(struct world *w, struct conn *c, unsigned side, const struct rec *r)
{
    struct msg m = { .type = M_REC, .rec = *r, .at = c->sess[side].cursor };
    struct tree *live = &node_of(w, c, side)->live;
    struct ent *e = tree_find(live, r->path);
    if (e == NULL || e->obj != r->obj)
        e = tree_find_obj(live, r->obj);
    m.now_ver = e == NULL ? r->ver : e->ver;
    m.gone = r->op == OP_PUT && e == NULL;
    if (m.gone ||
        m.now_ver < r->ver) /* or older than the record: a power loss took the newer one */
        w->gone[r->obj] = true;
    send_msg(c, side, &m);
}

static inline void
send_commit(struct world *w, struct conn *c, unsigned side)
{
    struct sess *s = &c->sess[side];
    struct msg m = { .type = M_COMMIT, .run = ++s->run, .seq = s->cursor };
    m.truth = truth_at(w, node_of(w, c, side)->disk.truth, s->cursor);
    s->unacked++;
    send_msg(c, side, &m);
}

static inline void
send_run(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    if (s->cursor + 1 < n->disk.oldest) { /* it fell behind the journal while it was connected */
        end_close(w, c, side);
        return;
    }
    for (unsigned i = 0; i < RUN_MAX && s->cursor < s->snapshot_tail; i++)
        send_rec(w, c, side, journal_at(&n->disk, ++s->cursor));
    send_commit(w, c, side);
}

/* --- START --- */

static inline void
send_start(struct world *w, struct conn *c, unsigned side, bool again)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    struct msg m = { .type = M_START, .seq = s->cursor, .epoch = n->mem.epoch, .again = again };
    m.base = s->syncing ? s->walk.base : 0;
    m.truth = truth_at(w, n->disk.truth, s->cursor);
    send_msg(c, side, &m);
    sim_trace(w, "mx%u starts %s from seq %u to mx%u", n->id + 1,
              m.base == 0 ? "resume"
              : again     ? "sync again"
                          : "sync",
              (unsigned)m.seq, c->node[1 - side] + 1);
}

/* Where an interrupted sync goes on: where this node knows it to be, if it is the same one. */
static inline bool
walk_find(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    const struct place_of_sync *known = &n->disk.places[c->node[1 - side]];
    if (!s->decision.again || known->base != c->hello[1 - side].sync_base ||
        known->epoch != n->mem.epoch)
        return false;
    s->walk = *known;
    return true;
}

static inline void
sender_begin(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    s->state = SESS_SEND;
    s->syncing = s->decision.act == LINK_SYNC;
    bool again = s->syncing && walk_find(w, c, side);
    snapshot_take(n, s);
    if (s->syncing && !again)
        s->walk = (struct place_of_sync){ .base = n->disk.tail > 0 ? n->disk.tail : 1,
                                          .epoch = n->mem.epoch,
                                          .next = ROOT_DIR,
                                          .limit = s->snapshot.next_dir - 1 };
    s->cursor = again || !s->syncing ? c->hello[1 - side].tail : n->disk.tail;
    if (s->syncing && !again) {
        n->mem.places[c->node[1 - side]] = s->walk;
        node_commit(n);
    }
    send_start(w, c, side, again);
}

/* --- the walk --- */

static inline void
send_ask(struct world *w, struct conn *c, unsigned side, struct ask *a)
{
    struct sess *s = &c->sess[side];
    path_t path = a->dir == ROOT_DIR ? 0 : tree_dir_path(&s->snapshot, a->dir);
    a->state = ASK_FREE;
    if (a->dir != ROOT_DIR && path == 0)
        return; /* gone: a record tells the peer */
    struct tree list;
    tree_list(&s->snapshot, path, &list);
    struct msg m = { .type = M_ASK, .dir = a->dir, .path = path, .digest = list_digest(&list) };
    a->state = ASK_SENT;
    a->seq = s->cursor;
    sim_trace(w, "mx%u asks mx%u at seq %u for directory %u, %x", c->node[side] + 1,
              c->node[1 - side] + 1, (unsigned)s->cursor, a->dir, path);
    send_msg(c, side, &m);
}

static inline bool
walk_choose(struct world *w, struct conn *c, unsigned side, struct ask *a)
{
    struct sess *s = &c->sess[side];
    uint32_t limit = broken(w, BROKEN_WALK_LIMIT) ? s->walk.limit : s->snapshot.next_dir - 1;
    while (s->walk.next <= limit) {
        a->dir = s->walk.next++;
        send_ask(w, c, side, a);
        if (a->state == ASK_SENT)
            return true;
    }
    return false;
}

static inline void
fix_remove(struct world *w, struct conn *c, unsigned side, path_t path, bool is_dir)
{
    struct rec r = { .op = is_dir ? OP_RMTREE : OP_UNLINK, .path = path, .is_dir = is_dir };
    send_rec(w, c, side, &r);
}

static inline void
fix_make(struct world *w, struct conn *c, unsigned side, const struct ent *e)
{
    struct rec r = { .path = e->path, .obj = e->obj, .ver = e->ver, .is_dir = e->dir != 0 };
    r.op = r.is_dir ? OP_MKDIR : OP_PUT;
    send_rec(w, c, side, &r);
}

/* What was called `path` at seq, as it is called at the tail. */
static inline path_t
path_now(struct node *n, path_t path, uint64_t seq)
{
    for (uint64_t i = seq + 1; i <= n->mem.tail; i++) {
        const struct rec *r = journal_at(&n->mem, i);
        if (r->op == OP_RENAME && r->is_dir && path_in(path, r->other))
            path = path_moved(path, r->other, r->path);
    }
    return path;
}

/* A name that only the peer has: a primary journals its removal, so that it is a record's word. A
 * standby that feeds another one has no word of its own and passes on what it knows. */
static inline void
remove_extra(struct world *w, struct conn *c, unsigned side, path_t path, bool is_dir, uint64_t seq)
{
    struct node *n = node_of(w, c, side);
    struct rec r = { .op = is_dir ? OP_RMTREE : OP_UNLINK, .is_dir = is_dir };
    if (n->mem.role != WIRE_ROLE_PRIMARY) {
        if (!broken(w, BROKEN_FEEDER_SILENT))
            fix_remove(w, c, side, path, is_dir);
        return;
    }
    r.path = path_now(n, path, seq);
    if (r.path == 0 || tree_find(&n->mem.index, r.path) != NULL)
        return;
    node_append(w, n, r);
    node_commit(n);
}

static inline void
fix_dir(struct world *w, struct conn *c, unsigned side, struct ask *a)
{
    struct sess *s = &c->sess[side];
    path_t path = a->dir == ROOT_DIR ? 0 : tree_dir_path(&s->snapshot, a->dir);
    const struct ent *self = tree_find(&s->snapshot, path);
    if (a->dir != ROOT_DIR && self == NULL)
        return;
    if (a->verdict == WIRE_DIR_ABSENT && self != NULL)
        fix_make(w, c, side, self);
    for (unsigned i = 0; i < a->theirs.count; i++) {
        struct ent *t = &a->theirs.ents[i];
        path_t name = path_join(path, path_last(t->path));
        const struct ent *e = tree_find(&s->snapshot, name);
        if (e == NULL)
            remove_extra(w, c, side, name, t->dir != 0, s->cursor);
        else if ((e->dir != 0) != (t->dir != 0))
            fix_remove(w, c, side, name, t->dir != 0);
        t->path = name;
    }
    for (unsigned i = 0; i < s->snapshot.count; i++) {
        const struct ent *e = &s->snapshot.ents[i], *t = tree_find(&a->theirs, e->path);
        if (path_up(e->path) == path && (t == NULL || !ent_same(e, t)))
            fix_make(w, c, side, e);
    }
}

static inline bool
is_touched(const struct world *w, const struct node *n, const struct ask *a)
{
    return !broken(w, BROKEN_TOUCHED) && n->touched[a->dir % TOUCHED_MAX] > a->seq;
}

/* What was told of a directory that records changed since does not count: it is asked again. */
static inline void
walk_fix(struct world *w, struct conn *c, unsigned side)
{
    struct sess *s = &c->sess[side];
    if (node_of(w, c, side)->full)
        return; /* removals could not be journalled */
    for (unsigned i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &s->asks[i];
        if (a->state != ASK_ANSWERED || queue_room(c, side) < QUEUE_MAX / 2)
            continue;
        if (is_touched(w, node_of(w, c, side), a)) {
            send_ask(w, c, side, a);
            continue;
        }
        if (a->verdict != WIRE_DIR_SAME)
            fix_dir(w, c, side, a);
        a->state = ASK_FREE;
        send_commit(w, c, side);
        s->walk_run = s->run;
    }
}

static inline void
walk_step(struct world *w, struct conn *c, unsigned side)
{
    struct sess *s = &c->sess[side];
    walk_fix(w, c, side);
    bool asked = false;
    for (unsigned i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &s->asks[i];
        if (a->state == ASK_FREE)
            walk_choose(w, c, side, a);
        asked = asked || a->state != ASK_FREE;
    }
    if (asked || s->need_count > 0 || s->cursor != node_of(w, c, side)->disk.tail)
        return;
    send_msg(c, side, &(struct msg){ .type = M_SYNC_DONE });
    send_commit(w, c, side);
    s->syncing = false;
}

/* Every directory before the oldest question is level, once the peer has the fix-ups. */
static inline void
walk_save(struct world *w, struct conn *c, unsigned side)
{
    struct sess *s = &c->sess[side];
    struct node *n = node_of(w, c, side);
    struct place_of_sync *place = &n->mem.places[c->node[1 - side]];
    if (!s->syncing || n->mem.role != WIRE_ROLE_PRIMARY)
        return;
    bool all = s->unacked == 0 || broken(w, BROKEN_PLACE_EARLY);
    uint32_t next = all ? s->walk.next : place->next;
    for (unsigned i = 0; i < ASKS_MAX; i++)
        if (s->asks[i].state != ASK_FREE && s->asks[i].dir < next)
            next = s->asks[i].dir;
    uint32_t before = place->base == s->walk.base ? place->next : ROOT_DIR;
    *place = s->walk;
    place->next = next > before ? next : before;
    node_commit(n);
}

/* --- names the peer needs --- */

/* The primary journals the name again, as it is, so that who follows the peer learns of it too. */
static inline void
journal_again(struct world *w, struct node *n, path_t path)
{
    for (unsigned depth = 1; depth <= 3; depth++)
        for (unsigned i = 0; i < n->mem.index.count; i++) {
            const struct ent *e = &n->mem.index.ents[i];
            if (path_depth(e->path) != depth || !path_in(e->path, path))
                continue;
            struct rec r = { .path = e->path, .obj = e->obj, .ver = e->ver, .is_dir = e->dir != 0 };
            r.op = r.is_dir ? OP_MKDIR : OP_PUT;
            node_append(w, n, r);
        }
    node_commit(n);
}

static inline void
send_again(struct world *w, struct conn *c, unsigned side, path_t path)
{
    struct tree *t = &c->sess[side].snapshot;
    for (unsigned depth = 1; depth <= 3; depth++)
        for (unsigned i = 0; i < t->count; i++)
            if (path_depth(t->ents[i].path) == depth && path_in(t->ents[i].path, path))
                fix_make(w, c, side, &t->ents[i]);
}

/* What the peer has under a name that is a file here: it goes, and the file comes again. */
static inline void
journal_removal(struct world *w, struct node *n, path_t path, bool is_dir, uint32_t obj,
                uint32_t ver)
{
    node_append(
        w, n, (struct rec){ .op = is_dir ? OP_RMTREE : OP_UNLINK, .path = path, .is_dir = is_dir });
    node_append(w, n, (struct rec){ .op = OP_PUT, .path = path, .obj = obj, .ver = ver });
}

static inline void
answer_needs(struct world *w, struct conn *c, unsigned side)
{
    struct sess *s = &c->sess[side];
    struct node *n = node_of(w, c, side);
    bool primary = n->mem.role == WIRE_ROLE_PRIMARY;
    if (n->full)
        return;
    while (s->need_count > 0 && queue_room(c, side) > QUEUE_MAX / 2) {
        struct rec need = s->needs[--s->need_count];
        struct tree *index = primary ? &n->mem.index : &s->snapshot;
        path_t path = primary ? path_now(n, need.path, need.seq) : need.path;
        const struct ent *e = tree_find(index, path);
        if (e == NULL)
            remove_extra(w, c, side, need.path, need.is_dir, need.seq);
        else if (need.is_dir && e->dir == 0 && primary)
            journal_removal(w, n, path, true, e->obj, e->ver);
        else if (need.is_dir && e->dir == 0)
            fix_remove(w, c, side, path, true);
        if (primary)
            journal_again(w, n, path);
        else
            send_again(w, c, side, path);
    }
    send_commit(w, c, side);
}

/* --- the loop --- */

/* It has all records it acknowledged, and all that was there before them. */
static inline bool
peer_is_level(const struct sess *s)
{
    return !s->syncing && (s->decision.act == LINK_SEND || s->unacked == 0);
}

static inline void
take_ack(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct sess *s = &c->sess[side];
    struct node *n = node_of(w, c, side);
    s->unacked = (unsigned)(s->run - m->run);
    if (m->seq > s->acked)
        s->acked = m->seq;
    if (peer_is_level(s))
        for (unsigned i = 0; i < n->waiter_count;) {
            struct waiter *waiter = &n->waiters[i];
            if (waiter->seq > s->acked) {
                i++;
                continue;
            }
            w->confirmed[waiter->obj] = true;
            *waiter = n->waiters[--n->waiter_count];
        }
    walk_save(w, c, side);
}

static inline void
take_answer(struct sess *s, const struct msg *m)
{
    for (unsigned i = 0; i < ASKS_MAX; i++)
        if (s->asks[i].state == ASK_SENT && s->asks[i].dir == m->dir) {
            s->asks[i].state = ASK_ANSWERED;
            s->asks[i].verdict = m->verdict;
            s->asks[i].theirs = m->list;
        }
}

static inline void
take_need(struct sess *s, const struct rec *need)
{
    for (unsigned i = 0; i < s->need_count; i++)
        if (s->needs[i].path == need->path)
            return;
    if (s->need_count < NEEDS_MAX)
        s->needs[s->need_count++] = *need;
}

static inline void
sender_handle(struct world *w, struct conn *c, unsigned side, const struct msg *m)
{
    struct sess *s = &c->sess[side];
    if (m->type == M_ACK)
        take_ack(w, c, side, m);
    else if (m->type == M_ANSWER)
        take_answer(s, m);
    else if (m->type == M_NEED)
        take_need(s, &m->rec);
    else if (m->type == M_FETCHED)
        take_fetched(w, c, side, m);
}

static inline bool
sync_waits(const struct sess *s)
{
    for (unsigned i = 0; i < ASKS_MAX; i++)
        if (s->asks[i].state != ASK_SENT)
            return false;
    return s->need_count == 0;
}

static inline void
sender_step(struct world *w, struct conn *c, unsigned side)
{
    struct node *n = node_of(w, c, side);
    struct sess *s = &c->sess[side];
    if (queue_room(c, side) < QUEUE_MAX / 2 || waits_for_held(w, n, c->node[1 - side]))
        return;
    struct link_view view = {
        .durable_tail = s->snapshot_tail,
        .cursor = s->cursor,
        .acked_durable = s->acked,
        .window_bytes = s->unacked,
        .window_max = WINDOW_MAX,
        .sync_pending = s->syncing || s->need_count > 0,
        .sync_waiting = s->syncing && sync_waits(s),
        .recover_pending = n->mem.role == WIRE_ROLE_PRIMARY && !s->fetching &&
                           to_fetch(n, c->node[1 - side]) != NULL,
    };
    enum link_work work = link_next(&view);
    if (broken(w, BROKEN_SYNC_ANYTIME) && view.sync_pending && !view.sync_waiting)
        work = LINK_WORK_SYNC;
    if (broken(w, BROKEN_RECOVER_FIRST) && view.recover_pending)
        work = LINK_WORK_RECOVER;
    if (work == LINK_WORK_RUN)
        send_run(w, c, side);
    else if (work == LINK_WORK_RECOVER)
        fetch_step(w, c, side);
    else if (work == LINK_WORK_SYNC && s->need_count > 0)
        answer_needs(w, c, side);
    else if (work == LINK_WORK_SYNC)
        walk_step(w, c, side);
    if (work != LINK_WORK_RUN)
        snapshot_take(n, s);
}

#endif
