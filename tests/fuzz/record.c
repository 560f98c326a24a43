/* Any bytes are a record or refused; a record is written again as the same bytes. The input is a
 * record without its checksum, which is added here. */
#include "lib/data/record.h"
#include "lib/base/crc.h"
#include "lib/base/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_record(struct span in)
{
    struct record record;
    struct err e;
    if (record_decode(in, &record, &e) < 0) {
        ASSERT(e.code == ERR_CORRUPT && e.text[0] != '\0');
        return;
    }
    ASSERT(path_valid(record.path) && record.handle.len <= RECORD_HANDLE_MAX);
    ASSERT(strcmp(record_op_word(record.op), "?") != 0);
    _cleanup_buf_ struct buf again = { 0 };
    record_encode(&record, &again);
    ASSERT(span_equal(buf_span(&again), in));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_record(span_of(data, size));
    _cleanup_buf_ struct buf signed_record = { 0 };
    buf_add(&signed_record, data, size);
    buf_add_le32(&signed_record, crc32c(span_of(data, size)));
    try_record(buf_span(&signed_record));
    return 0;
}
