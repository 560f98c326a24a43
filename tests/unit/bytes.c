#include "tests/unit/test.h"

#include "lib/base/bytes.h"
#include "tests/unit/dies.h"

TEST(little_endian_numbers_stand_lowest_byte_first_at_any_place)
{
    uint8_t raw[9] = { 0 };
    put_le16(raw + 1, 0x1234);
    CHECK(raw[1] == 0x34 && raw[2] == 0x12);
    CHECK_INT(get_le16(raw + 1), 0x1234);
    put_le32(raw + 1, 0x89abcdef);
    CHECK(raw[1] == 0xef && raw[4] == 0x89);
    CHECK_INT(get_le32(raw + 1), 0x89abcdef);
    put_le64(raw + 1, 0x8123456789abcdefULL);
    CHECK(raw[1] == 0xef && raw[8] == 0x81);
    CHECK(get_le64(raw + 1) == 0x8123456789abcdefULL);
}

TEST(big_endian_keys_sort_as_their_numbers)
{
    static const uint64_t rising[] = { 0, 1, 255, 256, 0x10000, UINT32_MAX, UINT64_MAX };
    for (size_t i = 1; i < ARRAY_LEN(rising); i++) {
        uint8_t low[8], high[8];
        put_be64(low, rising[i - 1]);
        put_be64(high, rising[i]);
        CHECK(memcmp(low, high, 8) < 0);
        CHECK(get_be64(high) == rising[i]);
    }
}

TEST(numbers_survive_whatever_their_bits)
{
    uint8_t raw[8];
    for (unsigned bit = 0; bit < 64; bit++) {
        put_le64(raw, 1ULL << bit);
        CHECK(get_le64(raw) == 1ULL << bit);
        put_be64(raw, ~(1ULL << bit));
        CHECK(get_be64(raw) == ~(1ULL << bit));
        put_le32(raw, (uint32_t)(1ULL << bit));
        CHECK(get_le32(raw) == (uint32_t)(1ULL << bit));
        put_le16(raw, (uint16_t)(1ULL << bit));
        CHECK(get_le16(raw) == (uint16_t)(1ULL << bit));
    }
}

TEST(spans_are_equal_when_their_bytes_are)
{
    CHECK(span_equal(span_str("ab"), span_of("abc", 2)));
    CHECK(!span_equal(span_str("ab"), span_str("abc")));
    CHECK(!span_equal(span_str("ab"), span_str("ac")));
    CHECK(span_equal(span_of(NULL, 0), span_str("")));
}

TEST(spans_are_ordered_as_unsigned_bytes_a_prefix_first)
{
    static const char *const rising[] = { "", "a", "a\x01", "ab", "b", "\x7f", "\x80", "\xff" };
    for (size_t i = 0; i < ARRAY_LEN(rising); i++) {
        for (size_t j = 0; j < ARRAY_LEN(rising); j++) {
            int order = span_compare(span_str(rising[i]), span_str(rising[j]));
            CHECK((order < 0) == (i < j));
            CHECK((order == 0) == (i == j));
        }
    }
    CHECK_INT(span_compare(span_of(NULL, 0), span_of(NULL, 0)), 0);
}

static void
take_from_behind_the_end(void)
{
    (void)span_from(span_str("abc"), 4, 0);
}

static void
take_beyond_the_end(void)
{
    (void)span_from(span_str("abc"), 1, 3);
}

TEST(a_span_of_zeros_has_no_other_byte)
{
    static const uint8_t bytes[4] = { 0, 0, 0, 1 };
    CHECK(span_is_zero(span_of(NULL, 0)));
    CHECK(span_is_zero(span_of(bytes, 1)));
    CHECK(span_is_zero(span_of(bytes, 3)));
    CHECK(!span_is_zero(span_of(bytes, 4)));
    CHECK(!span_is_zero(span_of(bytes + 3, 1)));
}

TEST(a_part_of_a_span_lies_inside_it)
{
    CHECK(span_equal(span_from(span_str("abcd"), 1, 2), span_str("bc")));
    CHECK_INT(span_from(span_str("abcd"), 4, 0).len, 0);
    CHECK(dies(take_from_behind_the_end));
    CHECK(dies(take_beyond_the_end));
}
