/* Any bytes are a message: what is read of it is UTF-8 without control characters. */
#include "lib/store/mailhead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_field(const char field[MAILHEAD_FIELD])
{
    size_t len = strlen(field);
    ASSERT(len < MAILHEAD_FIELD && mailhead_contains(field, field));
    for (size_t i = 0; i < len; i++)
        ASSERT((unsigned char)field[i] >= 0x20 && field[i] != 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mailhead head;
    mailhead_read(span_of(data, size), &head);
    check_field(head.from);
    check_field(head.subject);
    check_field(head.date);
    check_field(head.message_id);
    return 0;
}
