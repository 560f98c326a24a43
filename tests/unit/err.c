#include "tests/unit/test.h"

#include "lib/base/err.h"
#include "tests/unit/dies.h"

#include <errno.h>
#include <string.h>

TEST(a_failure_is_a_sentence_built_from_the_inside_out)
{
    struct err e;
    CHECK_INT(err_errnum(&e, ERR_IO, ENOENT, "open %s", "state"), -1);
    CHECK_STR(e.text, "open state: No such file or directory");
    CHECK_INT(err_wrap(&e, "start %d", 2), -1);
    CHECK_STR(e.text, "start 2: open state: No such file or directory");
    CHECK_INT(e.code, ERR_IO);
    CHECK_INT(e.sys, ENOENT);
    CHECK_INT(err_set(&e, ERR_CONFIG, "%s", "no node"), -1);
    CHECK_STR(e.text, "no node");
    CHECK_INT(e.code, ERR_CONFIG);
    CHECK_INT(e.sys, 0);
    err_clear(&e);
    CHECK_INT(e.code, ERR_NONE);
    CHECK_STR(e.text, "");
}

TEST(a_caller_need_not_want_the_sentence)
{
    CHECK_INT(err_set(NULL, ERR_IO, "x"), -1);
    CHECK_INT(err_errnum(NULL, ERR_IO, EIO, "x"), -1);
    CHECK_INT(err_wrap(NULL, "x"), -1);
}

TEST(a_long_sentence_is_cut_and_ends)
{
    struct err e;
    char longer[2 * ERR_TEXT_MAX];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    err_set(&e, ERR_IO, "%s", longer);
    CHECK_INT(strlen(e.text), ERR_TEXT_MAX - 1);
    err_errnum(&e, ERR_IO, EIO, "%s", longer);
    CHECK_INT(strlen(e.text), ERR_TEXT_MAX - 1);
    err_wrap(&e, "%s", "while reading");
    CHECK_INT(strlen(e.text), ERR_TEXT_MAX - 1);
    CHECK(strncmp(e.text, "while reading: xxx", 18) == 0);
    err_wrap(&e, "%s", longer);
    CHECK_INT(strlen(e.text), ERR_TEXT_MAX - 1);
}

TEST(every_code_has_its_name_and_exit_status)
{
    CHECK_INT(err_exit_status(ERR_NONE), 0);
    CHECK_STR(err_name(ERR_NONE), "NONE");
#define ERR(name, exit_status, help)                       \
    CHECK_STR(err_name(ERR_##name), #name);                \
    CHECK_INT(err_exit_status(ERR_##name), (exit_status)); \
    CHECK(strlen(help) > 0);
#include "lib/base/errors.def"
#undef ERR
}

static void
status_of_no_code(void)
{
    (void)err_exit_status((enum err_code)(ERR_DEGRADED + 1));
}

static void
name_of_no_code(void)
{
    (void)err_name((enum err_code)(ERR_DEGRADED + 1));
}

TEST(a_code_that_does_not_exist_is_a_bug)
{
    CHECK(dies(status_of_no_code));
    CHECK(dies(name_of_no_code));
}
