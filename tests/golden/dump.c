/* The trailer of a dump, as docs/formats/dump.md has it; the sample was not written by this code.
 */
#include "tests/golden/sample.h"

#include "lib/store/dump.h"

TEST(the_trailer_of_a_dump_is_as_it_was_written_down)
{
    static const uint8_t hash[] = { 0xb4, 0xe0 };
    _cleanup_buf_ struct buf sample = { 0 };
    uint8_t again[DUMP_TRAILER_SIZE];
    struct dump_trailer t;
    struct err e = { 0 };
    sample_load("dump-trailer", &sample);
    if (dump_trailer_decode(buf_span(&sample), 10 + DUMP_TRAILER_SIZE, &t, &e) < 0)
        fail_msg("%s", e.text);
    CHECK_INT(t.size, 10);
    CHECK_INT(t.began_ms, 1795389300123);
    CHECK_INT(t.ended_ms, 1795389300456);
    CHECK_INT(t.epoch, 3);
    CHECK_INT(t.number, 17);
    CHECK(memcmp(t.hash, hash, sizeof(hash)) == 0);
    dump_trailer_encode(&t, again);
    CHECK(span_equal(buf_span(&sample), span_of(again, sizeof(again))));
}
