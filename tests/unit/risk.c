#include "replicator/risk.h"
#include "tests/unit/state_kit.h"

static char mail_name[] = "mail", sieve_name[] = "sieve", users[] = "*/*";
static struct conf_store stores[] = {
    { .name = mail_name, .kind = STORE_MAILDIR, .users = users },
    { .name = sieve_name, .kind = STORE_FILES },
};
static const struct conf conf = { .stores = stores, .store_count = 2 };

static void
append(struct db *db, struct state_txn *txn, struct record r)
{
    r.attr.mode = r.op == OP_EPOCH ? 0 : S_IFREG | 0600;
    r.time_ns = 1000;
    db_must(db, state_append(txn, &r, &db->e));
}

static void
put(struct db *db, struct state_txn *txn, const char *path, bool late)
{
    append(db, txn, (struct record){ .op = OP_PUT, .path = span_str(path), .late = late });
}

static void
check_user(const struct risk *risk, size_t index, const char *user, uint64_t messages,
           uint64_t changes)
{
    assert_true(index < risk->user_count);
    const struct risk_user *u = &risk->users[index];
    if (!span_equal(u->user, span_str(user)) || u->messages != messages || u->changes != changes)
        fail_msg("%zu: %.*s has %u messages, %u changes", index, (int)u->user.len,
                 (const char *)u->user.ptr, (unsigned)u->messages, (unsigned)u->changes);
}

/* Eight records of two users and of nobody. */
static void
some_mail(struct db *db)
{
    struct state_txn *txn = db_begin(db, true);
    put(db, txn, "d/ada/new/1.a.h", false);
    put(db, txn, "d/ada/dovecot-uidlist", true);
    put(db, txn, "d/bob/cur/2.a.h:2,S", false);
    append(db, txn,
           (struct record){ .op = OP_RENAME,
                            .path = span_str("d/ada/cur/1.a.h:2,S"),
                            .other = span_str("d/ada/new/1.a.h") });
    append(db, txn,
           (struct record){ .op = OP_LINK,
                            .path = span_str("d/bob/.Sent/cur/2.a.h:2,S"),
                            .other = span_str("d/bob/cur/2.a.h:2,S") });
    append(db, txn, (struct record){ .op = OP_EPOCH });
    append(db, txn, (struct record){ .op = OP_UNLINK, .path = span_str("d/ada/cur/1.a.h:2,S") });
    append(db, txn, (struct record){ .op = OP_PUT, .store = 1, .path = span_str("x/script") });
    db_must(db, state_commit(&txn, &db->e));
}

TEST(what_no_other_node_has_is_told_by_user_with_its_messages)
{
    struct db *db = db_new(NULL);
    some_mail(db);
    struct state_txn *txn = db_begin(db, false);
    struct risk risk;
    db_must(db, risk_count(&conf, txn, 0, &risk, &db->e));
    CHECK_INT(risk.messages, 3);
    CHECK_INT(risk.changes, 7);
    CHECK_INT(risk.since_ns, 1000);
    CHECK(risk.complete);
    CHECK_INT(risk.user_count, 3);
    check_user(&risk, 0, "d/bob", 2, 2);
    check_user(&risk, 1, "d/ada", 1, 4);
    check_user(&risk, 2, "", 0, 1);
    risk_free(&risk);
    state_abort(&txn);
    db_free(db);
}

TEST(what_another_node_has_is_not_at_risk)
{
    struct db *db = db_new(NULL);
    some_mail(db);
    struct state_txn *txn = db_begin(db, false);
    struct risk risk;
    db_must(db, risk_count(&conf, txn, 4, &risk, &db->e));
    CHECK_INT(risk.messages, 1);
    CHECK_INT(risk.changes, 3);
    risk_free(&risk);
    db_must(db, risk_count(&conf, txn, 8, &risk, &db->e));
    CHECK_INT(risk.changes, 0);
    CHECK_INT(risk.since_ns, 0);
    CHECK(risk.complete);
    risk_free(&risk);
    db_must(db, risk_count(&conf, txn, 100, &risk, &db->e)); /* a node ahead of this one */
    CHECK_INT(risk.changes, 0);
    risk_free(&risk);
    state_abort(&txn);
    db_free(db);
}

TEST(a_journal_that_was_cut_says_that_there_is_more)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    db_must(db, state_log_reset(txn, 100, &db->e));
    put(db, txn, "d/ada/new/1.a.h", false);
    struct risk risk;
    db_must(db, risk_count(&conf, txn, 40, &risk, &db->e));
    CHECK_INT(risk.messages, 1);
    CHECK(!risk.complete);
    risk_free(&risk);
    db_must(db, risk_count(&conf, txn, 100, &risk, &db->e));
    CHECK(risk.complete);
    risk_free(&risk);
    state_abort(&txn);
    db_free(db);
}
