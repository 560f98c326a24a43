#include "replicator/reclist.h"
#include "tests/unit/dies.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <sys/stat.h>

static struct record
sample(unsigned i, char path[64])
{
    snprintf(path, 64, "box/%u", i);
    return (struct record){ .seq = i,
                            .op = i % 2 == 0 ? OP_PUT : OP_LINK,
                            .late = i % 4 == 0,
                            .attr = { .mode = S_IFREG | 0600, .size = i },
                            .path = span_str(path),
                            .other = span_str(i % 2 == 0 ? "" : "box/other"),
                            .handle = span_of("\1\0\0\0h", i % 3) };
}

TEST(records_come_back_as_they_were_put)
{
    _cleanup_reclist_ struct reclist list = { 0 };
    char path[64];
    for (unsigned i = 0; i < 2000; i++) {
        struct record r = sample(i, path);
        reclist_add(&list, &r);
    }
    CHECK_INT(reclist_count(&list), 2000);
    for (unsigned i = 2000; i-- > 0;) {
        struct record expected = sample(i, path);
        struct record got;
        reclist_get(&list, i, &got);
        CHECK_INT(got.seq, i);
        CHECK_INT(got.op, expected.op);
        CHECK_INT(got.late, expected.late);
        CHECK_INT(got.attr.size, i);
        CHECK(span_equal(got.path, expected.path));
        CHECK(span_equal(got.other, expected.other));
        CHECK(span_equal(got.handle, expected.handle));
    }
    reclist_clear(&list);
    CHECK_INT(reclist_count(&list), 0);
    struct record one = sample(7, path);
    reclist_add(&list, &one);
    reclist_get(&list, 0, &one);
    CHECK_INT(one.seq, 7);
}

static void
get_none(void)
{
    struct reclist list = { 0 };
    struct record r;
    reclist_get(&list, 0, &r);
}

TEST(there_is_no_record_behind_the_last)
{
    CHECK(dies(get_none));
}
