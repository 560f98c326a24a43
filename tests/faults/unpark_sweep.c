/* The start of a promoted node fails, or dies, at its n-th call to the operating system, n rising
 * until it goes through: no failure about what was left hidden keeps it from starting, and one of
 * the next starts gives it its name. */
#include "lib/os/fault.h"
#include "tests/unit/unpark_kit.h"

#include <signal.h>
#include <sys/wait.h>

#ifndef MAILTWIN_FAULTS

TEST(no_failure_of_a_call_for_what_was_left_hidden_keeps_a_primary_from_starting)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

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

/* false: it went through untouched. */
static bool
fail_at(uint64_t at)
{
    struct cap *c = leave();
    const char *where;
    struct fault_plan plan = { .kind = FAULT_ERRNO, .at = at, .errnum = EIO };
    cap_open(c);
    fault_arm(&plan);
    int rc = capture_start(c->node, -1, NULL, NULL, &c->capture, &c->e);
    fault_disarm(&where);
    if (rc < 0)
        fail_msg("%s: %s", where, c->e.text);
    cap_barrier(c);
    cap_check_index(c); /* whatever names they have */
    cap_stop(c);
    cap_start(c);
    check_back(c);
    return where != NULL;
}

TEST(no_failure_of_a_call_for_what_was_left_hidden_keeps_a_primary_from_starting)
{
    struct cap *c = leave();
    CAP_NEEDED(c);
    cap_start(c);
    check_back(c);
    uint64_t at = 1;
    while (fail_at(at))
        at++;
    CHECK(at > 6);
}

static void
die_here(const char *where)
{
    (void)where;
    raise(SIGKILL);
}

/* false: it lived. */
static bool
die_at(uint64_t at)
{
    struct cap *c = leave();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct fault_plan plan = { .kind = FAULT_HOOK, .at = at, .hook = die_here };
        cap_open(c);
        fault_arm(&plan);
        cap_start(c);
        fault_disarm(NULL);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    cap_start(c);
    check_back(c);
    return WIFSIGNALED(status);
}

TEST(a_start_that_dies_at_any_call_for_what_was_left_hidden_is_made_good_by_the_next)
{
    struct cap *c = leave();
    CAP_NEEDED(c);
    cap_start(c);
    check_back(c);
    uint64_t at = 1;
    while (die_at(at))
        at++;
    CHECK(at > 6);
}

#endif
