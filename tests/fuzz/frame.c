/* Any bytes are a frame, part of one, or refused; a frame is written again as the same bytes. The
 * checksum is also made right, so that the fuzzer gets behind it. */
#include "lib/data/frame.h"
#include "lib/base/crc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_frames(struct span in)
{
    struct frame frame;
    struct err e;
    while (frame_decode(in, &frame, &e) == 1) {
        _cleanup_buf_ struct buf again = { 0 };
        size_t mark = frame_begin(&again, frame.type);
        buf_add(&again, frame.body.ptr, frame.body.len);
        frame_end(&again, mark);
        ASSERT(span_equal(buf_span(&again), span_from(in, 0, frame.size)));
        in = span_from(in, frame.size, in.len - frame.size);
    }
}

static void
sign(uint8_t *frame, size_t size)
{
    uint32_t len = get_le32(frame + FRAME_OFF_LEN);
    if (len > size - FRAME_HEADER_SIZE)
        return;
    uint32_t crc = crc32c(span_of(frame, FRAME_OFF_CRC));
    crc = crc32c_more(crc, span_of(frame + FRAME_HEADER_SIZE, len));
    put_le32(frame + FRAME_OFF_CRC, crc);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_frames(span_of(data, size));
    if (size < FRAME_HEADER_SIZE)
        return 0;
    _cleanup_free_ uint8_t *copy = xmalloc(size);
    memcpy(copy, data, size);
    sign(copy, size);
    try_frames(span_of(copy, size));
    return 0;
}
