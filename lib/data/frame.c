#include "lib/data/frame.h"

#include "lib/base/crc.h"

static uint32_t
frame_crc(const uint8_t *header, struct span body)
{
    return crc32c_more(crc32c(span_of(header, FRAME_OFF_CRC)), body);
}

/* What a header says is checked as soon as it is here: nobody waits for a body that cannot be. */
static int
header_check(const uint8_t *header, struct err *e)
{
    uint32_t len = get_le32(header + FRAME_OFF_LEN);
    if (len > FRAME_BODY_MAX)
        return err_set(e, ERR_PROTOCOL, "frame body of %u bytes, limit %d", len, FRAME_BODY_MAX);
    if (header[FRAME_OFF_FLAGS] != 0)
        return err_set(e, ERR_PROTOCOL, "frame flags 0x%02x are not known",
                       (unsigned)header[FRAME_OFF_FLAGS]);
    if (get_le16(header + FRAME_OFF_SPARE) != 0)
        return err_set(e, ERR_PROTOCOL, "frame spare bytes are not zero");
    return 0;
}

int
frame_decode(struct span in, struct frame *ret_frame, struct err *e)
{
    if (in.len < FRAME_HEADER_SIZE)
        return 0;
    if (header_check(in.ptr, e) < 0)
        return -1;
    uint32_t len = get_le32(in.ptr + FRAME_OFF_LEN);
    if (in.len - FRAME_HEADER_SIZE < len)
        return 0;
    struct span body = span_from(in, FRAME_HEADER_SIZE, len);
    if (frame_crc(in.ptr, body) != get_le32(in.ptr + FRAME_OFF_CRC))
        return err_set(e, ERR_CORRUPT, "frame checksum mismatch");
    *ret_frame = (struct frame){
        .type = in.ptr[FRAME_OFF_TYPE],
        .body = body,
        .size = FRAME_HEADER_SIZE + len,
    };
    return 1;
}

size_t
frame_begin(struct buf *out, uint8_t type)
{
    const uint8_t header[FRAME_HEADER_SIZE] = { [FRAME_OFF_TYPE] = type };
    size_t mark = out->len;
    buf_add(out, header, sizeof(header));
    return mark;
}

void
frame_end(struct buf *out, size_t mark)
{
    ASSERT(mark <= out->len && out->len - mark >= FRAME_HEADER_SIZE);
    size_t len = out->len - mark - FRAME_HEADER_SIZE;
    ASSERT(len <= FRAME_BODY_MAX);
    uint8_t *header = out->ptr + mark;
    put_le32(header + FRAME_OFF_LEN, (uint32_t)len);
    put_le32(header + FRAME_OFF_CRC, frame_crc(header, span_of(header + FRAME_HEADER_SIZE, len)));
}
