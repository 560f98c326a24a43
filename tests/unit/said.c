/* What another program says of itself, and what becomes of one that says nothing, too much or no.
 */
#include "cli/said.h"
#include "tests/unit/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LONG_MS 60000

static struct err e;

static int
say(const char *script, unsigned timeout_ms, char **ret_line)
{
    const char *const words[] = { "sh", "-c", script, NULL };
    signal(SIGPIPE, SIG_IGN);
    e = (struct err){ 0 };
    *ret_line = NULL;
    return said_line(words, timeout_ms, ret_line, &e);
}

static void
check_line(const char *script, const char *expected)
{
    char *line;
    CHECK_INT(say(script, LONG_MS, &line), 1);
    CHECK_STR(line, expected);
    free(line);
}

TEST(the_first_line_of_what_a_program_says_is_taken)
{
    check_line("echo one; echo two", "one");
    check_line("printf 'no end'", "no end");
    check_line("true", "");
    check_line("echo; echo two", "");
    check_line("echo warning >&2; echo one", "one");
}

TEST(a_program_that_is_not_there_is_no_error)
{
    static const char *const words[] = { "mailtwin-no-such-program", NULL };
    char *line = NULL;
    CHECK_INT(said_line(words, LONG_MS, &line, &e), 0);
    CHECK(line == NULL);
}

TEST(a_program_that_hangs_fails_or_floods_is_an_error_with_its_words)
{
    char *line;
    CHECK_INT(say("sleep 3600", 50, &line), -1);
    CHECK_INT(e.code, ERR_TIMEOUT);
    CHECK_INT(say("echo half; echo 'line 7: no such setting' >&2; exit 89", LONG_MS, &line), -1);
    CHECK_CONTAINS(e.text, "sh does not tell its settings: line 7: no such setting");
    CHECK_INT(say("while :; do echo more and more; done", LONG_MS, &line), -1);
    CHECK_CONTAINS(e.text, "sh: it says more than 65536 bytes");
    CHECK(line == NULL);
}
