/* Group commit: a burst at once, load at a distance, no wait without end. */
#include "tests/unit/test.h"

#include "replicator/pace.h"

#define SECOND_NS 1000000000ULL
#define START_NS  (77 * SECOND_NS)

struct ride {
    unsigned commits;
    uint64_t longest_ns; /* that a change waited for its commit to begin */
};

/* A second of changes, each committed as soon as the pace allows, with all that came meanwhile. */
static struct ride
ride_a_second(uint64_t every_ns, uint64_t took_ns)
{
    struct pace pace = { 0 };
    struct ride ride = { 0 };
    uint64_t change_ns = START_NS;
    while (change_ns < START_NS + SECOND_NS) {
        uint64_t wait_ns = pace_wait_ns(&pace, change_ns);
        uint64_t records = wait_ns / every_ns + 1;
        pace_committed(&pace, records, took_ns, change_ns + wait_ns);
        ride.commits++;
        ride.longest_ns = MAX(ride.longest_ns, wait_ns);
        change_ns += records * every_ns;
    }
    return ride;
}

TEST(a_burst_is_committed_at_once)
{
    struct pace pace = { 0 };
    for (int i = 0; i < PACE_BURST; i++) {
        CHECK_INT(pace_wait_ns(&pace, START_NS), 0);
        pace_committed(&pace, 1, 0, START_NS);
    }
    CHECK_INT(pace_wait_ns(&pace, START_NS), PACE_GAP_NS);
}

TEST(changes_that_come_no_faster_than_the_pace_never_wait)
{
    struct ride ride = ride_a_second(PACE_GAP_NS, 1000000);
    CHECK_INT(ride.longest_ns, 0);
    CHECK_INT(ride.commits, SECOND_NS / PACE_GAP_NS);
}

TEST(under_load_commits_keep_their_distance_and_no_change_waits_longer)
{
    uint64_t every_ns[] = { PACE_GAP_NS / 2, 1000000, 100000, 999 };
    for (size_t i = 0; i < ARRAY_LEN(every_ns); i++) {
        struct ride ride = ride_a_second(every_ns[i], 0);
        CHECK(ride.commits <= SECOND_NS / PACE_GAP_MAX_NS + 4 * PACE_BURST);
        CHECK(ride.commits >= SECOND_NS / (PACE_GAP_MAX_NS + every_ns[i]));
        CHECK(ride.longest_ns <= PACE_GAP_MAX_NS);
    }
}

TEST(on_a_slow_disk_commits_take_a_fifth_of_its_time)
{
    struct ride ride = ride_a_second(PACE_GAP_NS, 5000000);
    CHECK(ride.commits <= SECOND_NS / 20000000 + PACE_BURST);
    ride = ride_a_second(PACE_GAP_NS, 10 * SECOND_NS); /* it stood still */
    CHECK(ride.longest_ns <= PACE_GAP_MAX_NS);
}

TEST(behind_a_commit_that_somebody_waited_for_the_next_has_time)
{
    struct pace pace = { 0 };
    pace_committed(&pace, 1, 0, START_NS);
    pace_hurried(&pace, START_NS);
    CHECK_INT(pace_wait_ns(&pace, START_NS), PACE_GAP_MAX_NS);
    for (int i = 0; i < 100000; i++) /* one barrier after the other */
        pace_hurried(&pace, START_NS);
    CHECK_INT(pace_wait_ns(&pace, START_NS), PACE_GAP_MAX_NS);
    CHECK_INT(pace_wait_ns(&pace, START_NS + PACE_GAP_MAX_NS), 0);
    struct ride ride = { 0 };
    for (uint64_t now = START_NS; now < START_NS + SECOND_NS; now += 2 * PACE_GAP_NS) {
        uint64_t wait_ns = pace_wait_ns(&pace, now);
        pace_committed(&pace, 1, 0, now += wait_ns); /* nobody waits any more */
        ride.longest_ns = wait_ns;
    }
    CHECK_INT(ride.longest_ns, 0);
}

TEST(commits_that_did_not_wait_are_no_debt)
{
    struct pace pace = { 0 };
    for (int i = 0; i < 100000; i++) /* one barrier after the other */
        pace_committed(&pace, UINT64_MAX, 1, START_NS);
    CHECK_INT(pace_wait_ns(&pace, START_NS), PACE_GAP_MAX_NS);
    CHECK_INT(pace_wait_ns(&pace, START_NS + PACE_GAP_MAX_NS), 0);
}
