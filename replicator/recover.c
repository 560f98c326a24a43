#include "replicator/recover.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "replicator/compare_private.h"
#include "replicator/recover_private.h"

#include <limits.h>

int
recover_each(struct recovery *r,
             int (*each)(struct recovery *r, const struct record *record, struct err *e),
             struct err *e)
{
    struct state_txn *txn = r->c->txn;
    _cleanup_buf_ struct buf copy = { 0 }; /* what is done for a record may move its row */
    for (uint64_t seq = state_meta(txn)->checkpoint + 1;;) {
        struct record record;
        int found = state_record(txn, seq, &record, e);
        if (found <= 0)
            return found;
        seq = record.seq + 1;
        if (record.store >= r->c->node->store_count || record.op == OP_EPOCH)
            continue;
        buf_reset(&copy);
        record_encode(&record, &copy);
        if (record_decode(buf_span(&copy), &record, e) < 0 || each(r, &record, e) < 0)
            return -1;
    }
}

/* --- where a record's name is now --- */

/* A directory that was renamed by a later record took the names below it along: store, seq, the old
 * and the new path (span16) of each. */
static int
note_move(struct recovery *r, const struct record *record, struct err *e)
{
    (void)e;
    if (record->op != OP_RENAME || !S_ISDIR(record->attr.mode))
        return 0;
    buf_add_le16(&r->moves, record->store);
    buf_add_le64(&r->moves, record->seq);
    buf_add_span16(&r->moves, record->other);
    buf_add_span16(&r->moves, record->path);
    return 0;
}

static void
move_along(struct buf *path, struct span from, struct span to)
{
    if (!path_is_below(buf_span(path), from))
        return;
    _cleanup_buf_ struct buf moved = { 0 };
    buf_add(&moved, to.ptr, to.len);
    buf_add(&moved, path->ptr + from.len, path->len - from.len);
    buf_reset(path);
    buf_add(path, moved.ptr, moved.len);
}

/* The path at the journal's end of what the record calls record->path. */
static void
path_now(const struct recovery *r, const struct record *record, struct buf *ret_path)
{
    buf_reset(ret_path);
    buf_add(ret_path, record->path.ptr, record->path.len);
    struct reader moves = reader_of(buf_span(&r->moves));
    while (moves.rest.len > 0) {
        uint16_t store = reader_le16(&moves);
        uint64_t seq = reader_le64(&moves);
        struct span from = reader_span16(&moves);
        struct span to = reader_span16(&moves);
        if (store == record->store && seq > record->seq)
            move_along(ret_path, from, to);
    }
}

/* --- what is held --- */

/* Between which records the object's content came. What it had before the checkpoint, the disk had
 * too: a node that has not come as far as the first record has nothing of it that was lost. */
static int
note_object(struct recovery *r, const struct record *record, struct err *e)
{
    (void)e;
    if (record->handle.len == 0)
        return 0;
    struct hint *first = hints_add(&r->first, record->store, record->handle, 0);
    if (first->due_ms == 0)
        first->due_ms = record->seq;
    if (record->op == OP_PUT)
        hints_add(&r->newest, record->store, record->handle, 0)->due_ms = record->seq;
    return 0;
}

/* As far as an earlier loss held it already, that counts too. */
static int
put_held(struct recovery *r, uint16_t store, struct state_held *held, struct span handle,
         const struct look *look, struct err *e)
{
    struct state_txn *txn = r->c->txn;
    struct state_held before;
    int found = state_held_get(txn, held->dir, held->name, &before, e);
    if (found < 0)
        return -1;
    held->seq = hints_add(&r->first, store, handle, 0)->due_ms;
    held->newest = hints_add(&r->newest, store, handle, 0)->due_ms;
    if (found > 0) {
        held->seq = MIN(held->seq, before.seq);
        held->newest = MAX(held->newest, before.newest);
        held->kind = MIN(held->kind, before.kind); /* lost is the first */
        held->without = before.without;
    }
    if (look->exists) {
        held->left = attrs_handle_span(&look->handle);
        held->size = look->attr.size;
        held->mtime_ns = look->attr.mtime_ns;
    }
    return state_held_put(txn, held, e);
}

static int
look_in(struct recovery *r, uint64_t dir, const char *name, struct look *ret_look, struct err *e)
{
    struct place *place;
    *ret_look = (struct look){ 0 };
    int found = places_get(r->c->places, r->c->txn, dir, &place, e);
    if (found > 0)
        found = look_at(place->fd, name, ret_look, e);
    return found < 0 ? -1 : 0;
}

/* 1 lost, 2 in doubt, 0 all there. */
static int
what_is_left(struct recovery *r, const struct record *record, uint64_t dir, const char *name,
             const struct known *known, const struct look *look, struct err *e)
{
    bool same = look_same_object(look, &known->entry);
    if (look_is_less(look, &known->entry))
        return STATE_HELD_LOST;
    if (S_ISDIR(look->attr.mode) && same)
        return recover_was_made(r, look) ? STATE_HELD_LOST : 0;
    int lives = S_ISDIR(look->attr.mode)
                    ? compare_object_lives(r->c, record->store, known->entry.handle, e)
                    : 1;
    if (lives < 0)
        return -1;
    if (lives == 0) {
        int rc = compare_adopt_dir(r->c, record->store, dir, span_str(name), known, look, e);
        return rc < 0 ? -1 : STATE_HELD_LOST; /* its attributes, at least */
    }
    bool written = hints_add(&r->newest, record->store, known->entry.handle, 0)->due_ms != 0;
    return same && written && look->attr.size > 0 ? STATE_HELD_DOUBT : 0;
}

/* Above it a directory may be gone as well: compare_absent_held() finds that. */
static int
hold_at(struct recovery *r, const struct record *record, uint64_t dir, struct span last,
        struct err *e)
{
    char name[PATH_NAME_MAX + 1] = "";
    struct known known;
    struct look look;
    memcpy(name, last.ptr, last.len);
    int found = known_get(r->c->txn, dir, span_str(name), &known, e);
    if (found <= 0)
        return found;
    if (look_in(r, dir, name, &look, e) < 0)
        return -1;
    struct span handle = known.entry.handle;
    int kind = what_is_left(r, record, dir, name, &known, &look, e);
    if (kind <= 0)
        return kind;
    struct state_held held = { .dir = dir, .name = span_str(name), .kind = (uint8_t)kind };
    return put_held(r, record->store, &held, handle, &look, e);
}

static int
hold(struct recovery *r, const struct record *record, struct err *e)
{
    bool takes = record->op == OP_UNLINK || record->op == OP_RMTREE;
    if (takes || record->path.len == 0)
        return 0;
    _cleanup_buf_ struct buf path = { 0 };
    uint64_t dir;
    struct span name;
    path_now(r, record, &path);
    int found = state_resolve(r->c->txn, record->store, buf_span(&path), &dir, &name, e);
    return found > 0 ? hold_at(r, record, dir, name, e) : found;
}

/* --- all of it --- */

static int
recover(struct recovery *r, struct err *e)
{
    if (recover_each(r, recover_redo, e) < 0 || recover_each(r, note_move, e) < 0 ||
        recover_each(r, note_object, e) < 0)
        return -1;
    places_forget(r->c->places);
    return recover_each(r, hold, e);
}

int
recover_begin(struct compare *c, struct err *e)
{
    uint8_t boot[16];
    node_boot_id(boot);
    struct state_meta *meta = state_meta(c->txn);
    /* Called before the new run marks itself: both still tell of the last one. In the same boot
     * only the daemon died, and what is gone was deleted by somebody. */
    if (meta->clean || memcmp(boot, meta->boot_id, sizeof(boot)) == 0)
        return 0;
    struct recovery r = { .c = c };
    hints_init(&r.first);
    hints_init(&r.newest);
    int rc = recover(&r, e);
    if (rc >= 0 && (r.redone > 0 || recover_pending(c->txn) > 0))
        event(EV_SUSPECT, F_U64("held", recover_pending(c->txn)), F_U64("redone", r.redone));
    hints_free(&r.first);
    hints_free(&r.newest);
    buf_free(&r.made);
    buf_free(&r.moves);
    return rc < 0 ? err_wrap(e, "recover from a power loss") : 0;
}

uint64_t
recover_pending(struct state_txn *txn)
{
    return state_held_count(txn);
}
