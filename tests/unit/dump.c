#include "tests/unit/test.h"

#include "lib/store/dump.h"

#include <stdio.h>
#include <string.h>

static bool
parses(const char *name)
{
    struct dump_version v;
    return dump_name_parse(span_str(name), &v);
}

TEST(a_name_tells_time_epoch_and_number)
{
    struct dump_version v = { 0 };
    char name[DUMP_NAME_SIZE];
    CHECK(dump_name_parse(span_str("20261122T231500Z-3-17.dump"), &v));
    CHECK_INT(v.time_s, 1795389300);
    CHECK_INT(v.epoch, 3);
    CHECK_INT(v.number, 17);
    dump_name_write(&v, name);
    CHECK_STR(name, "20261122T231500Z-3-17.dump");
}

TEST(every_version_comes_back_from_its_name)
{
    static const struct dump_version all[] = { { 0, 0, 0 },
                                               { 1, 1, 1 },
                                               { 253402300799, UINT64_MAX / 11, UINT64_MAX / 11 },
                                               { 951782400, 9, 10 } };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char name[DUMP_NAME_SIZE];
        struct dump_version v;
        dump_name_write(&all[i], name);
        CHECK(dump_name_parse(span_str(name), &v));
        CHECK(memcmp(&v, &all[i], sizeof(v)) == 0);
    }
}

TEST(what_is_no_name_of_ours_is_none)
{
    static const char *const names[] = { "",
                                         ".tmp-draft",
                                         "20261122T231500Z-3-17",
                                         "20261122T231500Z-3-17.dump2",
                                         "20261122T231500Z-3.dump",
                                         "20261122T231500Z--3-17.dump",
                                         "20261122T231500Z-3-.dump",
                                         "20261122T231500Z-03-17.dump",
                                         "20261122T231500-3-17.dump",
                                         "20261322T231500Z-3-17.dump",
                                         "20260230T231500Z-3-17.dump",
                                         "2026112T2231500Z-3-17.dump",
                                         "20261122T236000Z-3-17.dump",
                                         "19691231T235959Z-3-17.dump",
                                         "20261122T231500Z-99999999999999999999-17.dump",
                                         "20261122T231500Z-3-99999999999999999999.dump",
                                         "20261122T231500Z-3-1x.dump",
                                         " 20261122T231500Z-3-17.dump" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (parses(names[i]))
            fail_msg("%s is taken for a version", names[i]);
}

TEST(the_order_is_that_of_epoch_and_number_whatever_the_clock_said)
{
    struct dump_version a = { 2000, 3, 17 }, b = { 1000, 3, 18 }, c = { 500, 4, 1 };
    CHECK(dump_compare(&a, &b) < 0 && dump_compare(&b, &a) > 0);
    CHECK(dump_compare(&b, &c) < 0 && dump_compare(&c, &a) > 0);
    CHECK_INT(dump_compare(&a, &a), 0);
}

static const struct dump_trailer sample = {
    .size = 1000, .began_ms = 5, .ended_ms = 6, .epoch = 3, .number = 17, .hash = { 1, 2, 3 }
};

TEST(a_trailer_comes_back)
{
    uint8_t bytes[DUMP_TRAILER_SIZE];
    struct dump_trailer t;
    struct err e = { 0 };
    dump_trailer_encode(&sample, bytes);
    CHECK_INT(dump_trailer_decode(span_of(bytes, sizeof(bytes)), 1000 + sizeof(bytes), &t, &e), 0);
    CHECK(memcmp(&t, &sample, sizeof(t)) == 0);
}

TEST(each_damaged_byte_of_a_trailer_is_found)
{
    uint8_t bytes[DUMP_TRAILER_SIZE];
    struct dump_trailer t;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        struct err e = { 0 };
        dump_trailer_encode(&sample, bytes);
        bytes[i] ^= 0x10;
        CHECK_INT(dump_trailer_decode(span_of(bytes, sizeof(bytes)), 1000 + sizeof(bytes), &t, &e),
                  -1);
        CHECK_INT(e.code, ERR_CORRUPT);
    }
}

TEST(a_file_of_another_size_than_its_trailer_tells_is_refused)
{
    uint8_t bytes[DUMP_TRAILER_SIZE];
    struct dump_trailer t;
    static const uint64_t sizes[] = { 0, 95, 96, 1095, 1097, UINT64_MAX };
    dump_trailer_encode(&sample, bytes);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        CHECK_INT(dump_trailer_decode(span_of(bytes, sizeof(bytes)), sizes[i], &t, NULL), -1);
    CHECK_INT(dump_trailer_decode(span_of(bytes, 95), 1096, &t, NULL), -1);
}

/* mx1 was the primary of epoch 3 and made 3-17; mx2 takes over with epoch 4. */
static struct dump_facts
facts_of(uint64_t epoch, struct dump_version newest)
{
    return (struct dump_facts){ .epoch = epoch, .any = true, .newest = newest };
}

static const struct dump_version of_mx1 = { 100, 3, 17 };

TEST(a_new_primary_restores_before_it_dumps)
{
    struct dump_facts f = facts_of(4, of_mx1);
    CHECK(dump_must_restore(&f) && !dump_may_run(&f));
    f.restored_epoch = 3; /* in an earlier life */
    CHECK(dump_must_restore(&f) && !dump_may_run(&f));
    f.restored_epoch = 4;
    CHECK(!dump_must_restore(&f) && dump_may_run(&f));
    f.made_any = true;
    f.made = (struct dump_version){ 90, 2, 10 }; /* it was the primary once, before mx1 */
    f.restored_epoch = 2;
    CHECK(dump_must_restore(&f) && !dump_may_run(&f));
}

TEST(who_made_the_newest_version_has_newer_data_than_it)
{
    struct dump_facts f = facts_of(5, of_mx1);
    f.made_any = true;
    f.made = of_mx1;
    CHECK(!dump_must_restore(&f) && dump_may_run(&f));
    f.made.number = 18; /* noted, and the power went before it had its name */
    CHECK(!dump_must_restore(&f) && dump_may_run(&f));
}

TEST(without_versions_there_is_nothing_to_restore_and_a_dump_is_made)
{
    struct dump_facts f = { .epoch = 1 };
    CHECK(!dump_must_restore(&f) && dump_may_run(&f));
}

TEST(in_its_own_epoch_a_primary_goes_on)
{
    struct dump_facts f = facts_of(3, of_mx1);
    CHECK(dump_may_run(&f));
}
