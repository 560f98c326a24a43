/* Any bytes as text and back. */
#include "lib/base/escape.h"
#include "tests/unit/test.h"

#include <stdlib.h>

static void
check(struct span bytes, const char *wanted)
{
    _cleanup_buf_ struct buf back = { 0 };
    _cleanup_free_ char *text = escape_text(bytes);
    CHECK_STR(text, wanted);
    CHECK(escape_read(text, &back));
    CHECK(span_equal(buf_span(&back), bytes));
}

TEST(any_bytes_become_printable_text_and_come_back)
{
    uint8_t all[256];
    _cleanup_buf_ struct buf back = { 0 };
    check(span_of(NULL, 0), "");
    check(span_str("a b~"), "a b~");
    check(span_str("\\"), "\\5c");
    check(span_str("z\xc3\xa4\x7f\n"), "z\\c3\\a4\\7f\\0a");
    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (uint8_t)i;
    _cleanup_free_ char *text = escape_text(span_of(all, sizeof(all)));
    CHECK(escape_read(text, &back));
    CHECK(span_equal(buf_span(&back), span_of(all, sizeof(all))));
}

TEST(a_text_that_is_not_written_so_is_refused)
{
    static const char *const bad[] = { "\\", "a\\", "\\0", "\\g0", "\\0g", "\\C3" };
    _cleanup_buf_ struct buf back = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!escape_read(bad[i], &back));
}
