#include "replicator/epochs.h"

#include "replicator/link.h"
#include "replicator/receiver.h"

#include <string.h>
#include <time.h>

static size_t
self_index(const struct conf *conf)
{
    size_t index = 0;
    while (index < conf->node_count && strcmp(conf->nodes[index].name, conf->self) != 0)
        index++;
    return index;
}

/* Rows of the list up to the tail: an epoch that was told of and never reached is not in this
 * node's past. */
static size_t
epochs_reached(struct span row, uint64_t tail)
{
    size_t count = row.len / LEDGER_EPOCH_ROW;
    while (count > 0 && get_le64(row.ptr + (count - 1) * LEDGER_EPOCH_ROW + 8) > tail)
        count--;
    return count;
}

int
epochs_own_since(const struct daemon *d, struct state_txn *txn, uint64_t epoch, bool *ret_own,
                 struct err *e)
{
    struct span row = { 0 };
    *ret_own = false;
    if (state_get(txn, LEDGER_EPOCHS, &row, e) < 0)
        return -1;
    for (size_t at = 0; row.len - at >= LEDGER_EPOCH_ROW; at += LEDGER_EPOCH_ROW) {
        uint64_t one = get_le64(row.ptr + at);
        *ret_own |= one > epoch &&
                    link_epoch_index(one, d->conf->node_count) == self_index(d->conf);
    }
    return 0;
}

int
epochs_after(struct state_txn *txn, uint64_t epoch, uint64_t *ret_epoch, uint64_t *ret_first,
             struct err *e)
{
    struct span row = { 0 };
    if (state_get(txn, LEDGER_EPOCHS, &row, e) < 0)
        return -1;
    for (size_t at = 0; row.len - at >= LEDGER_EPOCH_ROW; at += LEDGER_EPOCH_ROW) { /* rising */
        *ret_epoch = get_le64(row.ptr + at);
        *ret_first = get_le64(row.ptr + at + 8);
        if (*ret_epoch > epoch)
            return 1;
    }
    return 0;
}

int
epochs_append(struct state_txn *txn, bool whole, struct err *e)
{
    struct state_meta *meta = state_meta(txn);
    struct span row = { 0 };
    _cleanup_buf_ struct buf list = { 0 };
    if (state_get(txn, LEDGER_EPOCHS, &row, e) < 0)
        return -1;
    if (whole)
        buf_add(&list, row.ptr, epochs_reached(row, meta->tail) * LEDGER_EPOCH_ROW);
    buf_add_le64(&list, meta->epoch);
    buf_add_le64(&list, meta->tail + 1);
    if (state_put(txn, LEDGER_EPOCHS, buf_span(&list), e) < 0)
        return -1;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct record r = { .op = OP_EPOCH };
    r.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return state_append(txn, &r, e);
}

int
epochs_next(const struct daemon *d, struct state_txn *txn, uint64_t *ret_epoch, struct err *e)
{
    uint64_t heard;
    if (state_epoch_heard(txn, &heard, e) < 0)
        return -1;
    *ret_epoch = link_next_epoch(MAX(state_meta(txn)->epoch, heard), self_index(d->conf),
                                 d->conf->node_count);
    return 0;
}
