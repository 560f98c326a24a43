#include "tests/unit/state_kit.h"

#include "tests/unit/dies.h"

static uint64_t
append(struct db *db, struct state_txn *txn, uint64_t seq, const char *path)
{
    struct record r = db_put_record(path);
    r.seq = seq;
    r.epoch = seq != 0 ? 9 : 0;
    db_must(db, state_append(txn, &r, &db->e));
    return r.seq;
}

/* --- numbers --- */

TEST(appended_records_get_the_next_number_and_the_epoch)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    state_meta(txn)->epoch = 3;
    CHECK_INT(append(db, txn, 0, "a"), 1);
    CHECK_INT(append(db, txn, 0, "b"), 2);
    db_commit(db, txn);
    txn = db_begin(db, true);
    CHECK_INT(append(db, txn, 0, "c"), 3);
    CHECK_INT(state_meta(txn)->tail, 3);
    db_commit(db, txn);

    struct record r;
    txn = db_begin(db, false);
    CHECK_INT(state_record(txn, 3, &r, &db->e), 1);
    CHECK_INT(r.epoch, 3);
    CHECK(span_equal(r.path, span_str("c")));
    CHECK(span_equal(r.handle, span_of("\1\0\0\0handle", 10)));
    CHECK_INT(state_record(txn, 4, &r, &db->e), 0);
    CHECK_INT(state_record(txn, UINT64_MAX, &r, &db->e), 0);
    state_abort(&txn);
    db_free(db);
}

TEST(copied_records_keep_number_and_epoch_and_may_leave_gaps)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct record r;
    state_meta(txn)->epoch = 3;
    append(db, txn, 255, "a");
    append(db, txn, 256, "b"); /* the order of numbers, not of their lowest bytes */
    append(db, txn, 70000, "c");
    CHECK_INT(state_meta(txn)->oldest, 255);
    CHECK_INT(state_record(txn, 0, &r, &db->e), 1);
    CHECK_INT(r.seq, 255);
    CHECK_INT(r.epoch, 9);
    CHECK_INT(state_record(txn, 256, &r, &db->e), 1);
    CHECK_INT(r.seq, 256);
    CHECK_INT(state_record(txn, 257, &r, &db->e), 1);
    CHECK_INT(r.seq, 70000);
    CHECK_INT(append(db, txn, 0, "d"), 70001);
    db_commit(db, txn);
    db_free(db);
}

static struct db *used_up;

static void
append_below_the_tail(void)
{
    db_open(used_up);
    struct state_txn *txn = db_begin(used_up, true);
    append(used_up, txn, 5, "a");
    append(used_up, txn, 5, "b");
}

TEST(a_number_is_never_given_twice)
{
    used_up = db_new(NULL);
    state_free(&used_up->state);
    CHECK(dies(append_below_the_tail));
    db_free(used_up);
}

/* --- damage --- */

TEST(every_wrong_byte_in_a_row_is_refused_by_number)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    append(db, txn, 0, "first");
    append(db, txn, 0, "second");
    db_commit(db, txn);
    struct key64 key = key64_of(2);
    size_t len = 1;
    for (size_t at = 0; at < len; at++) {
        struct span row;
        uint8_t bad[256];
        struct record r;
        txn = db_begin(db, true);
        CHECK_INT(table_get(txn, TABLE_RECORDS, span_of(key.raw, 8), &row, &db->e), 1);
        len = row.len;
        memcpy(bad, row.ptr, len);
        bad[at] ^= 4;
        db_must(db, table_put(txn, TABLE_RECORDS, span_of(key.raw, 8), span_of(bad, len), &db->e));
        CHECK_INT(state_record(txn, 1, &r, &db->e), 1);
        CHECK_INT(state_record(txn, 2, &r, &db->e), -1);
        CHECK_INT(db->e.code, ERR_CORRUPT);
        CHECK_CONTAINS(db->e.text, "journal record 2: ");
        state_abort(&txn);
    }
    CHECK(len > 80);
    db_free(db);
}

TEST(a_row_in_another_s_place_is_refused)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct span row;
    struct record r;
    uint8_t copy[256];
    append(db, txn, 0, "first");
    struct key64 first = key64_of(1);
    struct key64 second = key64_of(2);
    CHECK_INT(table_get(txn, TABLE_RECORDS, span_of(first.raw, 8), &row, &db->e), 1);
    memcpy(copy, row.ptr, row.len);
    db_must(db,
            table_put(txn, TABLE_RECORDS, span_of(second.raw, 8), span_of(copy, row.len), &db->e));
    CHECK_INT(state_record(txn, 2, &r, &db->e), -1);
    CHECK_STR(db->e.text, "journal record 1 lies in the place of 2");
    uint8_t long_key[9] = { 0 };
    db_must(db, table_put(txn, TABLE_RECORDS, span_of(long_key, 9), span_of(copy, 9), &db->e));
    CHECK_INT(state_record(txn, 0, &r, &db->e), -1);
    CHECK_STR(db->e.text, "a journal row has a key of 9 bytes");
    state_abort(&txn);
    db_free(db);
}

/* --- trimming --- */

/* oldest, tail and log_bytes say what is there. */
static void
check_log(struct db *db)
{
    struct state_txn *txn = db_begin(db, false);
    const struct state_meta *meta = state_meta(txn);
    uint64_t bytes = 0;
    uint64_t count = 0;
    struct record r = { 0 };
    for (uint64_t from = 0;; from = r.seq + 1) {
        int found = state_record(txn, from, &r, &db->e);
        db_must(db, found);
        if (found == 0)
            break;
        CHECK(r.seq >= meta->oldest && r.seq <= meta->tail);
        _cleanup_buf_ struct buf row = { 0 };
        record_encode(&r, &row);
        bytes += row.len;
        count++;
    }
    CHECK_INT(meta->log_bytes, bytes);
    if (count == 0)
        CHECK_INT(meta->oldest, meta->tail + 1);
    else
        CHECK_INT(r.seq, meta->tail);
    if (count > 0 && count == meta->tail - meta->oldest + 1) /* no gap: oldest is there */
        CHECK_INT(state_record(txn, meta->oldest, &r, &db->e), 1);
    CHECK(db->opts.journal_max == 0 || meta->log_bytes <= db->opts.journal_max);
    state_abort(&txn);
}

TEST(trimming_keeps_the_newest_that_fit_and_knows_the_oldest)
{
    struct state_opts opts = { .map_size = 64 << 20, .journal_max = 5000, .no_sync = true };
    struct db *db = db_new(&opts);
    unsigned seed = 1;
    char path[1001] = { 0 };
    uint64_t tail = 0;
    for (unsigned i = 0; i < 400; i++) {
        struct state_txn *txn = db_begin(db, true);
        for (unsigned n = 0; n <= i % 7; n++) {
            seed = seed * 1103515245u + 12345u;
            memset(path, 0, sizeof(path));
            for (unsigned k = 0; k < 1 + seed % 999; k++)
                path[k] = k % 100 == 99 ? '/' : 'p';
            path[strlen(path) - 1] = 'e';
            tail += 1 + (i % 3 == 0 ? seed % 5 : 0);
            append(db, txn, tail, path);
        }
        db_commit(db, txn);
        check_log(db);
    }
    struct state_txn *txn = db_begin(db, false);
    CHECK(state_meta(txn)->log_bytes > 3000); /* and not more than needed */
    state_abort(&txn);
    db_free(db);
}

TEST(a_record_beyond_the_bound_leaves_an_empty_journal)
{
    struct state_opts opts = { .map_size = 64 << 20, .journal_max = 50, .no_sync = true };
    struct db *db = db_new(&opts);
    for (uint64_t seq = 1; seq < 4; seq++) {
        struct state_txn *txn = db_begin(db, true);
        append(db, txn, 0, "a");
        CHECK_INT(state_meta(txn)->tail, seq);
        CHECK_INT(state_meta(txn)->oldest, seq + 1);
        db_commit(db, txn);
        check_log(db);
    }
    db_free(db);
}

TEST(a_lowered_bound_is_reached_in_small_steps)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    for (unsigned i = 0; i < 3000; i++)
        append(db, txn, 0, "a");
    uint64_t bytes = state_meta(txn)->log_bytes;
    db_commit(db, txn);
    db->opts.journal_max = 10 * (bytes / 3000);
    db_reopen(db);
    const uint64_t oldest[] = { 1025, 2049, 2994, 2995 };
    for (size_t i = 0; i < ARRAY_LEN(oldest); i++) {
        txn = db_begin(db, true);
        append(db, txn, 0, "a");
        CHECK_INT(state_meta(txn)->oldest, oldest[i]);
        db_commit(db, txn);
    }
    check_log(db);
    db_free(db);
}

TEST(a_reset_journal_begins_behind_the_given_number)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct record r;
    append(db, txn, 0, "a");
    append(db, txn, 0, "b");
    db_must(db, state_log_reset(txn, 500, &db->e));
    CHECK_INT(state_meta(txn)->tail, 500);
    CHECK_INT(state_meta(txn)->oldest, 501);
    CHECK_INT(state_record(txn, 0, &r, &db->e), 0);
    db_commit(db, txn);
    check_log(db);
    txn = db_begin(db, true);
    CHECK_INT(append(db, txn, 0, "c"), 501);
    db_must(db, state_log_reset(txn, 10, &db->e)); /* also backwards: another history */
    CHECK_INT(append(db, txn, 0, "d"), 11);
    db_commit(db, txn);
    check_log(db);
    db_free(db);
}
