/* What a standby holds true from its HELLO to START and to the end of the session. */
#include "tests/unit/session_kit.h"

#include "replicator/receiver.h"

/* Nothing is acknowledged that the journal does not have. */
static void
hear_journalled(struct session_kit *k, struct link_io *io, uint64_t run)
{
    for (uint64_t heard = 0; heard < run;) {
        const struct wire_msg *msg = hear_any(io);
        if (msg->type != WIRE_ACK)
            continue;
        CHECK(meta_now(k).tail >= msg->ack.durable_seq);
        heard = msg->ack.run;
    }
}

/* The node ends the link, with a word of why when it ended it by itself. */
static void
hear_end(struct link_io *io, const char *why)
{
    const struct wire_msg *msg = hear(io);
    while (msg != NULL && msg->type != WIRE_BYE)
        msg = hear(io);
    char text[WIRE_TEXT_MAX + 1] = "";
    if (msg != NULL)
        memcpy(text, msg->bye.text.ptr, msg->bye.text.len);
    CHECK_CONTAINS(text, why);
    if (msg != NULL)
        hear_end(io, "");
}

static const struct wire_hello *
greet(struct session_kit *k, size_t peer, struct link_io **ret_io)
{
    (void)k;
    *ret_io = session_link(k, peer);
    say(*ret_io, WIRE_HELLO);
    return &hear_type(*ret_io, WIRE_HELLO)->hello;
}

/* mx3 follows mx1 in epoch 1, at seq 1. */
static struct link_io *
follow_mx1(struct session_kit *k)
{
    struct link_io *io;
    primary_hello(k, 0, 1, 0);
    CHECK_INT(greet(k, 0, &io)->accept_sync, 1);
    say_start(io, WIRE_MODE_SYNC, 0, 1);
    say_sync_done(io, 1);
    say_commit(io, 1, 0);
    hear_journalled(k, io, 1);
    CHECK_INT(meta_now(k).sync_base, 0);
    say_mkdir(io, 1, "a");
    say_commit(io, 2, 1);
    hear_journalled(k, io, 2);
    return io;
}

static struct session_kit *
begin(void)
{
    struct session_kit *k = session_kit_new();
    if (k != NULL)
        session_start(k);
    return k;
}

TEST(a_newer_primary_takes_the_place_of_a_session_that_hangs)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *old = follow_mx1(k), *io;
    say_mkdir(old, 2, "half"); /* and no COMMIT, nor an end: it is frozen */
    add_epoch(primary_hello(k, 1, 2, 2), 2, 2);
    CHECK_INT(greet(k, 1, &io)->tail, 1);
    say_start(io, WIRE_MODE_SYNC, 2, 2);
    say_mkdir(io, 0, "b");
    say_sync_done(io, 2);
    say_commit(io, 1, 2);
    hear_journalled(k, io, 1);
    hear_end(old, ""); /* it could not hear anything any more */
    CHECK_INT(meta_now(k).epoch, 2);
    CHECK(has_dir(k, "a") && has_dir(k, "b") && !has_dir(k, "half"));
    link_io_free(&old);
    link_io_free(&io);
    session_kit_free(k);
}

static void
set_permission(struct session_kit *k, uint64_t fork, uint64_t tail)
{
    struct state_txn *txn;
    struct err e = { 0 };
    uint8_t row[LEDGER_KEPT_ROW];
    put_le64(row, fork);
    put_le64(row + 8, tail);
    session_must(state_begin(k->c->node->state, true, &txn, &e), &e);
    state_meta(txn)->sync_base = state_meta(txn)->tail;
    session_must(state_put(txn, LEDGER_ACCEPT_SYNC, span_of(row, sizeof(row)), &e), &e);
    session_must(state_commit(&txn, &e), &e);
}

/* mx2 was promoted at seq 1 and says HELLO. */
static struct link_io *
greet_mx2(struct session_kit *k)
{
    struct link_io *io;
    add_epoch(primary_hello(k, 1, 2, 2), 2, 2);
    CHECK_INT(greet(k, 1, &io)->accept_sync, 1);
    return io;
}

/* At seq 2, of which what lies between the two was kept. */
static void
check_kept_first(uint64_t fork, uint64_t tail)
{
    struct session_kit *k = begin();
    if (k == NULL)
        return;
    struct link_io *io = follow_mx1(k);
    say_mkdir(io, 2, "b");
    say_commit(io, 3, 2);
    hear_journalled(k, io, 3);
    link_io_free(&io);
    session_stop(k);
    session_start(k);
    set_permission(k, fork, tail);
    io = greet_mx2(k);
    const struct wire_msg *msg = hear_type(io, WIRE_REFUSE);
    CHECK_INT(msg->refuse.code, WIRE_REFUSE_DIVERGED);
    CHECK_INT(msg->refuse.fork, 1);
    hear_end(io, ""); /* seq 2 is kept now */
    link_io_free(&io);
    io = greet_mx2(k);
    say_start(io, WIRE_MODE_SYNC, 2, 2);
    say_sync_done(io, 2);
    say_commit(io, 1, 2);
    hear_journalled(k, io, 1);
    CHECK_INT(meta_now(k).epoch, 2);
    cap_sh(k->c, "test -s mail/.mailtwin/salvage/1-1/manifest");
    link_io_free(&io);
    session_kit_free(k);
}

/* mx2 has no seq 2 of this node's. */
TEST(a_salvage_permits_nothing_to_who_parted_before_what_was_kept)
{
    check_kept_first(2, 2);
}

/* A mail server that was not stopped, a sweep that came to its end later. */
TEST(a_salvage_permits_nothing_when_more_has_come_since)
{
    check_kept_first(1, 1);
}

/* A record that does not fit: what it builds on is not here. */
static void
say_misfit(struct link_io *io, uint64_t run, uint64_t seq)
{
    told = (struct wire_msg){ .type = WIRE_REC };
    told.rec.record = (struct record){ .op = OP_RENAME, .seq = seq };
    told.rec.record.path = span_str("to");
    told.rec.record.other = span_str("from");
    told.rec.record.attr.mode = told.rec.now.mode = S_IFDIR | 0700;
    say(io, WIRE_REC);
    say_commit(io, run, seq);
}

static void
hear_need(struct link_io *io, const char *path)
{
    const struct wire_msg *msg;
    while ((msg = hear_any(io))->type == WIRE_ACK)
        continue;
    CHECK_INT(msg->type, WIRE_NEED);
    CHECK(span_equal(msg->need.path, span_str(path)));
    CHECK_INT(msg->need.seq, 2);
    CHECK_INT(msg->need.is_dir, 0);
}

static void
say_fetch(struct link_io *io, const char *path)
{
    told = (struct wire_msg){ .fetch = { .path = span_str(path) } };
    say(io, WIRE_FETCH);
}

/* What it has is no question of what it lacks. */
TEST(nobody_is_told_that_a_name_is_nowhere_while_others_are_on_their_way)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    say_fetch(io, "to");
    CHECK_INT(hear_type(io, WIRE_REC)->rec.content, WIRE_CONTENT_GONE);
    say_misfit(io, 3, 2);
    hear_need(io, "to");
    hear_need(io, "from");
    hear_journalled(k, io, 3);
    say_fetch(io, "to/1");
    CHECK_INT(hear_type(io, WIRE_REC)->rec.content, WIRE_CONTENT_DATA);
    CHECK_INT(hear_type(io, WIRE_END)->end.ok, 0);
    say_fetch(io, "a");
    CHECK_INT(hear_type(io, WIRE_REC)->rec.content, WIRE_CONTENT_NONE);
    link_io_free(&io);
    session_kit_free(k);
}

/* The same link once more, on from seq. */
static struct link_io *
resume_mx1(struct session_kit *k, struct link_io **old, uint64_t seq)
{
    struct link_io *io;
    link_io_free(old);
    primary_hello(k, 0, 1, seq);
    CHECK_INT(greet(k, 0, &io)->tail, seq);
    say_start(io, WIRE_MODE_RESUME, seq, 0);
    return io;
}

TEST(what_was_asked_for_is_asked_for_again_after_the_link_until_it_comes)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *old = follow_mx1(k), *io;
    say_misfit(old, 3, 2);
    hear_need(old, "to");
    hear_need(old, "from");
    hear_journalled(k, old, 3);
    CHECK_INT(meta_now(k).tail, 2);
    io = resume_mx1(k, &old, 2);
    hear_need(io, "to");
    hear_need(io, "from");
    say_mkdir(io, 0, "to"); /* the answer to one */
    say_commit(io, 1, 2);
    hear_journalled(k, io, 1);
    old = io;
    io = resume_mx1(k, &old, 2);
    hear_need(io, "from");
    link_io_free(&io);
    session_kit_free(k);
}

TEST(what_the_older_session_received_is_in_the_journal_before_the_newer_begins)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *old = follow_mx1(k), *io;
    say_misfit(old, 3, 2);
    hear_journalled(k, old, 3);
    add_epoch(primary_hello(k, 1, 2, 3), 2, 3);
    CHECK_INT(greet(k, 1, &io)->tail, 2);
    say_start(io, WIRE_MODE_SYNC, 3, 3);
    say_commit(io, 1, 3);
    hear_journalled(k, io, 1);
    link_io_free(&old);
    link_io_free(&io);
    session_kit_free(k);
}

TEST(an_older_primary_does_not_get_between_a_newer_ones_hello_and_start)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *first = follow_mx1(k), *io, *back;
    add_epoch(primary_hello(k, 1, 2, 2), 2, 2);
    greet(k, 1, &io);
    hear_end(first, "");
    primary_hello(k, 0, 1, 1);
    greet(k, 0, &back);
    hear_end(back, "a node that was promoted later sends to this one");
    add_epoch(primary_hello(k, 1, 2, 2), 2, 2);
    say_start(io, WIRE_MODE_SYNC, 2, 2);
    say_commit(io, 1, 2);
    hear_journalled(k, io, 1);
    link_io_free(&first);
    link_io_free(&back);
    link_io_free(&io);
    session_kit_free(k);
}

TEST(start_counts_only_while_hello_is_true)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io;
    primary_hello(k, 0, 1, 0);
    CHECK_INT(greet(k, 0, &io)->accept_sync, 1);
    cap_sh(k->c, "mkdir mail/mine"); /* the stores are no longer empty */
    say_start(io, WIRE_MODE_SYNC, 0, 1);
    hear_end(io, "the two greet again");
    CHECK_INT(meta_now(k).epoch, 0);
    link_io_free(&io);
    primary_hello(k, 0, 1, 0);
    CHECK_INT(greet(k, 0, &io)->accept_sync, 0);
    CHECK_INT(hear_type(io, WIRE_REFUSE)->refuse.code, WIRE_REFUSE_NOT_EMPTY);
    link_io_free(&io);
    session_kit_free(k);
}

TEST(start_must_be_of_the_epoch_that_greeted_and_go_on_from_the_tail)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    for (unsigned i = 0; i < 3; i++) {
        link_io_free(&io);
        primary_hello(k, 0, 1, 5);
        CHECK_INT(greet(k, 0, &io)->tail, 1);
        if (i == 0)
            told.hello.epoch = 2;
        if (i == 1)
            told.hello.history[0] = 2;
        say_start(io, WIRE_MODE_RESUME, i == 2 ? 2 : 1, 0);
        hear_end(io, "");
        CHECK_INT(meta_now(k).epoch, 1);
    }
    link_io_free(&io);
    primary_hello(k, 0, 1, 5);
    greet(k, 0, &io);
    say_start(io, WIRE_MODE_RESUME, 1, 0);
    say_mkdir(io, 2, "b");
    say_commit(io, 1, 2);
    hear_journalled(k, io, 1);
    link_io_free(&io);
    session_kit_free(k);
}

/* A crash after a run was carried out, before it was in the journal. */
static void
crash_with_marker(struct session_kit *k, unsigned marker)
{
    session_stop(k);
    cap_sh(
        k->c,
        "for s in mail files; do cd $s/.mailtwin/applied && mv * %016x.%016x && cd ../../..; done",
        marker, marker);
    session_start(k);
}

TEST(a_node_whose_stores_are_beyond_the_fork_is_refused_as_diverged)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    link_io_free(&io);
    crash_with_marker(k, 5);
    add_epoch(primary_hello(k, 1, 2, 4), 2, 4); /* promoted behind seq 3 */
    CHECK_INT(greet(k, 1, &io)->tail, 1);
    const struct wire_msg *msg = hear_type(io, WIRE_REFUSE);
    CHECK_INT(msg->refuse.code, WIRE_REFUSE_DIVERGED);
    CHECK_INT(msg->refuse.fork, 3);
    struct peer_facts facts;
    peer_facts(&k->d.peers[1], &facts);
    CHECK_INT(facts.state, PEER_REFUSED);
    CHECK_CONTAINS(facts.text, "the fork is at seq 3 (ours 5, theirs 4)");
    CHECK_INT(meta_now(k).epoch, 1);
    link_io_free(&io);
    session_kit_free(k);
}

TEST(a_node_whose_stores_are_ahead_of_its_journal_goes_on_in_the_same_epoch)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    link_io_free(&io);
    crash_with_marker(k, 3);
    primary_hello(k, 0, 1, 4);
    CHECK_INT(greet(k, 0, &io)->tail, 1);
    say_start(io, WIRE_MODE_RESUME, 1, 0);
    say_mkdir(io, 3, "done_and_removed_again");
    say_mkdir(io, 4, "b");
    say_commit(io, 1, 4);
    hear_journalled(k, io, 1);
    CHECK(!has_dir(k, "done_and_removed_again") && has_dir(k, "b"));
    link_io_free(&io);
    session_kit_free(k);
}

TEST(a_crash_between_start_and_the_new_marker_skips_no_record)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    struct state_txn *txn;
    struct err e = { 0 };
    link_io_free(&io);
    session_stop(k);
    cap_open(k->c);
    CHECK_INT(state_begin(k->c->node->state, true, &txn, &e), 0);
    CHECK_INT(state_put(txn, LEDGER_MARKER_VOID, span_str("1"), &e), 0);
    CHECK_INT(state_commit(&txn, &e), 0);
    cap_stop(k->c);
    session_start(k);
    crash_with_marker(k, 9); /* of the stream before: beyond every fork, and of no meaning */
    primary_hello(k, 0, 1, 4);
    greet(k, 0, &io);
    say_start(io, WIRE_MODE_RESUME, 1, 0);
    say_mkdir(io, 2, "b");
    say_commit(io, 1, 2);
    hear_journalled(k, io, 1);
    CHECK(has_dir(k, "b"));
    CHECK_INT(atomic_load(&k->d.applied), 2);
    link_io_free(&io);
    session_kit_free(k);
}

TEST(a_link_that_waits_for_this_node_to_come_level_ends_when_it_has)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k), *follower;
    struct wire_hello *h = primary_hello(k, 1, 1, 3);
    h->role = WIRE_ROLE_STANDBY;
    h->follow = span_str("mx3"); /* and has more than it: row 370 */
    CHECK_INT(greet(k, 1, &follower)->tail, 1);
    say_mkdir(io, 2, "b");
    say_commit(io, 3, 2);
    hear_journalled(k, io, 3);
    say_mkdir(io, 3, "c");
    say_commit(io, 4, 3);
    hear_journalled(k, io, 4);
    CHECK(hear(follower) == NULL);
    h = primary_hello(k, 1, 1, 3);
    h->role = WIRE_ROLE_STANDBY;
    h->follow = span_str("mx3");
    link_io_free(&follower);
    CHECK_INT(greet(k, 1, &follower)->tail, 3);
    CHECK_INT(hear_type(follower, WIRE_START)->start.from, 3);
    link_io_free(&io);
    link_io_free(&follower);
    session_kit_free(k);
}

/* --- does the index have all that the tree has? --- */

/* The row, as a promotion asks for it; -1 there is none. */
static int64_t
behind(struct session_kit *k)
{
    struct state_txn *txn;
    struct span row;
    struct err e = { 0 };
    session_must(state_begin(k->d.node->state, false, &txn, &e), &e);
    int found = state_get(txn, LEDGER_BEHIND, &row, &e);
    CHECK_INT(ledger_is_behind(txn, &e), found);
    int64_t seq = found > 0 ? (int64_t)get_le64(row.ptr) : -1;
    state_abort(&txn);
    return seq;
}

static struct link_io *
go_on_with_mx1(struct session_kit *k, uint64_t from)
{
    struct link_io *io;
    primary_hello(k, 0, 1, 9);
    CHECK_INT(greet(k, 0, &io)->tail, from);
    say_start(io, WIRE_MODE_RESUME, from, 0);
    return io;
}

static void
say_run(struct session_kit *k, struct link_io *io, uint64_t run, uint64_t seq, const char *name)
{
    say_mkdir(io, seq, name);
    say_commit(io, run, seq);
    hear_journalled(k, io, run);
}

static void
detach(void *arg)
{
    struct session_call *call = arg;
    peer_detach(&call->d->peers[0]);
    sem_post(&call->done);
}

/* Nothing of the session is left. */
static void
hang_up(struct session_kit *k, struct link_io **io)
{
    struct session_call call = { 0 };
    link_io_free(io);
    session_in_loop(k, detach, &call);
}

static void
crash_while_receiving(struct session_kit *k, unsigned marker)
{
    struct state_txn *txn;
    struct err e = { 0 };
    uint8_t row[8] = { 0 };
    session_must(state_begin(k->d.node->state, true, &txn, &e), &e);
    session_must(state_put(txn, LEDGER_BEHIND, span_of(row, sizeof(row)), &e), &e);
    session_must(state_commit(&txn, &e), &e);
    crash_with_marker(k, marker);
}

TEST(the_index_is_in_doubt_while_a_session_receives_and_not_behind_its_end)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    CHECK_INT(behind(k), 0);
    hang_up(k, &io);
    CHECK_INT(behind(k), -1);
    io = go_on_with_mx1(k, 1);
    say_run(k, io, 1, 2, "b");
    CHECK_INT(behind(k), 0);
    say_mkdir(io, 3, "half"); /* no COMMIT: nothing of it was carried out */
    hang_up(k, &io);
    CHECK_INT(behind(k), -1);
    session_kit_free(k);
}

/* The marker may not tell of the last operation of the broken run: the one behind it has to come
 * again. */
TEST(behind_a_crash_the_index_is_in_doubt_until_it_has_what_is_behind_the_marker)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    hang_up(k, &io);
    crash_while_receiving(k, 3);
    io = go_on_with_mx1(k, 1);
    say_run(k, io, 1, 2, "b");
    CHECK_INT(behind(k), 3);
    say_run(k, io, 2, 3, "c");
    hang_up(k, &io);
    CHECK_INT(behind(k), 3);
    io = go_on_with_mx1(k, 3);
    say_run(k, io, 1, 4, "d");
    hang_up(k, &io);
    CHECK_INT(behind(k), -1);
    session_kit_free(k);
}

TEST(a_sync_ends_the_doubt_when_it_is_done)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct link_io *io = follow_mx1(k);
    hang_up(k, &io);
    crash_while_receiving(k, 7);
    set_permission(k, 0, 9);
    primary_hello(k, 0, 1, 9);
    greet(k, 0, &io);
    say_start(io, WIRE_MODE_SYNC, 1, 2);
    say_commit(io, 1, 1);
    hear_journalled(k, io, 1);
    hang_up(k, &io);
    CHECK_INT(behind(k), 7);
    primary_hello(k, 0, 1, 9);
    greet(k, 0, &io);
    say_start(io, WIRE_MODE_SYNC, 1, 2);
    say_sync_done(io, 2);
    say_commit(io, 1, 1);
    hear_journalled(k, io, 1);
    hang_up(k, &io);
    CHECK_INT(behind(k), -1);
    session_kit_free(k);
}

/* The order of the promotion says so, and is what a crash on the way repeats. */
TEST(a_promotion_in_doubt_looks_at_the_disk)
{
    for (unsigned crash = 0; crash < 2; crash++) {
        struct session_kit *k = begin();
        SESSION_NEEDED(k);
        struct err e = { 0 };
        struct state_txn *txn;
        struct span row;
        struct link_io *io = follow_mx1(k);
        hang_up(k, &io);
        if (crash == 1)
            crash_while_receiving(k, 2);
        CHECK_INT(session_promote(k, false, &e), 0);
        CHECK_INT(behind(k), -1); /* the capture looks at everything */
        session_must(state_begin(k->d.node->state, false, &txn, &e), &e);
        CHECK_INT(state_get(txn, "identity", &row, &e), 1);
        CHECK_INT(row.ptr[row.len - 1], crash);
        state_abort(&txn);
        session_kit_free(k);
    }
}
