/* The n-th call to the operating system fails, n rising until the history is applied untouched. */
#include "lib/os/fault.h"
#include "replicator/apply_private.h"
#include "tests/faults/apply_history.h"
#include "tests/faults/retained_kit.h"

#ifndef MAILTWIN_FAULTS

TEST(apply_survives_the_failure_of_every_call)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

struct sweep {
    char path[64];
    int root;
    struct retain *retain; /* NULL none */
    struct apply *apply;
    unsigned run; /* the next one */
};

static bool no_unnamed; /* as on a filesystem without O_TMPFILE */
static bool retaining;

static int
go_on(struct sweep *s, struct err *e)
{
    struct apply_store store = { .path = s->path, .retain = s->retain };
    if (s->apply == NULL && apply_open(&store, 1, 2, &s->apply, e) < 0)
        return -1;
    if (no_unnamed)
        s->apply->roots[0].unnamed_max = 0;
    for (; s->run <= HISTORY_RUNS; s->run++) {
        if (send_run(s->apply, s->run, check_not_needed, NULL, e) < 0)
            return -1;
    }
    return 0;
}

static void
begin(struct sweep *s)
{
    *s = (struct sweep){ .run = 1 };
    snprintf(s->path, sizeof(s->path), "/tmp/mailtwin-sweep-XXXXXX");
    assert_non_null(mkdtemp(s->path));
    test_scratch(s->path);
    s->root = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(s->root >= 0);
    if (retaining)
        s->retain = retain_all(s->path);
}

static void
end(struct sweep *s)
{
    apply_free(&s->apply);
    retain_free(&s->retain);
    close(s->root);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", s->path);
    assert_int_equal(system(command), 0);
}

static void
check_error(const struct sweep *s, const struct fault_plan *plan, const struct err *e,
            const char *where)
{
    if (plan->kind == FAULT_SHORT)
        fail_msg("a short %s was not made good: %s", where, e->text);
    if (e->code == ERR_NONE || strstr(e->text, s->path) == NULL || e->sys != plan->errnum)
        fail_msg("failed %s is told as \"%s\"", where, e->text);
    if (plan->errnum == ENOSPC)
        assert_int_equal(e->code, ERR_NOSPACE);
}

/* One failure; true while there was a call to fail. */
static bool
fail_once(struct fault_plan plan, bool restart)
{
    struct sweep s;
    begin(&s);
    struct err e = { 0 };
    const char *hit;
    fault_arm(&plan);
    int r = go_on(&s, &e);
    fault_disarm(&hit);
    if (r < 0)
        check_error(&s, &plan, &e, hit == NULL ? "call" : hit);
    struct tree whole = { .count = 0 };
    tree_read(s.root, "", &whole); /* fails on a partial message */
    if (restart)
        apply_free(&s.apply);
    else if (s.apply != NULL)
        apply_abort(s.apply);
    if (go_on(&s, &e) < 0)
        fail_msg("the repeated run failed too, after %s: %s", hit, e.text);
    tree_check_end(s.root, hit == NULL ? "untouched" : hit);
    if (retaining)
        check_retained(s.root, plan.errnum == ENOSPC, hit == NULL ? "untouched" : hit);
    end(&s);
    return hit != NULL;
}

/* Every call with MAILTWIN_LONG, else some, each test others. */
static void
sweep(struct fault_plan plan, unsigned first, bool restart)
{
    unsigned step = getenv("MAILTWIN_LONG") != NULL ? 1 : 11;
    plan.at = step == 1 ? 1 : first;
    while (fail_once(plan, restart))
        plan.at += step;
    assert_true(plan.at > 100); /* the history is not that short */
}

TEST(apply_survives_the_failure_of_every_call)
{
    sweep((struct fault_plan){ .kind = FAULT_ERRNO, .errnum = EIO }, 1, false);
}

TEST(apply_survives_the_failure_of_every_call_and_a_restart)
{
    sweep((struct fault_plan){ .kind = FAULT_ERRNO, .errnum = EIO }, 3, true);
}

TEST(apply_survives_the_failure_of_every_call_where_each_staged_file_has_a_name)
{
    no_unnamed = true;
    sweep((struct fault_plan){ .kind = FAULT_ERRNO, .errnum = EIO }, 2, false);
    no_unnamed = false;
}

/* Found out by the first file of the first run. */
/* The first of these disturbs nothing: it tells what is to be retained. */
static void
sweep_retaining(int errnum, unsigned first, bool restart)
{
    retaining = true;
    retained_count = 0;
    assert_false(
        fail_once((struct fault_plan){ .kind = FAULT_ERRNO, .at = 1000000, .errnum = EIO }, false));
    sweep((struct fault_plan){ .kind = FAULT_ERRNO, .errnum = errnum }, first, restart);
    retaining = false;
}

TEST(what_is_deleted_stays_retained_whatever_call_fails)
{
    sweep_retaining(EIO, 2, false);
}

TEST(what_is_deleted_stays_retained_whatever_call_fails_before_a_restart)
{
    sweep_retaining(EIO, 6, true);
}

TEST(what_is_retained_never_holds_up_a_standby_whose_disk_is_full)
{
    sweep_retaining(ENOSPC, 9, false);
}

TEST(apply_does_without_unnamed_files_where_there_are_none)
{
    struct fault_plan plan = { .kind = FAULT_ERRNO, .errnum = EOPNOTSUPP };
    unsigned passed = 0;
    for (plan.at = 1; plan.at < 60; plan.at++) {
        struct sweep s;
        struct err e = { 0 };
        const char *hit;
        begin(&s);
        fault_arm(&plan);
        int r = go_on(&s, &e);
        fault_disarm(&hit);
        if (r == 0 && hit != NULL && s.apply->roots[0].unnamed_max == 0) {
            tree_check_end(s.root, hit);
            passed++;
        }
        end(&s);
    }
    assert_true(passed > 0);
}

TEST(apply_survives_a_disk_that_is_full_at_every_call)
{
    sweep((struct fault_plan){ .kind = FAULT_ERRNO, .errnum = ENOSPC }, 5, false);
}

TEST(apply_survives_an_interruption_at_every_call)
{
    sweep((struct fault_plan){ .kind = FAULT_ERRNO, .errnum = EINTR }, 7, false);
}

TEST(apply_survives_a_short_transfer_at_every_call)
{
    sweep((struct fault_plan){ .kind = FAULT_SHORT }, 9, false);
}

#endif
