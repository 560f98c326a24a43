/* The mass-change guard's counts: what closes it, and what does not. */
#include "replicator/guard.h"

#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#define MINUTE 60000ull
#define T0     UINT64_C(1700000000000)

/* A store of so many files, the guard over it, and how often it was asked to count them. */
struct store {
    struct guard guard;
    uint64_t files;
    unsigned counted;
    uint64_t counted_files;
};

static struct store *
store_of(uint64_t files, unsigned percent)
{
    struct store *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    guard_init(&s->guard, &(struct guard_limits){ percent, 10 * MINUTE });
    s->files = files;
    return s;
}

/* true: it closes. */
static bool
lose(struct store *s, uint64_t files, uint64_t time_ms, bool gone)
{
    uint64_t most;
    struct guard_count *count = &s->guard.store;
    if (guard_over(&s->guard, count, files, time_ms, &most)) {
        uint64_t found = MIN(s->files, most);
        s->counted++;
        s->counted_files += found;
        guard_found(count, found);
        if (guard_over(&s->guard, count, files, time_ms, &most))
            return true;
    }
    guard_lose(&s->guard, count, files, time_ms, gone);
    s->files -= gone ? files : 0;
    return false;
}

/* How many are lost one by one, `step` apart, until it closes; UINT64_MAX: never. */
static uint64_t
lose_until(struct store *s, uint64_t files, uint64_t step_ms, bool gone)
{
    for (uint64_t i = 0; i < files; i++) {
        if (lose(s, 1, T0 + i * step_ms, gone))
            return i;
    }
    return UINT64_MAX;
}

TEST(more_than_the_limit_of_a_store_closes_the_guard_at_once_and_one_by_one)
{
    struct store *s = store_of(10000, 20);
    CHECK(!lose(s, 2000, T0, true));
    CHECK(lose(s, 1, T0 + 1, true));
    free(s);
    s = store_of(10000, 20);
    CHECK(lose(s, 2001, T0, true)); /* one RMTREE */
    free(s);
    s = store_of(10000, 20);
    CHECK_INT(lose_until(s, 10000, 1, true), 2000);
    free(s);
    s = store_of(10000, 20);
    CHECK_INT(lose_until(s, 10000, 1, false), 2000); /* overwritten in place */
    free(s);
}

TEST(a_few_files_never_close_it_whatever_part_they_are)
{
    struct store *s = store_of(GUARD_FLOOR - 1, 20);
    CHECK(lose_until(s, GUARD_FLOOR - 1, 1, true) == UINT64_MAX);
    free(s);
    s = store_of(GUARD_FLOOR, 0);
    CHECK_INT(lose_until(s, GUARD_FLOOR, 1, true), GUARD_FLOOR - 1);
    free(s);
}

TEST(a_limit_of_100_percent_never_closes_it)
{
    struct store *s = store_of(1000, 100);
    CHECK(lose_until(s, 1000, 1, true) == UINT64_MAX);
    free(s);
}

TEST(what_was_lost_before_the_window_does_not_count)
{
    struct store *s = store_of(10000, 20);
    CHECK(lose_until(s, 9000, MINUTE, true) == UINT64_MAX); /* one a minute, nearly all of it */
    free(s);
    s = store_of(10000, 20);
    for (unsigned day = 0; day < 3; day++) /* a nightly expiry of 15 % */
        CHECK(!lose(s, 1300, T0 + day * 24 * 60 * MINUTE, true));
    CHECK(!lose(s, 900, T0 + 2 * 24 * 60 * MINUTE + 20 * MINUTE, true));
    CHECK(!lose(s, 200, T0 + 2 * 24 * 60 * MINUTE + 25 * MINUTE, true));
    CHECK(lose(s, 300, T0 + 2 * 24 * 60 * MINUTE + 26 * MINUTE, true));
    free(s);
}

TEST(a_slow_attacker_is_seen_when_the_window_holds_more_than_the_limit)
{
    struct store *s = store_of(1000, 20);
    uint64_t at = lose_until(s, 1000, 2000, false); /* 30 a minute, 300 a window */
    CHECK(at >= 200 && at < 260);
    free(s);
}

TEST(a_clock_that_is_set_back_hides_nothing)
{
    struct store *s = store_of(1000, 20);
    CHECK(!lose(s, 150, T0, true));
    CHECK(!lose(s, 50, T0 - 365 * 24 * 60 * MINUTE, true));
    CHECK(lose(s, 60, T0 - 10 * MINUTE, true));
    CHECK(lose(s, 1000, UINT64_MAX, true)); /* and any time may come */
    CHECK(!lose(s, 1, 0, true) || s->files > 0);
    free(s);
}

TEST(a_store_of_millions_is_not_counted_for_a_few_hundred)
{
    struct store *s = store_of(5000000, 20);
    CHECK(lose_until(s, 20000, 1, true) == UINT64_MAX);
    CHECK(s->counted < 12);
    CHECK(s->counted_files < 20000 * 5 * 5);
    free(s);
}

TEST(the_users_who_lost_most_are_remembered)
{
    struct store *s = store_of(10, 20);
    char name[16] = "victim";
    guard_lose(&s->guard, &guard_user_of(&s->guard, span_str(name), T0)->count, 50, T0, true);
    for (unsigned i = 0; i < GUARD_USERS * 3; i++) {
        snprintf(name, sizeof(name), "user%u", i);
        guard_lose(&s->guard, &guard_user_of(&s->guard, span_str(name), T0)->count, 1, T0, true);
    }
    struct guard_user *u = guard_user_of(&s->guard, span_str("victim"), T0);
    CHECK_INT(guard_sum(&s->guard, &u->count, T0).lost, 50);
    free(s);
}
