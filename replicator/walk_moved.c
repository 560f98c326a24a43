/* walk_moved.c - records that go out while the peer is asked: what it said before of the names they
 * name does not count, and what they moved is compared by a fix-up where it is by then. */
#include "replicator/walk_private.h"

#include "lib/base/path.h"

#include <sys/stat.h>

/* --- answers --- */

static bool
is_open(const struct ask *a)
{
    return a->state > ASK_WANTED;
}

/* Of what another thread or the peer has in hand the end is waited for. */
static bool
is_away(const struct ask *a)
{
    return a->state == ASK_READING || a->state == ASK_SENT || a->state == ASK_REREADING;
}

static void
make_void(struct ask *a)
{
    a->moved = true;
    if (!is_away(a))
        a->state = ASK_WANTED;
}

/* A directory moves, and with it what is below: of the answer neither the old path nor the new one
 * holds, also when it comes back. */
static void
touch_moved(struct walk *w, uint16_t store, struct span path)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if (!is_open(a) || a->store != store || !path_is_below(buf_span(&a->path), path))
            continue;
        make_void(a);
    }
}

void
ask_mark(struct hints *names, struct span name)
{
    if (names->slot_count == 0)
        hints_init(names);
    hints_add(names, 0, name, 1);
}

bool
ask_has(const struct hints *names, struct span name)
{
    return names->slot_count != 0 && hints_what(names, 0, name) != 0;
}

static void
touch_name(struct walk *w, uint16_t store, struct span path)
{
    struct span parent = path_parent(path);
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if (!is_open(a) || a->store != store)
            continue;
        if (span_equal(buf_span(&a->path), path))
            ask_mark(&a->touched, span_str(""));
        else if (path.len > 0 && span_equal(buf_span(&a->path), parent))
            ask_mark(&a->touched, path_name(path));
    }
}

bool
ask_touched(const struct ask *a, struct span name)
{
    return ask_has(&a->touched, name);
}

/* --- what moved --- */

/* Names are those of the day: where a directory moves, what is below it moves along. */
static void
rename_recheck(struct walk *w, const struct record *record)
{
    struct buf renamed = { 0 };
    struct reader r = reader_of(buf_span(&w->recheck));
    while (r.rest.len > 0) {
        _cleanup_buf_ struct buf path = { 0 };
        uint16_t store = reader_le16(&r);
        struct span then = reader_span16(&r);
        buf_add(&path, then.ptr, then.len);
        if (store == record->store)
            path_move(&path, record->other, record->path);
        buf_add_le16(&renamed, store);
        buf_add_span16(&renamed, buf_span(&path));
    }
    buf_free(&w->recheck);
    w->recheck = renamed;
}

static void
rename_moved(struct walk *w, const struct record *record)
{
    struct hints renamed;
    _cleanup_buf_ struct buf path = { 0 };
    hints_init(&renamed);
    for (size_t i = 0; i < hints_count(&w->moved); i++) {
        const struct hint *hint = hints_at(&w->moved, i);
        buf_reset(&path);
        buf_add(&path, hints_name(&w->moved, hint), hint->name_len);
        if (hint->dir == record->store)
            path_move(&path, record->other, record->path);
        hints_add(&renamed, hint->dir, buf_span(&path), 1);
    }
    hints_free(&w->moved);
    w->moved = renamed;
}

/* It may have left its directory before the peer was asked about that, and what differs of it went
 * along. What an empty peer has was made with all that belongs to it. */
static void
note_moved(struct walk *w, const struct record *r)
{
    if (r->op == OP_RENAME && !w->opts.peer_empty)
        hints_add(&w->moved, r->store, r->path, 1);
    if (!S_ISREG(r->attr.mode))
        return;
    buf_add_le16(&w->recheck, r->store);
    buf_add_span16(&w->recheck, r->path);
}

void
walk_touch(struct walk *w, const struct record *r)
{
    bool is_dir = S_ISDIR(r->attr.mode);
    touch_name(w, r->store, r->path);
    if (r->op == OP_RENAME) {
        touch_name(w, r->store, r->other);
        if (is_dir) {
            touch_moved(w, r->store, r->path);
            touch_moved(w, r->store, r->other);
            rename_recheck(w, r);
            rename_moved(w, r);
        }
    }
    bool linked = r->op == OP_RENAME || r->op == OP_LINK;
    if (r->seq != 0 && linked && (is_dir || S_ISREG(r->attr.mode)) && w->opts.mode == WALK_SYNC)
        note_moved(w, r);
}

/* What the index has under the path, and the directory it is in. */
static int
entry_at(struct state_txn *txn, uint16_t store, struct span path, uint64_t *ret_dir,
         struct state_entry *ret_entry, struct err *e)
{
    struct span name;
    int found = state_resolve(txn, store, path, ret_dir, &name, e);
    return found > 0 ? state_entry_get(txn, *ret_dir, name, ret_entry, e) : found;
}

/* Its attributes alone: content that differs has another size or time, and the record that moves it
 * does not fit then (NEED). */
static int
fix_moved(struct walk *w, struct state_txn *txn, uint16_t store, struct span path,
          struct reclist *out, struct err *e)
{
    uint64_t dir;
    struct state_entry entry;
    int found = entry_at(txn, store, path, &dir, &entry, e);
    if (found <= 0 || dir >= w->next) /* it is gone, or will be compared */
        return found < 0 ? -1 : 0;
    struct record r = { .op = S_ISDIR(entry.attr.mode) ? OP_MKDIR : OP_META,
                        .store = store,
                        .path = path,
                        .attr = entry.attr,
                        .handle = entry.handle };
    if (S_ISDIR(entry.attr.mode) || S_ISREG(entry.attr.mode))
        reclist_add(out, &r);
    return 0;
}

int
walk_fix_moved(struct walk *w, struct reclist *out, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (hints_count(&w->moved) == 0)
        return 0;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    if (state_meta(txn)->tail != w->ship->cursor)
        return 1; /* records came in: they are shipped first */
    while (hints_count(&w->moved) > 0 && reclist_count(out) < FIX_NAMES_MAX) {
        const struct hint *hint = hints_at(&w->moved, hints_count(&w->moved) - 1);
        struct span path = span_of(hints_name(&w->moved, hint), hint->name_len);
        if (fix_moved(w, txn, (uint16_t)hint->dir, path, out, e) < 0)
            return -1;
        hints_pop(&w->moved);
    }
    return 0;
}

static bool
is_under_way(const struct walk *w, uint64_t dir)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (w->asks[i].state != ASK_FREE && w->asks[i].dir == dir)
            return true;
    }
    return false;
}

/* A file with several names came to a directory that was level: its names may be one there and not
 * here, or the other way round. */
int
walk_choose_again(struct walk *w, struct state_txn *txn, struct err *e)
{
    struct ask *free;
    struct reader r = reader_of(buf_span(&w->recheck));
    while (r.rest.len > 0 && (free = walk_free_ask(w)) != NULL) {
        uint16_t store = reader_le16(&r);
        struct span path = reader_span16(&r);
        uint64_t dir;
        struct state_entry entry;
        int found = entry_at(txn, store, path, &dir, &entry, e);
        if (found < 0)
            return -1;
        if (found > 0 && entry.nlink > 1 && dir < w->next && !is_under_way(w, dir))
            walk_want(w, free, dir, store);
    }
    buf_consume(&w->recheck, w->recheck.len - r.rest.len);
    return 0;
}
