/* When a peer without a link is called again. */
#include "tests/unit/test.h"

#include "replicator/net/redial.h"

#define NOW_MS 1000000ULL

static struct redial
after_a_link(uint64_t rtt_ms)
{
    struct redial r;
    redial_begin(&r, 0);
    redial_lost(&r, rtt_ms, NOW_MS);
    return r;
}

/* Calls that nobody answers, from the loss of a link on. Returns the longest time from any moment
 * of the outage to the next request that goes out. */
static uint64_t
longest_gap_ms(uint64_t rtt_ms, uint64_t from_ms, uint64_t outage_ms)
{
    struct redial r = after_a_link(rtt_ms);
    uint64_t longest = 0;
    for (uint64_t at = 0, last = 0; at < outage_ms;) {
        at += redial_wait_ms(&r, 99, NOW_MS + at);
        if (at >= from_ms)
            longest = MAX(longest, at - last);
        last = at;
        at += redial_answer_ms(&r);
        redial_failed(&r, false);
    }
    return longest;
}

TEST(a_peer_nearby_is_found_soon_after_a_cut_ends)
{
    CHECK(longest_gap_ms(0, 0, 2000) <= 200);
    CHECK(longest_gap_ms(0, 0, 15000) <= 15000 / 64 + 2 * REDIAL_ANSWER_MS);
    CHECK(longest_gap_ms(1, 0, 600000) <= 600000 / 64 + 8 * REDIAL_ANSWER_MS);
    CHECK(longest_gap_ms(1, 0, 48ULL * 3600 * 1000) <= REDIAL_LAST_MS + 8 * REDIAL_ANSWER_MS);
}

TEST(a_peer_far_away_has_the_time_to_answer)
{
    struct redial r;
    redial_begin(&r, 0);
    CHECK_INT(redial_answer_ms(&r), REDIAL_ANSWER_MS);
    for (uint64_t rtt_ms = 0; rtt_ms < 5000; rtt_ms += 7) {
        r = after_a_link(rtt_ms);
        CHECK(redial_answer_ms(&r) >= MIN(rtt_ms * 4, (uint64_t)REDIAL_ANSWER_MS));
        CHECK(redial_answer_ms(&r) >= 100);
    }
}

TEST(a_peer_that_moved_far_away_is_still_reached)
{
    struct redial r = after_a_link(0);
    uint64_t last = 0;
    for (unsigned i = 1; i <= 160; i++) {
        uint64_t answer_ms = redial_answer_ms(&r);
        CHECK(i % 16 == 0 || answer_ms == 100);
        if (i % 16 == 0) {
            CHECK(answer_ms == 8 * REDIAL_ANSWER_MS || answer_ms == MAX(2 * last, 1000u));
            last = answer_ms;
        }
        redial_failed(&r, false);
    }
    CHECK_INT(last, 8 * REDIAL_ANSWER_MS);
}

TEST(who_answers_and_refuses_is_left_alone_for_longer_each_time)
{
    struct redial r = after_a_link(1);
    uint64_t now_ms = NOW_MS + 24ULL * 3600 * 1000; /* however long it has been */
    uint64_t last = 0;
    for (unsigned i = 0; i < 100; i++) {
        redial_failed(&r, true);
        uint64_t wait_ms = redial_wait_ms(&r, 99, now_ms);
        CHECK(wait_ms == REDIAL_LAST_MS || wait_ms == MAX(2 * last, (uint64_t)REDIAL_FIRST_MS));
        last = wait_ms;
    }
    CHECK_INT(last, REDIAL_LAST_MS);
    redial_failed(&r, false); /* restarted: it may have another mind */
    redial_failed(&r, true);
    CHECK_INT(redial_wait_ms(&r, 99, now_ms), REDIAL_FIRST_MS);
}

TEST(two_nodes_do_not_knock_in_step)
{
    struct redial r = after_a_link(1);
    CHECK_INT(redial_wait_ms(&r, 0, NOW_MS), REDIAL_FIRST_MS / 2);
    CHECK_INT(redial_wait_ms(&r, 99, NOW_MS), REDIAL_FIRST_MS);
}
