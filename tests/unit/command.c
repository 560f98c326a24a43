#include "tests/unit/test.h"

#include "lib/base/buf.h"
#include "lib/base/words.h"
#include "lib/os/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LARGE (3 << 20)

static struct {
    struct buf out;
    size_t given, to_give;
    bool sink_fails, source_fails;
} t;

static int
sink(void *arg, struct span bytes, struct err *e)
{
    (void)arg;
    if (t.sink_fails)
        return err_set(e, ERR_NOSPACE, "no room");
    buf_add(&t.out, bytes.ptr, bytes.len);
    return 0;
}

static int
source(void *arg, void *ptr, size_t size, size_t *ret_len, struct err *e)
{
    (void)arg;
    if (t.source_fails)
        return err_set(e, ERR_CORRUPT, "bad hash");
    *ret_len = MIN(size, t.to_give - t.given);
    memset(ptr, 'x', *ret_len);
    t.given += *ret_len;
    return 0;
}

static int
run_with(struct command c, const char *line, struct command_result *result, struct err *e)
{
    _cleanup_words_ char **words = NULL;
    signal(SIGPIPE, SIG_IGN);
    CHECK_INT(words_split(line, &words, e), 0);
    c.words = words;
    c.timeout_ms = c.timeout_ms == 0 ? 20000 : c.timeout_ms;
    buf_free(&t.out);
    t.given = 0;
    return command_run(&c, result, e);
}

static const char *
out(void)
{
    buf_add_u8(&t.out, 0);
    return (const char *)t.out.ptr;
}

TEST(output_errors_and_status_come_back)
{
    struct command_result r;
    struct err e = { 0 };
    CHECK_INT(run_with((struct command){ .sink = sink },
                       "sh -c 'echo out; echo one >&2; echo two >&2; exit 7'", &r, &e),
              0);
    CHECK_STR(out(), "out\n");
    CHECK_STR(r.tail, "one;two");
    CHECK(WIFEXITED(r.status));
    CHECK_INT(WEXITSTATUS(r.status), 7);
}

TEST(all_bytes_pass_both_ways)
{
    struct command_result r;
    struct err e = { 0 };
    t.to_give = LARGE;
    CHECK_INT(run_with((struct command){ .sink = sink, .source = source }, "cat", &r, &e), 0);
    CHECK_INT(t.out.len, LARGE);
    CHECK_INT(r.status, 0);
}

TEST(who_reads_nothing_is_not_waited_for)
{
    struct command_result r;
    struct err e = { 0 };
    t.to_give = LARGE;
    CHECK_INT(run_with((struct command){ .source = source }, "true", &r, &e), 0);
    CHECK_INT(r.status, 0);
}

TEST(it_has_nothing_of_ours)
{
    struct command_result r;
    struct err e = { 0 };
    static const char *const env[] = { "MAILTWIN_STORE=webdb", NULL };
    setenv("SECRET", "x", 1);
    CHECK_INT(run_with((struct command){ .sink = sink, .env = env }, "env", &r, &e), 0);
    const char *seen = out();
    CHECK(strstr(seen, "SECRET") == NULL);
    CHECK_CONTAINS(seen, "MAILTWIN_STORE=webdb");
    CHECK_CONTAINS(seen, "LANG=C.UTF-8");
    CHECK_CONTAINS(seen, "HOME=/");
    int spare = dup(STDOUT_FILENO); /* not close-on-exec */
    CHECK_INT(run_with((struct command){ .sink = sink }, "ls /proc/self/fd", &r, &e), 0);
    close(spare);
    CHECK_STR(out(), "0\n1\n2\n3\n"); /* 3 is the directory itself */
}

TEST(it_runs_as_the_account_it_is_given)
{
    struct command_result r;
    struct err e = { 0 };
    if (geteuid() != 0)
        skip();
    CHECK_INT(run_with((struct command){ .sink = sink, .user = "nobody" },
                       "sh -c 'id -un; id -G; pwd'", &r, &e),
              0);
    CHECK_STR(out(), "nobody\n65534\n/\n");
    CHECK_INT(run_with((struct command){ .user = "no-such-account" }, "true", &r, &e), -1);
    CHECK_INT(e.code, ERR_CONFIG);
    CHECK_CONTAINS(e.text, "no-such-account");
}

TEST(it_has_no_terminal_of_ours)
{
    struct command_result r;
    struct err e = { 0 };
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) { /* a session of its own, with a terminal */
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        bool ready = setsid() > 0 && master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 &&
                     open(ptsname(master), O_RDWR | O_CLOEXEC) >= 0 &&
                     open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0;
        int rc = run_with((struct command){ .sink = sink }, "sh -c ': </dev/tty'", &r, &e);
        _exit(!ready ? 2 : rc == 0 && WIFEXITED(r.status) && WEXITSTATUS(r.status) != 0 ? 0 : 1);
    }
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

TEST(what_takes_too_long_is_killed_with_all_it_started)
{
    struct command_result r;
    struct err e = { 0 };
    CHECK_INT(run_with((struct command){ .sink = sink, .timeout_ms = 300 },
                       "sh -c 'sleep 1000 & echo $!; wait'", &r, &e),
              -1);
    CHECK_INT(e.code, ERR_TIMEOUT);
    pid_t pid = atoi(out());
    CHECK(pid > 1);
    for (int i = 0; kill(pid, 0) == 0 && i < 1000;
         i++) { /* its new parent may take a moment to collect it */
        char path[64], how = '?';
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        FILE *file = fopen(path, "re");
        if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &how) != 1)
            how = 'X';
        if (file != NULL)
            fclose(file);
        if (how == 'Z' || how == 'X')
            return;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    CHECK(kill(pid, 0) < 0);
}

TEST(who_talks_without_end_has_an_end)
{
    struct command_result r;
    struct err e = { 0 };
    CHECK_INT(run_with((struct command){ .timeout_ms = 300 }, "sh -c 'yes >&2'", &r, &e), -1);
    CHECK_INT(e.code, ERR_TIMEOUT);
    CHECK_INT(run_with((struct command){ .sink = sink, .timeout_ms = 100 }, "yes", &r, &e), -1);
    CHECK_INT(e.code, ERR_TIMEOUT);
}

TEST(what_it_left_running_does_not_keep_us)
{
    struct command_result r;
    struct err e = { 0 };
    CHECK_INT(run_with((struct command){ .sink = sink }, "sh -c 'sleep 1000 & echo done'", &r, &e),
              0);
    CHECK_STR(out(), "done\n");
}

TEST(a_sink_or_source_that_fails_ends_it)
{
    struct command_result r;
    struct err e = { 0 };
    t.sink_fails = true;
    CHECK_INT(run_with((struct command){ .sink = sink }, "yes", &r, &e), -1);
    t.sink_fails = false;
    CHECK_INT(e.code, ERR_NOSPACE);
    t.source_fails = true;
    CHECK_INT(run_with((struct command){ .source = source }, "cat", &r, &e), -1);
    t.source_fails = false;
    CHECK_INT(e.code, ERR_CORRUPT);
}

TEST(a_program_that_is_not_there_says_so)
{
    struct command_result r;
    struct err e = { 0 };
    char *words[] = { (char[]){ "/no/such/program" }, NULL };
    struct command c = { .words = words, .timeout_ms = 20000 };
    CHECK_INT(command_succeed(&c, &r, &e), -1);
    CHECK_CONTAINS(e.text, "cannot run /no/such/program: No such file or directory");
}

TEST(of_many_words_the_last_are_kept)
{
    struct command_result r;
    struct err e = { 0 };
    CHECK_INT(run_with((struct command){ .sink = sink },
                       "sh -c 'seq 100000 >&2; printf \"\\001last\\n\" >&2'", &r, &e),
              0);
    CHECK(strlen(r.tail) <= COMMAND_TAIL_MAX);
    CHECK_STR(r.tail + strlen(r.tail) - 12, "100000; last");
}
