/* The start of a promoted node fails, or dies, at its n-th call to the operating system, n rising
 * until it goes through: no failure about what was left hidden keeps it from starting, and one of
 * the next starts gives it its name. */
#include "tests/unit/unpark_kit.h"

#ifndef MAILTWIN_FAULTS

TEST(no_failure_of_a_call_for_what_was_left_hidden_keeps_a_primary_from_starting)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

#include "tests/faults/start_kit.h"

static struct cap *
leave(void)
{
    struct cap *c = begin();
    if (c == NULL)
        return NULL;
    applied_rename(c, 0, "ada/cur/1:2,S", P1, true);
    applied_rename(c, 0, "ada", P2, true);
    return c;
}

static void
check_back(struct cap *c)
{
    cap_barrier(c);
    check_visible(c);
    cap_sh(c, "test \"$(cat mail/*/cur/1:2,S mail/aside-a1 2>/dev/null | sort | xargs)\" = "
              "'ada bob'");
    cap_check_index(c);
    cap_free(c);
}

static void
went_through(struct cap *c, int rc, const char *where)
{
    if (rc < 0)
        fail_msg("%s: %s", where, c->e.text);
    cap_barrier(c);
    cap_check_index(c); /* whatever names they have */
    cap_stop(c);
    cap_start(c);
}

static const struct start_sweep sweep = { leave, went_through, check_back, 6 };

TEST(no_failure_of_a_call_for_what_was_left_hidden_keeps_a_primary_from_starting)
{
    start_sweep(&sweep, start_fails_at);
}

TEST(a_start_that_dies_at_any_call_for_what_was_left_hidden_is_made_good_by_the_next)
{
    start_sweep(&sweep, start_dies_at);
}

#endif
