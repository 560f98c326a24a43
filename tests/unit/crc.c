#include "tests/unit/test.h"

#include "lib/base/crc.h"
#include "tests/unit/dies.h"

/* The definition, bit by bit: polynomial 0x1EDC6F41, reflected. */
static uint32_t
crc32c_slow(struct span data)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < data.len; i++) {
        crc ^= data.ptr[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

TEST(crc32c_gives_the_values_of_rfc_3720)
{
    uint8_t bytes[32] = { 0 };
    CHECK_INT(crc32c(span_of(bytes, 32)), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    CHECK_INT(crc32c(span_of(bytes, 32)), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    CHECK_INT(crc32c(span_of(bytes, 32)), 0x46dd794e);
    CHECK_INT(crc32c(span_str("123456789")), 0xe3069283);
    CHECK_INT(crc32c(span_of(NULL, 0)), 0);
}

TEST(crc32c_is_right_at_any_length_and_place)
{
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37 + i / 7);
    for (size_t at = 0; at < 16; at++) {
        for (size_t len = 0; at + len <= sizeof(bytes); len++) {
            struct span s = span_of(bytes + at, len);
            CHECK_INT(crc32c(s), crc32c_slow(s));
        }
    }
}

TEST(crc32c_of_two_pieces_is_that_of_the_whole)
{
    struct span whole = span_str("From: ada@example.org\r\n");
    for (size_t cut = 0; cut <= whole.len; cut++) {
        uint32_t first = crc32c(span_from(whole, 0, cut));
        CHECK_INT(crc32c_more(first, span_from(whole, cut, whole.len - cut)), crc32c(whole));
    }
}

static void
crc_of_too_much(void)
{
    (void)crc32c(span_of("", (size_t)INT32_MAX + 1));
}

TEST(more_than_the_library_can_count_is_a_bug)
{
    CHECK(dies(crc_of_too_much));
}
