#include "tests/unit/test.h"

#include "lib/base/base.h"
#include "tests/unit/dies.h"

#include <string.h>
#include <sys/resource.h>

#define HUGE_TEXT ((size_t)256 << 20)

static int pipe_fds[2];
static volatile size_t too_much = SIZE_MAX / 2; /* volatile: the compiler would warn */

TEST(empty_allocations_are_pointers_too)
{
    _cleanup_free_ char *a = xmalloc(0);
    _cleanup_free_ char *b = xcalloc(0, 8);
    _cleanup_free_ char *c = xcalloc(8, 0);
    _cleanup_free_ char *d = xrealloc(NULL, 0);
    CHECK(a != NULL && b != NULL && c != NULL && d != NULL);
}

TEST(allocations_hold_what_is_put_there)
{
    _cleanup_free_ char *text = xstrdup("a store");
    CHECK_STR(text, "a store");
    text = xrealloc(text, 4096);
    CHECK_STR(text, "a store");
    _cleanup_free_ uint64_t *zeros = xcalloc(3, sizeof(*zeros));
    CHECK(zeros[0] == 0 && zeros[1] == 0 && zeros[2] == 0);
    _cleanup_free_ char *made = xasprintf("%s %d", text, 7);
    CHECK_STR(made, "a store 7");
    _cleanup_free_ char *nothing = xasprintf("%s", "");
    CHECK_STR(nothing, "");
    _cleanup_free_ char *raw = xmalloc(3);
    memcpy(raw, "ab", 3);
    CHECK_STR(raw, "ab");
}

TEST(freep_leaves_null_behind)
{
    char *text = xstrdup("x");
    freep(&text);
    CHECK(text == NULL);
    freep(&text);
}

static void
assert_aloud(void)
{
    if (dup2(pipe_fds[1], STDERR_FILENO) >= 0)
        ASSERT(pipe_fds[0] < 0);
}

TEST(a_broken_invariant_is_named_with_its_place)
{
    char text[256] = "";
    CHECK_INT(pipe(pipe_fds), 0);
    CHECK(dies(assert_aloud));
    CHECK(read(pipe_fds[0], text, sizeof(text) - 1) > 0);
    CHECK_CONTAINS(text, "mailtwin: assertion failed: pipe_fds[0] < 0 (tests/unit/base.c:");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void
malloc_too_much(void)
{
    free(xmalloc(too_much));
}

static void
calloc_too_much(void)
{
    free(xcalloc(too_much, 1));
}

static void
realloc_too_much(void)
{
    free(xrealloc(NULL, too_much));
}

static void
strdup_too_much(void)
{
    char *text = xmalloc(HUGE_TEXT);
    memset(text, 'x', HUGE_TEXT - 1);
    text[HUGE_TEXT - 1] = '\0';
    struct rlimit none = { HUGE_TEXT, HUGE_TEXT };
    if (setrlimit(RLIMIT_AS, &none) == 0)
        free(xstrdup(text));
}

static void
print_what_no_locale_has(void)
{
    free(xasprintf("%ls", L"\x00e9"));
}

TEST(a_process_without_memory_stops)
{
    /* A sanitizer stops it in its own way. */
    CHECK(dies_status(malloc_too_much) > 0);
    CHECK(dies_status(calloc_too_much) > 0);
    CHECK(dies_status(realloc_too_much) > 0);
    CHECK(dies_status(strdup_too_much) > 0);
    CHECK(dies(print_what_no_locale_has));
}
