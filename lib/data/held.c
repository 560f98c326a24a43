/* held.c - the table held of the state database: names whose content or existence a power loss may
 * have taken. A row lives and moves with its row in entries. */
#include "lib/data/state_private.h"

#include <string.h>

static void
held_encode(const struct state_held *held, struct buf *out)
{
    buf_add_u8(out, held->kind);
    buf_add_le64(out, held->seq);
    buf_add_le64(out, held->newest);
    buf_add_le64(out, held->size);
    buf_add_le64(out, (uint64_t)held->mtime_ns);
    buf_add_span16(out, held->left);
    buf_add(out, held->without.ptr, held->without.len);
}

static int
held_decode(struct span row, struct state_held *ret_held, struct err *e)
{
    struct reader r = reader_of(row);
    ret_held->kind = reader_u8(&r);
    ret_held->seq = reader_le64(&r);
    ret_held->newest = reader_le64(&r);
    ret_held->size = reader_le64(&r);
    ret_held->mtime_ns = (int64_t)reader_le64(&r);
    ret_held->left = reader_span16(&r);
    ret_held->without = r.rest;
    bool known = ret_held->kind == STATE_HELD_LOST || ret_held->kind == STATE_HELD_DOUBT;
    if (r.failed || !known)
        return err_set(e, ERR_CORRUPT, "the row of a held name is malformed");
    return 0;
}

int
state_held_get(struct state_txn *txn, uint64_t dir, struct span name, struct state_held *ret_held,
               struct err *e)
{
    struct entry_key key;
    struct span row;
    int found = table_get(txn, TABLE_HELD, entry_key(&key, dir, name), &row, e);
    if (found <= 0)
        return found;
    *ret_held = (struct state_held){ .dir = dir, .name = name };
    return held_decode(row, ret_held, e) < 0 ? -1 : 1;
}

int
state_held_put(struct state_txn *txn, const struct state_held *held, struct err *e)
{
    struct entry_key key;
    _cleanup_buf_ struct buf row = { 0 }; /* its spans may point into the row that is replaced */
    held_encode(held, &row);
    return table_put(txn, TABLE_HELD, entry_key(&key, held->dir, held->name), buf_span(&row), e);
}

int
state_held_del(struct state_txn *txn, uint64_t dir, struct span name, struct err *e)
{
    struct entry_key key;
    return table_del(txn, TABLE_HELD, entry_key(&key, dir, name), e);
}

int
state_held_next(struct state_txn *txn, uint64_t dir, struct span after, struct state_held *ret_held,
                struct err *e)
{
    uint8_t from[ENTRY_KEY_MAX + 1];
    struct span found_key;
    struct span row;
    int found = table_seek(txn, TABLE_HELD, entry_key_above(from, dir, after), &found_key, &row, e);
    if (found <= 0)
        return found;
    if (found_key.len <= 8 || found_key.len > ENTRY_KEY_MAX)
        return err_set(e, ERR_CORRUPT, "a held name has a key of %zu bytes", found_key.len);
    *ret_held = (struct state_held){ .dir = get_be64(found_key.ptr),
                                     .name = span_from(found_key, 8, found_key.len - 8) };
    return held_decode(row, ret_held, e) < 0 ? -1 : 1;
}

uint64_t
state_held_count(struct state_txn *txn)
{
    MDB_stat stat;
    return mdb_stat(txn->mdb, txn->state->tables[TABLE_HELD], &stat) == 0 ? stat.ms_entries : 0;
}

int
state_held_clear(struct state_txn *txn, struct err *e)
{
    int rc = mdb_drop(txn->mdb, txn->state->tables[TABLE_HELD], 0);
    return rc == 0 ? 0 : state_failed(e, txn->state, rc, "empty the list of held names");
}

bool
state_held_without(const struct state_held *held, struct span node)
{
    struct reader r = reader_of(held->without);
    while (!r.failed && r.rest.len > 0) {
        if (span_equal(reader_span16(&r), node))
            return true;
    }
    return false;
}

/* --- in step with entries --- */

int
held_follow(struct state_txn *txn, struct span from, struct span to, struct err *e)
{
    struct span row;
    if (state_held_count(txn) == 0)
        return 0;
    int found = table_get(txn, TABLE_HELD, from, &row, e);
    if (found <= 0)
        return found;
    _cleanup_buf_ struct buf copy = { 0 };
    buf_add(&copy, row.ptr, row.len);
    if (table_del(txn, TABLE_HELD, from, e) < 0)
        return -1;
    return to.len == 0 ? 0 : table_put(txn, TABLE_HELD, to, buf_span(&copy), e);
}
