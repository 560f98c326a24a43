/* The manifest of a salvage and its marks. */
#include "lib/data/salvage.h"
#include "tests/unit/test.h"

#include <sys/stat.h>

static struct err e;

static void
make(struct buf *out)
{
    struct salvage_head head = { .history = { 9 },
                                 .epoch = 3,
                                 .fork = 100,
                                 .tail = 120,
                                 .time_s = 1700000000,
                                 .store = span_str("mail") };
    struct salvage_item item = { .number = 0,
                                 .kind = SALVAGE_MESSAGE,
                                 .attr = { .mode = S_IFREG | 0600, .size = 5, .mtime_ns = -1 },
                                 .changed_ns = 77,
                                 .path = span_str("ada/cur/1.M1:2,a"),
                                 .guid = span_str("0123456789abcdef0123456789abcdef"),
                                 .keyword_count = 1,
                                 .keywords = { { 'a', span_str("Later") } } };
    salvage_begin(&head, out);
    salvage_add(&item, out);
    item = (struct salvage_item){ .number = 1,
                                  .kind = SALVAGE_FLAGS,
                                  .path = span_str("ada/cur/2.M2:2,S"),
                                  .other = span_str("ada/new/2.M2") };
    salvage_add(&item, out);
    salvage_end(out, 2);
}

TEST(a_manifest_comes_out_as_it_went_in)
{
    _cleanup_buf_ struct buf out = { 0 };
    struct salvage_head head;
    struct salvage_item item;
    struct reader items;
    make(&out);
    CHECK_INT(salvage_read(buf_span(&out), &head, &items, &e), 0);
    CHECK_INT(head.fork, 100);
    CHECK_INT(head.tail, 120);
    CHECK_INT(head.count, 2);
    CHECK(span_equal(head.store, span_str("mail")));
    CHECK_INT(salvage_next(&items, 0, &item, &e), 1);
    CHECK_INT(item.attr.mtime_ns, -1);
    CHECK_INT(item.changed_ns, 77);
    CHECK(span_equal(item.keywords[0].name, span_str("Later")));
    CHECK_INT(salvage_next(&items, 1, &item, &e), 1);
    CHECK(span_equal(item.other, span_str("ada/new/2.M2")));
    CHECK_INT(salvage_next(&items, 2, &item, &e), 0);
}

/* Reads all of it: what is wrong is found before anything is done. */
static int
read_all(struct span manifest)
{
    struct salvage_head head;
    struct salvage_item item;
    struct reader items;
    uint32_t count = 0;
    int found = salvage_read(manifest, &head, &items, &e);
    while (found >= 0 && (found = salvage_next(&items, count, &item, &e)) > 0)
        count++;
    return found < 0 || count != head.count ? -1 : 0;
}

TEST(a_manifest_with_any_byte_wrong_or_missing_is_refused)
{
    _cleanup_buf_ struct buf out = { 0 };
    make(&out);
    CHECK_INT(read_all(buf_span(&out)), 0);
    for (size_t i = 0; i < out.len; i++) {
        CHECK_INT(read_all(span_of(out.ptr, i)), -1);
        out.ptr[i] ^= 0x20;
        CHECK_INT(read_all(buf_span(&out)), -1);
        CHECK(e.code == ERR_CORRUPT);
        out.ptr[i] ^= 0x20;
    }
}

TEST(the_last_mark_of_an_item_counts_and_a_torn_one_does_not)
{
    _cleanup_buf_ struct buf out = { 0 };
    uint8_t states[2] = { 0 };
    salvage_mark(1, SALVAGE_REFUSED, &out);
    salvage_mark(1, SALVAGE_DELIVERED, &out);
    salvage_mark(0, SALVAGE_DROPPED, &out);
    CHECK_INT(salvage_marks(span_of(out.ptr, out.len - 1), states, 2), 2 * SALVAGE_MARK_SIZE);
    CHECK_INT(states[0], SALVAGE_OPEN);
    CHECK_INT(states[1], SALVAGE_DELIVERED);
    CHECK_INT(salvage_marks(buf_span(&out), states, 2), out.len);
    CHECK_INT(states[0], SALVAGE_DROPPED);
    CHECK_INT(salvage_marks(buf_span(&out), states, 1), 0); /* beyond the items */
}

/* Who took it is then asked anew: giving twice makes no second one. */
TEST(a_taker_with_any_byte_wrong_or_missing_is_nobody)
{
    _cleanup_buf_ struct buf out = { 0 };
    struct salvage_taker taker = { { 9 }, 4 }, got, other = { { 8 }, 4 };
    salvage_taker_put(&taker, &out);
    salvage_taker_read(buf_span(&out), &got);
    CHECK(salvage_taker_same(&got, &taker));
    CHECK(!salvage_taker_same(&got, &other));
    for (size_t i = 0; i < out.len; i++) {
        salvage_taker_read(span_of(out.ptr, i), &got);
        CHECK_INT(got.epoch, 0);
        out.ptr[i] ^= 0x20;
        salvage_taker_read(buf_span(&out), &got);
        CHECK_INT(got.epoch, 0);
        out.ptr[i] ^= 0x20;
    }
}
