/* Was everything handed over? In doubt it was not. */
#include "replicator/handover.h"
#include "replicator/loss.h"
#include "tests/unit/session_kit.h"

static const struct handover_peer demoted = { .told = true,
                                              .whole = true,
                                              .role = WIRE_ROLE_STANDBY,
                                              .epoch = 5,
                                              .tail = 100,
                                              .served_epoch = 5 };

TEST(only_the_last_primary_itself_can_say_that_it_handed_everything_over)
{
    struct handover_peer peer = demoted;
    CHECK(handover_is_complete(&peer, 5, 100));
    CHECK(handover_is_complete(&peer, 5, 101));
    CHECK(!handover_is_complete(&peer, 5, 99)); /* it has more */
    CHECK(!handover_is_complete(&peer, 6, 100));
    peer.told = false; /* it was demoted, and is gone: it may have been promoted again */
    CHECK(!handover_is_complete(&peer, 5, 100));
    peer = demoted;
    peer.whole = false;
    CHECK(!handover_is_complete(&peer, 5, 100));
    peer = demoted;
    peer.role = WIRE_ROLE_PRIMARY;
    CHECK(!handover_is_complete(&peer, 5, 100));
    peer.role = WIRE_ROLE_NONE; /* deposed */
    CHECK(!handover_is_complete(&peer, 5, 100));
    peer = demoted;
    peer.served_epoch = 0; /* another standby of the dead primary says the same */
    CHECK(!handover_is_complete(&peer, 5, 100));
    peer.served_epoch = 4;
    CHECK(!handover_is_complete(&peer, 5, 100));
    peer = demoted;
    peer.epoch = 4;
    CHECK(!handover_is_complete(&peer, 5, 100));
}

TEST(only_a_node_that_is_there_can_say_that_nobody_was_promoted_since)
{
    struct handover_peer peer = demoted;
    CHECK(handover_knows_no_newer(&peer, 5));
    CHECK(handover_knows_no_newer(&peer, 6));
    CHECK(!handover_knows_no_newer(&peer, 4));
    peer.whole = false; /* of another history, or it is made anew now */
    CHECK(!handover_knows_no_newer(&peer, 6));
    peer = demoted;
    peer.told = false;
    CHECK(!handover_knows_no_newer(&peer, 6));
}

static enum handover_kind
look(struct session_kit *k)
{
    struct handover found;
    struct err e = { 0 };
    session_must(handover_look(&k->d, &found, &e), &e);
    return found.kind;
}

/* mx1 sends as the primary of epoch 5, up to seq 2. */
static struct link_io *
follows(struct session_kit *k, bool synced)
{
    struct link_io *io = session_link(k, 0);
    add_epoch(primary_hello(k, 0, 5, 0), 5, 1);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    say_start(io, WIRE_MODE_SYNC, 0, 1);
    if (synced)
        say_sync_done(io, 1);
    say_mkdir(io, 1, "a");
    say_mkdir(io, 2, "b");
    say_commit(io, 1, 2);
    while (hear_type(io, WIRE_ACK)->ack.run < 1)
        continue;
    return io;
}

/* A standby greets: it followed this node up to where it was demoted, or was promoted since. */
static struct link_io *
greets(struct session_kit *k, size_t peer, uint64_t epoch)
{
    struct link_io *io = session_link(k, peer);
    primary_hello(k, peer, epoch, 3)->role = WIRE_ROLE_STANDBY;
    add_epoch(&told.hello, 6, 3);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    for (unsigned i = 0; i < 2000; i++) {
        struct peer_facts facts;
        peer_facts(&k->d.peers[peer], &facts);
        if (facts.handover.told)
            break;
        usleep(10000);
    }
    return io;
}

/* Another may have been promoted while this node was off, and be off itself now. */
TEST(a_node_that_was_primary_itself_needs_nothing_if_all_others_say_so)
{
    struct session_kit *k = session_kit_new();
    SESSION_NEEDED(k);
    struct err e = { 0 };
    session_start(k);
    CHECK_INT(look(k), HANDOVER_FIRST);
    struct link_io *io = follows(k, true);
    link_io_free(&io);
    CHECK_INT(look(k), HANDOVER_NONE);
    session_must(session_promote(k, true, &e), &e);
    session_settle(k);
    session_must(session_demote(k, &e), &e);
    CHECK_INT(look(k), HANDOVER_NONE);
    session_stop(k);
    session_start(k); /* it is durable */
    CHECK_INT(look(k), HANDOVER_NONE);
    struct link_io *one = greets(k, 0, 6);
    CHECK_INT(look(k), HANDOVER_NONE); /* the other one is away */
    struct link_io *other = greets(k, 1, 6);
    CHECK_INT(look(k), HANDOVER_OWN);
    link_io_free(&one);
    link_io_free(&other);
    session_kit_free(k);
}

static void
check_incomplete(bool synced)
{
    struct session_kit *k = session_kit_new();
    SESSION_NEEDED(k);
    struct state_txn *txn;
    json_t *statement = NULL;
    struct err e = { 0 };
    session_start(k);
    struct link_io *io = follows(k, synced);
    link_io_free(&io);
    session_must(session_promote(k, true, &e), &e);
    session_must(state_begin(k->d.node->state, false, &txn, &e), &e);
    CHECK_INT(loss_get(txn, state_meta(txn)->epoch, &statement, &e), 1);
    state_abort(&txn);
    CHECK_INT(json_is_true(json_object_get(statement, "incomplete")), !synced);
    json_decref(statement);
    session_kit_free(k);
}

TEST(a_node_that_was_promoted_amid_a_sync_says_that_its_copy_is_incomplete)
{
    check_incomplete(false);
    check_incomplete(true);
}
