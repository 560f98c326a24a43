/* start_kit.h - in builds with fault points: a primary's start that fails, or dies, at its n-th
 * call to the operating system, n rising until it goes through. */
#ifndef MAILTWIN_TEST_START_KIT_H
#define MAILTWIN_TEST_START_KIT_H

#include "lib/os/fault.h"
#include "tests/unit/capture_kit.h"

#include <signal.h>
#include <sys/wait.h>

struct start_sweep {
    struct cap *(*make)(void); /* what is to be started; NULL without the rights */
    /* The start failed with that error (rc < 0), or went through though a call failed. */
    void (*failed)(struct cap *c, int rc, const char *where);
    void (*check)(struct cap *c); /* started again: how it must be now; gives c back */
    uint64_t calls;               /* there are more than these */
};

/* false: it went through untouched. */
static inline bool
start_fails_at(const struct start_sweep *s, uint64_t at)
{
    struct cap *c = s->make();
    const char *where;
    struct fault_plan plan = { .kind = FAULT_ERRNO, .at = at, .errnum = EIO };
    if (c->node == NULL)
        cap_open(c);
    fault_arm(&plan);
    int rc = capture_start(c->node, -1, NULL, NULL, &c->capture, &c->e);
    fault_disarm(&where);
    s->failed(c, rc, where);
    s->check(c);
    return where != NULL;
}

static inline void
start_die_here(const char *where)
{
    (void)where;
    raise(SIGKILL);
}

/* false: it lived. */
static inline bool
start_dies_at(const struct start_sweep *s, uint64_t at)
{
    struct cap *c = s->make();
    node_free(&c->node);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct fault_plan plan = { .kind = FAULT_HOOK, .at = at, .hook = start_die_here };
        cap_open(c);
        fault_arm(&plan);
        cap_start(c);
        fault_disarm(NULL);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    cap_start(c);
    s->check(c);
    return WIFSIGNALED(status);
}

static inline void
start_sweep(const struct start_sweep *s, bool (*goes_on)(const struct start_sweep *s, uint64_t at))
{
    struct cap *c = s->make();
    CAP_NEEDED(c);
    cap_start(c);
    s->check(c);
    uint64_t at = 1;
    while (goes_on(s, at))
        at++;
    CHECK(at > s->calls);
}

#endif
