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
    CHECK_STR(text_of(status, "why"), "");
    for (size_t i = 0; i < 2; i++) {
        CHECK_STR(text_of(peer_of(status, i), "state"), "connecting");
        CHECK_STR(text_of(peer_of(status, i), "why"), "");
        CHECK_INT(number_of(peer_of(status, i), "durable_seq"), 0);
    }
    json_decref(status);
    session_must(session_demote(k, &e), &e);
    status = session_status(k);
    CHECK_STR(text_of(status, "role"), "standby");
    CHECK_STR(text_of(status, "state"), "following");
    CHECK(json_is_null(json_object_get(status, "degraded_since")));
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
    session_must(ledger_start(&ledger, &start, false, &e), &e);
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
        session_must(ledger_start(&ledger, start, false, &e), &e);
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
    session_must(session_demote(k, &e), &e);
    CHECK_INT(meta_now(k).sync_base, 0);
    session_must(session_promote(k, false, &e), &e);
    session_kit_free(k);
}
