/* What OpenLDAP 2.5 sent, what a server must not send, and the numbers in its cookies. */
#include "lib/store/ldapsync.h"
#include "tests/unit/test.h"

#include <stdio.h>

static struct err e;

#define ID          "\x79\x96\xda\x7e\x7b\x16\x10\x41\x90\x7e\xfd\xa6\xc9\x2c\x11\x95"
#define SPAN(bytes) span_of(bytes, sizeof(bytes) - 1)

TEST(the_state_of_an_entry_is_read_as_openldap_wrote_it)
{
    struct ldapsync_entry entry;
    CHECK_INT(ldapsync_entry_read(SPAN("\x30\x15\x0a\x01\x01\x04\x10" ID), &entry, &e), 0);
    CHECK_INT(entry.state, LDAPSYNC_ADD);
    CHECK(memcmp(entry.uuid, ID, LDAPSYNC_UUID_SIZE) == 0);
    CHECK_INT(entry.cookie.len, 0);
    static const char with[] = "\x30\x18\x0a\x01\x03\x04\x10" ID "\x04\x01"
                               "c";
    CHECK_INT(ldapsync_entry_read(SPAN(with), &entry, &e), 0);
    CHECK_INT(entry.state, LDAPSYNC_DELETE);
    CHECK(span_equal(entry.cookie, span_str("c")));
    for (size_t len = 0; len < sizeof(with) - 1; len++)
        CHECK_INT(ldapsync_entry_read(span_of(with, len), &entry, &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK_INT(ldapsync_entry_read(SPAN("\x30\x15\x0a\x01\x04\x04\x10" ID), &entry, &e), -1);
    CHECK_INT(ldapsync_entry_read(SPAN("\x30\x14\x0a\x01\x01\x04\x0f" ID), &entry, &e), -1);
    CHECK_INT(ldapsync_entry_read(SPAN("\x30\x16\x0a\x01\x01\x04\x10" ID "\x00"), &entry, &e), -1);
}

TEST(the_end_of_a_search_tells_whether_what_went_was_named)
{
    struct ldapsync_done done;
    CHECK_INT(ldapsync_done_read(SPAN("\x30\x06\x04\x01x\x01\x01\xff"), &done, &e), 0);
    CHECK(done.refresh_deletes && span_equal(done.cookie, span_str("x")));
    CHECK_INT(ldapsync_done_read(SPAN("\x30\x00"), &done, &e), 0);
    CHECK(!done.refresh_deletes && done.cookie.len == 0);
    CHECK_INT(ldapsync_done_read(SPAN("\x30\x01\x04"), &done, &e), -1);
    CHECK_INT(ldapsync_done_read(SPAN("\x30\x00\x00"), &done, &e), -1);
}

TEST(all_four_kinds_of_information_are_read)
{
    _cleanup_buf_ struct buf ids = { 0 };
    struct ldapsync_info info;
    CHECK_INT(ldapsync_info_read(SPAN("\x80\x02xy"), &info, &ids, &e), 0);
    CHECK_INT(info.kind, LDAPSYNC_NEW_COOKIE);
    CHECK(span_equal(info.cookie, span_str("xy")));
    CHECK_INT(ldapsync_info_read(SPAN("\xa1\x03\x04\x01z"), &info, &ids, &e), 0);
    CHECK_INT(info.kind, LDAPSYNC_REFRESH_DELETE);
    CHECK(info.refresh_done);
    CHECK_INT(ldapsync_info_read(SPAN("\xa2\x03\x01\x01\x00"), &info, &ids, &e), 0);
    CHECK_INT(info.kind, LDAPSYNC_REFRESH_PRESENT);
    CHECK(!info.refresh_done);
    static const char set[] = "\xa3\x29\x01\x01\xff\x31\x24\x04\x10" ID "\x04\x10" ID;
    CHECK_INT(ldapsync_info_read(SPAN(set), &info, &ids, &e), 0);
    CHECK_INT(info.kind, LDAPSYNC_ID_SET);
    CHECK(info.refresh_deletes);
    CHECK_INT(info.id_count, 2);
    CHECK_INT(ids.len, 32);
    CHECK(memcmp(ids.ptr + 16, ID, 16) == 0);
    for (size_t len = 0; len < sizeof(set) - 1; len++)
        CHECK_INT(ldapsync_info_read(span_of(set, len), &info, &ids, &e), -1);
    CHECK_INT(ldapsync_info_read(SPAN("\xa4\x00"), &info, &ids, &e), -1);
    CHECK_INT(ldapsync_info_read(SPAN("\xa3\x06\x31\x04\x04\x02zz"), &info, &ids, &e), -1);
    CHECK_INT(ldapsync_info_read(SPAN("\x80\x84\xff\xff\xff\xff"), &info, &ids, &e), -1);
}

TEST(a_request_asks_from_the_cookie_on)
{
    _cleanup_buf_ struct buf out = { 0 };
    ldapsync_request_write(true, span_str(""), &out);
    CHECK(span_equal(buf_span(&out), SPAN("\x30\x03\x0a\x01\x03")));
    buf_reset(&out);
    ldapsync_request_write(false, span_str("abc"), &out);
    CHECK(span_equal(buf_span(&out), SPAN("\x30\x08\x0a\x01\x01\x04\x03"
                                          "abc")));
    static const char large[300];
    buf_reset(&out);
    ldapsync_request_write(true, span_of(large, 200), &out);
    CHECK(memcmp(out.ptr, "\x30\x81\xce\x0a\x01\x03\x04\x81\xc8", 9) == 0);
    buf_reset(&out);
    ldapsync_request_write(true, span_of(large, 300), &out);
    CHECK(memcmp(out.ptr, "\x30\x82\x01\x33\x0a\x01\x03\x04\x82\x01\x2c", 11) == 0);
    CHECK_INT(out.len, 311);
}

#define CSN(time, server) "2026112223" time ".626581Z#000000#" server "#000000"

TEST(a_cookie_covers_the_changes_of_each_server_up_to_its_number)
{
    const struct span cookie = span_str(
        "rid=000,sid=001,csn=" CSN("1625", "001") ";" CSN("1500", "002"));
    CHECK(ldapsync_covers(cookie, span_str(CSN("1625", "001"))));
    CHECK(ldapsync_covers(cookie, span_str(CSN("1624", "001"))));
    CHECK(!ldapsync_covers(cookie, span_str(CSN("1626", "001"))));
    CHECK(!ldapsync_covers(cookie, span_str(CSN("1501", "002"))));
    CHECK(ldapsync_covers(cookie, span_str(CSN("1500", "002"))));
    CHECK(!ldapsync_covers(cookie, span_str(CSN("1500", "003"))));
    CHECK(!ldapsync_covers(cookie, span_str("")));
    CHECK(!ldapsync_covers(span_str(""), span_str(CSN("1500", "003"))));
    double seconds = 0;
    CHECK(ldapsync_csn_time(span_str(CSN("1625", "001")), &seconds));
    CHECK(seconds > 1795389385.62 && seconds < 1795389385.63);
    CHECK(ldapsync_csn_time(span_str("20000229000000Z#"), &seconds));
    CHECK_INT((int)seconds, 951782400);
    CHECK(!ldapsync_csn_time(span_str("2026112223162"), &seconds));
    CHECK(!ldapsync_csn_time(span_str("2026112223162x"), &seconds));
}

TEST(an_id_has_one_text)
{
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    char text[LDAPSYNC_UUID_TEXT + 1];
    CHECK(ldapsync_uuid_read(span_str("7996da7e-7b16-1041-907e-fda6c92c1195"), uuid));
    CHECK(memcmp(uuid, ID, sizeof(uuid)) == 0);
    ldapsync_uuid_write(uuid, text);
    CHECK_STR(text, "7996da7e-7b16-1041-907e-fda6c92c1195");
    CHECK(!ldapsync_uuid_read(span_str("7996DA7E-7b16-1041-907e-fda6c92c1195"), uuid));
    CHECK(!ldapsync_uuid_read(span_str("7996da7e-7b16-1041-907e-fda6c92c119"), uuid));
    CHECK(!ldapsync_uuid_read(span_str("7996da7e07b16-1041-907e-fda6c92c1195"), uuid));
    CHECK(!ldapsync_uuid_read(span_str("7996da7e-7b16-1041-907e-fda6c92c119g"), uuid));
}
