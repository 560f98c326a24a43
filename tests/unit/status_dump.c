#include "tests/unit/test.h"

#include "replicator/status_dump.h"

static bool
late(uint64_t every_ms, uint64_t timeout_ms, int64_t began_ms, uint64_t now_s)
{
    struct conf_store store = { .dump = { .every_ms = every_ms, .timeout_ms = timeout_ms } };
    json_t *last = began_ms < 0 ? json_null()
                                : json_pack("{s:I}", "began_ms", (json_int_t)began_ms);
    bool is_late = status_dump_is_late(&store, last, now_s);
    json_decref(last);
    return is_late;
}

TEST(a_primary_on_which_no_dump_is_made_is_told)
{
    CHECK(late(300000, 60000, -1, 1700000000)); /* none at all */
    CHECK(!late(300000, 60000, 1000000000, 1000000 + 959));
    CHECK(late(300000, 60000, 1000000000, 1000000 + 961));
    CHECK(!late(1000, 1000, 1000000000, 1000000 + 61)); /* a minute is nothing */
    CHECK(late(1000, 1000, 1000000000, 1000000 + 62));
    CHECK(!late(300000, 60000, 2000000000, 1000000)); /* the clock was set back */
}
