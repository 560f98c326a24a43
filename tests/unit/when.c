#include "tests/unit/test.h"

#include "lib/os/when.h"

TEST(a_date_is_shown_in_utc_and_never_is_nothing)
{
    char text[WHEN_SIZE];
    CHECK_STR(when_text(1795389731, text), "2026-11-22T23:22:11Z");
    CHECK_STR(when_text(1, text), "1970-01-01T00:00:01Z");
    CHECK_STR(when_text(0, text), "");
    CHECK_STR(when_text(UINT64_MAX / 2, text), ""); /* no year that can be told */
}
