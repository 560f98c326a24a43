#include "replicator/receiver.h"

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

int
ledger_start(struct ledger *l, const struct wire_start *start, bool fresh, struct err *e)
{
    if (ledger_writable(l, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(l->txn);
    bool sync = start->mode == WIRE_MODE_SYNC;
    bool other = memcmp(meta->history, start->history, sizeof(meta->history)) != 0;
    if (other && state_epoch_forget(l->txn, e) < 0) /* it counted the promotions of the old one */
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
    return 0;
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
    return ledger_index(l, a, e);
}
