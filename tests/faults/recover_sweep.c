/* The start after a power loss fails, or dies, at its n-th call to the operating system, n rising
 * until it goes through: the next start finds the same, and nothing is recorded that would cost a
 * standby its copy. */
#include "lib/os/fault.h"
#include "tests/unit/recover_kit.h"

#ifndef MAILTWIN_FAULTS

TEST(a_start_after_a_power_loss_may_fail_at_every_call)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

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

/* false: it went through untouched. */
static bool
fail_at(uint64_t at)
{
    struct cap *c = lose();
    const char *where;
    struct fault_plan plan = { .kind = FAULT_ERRNO, .at = at, .errnum = EIO };
    fault_arm(&plan);
    int rc = capture_start(c->node, -1, NULL, NULL, &c->capture, &c->e);
    fault_disarm(&where);
    if (rc < 0) {
        CHECK(where != NULL);
        cap_start(c);
    }
    check_recovered(c);
    return where != NULL;
}

TEST(a_start_after_a_power_loss_may_fail_at_every_call)
{
    struct cap *c = lose();
    CAP_NEEDED(c);
    cap_start(c);
    check_recovered(c);
    uint64_t at = 1;
    while (fail_at(at))
        at++;
    CHECK(at > 10);
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
    struct cap *c = lose();
    node_free(&c->node);
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
    check_recovered(c);
    return WIFSIGNALED(status);
}

TEST(a_start_after_a_power_loss_may_die_at_every_call)
{
    struct cap *c = lose();
    CAP_NEEDED(c);
    cap_start(c);
    check_recovered(c);
    uint64_t at = 1;
    while (die_at(at))
        at++;
    CHECK(at > 10);
}

#endif
