/* Names that a power loss took: a row keeps what it says, and goes where its name goes. */
#include "tests/unit/state_kit.h"

static void
hold(struct db *db, struct state_txn *txn, uint64_t dir, const char *name, uint64_t seq)
{
    struct state_held held = { .dir = dir, .name = span_str(name), .kind = STATE_HELD_LOST };
    held.seq = seq;
    held.left = span_str("left");
    db_must(db, state_held_put(txn, &held, &db->e));
}

static void
check_seq(struct db *db, struct state_txn *txn, uint64_t dir, const char *name, uint64_t seq)
{
    struct state_held held;
    int found = state_held_get(txn, dir, span_str(name), &held, &db->e);
    db_must(db, found);
    CHECK_INT(found, seq != 0);
    if (found > 0)
        CHECK_INT(held.seq, seq);
}

TEST(held_names_are_read_in_order_and_come_back_after_a_restart)
{
    static const char *const names[] = { "a", "b", "b\1", "b\xff" };
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = db_make_dir(db, txn, 0, 0, "", "filesys:root");
    uint64_t sub = db_mkdir(db, txn, 0, root, "sub", 9);
    for (size_t i = ARRAY_LEN(names); i-- > 0;) {
        hold(db, txn, root, names[i], i + 1);
        hold(db, txn, sub, names[i], i + 11);
    }
    db_commit(db, txn);
    db_reopen(db);
    txn = db_begin(db, false);
    CHECK_INT(state_held_count(txn), 2 * ARRAY_LEN(names));
    struct state_held held = { .name = span_str("") };
    for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
        size_t n = i % ARRAY_LEN(names);
        CHECK_INT(state_held_next(txn, held.dir, held.name, &held, &db->e), 1);
        CHECK_INT(held.dir, i < ARRAY_LEN(names) ? root : sub);
        CHECK(span_equal(held.name, span_str(names[n])));
        CHECK_INT(held.seq, i < ARRAY_LEN(names) ? n + 1 : n + 11);
    }
    CHECK_INT(state_held_next(txn, held.dir, held.name, &held, &db->e), 0);
    state_abort(&txn);
    db_free(db);
}

TEST(a_held_name_goes_where_its_entry_goes)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = db_make_dir(db, txn, 0, 0, "", "filesys:root");
    uint64_t sub = db_mkdir(db, txn, 0, root, "sub", 9);
    db_put_entry(db, txn, root, "a", 10, 0);
    db_put_entry(db, txn, sub, "b", 11, 0);
    db_put_entry(db, txn, sub, "c", 12, 0);
    hold(db, txn, root, "a", 1);
    hold(db, txn, sub, "b", 2);
    hold(db, txn, sub, "c", 3);
    db_must(db, state_entry_move(txn, root, span_str("a"), sub, span_str("b"), &db->e));
    check_seq(db, txn, root, "a", 0);
    check_seq(db, txn, sub, "b", 1); /* and what was there before went with its object */
    db_must(db, state_entry_move(txn, root, span_str("sub"), root, span_str("moved"), &db->e));
    check_seq(db, txn, sub, "b", 1);
    db_put_entry(db, txn, sub, "b", 10, 0); /* the same object: its row was only written again */
    check_seq(db, txn, sub, "b", 1);
    db_put_entry(db, txn, sub, "c", 13, 0);
    check_seq(db, txn, sub, "c", 0);
    hold(db, txn, sub, "c", 4);
    db_must(db, state_entry_del(txn, root, span_str("moved"), &db->e));
    CHECK_INT(state_held_count(txn), 0);
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(who_has_a_held_name_not_is_kept)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct state_held held = { .dir = 7, .name = span_str("a"), .kind = STATE_HELD_DOUBT };
    _cleanup_buf_ struct buf without = { 0 };
    buf_add_span16(&without, span_str("mx2"));
    buf_add_span16(&without, span_str("dr"));
    held.without = buf_span(&without);
    db_must(db, state_held_put(txn, &held, &db->e));
    CHECK_INT(state_held_get(txn, 7, span_str("a"), &held, &db->e), 1);
    CHECK(state_held_without(&held, span_str("mx2")));
    CHECK(state_held_without(&held, span_str("dr")));
    CHECK(!state_held_without(&held, span_str("mx")));
    db_must(db, state_held_put(txn, &held, &db->e)); /* from its own spans */
    CHECK_INT(state_held_get(txn, 7, span_str("a"), &held, &db->e), 1);
    CHECK(state_held_without(&held, span_str("dr")));
    db_must(db, state_held_clear(txn, &db->e));
    CHECK_INT(state_held_get(txn, 7, span_str("a"), &held, &db->e), 0);
    db_commit(db, txn);
    db_free(db);
}

TEST(malformed_rows_of_held_names_are_refused)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    hold(db, txn, 7, "a", 1);
    uint8_t key[9] = { 0, 0, 0, 0, 0, 0, 0, 7, 'a' };
    struct span row;
    struct state_held held;
    uint8_t copy[64];
    CHECK_INT(table_get(txn, TABLE_HELD, span_of(key, 9), &row, &db->e), 1);
    size_t len = row.len;
    memcpy(copy, row.ptr, len);
    for (size_t cut = 0; cut < len; cut++) {
        db_must(db, table_put(txn, TABLE_HELD, span_of(key, 9), span_of(copy, cut), &db->e));
        CHECK_INT(state_held_get(txn, 7, span_str("a"), &held, &db->e), -1);
        CHECK_INT(db->e.code, ERR_CORRUPT);
    }
    copy[0] = 3;
    db_must(db, table_put(txn, TABLE_HELD, span_of(key, 9), span_of(copy, len), &db->e));
    CHECK_INT(state_held_next(txn, 0, span_str(""), &held, &db->e), -1);
    copy[0] = STATE_HELD_LOST;
    db_must(db, table_put(txn, TABLE_HELD, span_of(key, 8), span_of(copy, len), &db->e));
    CHECK_INT(state_held_next(txn, 0, span_str(""), &held, &db->e), -1);
    CHECK_INT(db->e.code, ERR_CORRUPT);
    state_abort(&txn);
    db_free(db);
}
