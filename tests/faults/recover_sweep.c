/* The start after a power loss fails, or dies, at its n-th call to the operating system, n rising
 * until it goes through: the next start finds the same, and nothing is recorded that would cost a
 * standby its copy. */
#include "tests/unit/recover_kit.h"

#ifndef MAILTWIN_FAULTS

TEST(a_start_after_a_power_loss_may_fail_at_every_call)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

#include "tests/faults/start_kit.h"

#define DONE                                                                                \
    "mkdir ../d\nmkdir ../d/e\nmv a ../d/e/a\nln b x\nrm c\nmkdir ../g && echo 1 >../g/1\n" \
    "mv ../g ../../../out/g\necho new >n"
#define LEFT "mv ../d/e/a a && rm -r ../d x n && ln ../../../out/c c && mv ../../../out/g ../g"

static struct cap *
lose(void)
{
    struct cap *c = begin();
    if (c == NULL)
        return NULL;
    die_after(c, DONE);
    cap_sh(c, "cd mail/ada/cur && %s", LEFT);
    cap_open(c);
    _cleanup_buf_ struct buf before = { 0 };
    cap_records(c, &before);
    reboot(c, 1);
    return c;
}

static void
check_recovered(struct cap *c)
{
    cap_barrier(c);
    check_there(c, "../d/e/a b x", "a c ../g n");
    check_held(c, "ada/d\nada/cur/n\nada/d/e\n");
    check_records(c, "");
    all_heard(c, 0);
    end(c);
}

static void
start_again(struct cap *c, int rc, const char *where)
{
    if (rc >= 0)
        return;
    CHECK(where != NULL);
    cap_start(c);
}

static const struct start_sweep sweep = { lose, start_again, check_recovered, 10 };

TEST(a_start_after_a_power_loss_may_fail_at_every_call)
{
    start_sweep(&sweep, start_fails_at);
}

TEST(a_start_after_a_power_loss_may_die_at_every_call)
{
    start_sweep(&sweep, start_dies_at);
}

#endif
