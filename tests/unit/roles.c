/* What the state and the status say after a change of role. */
#include "replicator/receiver.h"
#include "tests/unit/session_kit.h"

#include <signal.h>
#include <sys/wait.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static struct session_kit *
begin(void)
{
    struct session_kit *k = session_kit_new();
    if (k != NULL)
        session_start(k);
    return k;
}

static json_t *
peer_of(const json_t *status, size_t index)
{
    return json_array_get(json_object_get(status, "peers"), index);
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static const char *
protection_of_first_store(const json_t *status)
{
    return text_of(json_array_get(json_object_get(status, "stores"), 0), "protection");
}

static json_int_t
number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* A standby in epoch 1, at seq 2, whose link ends. */
static void
was_standby(struct session_kit *k)
{
    struct link_io *io = session_link(k, 0);
    add_epoch(primary_hello(k, 0, 5, 0), 5, 90); /* the sender is far ahead */
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    say_start(io, WIRE_MODE_SYNC, 0, 1);
    say_sync_done(io, 1);
    say_mkdir(io, 1, "a");
    say_mkdir(io, 2, "b");
    say_commit(io, 1, 2);
    while (hear_type(io, WIRE_ACK)->ack.run < 1)
        continue;
    link_io_free(&io);
}

TEST(status_is_true_at_once_after_a_promotion)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    was_standby(k);
    snprintf(k->d.why_not_serving, sizeof(k->d.why_not_serving), "deposed by mx2");
    peer_set_state(&k->d.peers[1], PEER_REFUSED, "%s", "of the role before");
    session_must(session_promote(k, true, &e), &e);
    json_t *status = session_status(k);
    CHECK_STR(text_of(status, "role"), "primary");
    CHECK_STR(text_of(status, "state"), "degraded");
    CHECK_INT(number_of(status, "epoch"), 6);
    CHECK_INT(number_of(status, "seq"), 3); /* with the record of the promotion */
    CHECK(json_is_string(json_object_get(status, "degraded_since")));
    CHECK(json_is_string(json_object_get(status, "no_standby_since")));
    CHECK_STR(protection_of_first_store(status), "degraded");
    CHECK_STR(text_of(status, "why"), "");
    for (size_t i = 0; i < 2; i++) {
        CHECK_STR(text_of(peer_of(status, i), "state"), "connecting");
        CHECK_STR(text_of(peer_of(status, i), "why"), "");
        CHECK_INT(number_of(peer_of(status, i), "durable_seq"), 0);
    }
    json_decref(status);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    status = session_status(k);
    CHECK_STR(text_of(status, "role"), "standby");
    CHECK_STR(text_of(status, "state"), "following");
    CHECK(json_is_null(json_object_get(status, "degraded_since")));
    CHECK_STR(protection_of_first_store(status), ""); /* a standby accepts nothing */
    json_decref(status);
    session_kit_free(k);
}

TEST(a_primary_that_starts_says_that_nobody_protects_it)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    session_must(session_promote(k, false, &e), &e);
    session_stop(k);
    session_start(k);
    json_t *status = session_status(k);
    CHECK_STR(text_of(status, "state"), "degraded");
    json_decref(status);
    session_kit_free(k);
}

static void
put_row(struct session_kit *k, const char *key, struct span row)
{
    struct state_txn *txn = NULL;
    struct err e = { 0 };
    session_must(state_begin(k->c->node->state, true, &txn, &e), &e);
    session_must(row.len == 0 ? state_del(txn, key, &e) : state_put(txn, key, row, &e), &e);
    session_must(state_commit(&txn, &e), &e);
}

/* As after an order whose second half failed: the role is there, and nothing is watched. */
TEST(a_promotion_that_is_repeated_ends_what_the_first_order_could_not)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    session_must(session_promote(k, false, &e), &e);
    session_settle(k);
    capture_stop(&k->d.capture);
    put_row(k, "identity", span_str("damaged"));
    CHECK_INT(session_promote(k, false, &e), -1);
    CHECK_CONTAINS(e.text, "cannot serve yet");
    put_row(k, "identity", (struct span){ 0 });
    session_must(session_promote(k, false, &e), &e);
    CHECK(k->d.capture != NULL);
    session_kit_free(k);
}

static void
deliver(struct session_kit *k, const char *path)
{
    int fd = openat(k->c->node->stores[0].root_fd, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
    session_settle(k);
}

/* The row that protection.c keeps, with another date. */
static void
alone_since(struct session_kit *k, uint64_t seconds)
{
    struct state_txn *txn = NULL;
    struct span row = { 0 };
    struct err e = { 0 };
    uint8_t bytes[40];
    session_must(state_begin(k->c->node->state, true, &txn, &e), &e);
    CHECK_INT(state_get(txn, "protection", &row, &e), 1);
    assert_int_equal(row.len, sizeof(bytes));
    memcpy(bytes, row.ptr, sizeof(bytes));
    CHECK(get_le64(bytes + 16) != 0);
    put_le64(bytes + 16, seconds);
    session_must(state_put(txn, "protection", span_of(bytes, sizeof(bytes)), &e), &e);
    session_must(state_commit(&txn, &e), &e);
}

/* The date is the one on which it lost its standby, not that of the last restart; and the mail that
 * it took alone is counted on. */
TEST(how_long_and_with_what_a_primary_is_alone_outlives_a_restart)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    session_must(session_promote(k, false, &e), &e);
    session_settle(k); /* what the first reading of the stores finds is not recorded */
    deliver(k, "one");
    deliver(k, "two"); /* what was noted is kept with the next commit */
    alone_since(k, 1000);
    session_stop(k);
    session_start(k);
    json_t *status = session_status(k);
    CHECK_STR(text_of(status, "degraded_since"), "1970-01-01T00:16:40Z");
    CHECK_INT(number_of(json_object_get(status, "at_risk"), "changes"), 2);
    json_decref(status);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    session_must(session_promote(k, false, &e), &e);
    status = session_status(k); /* what the node knew as the primary of another epoch is over */
    CHECK_INT(number_of(json_object_get(status, "at_risk"), "changes"), 0);
    CHECK(strcmp(text_of(status, "degraded_since"), "1970-01-01T00:16:40Z") != 0);
    json_decref(status);
    session_kit_free(k);
}

/* The node that HELLO says is followed, and whether this node's data may be replaced. */
static void
check_follows(struct session_kit *k, const char *node, bool accepts)
{
    struct err e = { 0 };
    _cleanup_free_ struct wire_hello *hello = xcalloc(1, sizeof(*hello));
    session_must(daemon_hello(&k->d, hello, &e), &e);
    CHECK(span_equal(hello->follow, span_str(node)));
    CHECK_INT(hello->accept_sync, accepts);
}

static void
sync_begins(struct session_kit *k)
{
    struct err e = { 0 };
    struct ledger ledger;
    static const struct wire_start start = { .mode = WIRE_MODE_SYNC, .history = { 7 }, .epoch = 1 };
    session_must(ledger_open(&ledger, k->c->node, &e), &e);
    session_must(ledger_start(&ledger, &start, false, 0, &e), &e);
    ledger_free(&ledger);
}

/* Until that node's START has come: its history tells then who may go on. */
TEST(a_resync_from_a_node_follows_that_node_alone)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    was_standby(k);
    check_follows(k, "", false);
    session_must(session_resync(k, "mx2", &e), &e);
    check_follows(k, "mx2", true);
    session_stop(k);
    session_start(k); /* it is durable */
    check_follows(k, "mx2", true);
    json_t *status = session_status(k);
    CHECK_STR(text_of(status, "sync_from"), "mx2");
    json_decref(status);
    k->nodes[1].name[2] = '9'; /* not configured any more */
    check_follows(k, "", false);
    k->nodes[1].name[2] = '2';
    session_must(session_resync(k, NULL, &e), &e); /* another order */
    check_follows(k, "", true);
    session_must(session_resync(k, "mx1", &e), &e);
    sync_begins(k);
    check_follows(k, "", false);
    session_must(session_resync(k, "mx1", &e), &e);
    session_must(session_promote(k, true, &e), &e);
    check_follows(k, "", false);
    session_kit_free(k);
}

TEST(a_resync_from_a_node_that_cannot_be_followed_is_refused)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    was_standby(k);
    CHECK_INT(session_resync(k, "mx9", &e), -1);
    CHECK_INT(e.code, ERR_USAGE);
    CHECK_INT(session_resync(k, "mx3", &e), -1);
    CHECK_INT(e.code, ERR_USAGE);
    k->nodes[0].follow = k->nodes[2].name;
    CHECK_INT(session_resync(k, "mx1", &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    k->nodes[0].follow = NULL;
    check_follows(k, "", false);
    session_must(session_promote(k, true, &e), &e);
    CHECK_INT(session_resync(k, "mx1", &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    session_kit_free(k);
}

TEST(an_epoch_that_was_never_reached_is_not_in_the_past)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    _cleanup_free_ struct wire_hello *hello = xcalloc(1, sizeof(*hello));
    was_standby(k); /* told of epochs 1 and 5, of which 5 begins at seq 90 */
    session_must(session_promote(k, true, &e), &e);
    session_must(daemon_hello(&k->d, hello, &e), &e);
    CHECK_INT(hello->epoch_count, 2);
    CHECK_INT(hello->epochs[0].epoch, 1);
    CHECK_INT(hello->epochs[1].epoch, 6);
    CHECK_INT(hello->epochs[1].first_seq, 3);
    session_kit_free(k);
}

TEST(an_unfinished_copy_that_is_promoted_by_force_shares_no_past)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    _cleanup_free_ struct wire_hello *hello = xcalloc(1, sizeof(*hello));
    was_standby(k);
    session_must(session_resync(k, NULL, &e), &e); /* from now on nobody knows what it lacks */
    session_must(session_promote(k, true, &e), &e);
    session_must(daemon_hello(&k->d, hello, &e), &e);
    CHECK_INT(hello->epoch_count, 1);
    CHECK_INT(hello->epochs[0].epoch, 6);
    CHECK_INT(hello->sync_base, 0);
    session_kit_free(k);
}

TEST(a_promotion_counts_what_the_stores_have_beyond_the_journal)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    _cleanup_free_ struct wire_hello *hello = xcalloc(1, sizeof(*hello));
    was_standby(k);
    session_stop(k);
    cap_sh(k->c, "cd mail/.mailtwin/applied && mv * %016x.%016x", 7u, 2u);
    session_start(k);
    session_must(session_promote(k, true, &e), &e);
    session_must(daemon_hello(&k->d, hello, &e), &e);
    CHECK_INT(hello->epochs[hello->epoch_count - 1].first_seq, 8);
    session_kit_free(k);
}

static uint64_t
heard_now(struct session_kit *k)
{
    struct state_txn *txn;
    struct err e = { 0 };
    uint64_t heard;
    session_must(state_begin(k->c->node->state, false, &txn, &e), &e);
    session_must(state_epoch_heard(txn, &heard, &e), &e);
    state_abort(&txn);
    return heard;
}

static void
wait_heard(struct session_kit *k, uint64_t epoch)
{
    for (unsigned i = 0; i < 2000 && heard_now(k) != epoch; i++)
        usleep(10000);
    CHECK_INT(heard_now(k), epoch);
}

/* Their UIDs lie beyond the first gap. The row: docs/formats/journal.md. */
TEST(promotions_that_were_heard_of_and_not_followed_widen_the_gaps)
{
    struct session_kit *k = session_kit_new();
    SESSION_NEEDED(k);
    struct state_txn *txn = NULL;
    struct span row = { 0 };
    struct err e = { 0 };
    k->c->conf.uid_gap = 1000;
    session_start(k);
    was_standby(k); /* in epoch 5 */
    session_must(state_begin(k->c->node->state, true, &txn, &e), &e);
    session_must(state_epoch_hear(txn, 7, &e), &e);
    session_must(state_commit(&txn, &e), &e);
    session_must(session_promote(k, true, &e), &e);
    session_must(state_begin(k->c->node->state, false, &txn, &e), &e);
    CHECK_INT(state_get(txn, "identity", &row, &e), 1);
    assert_int_equal(row.len, 50);
    CHECK_INT(get_le32(row.ptr + 16), 3 * 1000);
    CHECK_INT(get_le32(row.ptr + 45), 3 * 10000);
    state_abort(&txn);
    session_kit_free(k);
}

TEST(promotions_of_another_history_do_not_count)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    _cleanup_free_ struct wire_start *start = xcalloc(1, sizeof(*start));
    struct state_txn *txn;
    was_standby(k);
    session_must(state_begin(k->c->node->state, true, &txn, &e), &e);
    session_must(state_epoch_hear(txn, 40, &e), &e);
    session_must(state_commit(&txn, &e), &e);
    for (uint8_t history = 1; history <= 2; history++) {
        struct ledger ledger;
        *start = (struct wire_start){ .mode = WIRE_MODE_SYNC, .epoch = 5, .sync_base = 1 };
        start->history[0] = history;
        session_must(ledger_open(&ledger, k->c->node, &e), &e);
        session_must(ledger_start(&ledger, start, false, 0, &e), &e);
        ledger_free(&ledger);
        CHECK_INT(heard_now(k), history == 1 ? 40 : 0);
    }
    session_kit_free(k);
}

static void
wait_deposed(struct session_kit *k)
{
    for (unsigned i = 0; i < 2000 && atomic_load(&k->d.role) == WIRE_ROLE_PRIMARY; i++)
        usleep(10000);
    CHECK_INT(atomic_load(&k->d.role), WIRE_ROLE_NONE);
}

TEST(a_newer_epoch_is_known_after_a_restart)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    was_standby(k);
    session_must(session_promote(k, true, &e), &e);
    struct link_io *io = session_link(k, 0);
    add_epoch(primary_hello(k, 0, 40, 5), 40, 3);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    wait_deposed(k);
    link_io_free(&io);
    session_stop(k);
    session_start(k);
    CHECK_INT(session_promote(k, false, &e), -1);
    CHECK_CONTAINS(e.text, "deposed");
    session_must(session_promote(k, true, &e), &e);
    CHECK_INT(meta_now(k).epoch, 42); /* the next of the third of three nodes */
    session_kit_free(k);
}

/* A node that followed this one in epoch 6 up to seq 3 and was promoted then. */
static struct link_io *
greet_newer(struct session_kit *k)
{
    struct link_io *io = session_link(k, 0);
    struct wire_hello *hello = primary_hello(k, 0, 40, 5);
    add_epoch(hello, 6, 3);
    add_epoch(hello, 40, 4);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    return io;
}

/* What its mail server did after the last record, and before or after the daemon died, is on its
 * disk alone: a sync must not find it first. */
TEST(a_deposed_primary_looks_at_its_stores_before_it_follows)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    was_standby(k);
    session_must(session_promote(k, true, &e), &e);
    session_settle(k);
    struct link_io *io = greet_newer(k);
    wait_deposed(k);
    link_io_free(&io);
    session_stop(k);
    cap_sh(k->c, "echo alone >mail/alone");
    session_start(k);
    io = greet_newer(k);     /* what is told of it fits, and it could be overwritten */
    CHECK(hear(io) == NULL); /* the link ends */
    link_io_free(&io);
    CHECK_INT(meta_now(k).tail, 4);
    io = greet_newer(k);
    CHECK_INT(hear_type(io, WIRE_REFUSE)->refuse.code, WIRE_REFUSE_DIVERGED);
    link_io_free(&io);
    cap_sh(k->c, "grep -q alone mail/alone");
    session_kit_free(k);
}

static void
say_refuse(struct session_kit *k, struct link_io *io, const char *text)
{
    struct peer_facts facts = { 0 };
    told = (struct wire_msg){ .refuse = { .code = WIRE_REFUSE_FOREIGN, .epoch = 40 } };
    told.refuse.node = span_str("mx1");
    told.refuse.text = span_str(text);
    say(io, WIRE_REFUSE);
    for (unsigned i = 0; i < 2000 && strcmp(facts.text, text) != 0; i++) {
        usleep(10000);
        peer_facts(&k->d.peers[0], &facts);
    }
    CHECK_STR(facts.text, text);
}

static void
main_was_here(void *arg)
{
    sem_post(arg);
}

TEST(a_primary_is_not_deposed_by_an_epoch_of_another_history)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    sem_t sem;
    sem_init(&sem, 0, 0);
    session_must(session_promote(k, false, &e), &e);
    struct link_io *io = session_link(k, 0);
    primary_hello(k, 0, 40, 5);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    CHECK_INT(hear_type(io, WIRE_REFUSE)->refuse.code, WIRE_REFUSE_FOREIGN);
    say_refuse(k, io, "not of our history");
    say_refuse(k, io, "and that is all"); /* the first one is dealt with */
    control_post(k->d.control, main_was_here, &sem);
    cap_wait(&sem);
    CHECK_INT(atomic_load(&k->d.role), WIRE_ROLE_PRIMARY);
    sem_destroy(&sem);
    link_io_free(&io);
    session_kit_free(k);
}

TEST(a_standby_that_did_not_follow_the_newest_primary_is_promoted_by_force_only)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    was_standby(k);
    session_must(session_promote(k, true, &e), &e);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    struct link_io *io = session_link(k, 0);
    add_epoch(primary_hello(k, 0, 40, 5), 40, 3);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    CHECK_INT(hear_type(io, WIRE_REFUSE)->refuse.code, WIRE_REFUSE_DIVERGED);
    wait_heard(k, 40);
    for (unsigned restarts = 0; restarts < 2; restarts++) {
        CHECK_INT(session_promote(k, false, &e), -1);
        CHECK_INT(e.code, ERR_REFUSED);
        CHECK_CONTAINS(e.text, "epoch 40");
        link_io_free(&io);
        session_stop(k);
        session_start(k);
    }
    session_must(session_promote(k, true, &e), &e);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    session_must(session_promote(k, false, &e), &e); /* it is the newest itself */
    session_kit_free(k);
}

TEST(a_peer_without_a_link_shows_why_the_last_one_ended)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = session_link(k, 0);
    struct peer_facts facts;
    primary_hello(k, 0, 1, 0)->cluster = span_str("other");
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    hear_type(io, WIRE_REFUSE);
    peer_facts(&k->d.peers[0], &facts);
    CHECK_INT(facts.state, PEER_REFUSED);
    link_io_free(&io);
    for (unsigned i = 0; i < 2000 && facts.connected_ms != 0; i++) {
        usleep(10000);
        peer_facts(&k->d.peers[0], &facts);
    }
    CHECK_INT(facts.state, PEER_CONNECTING);
    CHECK(strstr(facts.text, "clusters") == NULL && facts.text[0] != '\0');
    session_kit_free(k);
}

/* The daemon, not running now, records a new mail and dies with the host, and the disk has not the
 * mail. */
static void
lose_a_mail_with_the_power(struct session_kit *k)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        cap_start(k->c);
        cap_barrier(k->c);
        cap_sh(k->c, "echo mail >mail/lost");
        cap_barrier(k->c);
        raise(SIGKILL);
    }
    CHECK_INT(waitpid(child, NULL, 0), child);
    cap_sh(k->c, "rm mail/lost && echo 00000000-0000-0000-0000-000000000001 >../boot && "
                 "mount --bind ../boot " BOOT_ID);
}

TEST(a_demoted_node_that_lacks_names_after_a_power_loss_is_unfinished)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    _cleanup_free_ struct wire_hello *hello = xcalloc(1, sizeof(*hello));
    session_must(session_promote(k, false, &e), &e);
    session_settle(k);
    session_stop(k);
    lose_a_mail_with_the_power(k);
    session_start(k);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    session_must(daemon_hello(&k->d, hello, &e), &e);
    CHECK_INT(hello->role, WIRE_ROLE_STANDBY);
    CHECK_INT(hello->sync_base, hello->tail);
    CHECK_INT(session_promote(k, false, &e), -1);
    CHECK_CONTAINS(e.text, "not complete");
    CHECK_INT(umount(BOOT_ID), 0);
    session_kit_free(k);
}

TEST(a_demoted_node_that_lacks_nothing_is_complete)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    session_must(session_promote(k, false, &e), &e);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    CHECK_INT(meta_now(k).sync_base, 0);
    session_must(session_promote(k, false, &e), &e);
    session_kit_free(k);
}
