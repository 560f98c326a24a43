/* Any bytes are a message or refused; a message is written again as the same bytes. The input is
 * the type, then the body; the checksum of the record in a REC is made right. */
#include "lib/data/wire.h"
#include "lib/base/crc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
sign_record(uint8_t *body, size_t size)
{
    if (size < 6)
        return;
    size_t len = get_le16(body);
    if (len >= 4 && len <= size - 2)
        put_le32(body + 2 + len - 4, crc32c(span_of(body + 2, len - 4)));
}

static void
walk_entries(const struct wire_digest_answer *answer)
{
    struct reader in = reader_of(answer->entries);
    struct wire_entry entry;
    uint32_t count = 0;
    while (wire_entry_next(&in, &entry, NULL) == 1)
        count++;
    ASSERT(count == answer->entry_count && reader_done(&in));
}

static void
try_message(const struct frame *frame)
{
    static struct wire_msg msg;
    struct err e;
    if (wire_decode(frame, &msg, &e) < 0) {
        ASSERT(e.code == ERR_PROTOCOL && e.text[0] != '\0');
        return;
    }
    if (msg.type == WIRE_DIGEST_ANSWER)
        walk_entries(&msg.digest_answer);
    _cleanup_buf_ struct buf again = { 0 };
    wire_encode(&msg, &again);
    struct frame back;
    ASSERT(frame_decode(buf_span(&again), &back, &e) == 1);
    ASSERT(back.type == frame->type && span_equal(back.body, frame->body));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size - 1 > FRAME_BODY_MAX)
        return 0;
    _cleanup_free_ uint8_t *body = xmalloc(size - 1);
    memcpy(body, data + 1, size - 1);
    struct frame frame = { .type = data[0], .body = span_of(body, size - 1) };
    try_message(&frame);
    if (frame.type == WIRE_REC) {
        sign_record(body, size - 1);
        try_message(&frame);
    }
    return 0;
}
