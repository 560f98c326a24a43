/* What the tests themselves leave in /tmp. */
#include "tests/unit/test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool
is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void
make(char *path, const char *below)
{
    char inner[100];
    assert_non_null(mkdtemp(path));
    snprintf(inner, sizeof(inner), "%s/%s", path, below);
    assert_int_equal(mkdir(inner, 0700), 0);
}

/* Runs act() in a program of its own, which ends by exit(). Its status. */
static int
run(void (*act)(void *arg), void *arg)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        act(arg);
        exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void
leave(void *arg)
{
    test_scratch(arg);
}

TEST(a_folder_goes_with_the_program_although_its_test_did_not_remove_it)
{
    char path[] = "/tmp/mailtwin-left-XXXXXX";
    make(path, "s");
    run(leave, path);
    CHECK(!is_there(path));
}

static void
do_nothing(void *arg)
{
    (void)arg;
}

static void
leave_and_fork(void *arg)
{
    test_scratch(arg);
    run(do_nothing, NULL);
    if (!is_there(arg))
        _exit(1);
}

TEST(a_child_of_a_test_removes_nothing_of_it)
{
    char path[] = "/tmp/mailtwin-left-XXXXXX";
    make(path, "s");
    assert_int_equal(run(leave_and_fork, path), 0);
    CHECK(!is_there(path));
}

static void
run_nothing(void *arg)
{
    (void)arg;
    if (freopen("/dev/null", "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL)
        _exit(1); /* what it says is not this program's count */
    execl("/proc/self/exe", "scratch", "no test has this name", (char *)NULL);
    _exit(1);
}

TEST(what_a_killed_program_left_is_removed_hours_later_and_no_sooner)
{
    char old[] = "/tmp/mailtwin-left-XXXXXX", young[] = "/tmp/mailtwin-left-XXXXXX";
    make(old, "s");
    make(young, "s");
    struct timespec ago = { .tv_sec = time(NULL) - 7 * 3600 };
    assert_int_equal(utimensat(-1, old, (struct timespec[]){ ago, ago }, 0), 0);
    run(run_nothing, NULL);
    CHECK(!is_there(old));
    CHECK(is_there(young));
    test_scratch(young);
}
