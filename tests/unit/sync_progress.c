/* How far a sync is: as the sender works it out and tells it, and as both nodes show it. */
#include "replicator/sync_progress.h"

#include "tests/unit/session_kit.h"

#define MANY       300 /* directories: more than are under way at once */
#define NEAR(a, b) CHECK((a) - (b) < 1e-6 && (b) - (a) < 1e-6)

/* --- the rule --- */

TEST(rate_and_time_left_are_of_this_session_alone)
{
    struct walk_progress walk = { .directories = 3, .total = 20, .next = 11 }; /* 2 ids are gone */
    struct sync_progress p = sync_progress_of(&walk, 6, 1000, 3000);
    CHECK_INT(p.told.done, 10);
    CHECK_INT(p.told.total, 20);
    CHECK_INT(p.told.from, 5);
    CHECK_INT(p.told.directories, 3);
    CHECK_INT(p.told.spent_ms, 2000);
    NEAR(sync_progress_done(&p), 0.5);
    NEAR(sync_progress_rate(&p, 3000), 1.5);
    NEAR(sync_progress_left(&p, 3000), 4);
    NEAR(sync_progress_rate(&p, 5000), 0.75); /* nothing was heard since */
    NEAR(sync_progress_left(&p, 5000), 8);
    NEAR(sync_progress_rate(&p, 2000), 1.5); /* a look that took its time before */
}

TEST(what_is_not_known_is_not_made_up)
{
    struct walk_progress walk = { .total = 20, .next = 4 };
    struct sync_progress p = sync_progress_of(&walk, 6, 1000, 3000); /* one is looked at again */
    NEAR(sync_progress_rate(&p, 3000), 0);
    NEAR(sync_progress_left(&p, 3000), -1);
    walk.next = 9;
    p = sync_progress_of(&walk, 1, 3000, 3000); /* no time has passed */
    NEAR(sync_progress_rate(&p, 3000), 0);
    NEAR(sync_progress_left(&p, 3000), -1);
    walk.next = 21;
    p = sync_progress_of(&walk, 1, 1000, 3000); /* all looked at, and not the end */
    NEAR(sync_progress_left(&p, 3000), -1);
    p = (struct sync_progress){ 0 };
    NEAR(sync_progress_done(&p), 0);
}

TEST(whatever_a_walk_says_can_be_told)
{
    static const struct walk_progress walks[] = {
        { 0 },
        { .total = 7, .next = 30, .directories = UINT64_MAX },
        { .total = UINT64_MAX, .next = UINT64_MAX },
    };
    static const uint64_t froms[] = { 0, 9, UINT64_MAX };
    for (size_t i = 0; i < ARRAY_LEN(walks) * ARRAY_LEN(froms); i++) {
        const struct walk_progress *walk = &walks[i / ARRAY_LEN(froms)];
        struct sync_progress p = sync_progress_of(walk, froms[i % ARRAY_LEN(froms)], 9, 8);
        CHECK_INT(p.told.spent_ms, 0);
        told = (struct wire_msg){ .type = WIRE_SYNC_PROGRESS };
        told.sync_progress = p.told;
        _cleanup_buf_ struct buf out = { 0 };
        if (p.told.total > 0)
            wire_encode(&told, &out); /* ends the program when it does not fit */
    }
}

/* --- the sender --- */

/* mx1, which has data of this history and is to be compared as a whole, or from its place on. */
static struct link_io *
greet_as_standby(struct session_kit *k, bool accepts)
{
    struct state_meta meta = meta_now(k);
    struct wire_hello *h = primary_hello(k, 0, meta.epoch, meta.tail);
    h->role = WIRE_ROLE_STANDBY;
    h->accept_sync = accepts;
    h->sync_base = meta.tail;
    h->epochs[0].epoch = meta.epoch;
    memcpy(h->history, meta.history, sizeof(meta.history));
    struct link_io *io = session_link(k, 0);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    hear_type(io, WIRE_START);
    return io;
}

static struct wire_sync_progress
hear_progress(struct link_io *io)
{
    const struct wire_msg *msg;
    while ((msg = hear_any(io))->type != WIRE_SYNC_PROGRESS)
        CHECK(msg->type == WIRE_DIGEST_ASK || msg->type == WIRE_TAIL);
    return msg->sync_progress;
}

static json_t *
resync_of(const json_t *status)
{
    return json_object_get(json_array_get(json_object_get(status, "peers"), 0), "resync");
}

TEST(a_sender_tells_how_far_a_sync_is_and_goes_on_telling_while_it_waits)
{
    struct session_kit *k = session_kit_new();
    struct err e = { 0 };
    SESSION_NEEDED(k);
    cap_sh(k->c, "seq %d | sed s,^,mail/, | xargs mkdir", MANY);
    session_start(k);
    session_must(session_promote(k, false, &e), &e);
    session_settle(k);
    struct link_io *io = greet_as_standby(k, true);
    struct wire_sync_progress first = hear_progress(io), next = hear_progress(io);
    CHECK_INT(first.done, 0);
    CHECK_INT(first.from, 0);
    CHECK(first.total >= MANY); /* all there are, not only those asked for so far */
    CHECK(next.spent_ms >= first.spent_ms + 900);
    CHECK_INT(next.total, first.total);
    CHECK(next.directories > 0);
    json_t *status = session_status(k);
    CHECK_INT(json_integer_value(json_object_get(resync_of(status), "directories")),
              next.directories);
    json_decref(status);
    link_io_free(&io);
    session_kit_free(k);
}

/* --- the receiver --- */

/* mx1 begins a sync of mx3. */
static struct link_io *
begin_sync(struct session_kit *k, enum wire_mode mode)
{
    struct link_io *io = session_link(k, 0);
    struct state_meta meta = meta_now(k);
    primary_hello(k, 0, 1, meta.tail);
    say(io, WIRE_HELLO);
    hear_type(io, WIRE_HELLO);
    say_start(io, mode, meta.tail, mode == WIRE_MODE_SYNC ? MAX(meta.tail, (uint64_t)1) : 0);
    return io;
}

static void
say_progress(struct link_io *io, uint64_t done)
{
    told = (struct wire_msg){ .type = WIRE_SYNC_PROGRESS };
    told.sync_progress = (struct wire_sync_progress){
        .done = done, .total = 1000, .from = 200, .directories = 60, .spent_ms = 1000000
    };
    say(io, WIRE_SYNC_PROGRESS);
}

/* The answer says that what came before it was taken. */
static void
ask_one(struct link_io *io)
{
    told = (struct wire_msg){ .type = WIRE_DIGEST_ASK };
    told.digest_ask.count = 1;
    say(io, WIRE_DIGEST_ASK);
    while (hear_any(io)->type == WIRE_ACK)
        continue;
}

static void
end_sync(struct link_io *io)
{
    say_sync_done(io, 1);
    say_commit(io, 1, 0);
    while (hear_type(io, WIRE_ACK)->ack.run < 1)
        continue;
}

static void
check_shown(struct session_kit *k, bool shown, const char *sync)
{
    json_t *status = session_status(k);
    const json_t *resync = resync_of(status);
    CHECK_STR(json_string_value(json_object_get(status, "sync")), sync);
    CHECK_INT(json_is_object(resync), shown);
    if (shown) {
        double rate = json_number_value(json_object_get(resync, "per_second"));
        double left = json_number_value(json_object_get(resync, "seconds_left"));
        NEAR(json_number_value(json_object_get(resync, "done")), 0.25);
        CHECK(rate > 0.05 && rate <= 0.06); /* 60 looked at in 1000 s and what passed since */
        CHECK(left >= 15000 && left < 20000);
        CHECK_INT(json_integer_value(json_object_get(resync, "directories")), 60);
    }
    json_decref(status);
}

TEST(a_standby_shows_what_the_sender_told_until_the_sync_or_the_link_ends)
{
    struct session_kit *k = session_kit_new();
    SESSION_NEEDED(k);
    session_start(k);
    struct link_io *io = begin_sync(k, WIRE_MODE_SYNC);
    ask_one(io);
    check_shown(k, false, "unfinished"); /* nothing was told yet */
    say_progress(io, 250);
    ask_one(io);
    check_shown(k, true, "unfinished");
    link_io_free(&io);
    io = begin_sync(k, WIRE_MODE_SYNC); /* the session before it is over */
    ask_one(io);
    check_shown(k, false, "unfinished");
    say_progress(io, 250);
    ask_one(io);
    check_shown(k, true, "unfinished");
    end_sync(io);
    ask_one(io);
    check_shown(k, false, "none");
    say_progress(io, 250); /* of what? */
    while (hear(io) != NULL)
        continue;
    check_shown(k, false, "none");
    link_io_free(&io);
    session_kit_free(k);
}

TEST(a_sync_is_ordered_until_it_begins_and_unfinished_until_it_is_complete)
{
    struct session_kit *k = session_kit_new();
    SESSION_NEEDED(k);
    session_start(k);
    check_shown(k, false, "empty"); /* it waits for a primary */
    struct err e = { 0 };
    session_must(session_resync(k, NULL, &e), &e);
    check_shown(k, false, "ordered");
    session_stop(k);
    session_start(k); /* also after a restart */
    check_shown(k, false, "ordered");
    struct link_io *io = begin_sync(k, WIRE_MODE_SYNC);
    ask_one(io);
    check_shown(k, false, "unfinished");
    end_sync(io);
    check_shown(k, false, "none");
    link_io_free(&io);
    session_kit_free(k);
}
