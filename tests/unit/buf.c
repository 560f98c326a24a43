#include "tests/unit/test.h"

#include "lib/base/buf.h"
#include "tests/unit/dies.h"

TEST(what_is_written_reads_back_field_by_field)
{
    _cleanup_buf_ struct buf b = { 0 };
    buf_add_u8(&b, 0xfe);
    buf_add_le16(&b, 0xfedc);
    buf_add_le32(&b, 0xfedcba98);
    buf_add_le64(&b, 0xfedcba9876543210ULL);
    buf_add_span16(&b, span_str("short"));
    buf_add_span32(&b, span_str(""));
    buf_add_span32(&b, span_str("long"));
    buf_add(&b, "tail", 4);
    struct reader r = reader_of(buf_span(&b));
    CHECK_INT(reader_u8(&r), 0xfe);
    CHECK_INT(reader_le16(&r), 0xfedc);
    CHECK_INT(reader_le32(&r), 0xfedcba98);
    CHECK(reader_le64(&r) == 0xfedcba9876543210ULL);
    CHECK(span_equal(reader_span16(&r), span_str("short")));
    CHECK_INT(reader_span32(&r).len, 0);
    CHECK(span_equal(reader_span32(&r), span_str("long")));
    CHECK(reader_ok(&r) && !reader_done(&r));
    CHECK(span_equal(reader_bytes(&r, 4), span_str("tail")));
    CHECK(reader_ok(&r) && reader_done(&r));
}

TEST(a_buffer_keeps_its_bytes_while_it_grows)
{
    _cleanup_buf_ struct buf b = { 0 };
    for (unsigned i = 0; i < 100000; i++)
        buf_add_le32(&b, i);
    for (unsigned i = 0; i < 100000; i++)
        CHECK_INT(get_le32(b.ptr + (size_t)4 * i), i);
    buf_reset(&b);
    CHECK_INT(b.len, 0);
    CHECK(b.cap >= 400000);
    buf_add(&b, NULL, 0);
    CHECK_INT(b.len, 0);
}

TEST(reserved_room_is_there_and_not_taken)
{
    _cleanup_buf_ struct buf b = { 0 };
    buf_reserve(&b, 10000);
    CHECK(b.cap >= 10000 && b.len == 0);
    uint8_t *before = b.ptr;
    buf_reserve(&b, 10000);
    CHECK(b.ptr == before);
}

TEST(a_length_field_holds_its_largest_length)
{
    static const uint8_t bytes[UINT16_MAX];
    _cleanup_buf_ struct buf b = { 0 };
    buf_add_span16(&b, span_of(bytes, sizeof(bytes)));
    struct reader r = reader_of(buf_span(&b));
    CHECK_INT(reader_span16(&r).len, UINT16_MAX);
    CHECK(reader_done(&r));
}

TEST(consumed_bytes_leave_from_the_front)
{
    _cleanup_buf_ struct buf b = { 0 };
    buf_add(&b, "abcdef", 6);
    buf_consume(&b, 0);
    CHECK(span_equal(buf_span(&b), span_str("abcdef")));
    buf_consume(&b, 2);
    CHECK(span_equal(buf_span(&b), span_str("cdef")));
    buf_consume(&b, 4);
    CHECK_INT(b.len, 0);
}

/* However short the input is, nothing is read behind its end and the failure stays. */
TEST(a_reader_never_goes_beyond_the_end)
{
    static const uint8_t bytes[14] = { [8] = 4 };
    for (size_t len = 0; len < sizeof(bytes); len++) {
        _cleanup_free_ uint8_t *exact = xmalloc(len); /* a sanitizer sees one byte too many */
        memcpy(exact, bytes, len);
        struct reader r = reader_of(span_of(exact, len));
        reader_le64(&r);
        reader_span16(&r);
        CHECK(!reader_ok(&r) && !reader_done(&r));
        CHECK(reader_bytes(&r, 1).ptr == NULL); /* it stays so where less would fit */
        CHECK_INT(reader_u8(&r), 0);
        CHECK_INT(reader_le16(&r), 0);
        CHECK_INT(reader_le32(&r), 0);
        CHECK_INT(reader_le64(&r), 0);
        CHECK_INT(reader_span32(&r).len, 0);
        CHECK(!reader_ok(&r));
    }
}

TEST(a_length_from_outside_is_measured_first)
{
    struct reader r = reader_of(span_of("\xff\xff\xff\xff"
                                        "abc",
                                        7));
    CHECK(reader_span32(&r).ptr == NULL);
    CHECK(!reader_ok(&r));
}

static struct buf dying;

static void
consume_too_much(void)
{
    buf_consume(&dying, 1);
}

static void
reserve_too_much(void)
{
    buf_reserve(&dying, SIZE_MAX / 2);
}

static void
reserve_behind_too_much(void)
{
    dying.len = SIZE_MAX / 2;
    buf_reserve(&dying, 1);
}

static void
span16_too_long(void)
{
    static const uint8_t bytes[UINT16_MAX + 1];
    buf_add_span16(&dying, span_of(bytes, sizeof(bytes)));
}

static void
span32_too_long(void)
{
    buf_add_span32(&dying, span_of("", (size_t)UINT32_MAX + 1));
}

TEST(what_does_not_fit_its_length_is_a_bug)
{
    CHECK(dies(consume_too_much));
    CHECK(dies(reserve_too_much));
    CHECK(dies(reserve_behind_too_much));
    CHECK(dies(span16_too_long));
    CHECK(dies(span32_too_long));
}
