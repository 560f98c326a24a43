#include "tests/unit/test.h"

#include "dumps/schedule.h"

#define EVERY 300000

TEST(the_first_dump_is_due_at_once_and_a_restart_waits_for_the_next_one)
{
    struct schedule s;
    schedule_begin(&s, EVERY, 0, 1000000, 50);
    CHECK(schedule_is_due(&s, 50));
    schedule_begin(&s, EVERY, 1000000 - 100000, 1000000, 50);
    CHECK(!schedule_is_due(&s, 50 + 199999));
    CHECK(schedule_is_due(&s, 50 + 200000));
    schedule_begin(&s, EVERY, 1000000 - EVERY, 1000000, 50);
    CHECK(schedule_is_due(&s, 50));
}

TEST(a_clock_that_was_set_back_makes_it_due)
{
    struct schedule s;
    schedule_begin(&s, EVERY, 2000000, 1000000, 50);
    CHECK(schedule_is_due(&s, 50));
}

TEST(the_interval_counts_from_the_begin)
{
    struct schedule s = { .every_ms = EVERY };
    schedule_ended(&s, SCHEDULE_DONE, 1000, 50000);
    CHECK(!schedule_is_due(&s, 1000 + EVERY - 1));
    CHECK(schedule_is_due(&s, 1000 + EVERY));
}

TEST(one_that_takes_longer_than_the_interval_is_followed_by_one)
{
    struct schedule s = { .every_ms = EVERY };
    schedule_ended(&s, SCHEDULE_DONE, 1000, 1000 + 5 * EVERY);
    CHECK(schedule_is_due(&s, 1000 + 5 * EVERY));
    schedule_ended(&s, SCHEDULE_DONE, 1000 + 5 * EVERY, 1000 + 5 * EVERY + 10);
    CHECK(!schedule_is_due(&s, 1000 + 6 * EVERY - 1));
}

TEST(a_failure_is_tried_again_soon_and_no_later_than_the_next_one)
{
    struct schedule s = { .every_ms = EVERY };
    schedule_ended(&s, SCHEDULE_FAILED, 0, 1000);
    CHECK(!schedule_is_due(&s, 1000 + SCHEDULE_RETRY_MS - 1));
    CHECK(schedule_is_due(&s, 1000 + SCHEDULE_RETRY_MS));
    schedule_ended(&s, SCHEDULE_HELD, 0, 1000);
    CHECK(schedule_is_due(&s, 1000 + SCHEDULE_HELD_MS));
    s.every_ms = 1000;
    schedule_ended(&s, SCHEDULE_FAILED, 0, 1000);
    CHECK(schedule_is_due(&s, 2000));
}
