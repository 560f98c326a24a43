/* journal.c - the records of the state database. A row is an encoded record under its number; its
 * own checksum is looked at with every reading: LMDB has none, and nothing may be deleted on the
 * word of a damaged record. */
#include "lib/data/state_private.h"

#define TRIM_ROWS_MAX 1024 /* of one append, so that no commit grows without bound */

static int
row_decode(struct span key, struct span row, struct record *ret_record, struct err *e)
{
    if (key.len != 8)
        return err_set(e, ERR_CORRUPT, "a journal row has a key of %zu bytes", key.len);
    uint64_t seq = get_be64(key.ptr);
    if (record_decode(row, ret_record, e) < 0)
        return err_wrap(e, "journal record %llu", (unsigned long long)seq);
    if (ret_record->seq != seq)
        return err_set(e, ERR_CORRUPT, "journal record %llu lies in the place of %llu",
                       (unsigned long long)ret_record->seq, (unsigned long long)seq);
    return 0;
}

int
state_record(struct state_txn *txn, uint64_t from, struct record *ret_record, struct err *e)
{
    struct span key;
    struct span row;
    struct key64 start = key64_of(from);
    int found = table_seek(txn, TABLE_RECORDS, span_of(start.raw, 8), &key, &row, e);
    if (found <= 0)
        return found;
    return row_decode(key, row, ret_record, e) < 0 ? -1 : 1;
}

/* Drops the oldest record; *ret_more tells whether there was one. */
static int
trim_one(struct state_txn *txn, bool *ret_more, struct err *e)
{
    struct span key;
    struct span row;
    int found = table_seek(txn, TABLE_RECORDS, span_of("\0\0\0\0\0\0\0\0", 8), &key, &row, e);
    *ret_more = found > 0;
    if (found <= 0)
        return found;
    struct key64 seq = key64_of(get_be64(key.ptr));
    uint64_t size = row.len;
    if (table_del(txn, TABLE_RECORDS, span_of(seq.raw, 8), e) < 0)
        return -1;
    txn->meta.log_bytes -= MIN(size, txn->meta.log_bytes);
    txn->meta.oldest = get_be64(seq.raw) + 1;
    return 0;
}

static int
trim(struct state_txn *txn, struct err *e)
{
    uint64_t max = txn->state->journal_max;
    bool more = true;
    for (int i = 0; more && max != 0 && txn->meta.log_bytes > max && i < TRIM_ROWS_MAX; i++) {
        if (trim_one(txn, &more, e) < 0)
            return err_wrap(e, "trim the journal");
    }
    return 0;
}

int
state_append(struct state_txn *txn, struct record *r, struct err *e)
{
    if (r->seq == 0) {
        r->seq = txn->meta.tail + 1;
        r->epoch = txn->meta.epoch;
    }
    ASSERT(r->seq > txn->meta.tail);
    struct buf *row = &txn->scratch;
    buf_reset(row);
    record_encode(r, row); /* ends in its checksum */

    struct key64 seq = key64_of(r->seq);
    MDB_val key = val_of(span_of(seq.raw, 8));
    MDB_val value = val_of(buf_span(row));
    int rc = mdb_put(txn->mdb, txn->state->tables[TABLE_RECORDS], &key, &value, MDB_APPEND);
    if (rc != 0)
        return state_failed(e, txn->state, rc, "append a record");
    if (txn->meta.log_bytes == 0)
        txn->meta.oldest = r->seq;
    txn->meta.log_bytes += row->len;
    txn->meta.tail = r->seq;
    return trim(txn, e);
}

int
state_log_reset(struct state_txn *txn, uint64_t tail, struct err *e)
{
    int rc = mdb_drop(txn->mdb, txn->state->tables[TABLE_RECORDS], 0);
    if (rc != 0)
        return state_failed(e, txn->state, rc, "empty the journal");
    txn->meta.log_bytes = 0;
    txn->meta.tail = tail;
    txn->meta.oldest = tail + 1;
    return 0;
}
