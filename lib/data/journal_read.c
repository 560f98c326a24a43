#include "lib/data/journal_read.h"

#include "lib/data/state_private.h"
#include "lib/os/file.h"

#include <stdlib.h>
#include <unistd.h>

#define ROWS_AT_A_TIME 4096
#define KEY_ROOM       512 /* LMDB's longest key is 511 bytes */
#define MAGIC_AT       16  /* behind the header of the first page */
#define MAGIC          0xBEEFC0DEu

struct journal_read {
    MDB_env *env;
    MDB_dbi table;
    MDB_txn *txn;
    MDB_cursor *cursor;
    uint8_t last[KEY_ROOM]; /* the key that was read last */
    size_t last_len;
    bool begun;
    unsigned rows; /* since the transaction was begun anew */
};

bool
journal_read_knows(struct span start)
{
    return start.len >= MAGIC_AT + 4 && get_le32(start.ptr + MAGIC_AT) == MAGIC;
}

static int
failed(struct err *e, int rc, const char *doing)
{
    bool damage = rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID;
    return err_set(e, damage ? ERR_CORRUPT : ERR_IO, "%s: %s", doing, mdb_strerror(rc));
}

/* A copy has no table of readers beside it, and is given none. */
static unsigned
flags_for(const char *path)
{
    _cleanup_free_ char *lock = xasprintf("%s-lock", path);
    unsigned flags = MDB_RDONLY | MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD;
    return access(lock, F_OK) == 0 ? flags : flags | MDB_NOLOCK;
}

/* The table's handle outlives the transaction that opened it only when that is committed. */
static int
open_table(struct journal_read *r, struct err *e)
{
    int rc = mdb_txn_begin(r->env, NULL, MDB_RDONLY, &r->txn);
    if (rc != 0)
        return failed(e, rc, "begin to read");
    rc = mdb_dbi_open(r->txn, "records", 0, &r->table);
    if (rc == MDB_NOTFOUND)
        return err_set(e, ERR_CORRUPT, "this LMDB file is no state database: it has no records");
    if (rc != 0)
        return failed(e, rc, "open its records");
    rc = mdb_txn_commit(r->txn);
    r->txn = NULL;
    if (rc == 0)
        rc = mdb_txn_begin(r->env, NULL, MDB_RDONLY, &r->txn);
    if (rc == 0)
        rc = mdb_cursor_open(r->txn, r->table, &r->cursor);
    return rc == 0 ? 0 : failed(e, rc, "read its records");
}

static int
open_all(struct journal_read *r, const char *path, struct err *e)
{
    int rc = mdb_env_create(&r->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(r->env, TABLE_COUNT);
    if (rc == 0)
        rc = mdb_env_open(r->env, path, flags_for(path), 0600);
    return rc == 0 ? open_table(r, e) : failed(e, rc, "open it as a state database");
}

int
journal_read_open(const char *path, struct journal_read **ret_read, struct err *e)
{
    struct journal_read *r = xcalloc(1, sizeof(*r));
    if (open_all(r, path, e) < 0) {
        journal_read_free(&r);
        return -1;
    }
    *ret_read = r;
    return 0;
}

void
journal_read_free(struct journal_read **read)
{
    struct journal_read *r = *read;
    if (r == NULL)
        return;
    if (r->cursor != NULL)
        mdb_cursor_close(r->cursor);
    if (r->txn != NULL)
        mdb_txn_abort(r->txn);
    if (r->env != NULL)
        mdb_env_close(r->env);
    free(r);
    *read = NULL;
}

/* What a transaction sees is kept for it: it is let go now and then. */
static int
begin_anew(struct journal_read *r, struct err *e)
{
    r->rows = 0;
    mdb_txn_reset(r->txn);
    int rc = mdb_txn_renew(r->txn);
    if (rc == 0)
        rc = mdb_cursor_renew(r->txn, r->cursor);
    return rc == 0 ? 0 : failed(e, rc, "go on with the records as they are now");
}

/* The first row behind the last one, which may have gone meanwhile. 1, 0, or LMDB's code. */
static int
seek(struct journal_read *r, MDB_val *key, MDB_val *value)
{
    if (!r->begun)
        return mdb_cursor_get(r->cursor, key, value, MDB_FIRST);
    *key = val_of(span_of(r->last, r->last_len));
    int rc = mdb_cursor_get(r->cursor, key, value, MDB_SET_RANGE);
    bool same = rc == 0 && span_equal(span_of_val(*key), span_of(r->last, r->last_len));
    return same ? mdb_cursor_get(r->cursor, key, value, MDB_NEXT) : rc;
}

static int
check(struct span key, struct span row, uint64_t *ret_seq, struct record *ret_record, struct err *e)
{
    *ret_seq = key.len == 8 ? get_be64(key.ptr) : 0;
    if (key.len != 8)
        return err_set(e, ERR_CORRUPT, "its key has %zu bytes, not 8", key.len);
    if (record_decode(row, ret_record, e) < 0)
        return -1;
    if (ret_record->seq != *ret_seq)
        return err_set(e, ERR_CORRUPT, "it is record %llu, in the place of another",
                       (unsigned long long)ret_record->seq);
    return 0;
}

int
journal_read_next(struct journal_read *r, uint64_t *ret_seq, struct record *ret_record,
                  struct err *e)
{
    MDB_val key, value;
    if (r->rows == ROWS_AT_A_TIME && begin_anew(r, e) < 0)
        return -1;
    int rc = seek(r, &key, &value);
    if (rc == MDB_NOTFOUND)
        return JOURNAL_READ_END;
    if (rc != 0)
        return failed(e, rc, "read the next record");
    struct span name = span_of_val(key);
    r->begun = true;
    r->rows++;
    r->last_len = MIN(name.len, sizeof(r->last));
    memcpy(r->last, name.ptr, r->last_len);
    bool good = check(name, span_of_val(value), ret_seq, ret_record, e) == 0;
    return good ? JOURNAL_READ_RECORD : JOURNAL_READ_DAMAGED;
}
