#include "replicator/receiver.h"
#include "replicator/salvage.h"

#include <stdlib.h>

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

int
ledger_writable(struct ledger *l, struct err *e)
{
    return l->txn != NULL ? 0 : state_begin(l->node->state, true, &l->txn, e);
}

int
ledger_commit(struct ledger *l, struct err *e)
{
    if (l->txn == NULL)
        return 0;
    l->unwritten = 0;
    l->unnumbered = false;
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
    return state_put(l->txn, LEDGER_EPOCHS, buf_span(&row), e);
}

static int
put_root(struct ledger *l, uint16_t store, struct err *e)
{
    if (state_root(l->txn, store) != 0)
        return 0;
    struct state_dir dir = { .store = store };
    return node_root_row(l->node, &dir, l->txn, e);
}

static int
put_behind(struct ledger *l, uint64_t seq, struct err *e)
{
    uint8_t value[8];
    l->behind = seq;
    put_le64(value, seq);
    return state_put(l->txn, LEDGER_BEHIND, span_of(value, sizeof(value)), e);
}

/* What a broken session carried out last may be behind its marker, which is moved after each
 * operation; a record behind that is one that came again. */
static int
note_behind(struct ledger *l, uint64_t marker, struct err *e)
{
    struct span row;
    int found = state_get(l->txn, LEDGER_BEHIND, &row, e);
    if (found <= 0)
        return found < 0 ? -1 : put_behind(l, 0, e);
    return put_behind(l, MAX(marker, row.len == 8 ? get_le64(row.ptr) : 0), e);
}

int
ledger_is_behind(struct state_txn *txn, struct err *e)
{
    struct span row;
    return state_get(txn, LEDGER_BEHIND, &row, e);
}

int
ledger_start(struct ledger *l, const struct wire_start *start, bool fresh, uint64_t marker,
             struct err *e)
{
    if (ledger_writable(l, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(l->txn);
    bool sync = start->mode == WIRE_MODE_SYNC;
    bool other = memcmp(meta->history, start->history, sizeof(meta->history)) != 0;
    if (other && (state_epoch_forget(l->txn, e) < 0 || /* it counted promotions of the old one */
                  state_del(l->txn, SALVAGE_NOTHING, e) < 0))
        return -1;
    memcpy(meta->history, start->history, sizeof(meta->history));
    meta->epoch = start->epoch;
    meta->role = WIRE_ROLE_STANDBY;
    meta->sync_base = sync ? start->sync_base : 0;
    meta->clean = 0;
    node_boot_id(meta->boot_id);
    if (sync && (meta->tail != start->from || meta->tail == 0) &&
        state_log_reset(l->txn, start->from, e) < 0)
        return -1;
    if (state_held_clear(l->txn, e) < 0) /* what it lacks of its own past it is given now */
        return -1;
    if (fresh)
        meta->indexed = 1; /* empty now, and every operation from here on is noted */
    l->tail = meta->tail;
    if (note_behind(l, marker, e) < 0)
        return -1;
    for (uint16_t i = 0; i < l->node->store_count; i++) {
        if (put_root(l, i, e) < 0)
            return -1;
    }
    if (put_epochs(l, start, e) < 0 || state_del(l->txn, LEDGER_ACCEPT_SYNC, e) < 0 ||
        state_del(l->txn, LEDGER_SYNC_FROM, e) < 0) /* the history says now who may go on with it */
        return -1;
    if (l->marker_void && state_put(l->txn, LEDGER_MARKER_VOID, span_str("1"), e) < 0)
        return -1;
    return ledger_commit(l, e);
}

int
ledger_marker_counts(struct ledger *l, struct err *e)
{
    l->marker_void = false;
    if (ledger_writable(l, e) < 0 || state_del(l->txn, LEDGER_MARKER_VOID, e) < 0)
        return -1;
    return ledger_commit(l, e);
}

int
ledger_sync_done(struct ledger *l, struct err *e)
{
    if (ledger_writable(l, e) < 0)
        return -1;
    state_meta(l->txn)->sync_base = 0;
    return put_behind(l, 0, e); /* every directory was read */
}

int
ledger_end(struct ledger *l, struct err *e)
{
    if (ledger_writable(l, e) < 0)
        return -1;
    bool reached = l->behind == 0 || l->tail > l->behind;
    if (reached && state_meta(l->txn)->sync_base == 0 && state_del(l->txn, LEDGER_BEHIND, e) < 0)
        return -1;
    return ledger_commit(l, e);
}

/* The journal keeps the record with this node's own handle, for a standby that follows this one:
 * that of the object which the record brought, whatever has its name by the end of the run. */
static void
run_note(struct ledger *l, const struct applied *a)
{
    struct record r = *a->record;
    r.handle = a->exists && a->certain ? a->handle : (struct span){ 0 };
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
    int rc = ledger_writable(l, e);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = journal_note(l, order[i].index, e);
    reclist_clear(&l->run);
    return rc;
}

int
ledger_note(struct ledger *l, const struct applied *a, struct err *e)
{
    if (ledger_writable(l, e) < 0)
        return -1;
    l->unwritten++;
    if (a->record->seq != 0)
        run_note(l, a);
    else
        l->unnumbered = true;
    return ledger_index(l, a, e);
}
