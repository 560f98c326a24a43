#include "replicator/receiver.h"

#include "lib/base/path.h"

#include <stdlib.h>
#include <sys/stat.h>

#define EPOCHS_KEY "epochs"

int
ledger_open(struct ledger *l, struct node *node, struct err *e)
{
    *l = (struct ledger){ .node = node };
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(node->state, false, &txn, e) < 0)
        return -1;
    l->tail = state_meta(txn)->tail;
    struct span row;
    int found = state_get(txn, LEDGER_MARKER_VOID, &row, e);
    l->marker_void = found > 0;
    return found < 0 ? -1 : 0;
}

void
ledger_free(struct ledger *l)
{
    state_abort(&l->txn);
    reclist_free(&l->run);
}

static int
writable(struct ledger *l, struct err *e)
{
    return l->txn != NULL ? 0 : state_begin(l->node->state, true, &l->txn, e);
}

int
ledger_commit(struct ledger *l, struct err *e)
{
    if (l->txn == NULL)
        return 0;
    l->unwritten = 0;
    return state_commit(&l->txn, e);
}

static int
put_epochs(struct ledger *l, const struct wire_start *start, struct err *e)
{
    _cleanup_buf_ struct buf row = { 0 };
    for (uint16_t i = 0; i < start->epoch_count; i++) {
        buf_add_le64(&row, start->epochs[i].epoch);
        buf_add_le64(&row, start->epochs[i].first_seq);
    }
    return state_put(l->txn, EPOCHS_KEY, buf_span(&row), e);
}

static int
put_root(struct ledger *l, uint16_t store, struct err *e)
{
    if (state_root(l->txn, store) != 0)
        return 0;
    struct state_dir dir = { .store = store };
    return node_root_row(l->node, &dir, l->txn, e);
}

int
ledger_start(struct ledger *l, const struct wire_start *start, bool fresh, struct err *e)
{
    if (writable(l, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(l->txn);
    bool sync = start->mode == WIRE_MODE_SYNC;
    memcpy(meta->history, start->history, sizeof(meta->history));
    meta->epoch = start->epoch;
    meta->role = WIRE_ROLE_STANDBY;
    meta->sync_base = sync ? start->sync_base : 0;
    meta->clean = 0;
    node_boot_id(meta->boot_id);
    if (sync && (meta->tail != start->from || meta->tail == 0) &&
        state_log_reset(l->txn, start->from, e) < 0)
        return -1;
    if (fresh)
        meta->indexed = 1; /* empty now, and every operation from here on is noted */
    l->tail = meta->tail;
    for (uint16_t i = 0; i < l->node->store_count; i++) {
        if (put_root(l, i, e) < 0)
            return -1;
    }
    if (put_epochs(l, start, e) < 0 || state_del(l->txn, "accept_sync", e) < 0)
        return -1;
    if (l->marker_void && state_put(l->txn, LEDGER_MARKER_VOID, span_str("1"), e) < 0)
        return -1;
    return ledger_commit(l, e);
}

int
ledger_marker_counts(struct ledger *l, struct err *e)
{
    l->marker_void = false;
    if (writable(l, e) < 0 || state_del(l->txn, LEDGER_MARKER_VOID, e) < 0)
        return -1;
    return ledger_commit(l, e);
}

int
ledger_sync_done(struct ledger *l, struct err *e)
{
    if (writable(l, e) < 0)
        return -1;
    state_meta(l->txn)->sync_base = 0;
    return 0;
}

/* --- the index follows --- */

static int
index_dir(struct ledger *l, uint64_t parent, struct span name, const struct applied *a,
          uint64_t *ret_id, struct err *e)
{
    uint8_t handle[WATCH_HANDLE_MAX];
    struct state_entry old;
    int found = state_entry_get(l->txn, parent, name, &old, e);
    if (found < 0)
        return -1;
    memcpy(handle, l->node->stores[a->record->store].fsid, WATCH_FSID_SIZE);
    memcpy(handle + WATCH_FSID_SIZE, a->handle.ptr, a->handle.len);
    struct state_dir dir = { .parent = parent, .store = a->record->store, .attr = a->attr };
    dir.mtime_ns = STATE_DIR_UNSEEN;
    dir.id = found > 0 && old.ino == a->ino ? old.dir : 0;
    dir.name = name;
    dir.handle = span_of(handle, WATCH_FSID_SIZE + a->handle.len);
    if (state_dir_put(l->txn, &dir, e) < 0)
        return -1;
    *ret_id = dir.id;
    return 0;
}

static int
index_present(struct ledger *l, uint64_t parent, struct span name, const struct applied *a,
              struct err *e)
{
    struct state_entry entry = {
        .attr = a->attr, .ctime_ns = a->ctime_ns, .ino = a->ino, .nlink = 1, .handle = a->handle
    };
    if (S_ISDIR(a->attr.mode) && index_dir(l, parent, name, a, &entry.dir, e) < 0)
        return -1;
    if (!S_ISREG(a->attr.mode))
        entry.attr.size = 0;
    return state_entry_put(l->txn, parent, name, &entry, e);
}

/* 1 moved, 0 the index does not know the old name. */
static int
index_moved(struct ledger *l, const struct record *r, uint64_t new_parent, struct span new_name,
            struct err *e)
{
    uint64_t dir;
    struct span name;
    struct state_entry entry;
    int found = state_resolve(l->txn, r->store, r->other, &dir, &name, e);
    if (found > 0)
        found = state_entry_get(l->txn, dir, name, &entry, e);
    if (found <= 0)
        return found;
    return state_entry_move(l->txn, dir, name, new_parent, new_name, e) < 0 ? -1 : 1;
}

/* A parent that is not in the index was made on the way (a sync names it later, or a later record
 * moved it): what is below it is found by the sweep of a promotion. */
static int
index_note(struct ledger *l, const struct applied *a, struct err *e)
{
    const struct record *r = a->record;
    uint64_t parent;
    struct span name;
    if (r->op == OP_EPOCH || r->path.len == 0)
        return 0;
    int found = state_resolve(l->txn, r->store, r->path, &parent, &name, e);
    if (found <= 0)
        return found;
    /* SKIPPED: moved before a crash that the state did not live to see */
    bool moved = r->op == OP_RENAME && a->result != APPLY_NEED;
    int known = moved ? index_moved(l, r, parent, name, e) : 0;
    if (known < 0)
        return -1;
    if (known > 0 && !a->exists)
        return 0; /* a later record of the run moves it on, with all that is below it */
    if (a->exists)
        return index_present(l, parent, name, a, e);
    if (a->result == APPLY_NEED)
        return 0;
    return state_entry_del(l->txn, parent, name, e);
}

/* The journal keeps the record with this node's own handle, for a standby that follows this one. */
static void
run_note(struct ledger *l, const struct applied *a)
{
    struct record r = *a->record;
    r.handle = a->exists ? a->handle : (struct span){ 0 };
    reclist_add(&l->run, &r);
}

struct numbered {
    uint64_t seq;
    size_t index;
};

static int
by_number(const void *a, const void *b)
{
    const struct numbered *x = a;
    const struct numbered *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int
journal_note(struct ledger *l, size_t index, struct err *e)
{
    struct record r;
    reclist_get(&l->run, index, &r);
    if (r.seq <= l->tail)
        return 0; /* from before a crash: applied, and written then */
    l->tail = r.seq;
    if (r.op == OP_EPOCH)
        state_meta(l->txn)->epoch = MAX(state_meta(l->txn)->epoch, r.epoch);
    return state_append(l->txn, &r, e);
}

int
ledger_run_end(struct ledger *l, struct err *e)
{
    size_t count = reclist_count(&l->run);
    if (count == 0)
        return 0;
    _cleanup_free_ struct numbered *order = xcalloc(count, sizeof(*order));
    for (size_t i = 0; i < count; i++) {
        struct record r;
        reclist_get(&l->run, i, &r);
        order[i] = (struct numbered){ .seq = r.seq, .index = i };
    }
    qsort(order, count, sizeof(*order), by_number);
    int rc = writable(l, e);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = journal_note(l, order[i].index, e);
    reclist_clear(&l->run);
    return rc;
}

int
ledger_note(struct ledger *l, const struct applied *a, struct err *e)
{
    if (writable(l, e) < 0)
        return -1;
    l->unwritten++;
    if (a->record->seq != 0)
        run_note(l, a);
    return index_note(l, a, e);
}
