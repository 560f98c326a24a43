#include "tests/unit/test.h"

#include "lib/base/crc.h"
#include "lib/data/frame.h"
#include "tests/unit/dies.h"

#define BODY "a body"

static void
make_frame(struct buf *out)
{
    size_t mark = frame_begin(out, 10);
    buf_add(out, BODY, strlen(BODY));
    frame_end(out, mark);
}

/* A frame with a right checksum over whatever its header says. */
static void
sign(struct buf *b)
{
    uint32_t crc = crc32c(span_of(b->ptr, FRAME_OFF_CRC));
    struct span body = span_of(b->ptr + FRAME_HEADER_SIZE, b->len - FRAME_HEADER_SIZE);
    put_le32(b->ptr + FRAME_OFF_CRC, crc32c_more(crc, body));
}

TEST(frames_behind_each_other_come_out_one_by_one)
{
    _cleanup_buf_ struct buf out = { 0 };
    make_frame(&out);
    size_t first = out.len;
    frame_end(&out, frame_begin(&out, 30));
    struct frame frame;
    CHECK_INT(frame_decode(buf_span(&out), &frame, NULL), 1);
    CHECK_INT(frame.type, 10);
    CHECK_INT(frame.size, first);
    CHECK(span_equal(frame.body, span_str(BODY)));
    struct span rest = span_from(buf_span(&out), first, out.len - first);
    CHECK_INT(frame_decode(rest, &frame, NULL), 1);
    CHECK_INT(frame.type, 30);
    CHECK_INT(frame.body.len, 0);
    CHECK_INT(frame.size, FRAME_HEADER_SIZE);
}

TEST(a_frame_cut_anywhere_waits_for_more)
{
    _cleanup_buf_ struct buf out = { 0 };
    make_frame(&out);
    struct frame frame;
    for (size_t len = 0; len < out.len; len++)
        CHECK_INT(frame_decode(span_of(out.ptr, len), &frame, NULL), 0);
}

TEST(no_single_wrong_bit_gets_through)
{
    _cleanup_buf_ struct buf out = { 0 };
    make_frame(&out);
    struct frame frame;
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(frame_decode(buf_span(&out), &frame, NULL) != 1);
        out.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK_INT(frame_decode(buf_span(&out), &frame, NULL), 1);
}

TEST(the_largest_body_fits_and_one_byte_more_does_not)
{
    _cleanup_buf_ struct buf out = { 0 };
    size_t mark = frame_begin(&out, 1);
    buf_reserve(&out, FRAME_BODY_MAX);
    memset(out.ptr + out.len, 'x', FRAME_BODY_MAX);
    out.len += FRAME_BODY_MAX;
    frame_end(&out, mark);
    struct frame frame;
    struct err e;
    CHECK_INT(frame_decode(buf_span(&out), &frame, &e), 1);
    CHECK_INT(frame.body.len, FRAME_BODY_MAX);
    put_le32(out.ptr + FRAME_OFF_LEN, FRAME_BODY_MAX + 1);
    CHECK_INT(frame_decode(span_of(out.ptr, FRAME_HEADER_SIZE), &frame, &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK_STR(e.text, "frame body of 524289 bytes, limit 524288");
}

static void
check_refused(size_t offset, enum err_code code, const char *text)
{
    _cleanup_buf_ struct buf out = { 0 };
    make_frame(&out);
    out.ptr[offset] = 1;
    if (code == ERR_PROTOCOL)
        sign(&out);
    struct frame frame;
    struct err e;
    CHECK_INT(frame_decode(buf_span(&out), &frame, &e), -1);
    CHECK_INT(e.code, code);
    CHECK_STR(e.text, text);
}

TEST(what_is_reserved_is_zero)
{
    check_refused(FRAME_OFF_FLAGS, ERR_PROTOCOL, "frame flags 0x01 are not known");
    check_refused(FRAME_OFF_SPARE, ERR_PROTOCOL, "frame spare bytes are not zero");
    check_refused(FRAME_OFF_SPARE + 1, ERR_PROTOCOL, "frame spare bytes are not zero");
    check_refused(FRAME_OFF_TYPE, ERR_CORRUPT, "frame checksum mismatch");
}

static void
end_a_frame_too_large(void)
{
    struct buf out = { 0 };
    size_t mark = frame_begin(&out, 1);
    buf_reserve(&out, FRAME_BODY_MAX + 1);
    out.len += FRAME_BODY_MAX + 1;
    frame_end(&out, mark);
}

static void
end_a_frame_not_begun(void)
{
    struct buf out = { 0 };
    frame_end(&out, 0);
}

static void
end_a_frame_behind_the_buffer(void)
{
    struct buf out = { 0 };
    frame_end(&out, 1);
}

TEST(a_frame_that_cannot_be_is_a_bug)
{
    CHECK(dies(end_a_frame_too_large));
    CHECK(dies(end_a_frame_not_begun));
    CHECK(dies(end_a_frame_behind_the_buffer));
}
