#include "lib/base/crc.h"

#include <isa-l/crc.h>

uint32_t
crc32c_more(uint32_t crc, struct span data)
{
    ASSERT(data.len <= INT32_MAX);
    if (data.len == 0)
        return crc;
    /* ISA-L leaves the inversion at both ends to its caller and forgets a const. */
    union {
        const uint8_t *in;
        uint8_t *out;
    } ptr = { .in = data.ptr };
    return ~crc32_iscsi(ptr.out, (int)data.len, ~crc);
}

uint32_t
crc32c(struct span data)
{
    return crc32c_more(0, data);
}
