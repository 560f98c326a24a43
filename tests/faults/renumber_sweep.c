/* A promotion's work on the mailboxes fails, or dies, at its n-th call to the operating system, n
 * rising until it goes through: no list is ever less than it was or unreadable, what could not be
 * done is told, and what a crash broke off the next start carries out. */
#include "tests/unit/renumber_kit.h"
#include "tests/unit/stuck_kit.h"

#ifndef MAILTWIN_FAULTS

TEST(no_failure_while_numbers_are_raised_costs_a_list)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

#include "lib/os/fault.h"

#include <signal.h>
#include <sys/wait.h>

static const struct {
    const char *path;
    uint32_t next; /* before */
} lists[] = { { "ada/dovecot-uidlist", 8 },
              { "ada/.Sent/dovecot-uidlist", 4 },
              { "bob/courierimapuiddb", 9 } };

static struct cap *
make(void)
{
    struct cap *c = renumber_mailboxes();
    if (c == NULL)
        return NULL;
    atomic_store(&stuck, 0);
    event_init("test", EVENT_CRIT);
    event_tap(count_stuck, NULL);
    renumber_set(c, R_GAP);
    return c;
}

/* all: nothing failed. Else each list is as it was, or raised; none is
 * unreadable. */
static void
check_lists(struct cap *c, bool all)
{
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        size_t half;
        CHECK(renumber_read(c, lists[i].path, &half) >= lists[i].next + (all ? R_GAP : 0));
        CHECK(!all || half == 0);
    }
    if (!all)
        return;
    cap_sh(c,
           "for d in ada ada/.Sent bob carl; do "
           "test $(od -An -j24 -N8 -tu8 mail/$d/dovecot.index.log) = %llu || exit 1; done; "
           "test ! -e mail/ada/dovecot.index; test ! -e mail/ada/maildirsize",
           (unsigned long long)R_MODSEQ);
    cap_sh(c, "v=$(cat mail/ada/dovecot-uidvalidity); test $((0x$v)) -ge $((0x6b039e4b)) && "
              "test -e mail/ada/dovecot-uidvalidity.$v");
}

static struct renumber_done done;

static bool
fails_at(uint64_t at)
{
    struct cap *c = make();
    const char *where;
    struct fault_plan plan = { .kind = FAULT_ERRNO, .at = at, .errnum = at % 2 ? EIO : ENOSPC };
    fault_arm(&plan);
    int rc = renumber_begin(c->node, NULL, renumber_alive, &done, &c->e);
    fault_disarm(&where);
    if (rc < 0) /* the state failed: the next start has it all to do */
        CHECK_INT(renumber_begin(c->node, NULL, renumber_alive, &done, &c->e), 0);
    if (rc == 0 && where != NULL && atomic_load(&stuck) == 0)
        print_message("%s failed, and it did not matter\n", where);
    check_lists(c, atomic_load(&stuck) == 0);
    cap_free(c);
    return where != NULL;
}

static void
die_here(const char *where)
{
    (void)where;
    raise(SIGKILL);
}

static bool
dies_at(uint64_t at)
{
    struct cap *c = make();
    int status;
    node_free(&c->node);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct fault_plan plan = { .kind = FAULT_HOOK, .at = at, .hook = die_here };
        cap_open(c);
        fault_arm(&plan);
        _exit(renumber_begin(c->node, NULL, renumber_alive, &done, &c->e) < 0);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    cap_open(c);
    CHECK_INT(renumber_begin(c->node, NULL, renumber_alive, &done, &c->e), 0);
    check_lists(c, true);
    CHECK_INT(atomic_load(&stuck), 0);
    cap_free(c);
    return WIFSIGNALED(status);
}

static void
sweep(bool (*goes_on)(uint64_t at))
{
    struct cap *c = make();
    CAP_NEEDED(c);
    cap_free(c);
    uint64_t at = 1;
    while (goes_on(at))
        at++;
    CHECK(at > 20);
}

TEST(no_failure_while_numbers_are_raised_costs_a_list)
{
    sweep(fails_at);
}

TEST(a_promotion_that_dies_while_numbers_are_raised_is_made_good_by_the_next_start)
{
    sweep(dies_at);
}

#endif
