/* A manifest and marks of format 1 are read for ever, and written as the same bytes. */
#include "lib/data/salvage.h"
#include "tests/golden/sample.h"

#include <sys/stat.h>

static struct err e;

static void
check_head(const struct salvage_head *head)
{
    CHECK_INT(head->history[0], 0xa1);
    CHECK_INT(head->epoch, 3);
    CHECK_INT(head->fork, 1100);
    CHECK_INT(head->tail, 1180);
    CHECK_INT(head->time_s, 1700000000);
    CHECK_INT(head->count, 2);
    CHECK(span_equal(head->store, span_str("mail")));
}

static void
check_message(const struct salvage_item *item)
{
    CHECK_INT(item->kind, SALVAGE_MESSAGE);
    CHECK_INT(item->attr.mode, S_IFREG | 0600);
    CHECK_INT(item->attr.size, 1234);
    CHECK_INT(item->changed_ns, 1700000000123456789);
    CHECK(span_equal(item->path, span_str("ada/.Work/cur/1.M1,S=1234:2,Sa")));
    CHECK(span_equal(item->guid, span_str("9f86d081884c7d659a2feaa0c55ad015")));
    CHECK_INT(item->keyword_count, 1);
    CHECK_INT(item->keywords[0].letter, 'a');
    CHECK(span_equal(item->keywords[0].name, span_str("Later")));
}

static void
check_rename(const struct salvage_item *item)
{
    CHECK_INT(item->kind, SALVAGE_RENAME);
    CHECK_INT(item->attr.mode, S_IFDIR | 0700);
    CHECK(span_equal(item->path, span_str("ada/.New")));
    CHECK(span_equal(item->other, span_str("ada/.Old")));
    CHECK_INT(item->keyword_count, 0);
}

TEST(a_manifest_of_the_first_format_is_read_and_written_as_the_same_bytes)
{
    _cleanup_buf_ struct buf bytes = { 0 };
    _cleanup_buf_ struct buf again = { 0 };
    struct salvage_head head;
    struct salvage_item item;
    struct reader items;
    sample_load("salvage-manifest", &bytes);
    CHECK_INT(salvage_read(buf_span(&bytes), &head, &items, &e), 0);
    check_head(&head);
    salvage_begin(&head, &again);
    CHECK_INT(salvage_next(&items, 0, &item, &e), 1);
    check_message(&item);
    salvage_add(&item, &again);
    CHECK_INT(salvage_next(&items, 1, &item, &e), 1);
    check_rename(&item);
    salvage_add(&item, &again);
    CHECK_INT(salvage_next(&items, 2, &item, &e), 0);
    salvage_end(&again, 2);
    CHECK(span_equal(buf_span(&again), buf_span(&bytes)));
}

TEST(marks_of_the_first_format_are_read)
{
    _cleanup_buf_ struct buf bytes = { 0 };
    _cleanup_buf_ struct buf again = { 0 };
    uint8_t states[2] = { 0 };
    sample_load("salvage-marks", &bytes);
    CHECK_INT(salvage_marks(buf_span(&bytes), states, 2), bytes.len);
    CHECK_INT(states[0], SALVAGE_DELIVERED);
    CHECK_INT(states[1], SALVAGE_DROPPED);
    salvage_mark(0, SALVAGE_DELIVERED, &again);
    salvage_mark(1, SALVAGE_DROPPED, &again);
    CHECK(span_equal(buf_span(&again), buf_span(&bytes)));
}

TEST(the_taker_of_the_first_format_is_read)
{
    _cleanup_buf_ struct buf bytes = { 0 };
    _cleanup_buf_ struct buf again = { 0 };
    struct salvage_taker taker;
    sample_load("salvage-taker", &bytes);
    salvage_taker_read(buf_span(&bytes), &taker);
    CHECK_INT(taker.epoch, 5);
    CHECK_INT(taker.history[0], 0xa1);
    salvage_taker_put(&taker, &again);
    CHECK(span_equal(buf_span(&again), buf_span(&bytes)));
}
