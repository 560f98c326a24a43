/* What Dovecot 2.3 wrote, what may be wrong with it, and the number that a promotion raises. */
#include "lib/store/uidlist.h"
#include "tests/unit/test.h"

#include <stdio.h>

#define GUID   "0af1c21d2b3c4d5e6f70818283848586"
#define HEADER "3 V1763800000 N4 G" GUID "\n"

static struct err e;

static const char *
text_of(struct span s)
{
    static char text[256];
    snprintf(text, sizeof(text), "%.*s", (int)s.len, (const char *)s.ptr);
    return text;
}

TEST(a_list_is_read_as_dovecot_wrote_it)
{
    struct uidlist list;
    struct uidlist_record record;
    CHECK_INT(uidlist_begin(&list,
                            span_str("3 V1763800000 N4 G" GUID " P%u\n"
                                     "1 S4401 W4500 :1763800001.M1P1.mx1,S=4401,W=4500\n"
                                     "3 :1763800002.M2P1.mx1\n"),
                            &e),
              0);
    CHECK_INT(list.version, 3);
    CHECK_INT(list.uidvalidity, 1763800000);
    CHECK_INT(list.next, 4);
    CHECK_STR(text_of(list.guid), GUID);
    CHECK_INT(uidlist_next(&list, &record, &e), 1);
    CHECK_INT(record.uid, 1);
    CHECK_STR(text_of(record.keys), "S4401 W4500");
    CHECK_STR(text_of(record.name), "1763800001.M1P1.mx1,S=4401,W=4500");
    CHECK_INT(uidlist_next(&list, &record, &e), 1);
    CHECK_INT(record.uid, 3);
    CHECK_STR(text_of(record.keys), "");
    CHECK_STR(text_of(record.name), "1763800002.M2P1.mx1");
    CHECK_INT(uidlist_next(&list, &record, &e), 0);
    CHECK_INT(list.last, 3);
}

TEST(couriers_list_and_dovecots_first_version_are_read)
{
    struct uidlist list;
    struct uidlist_record record;
    CHECK_INT(uidlist_begin(&list, span_str("1 1763800000 9\n2 1763800001.M1P1.mx1 x\n"), &e), 0);
    CHECK_INT(list.version, 1);
    CHECK_INT(list.next, 9);
    CHECK_INT(list.guid.len, 0);
    CHECK_INT(uidlist_next(&list, &record, &e), 1);
    CHECK_INT(record.uid, 2);
    CHECK_STR(text_of(record.name), "1763800001.M1P1.mx1 x");
    CHECK_INT(uidlist_next(&list, &record, &e), 0);
}

TEST(what_is_not_understood_is_told_with_its_line_and_never_written_again)
{
    static const struct {
        const char *text;
        const char *told;
    } rows[] = {
        { "", "line 1 of the UID list: there is no header" },
        { "3 V1 N2", "there is no header" }, /* cut off */
        { "2 V1 N2\n", "its version" },
        { "33 V1 N2\n", "its version" },
        { "3\n", "no UIDVALIDITY" },
        { "3 V1\n", "no next UID" },
        { "3 N1\n", "no UIDVALIDITY" },
        { "3 V0 N1\n", "UIDVALIDITY is no number" },
        { "3 V1x N1\n", "UIDVALIDITY is no number" },
        { "3 V4294967296 N1\n", "UIDVALIDITY is no number" },
        { "3 V1 N\n", "next UID is no number" },
        { "3 V1 N4294967295\n", "next UID is no number" },
        { "3 V1 N-2\n", "next UID is no number" },
        { "3 V1 N2 G0af1\n", "GUID" },
        { "3 V1 N2 G0af1c21d2b3c4d5e6f7081828384858g\n", "GUID" },
        { "1 1\n", "UIDVALIDITY NEXT" },
        { "1 x 1\n", "UIDVALIDITY NEXT" },
        { HEADER "1 :a\n1 :b\n", "line 3 of the UID list: its UID is not above" },
        { HEADER "2 :a\n1 :b\n", "its UID is not above" },
        { HEADER "x :a\n", "does not begin with a UID" },
        { HEADER "\n", "does not begin with a UID" },
        { HEADER "4294967295 :a\n", "does not begin with a UID" },
        { HEADER "1 a\n", "no \":\"" },
        { HEADER "1 S1 W1\n", "no \":\"" },
        { HEADER "1 :\n", "its name" },
        { HEADER "1 :a/b\n", "its name" },
        { "1 1 1\n1 \n", "its name" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf raised = { 0 };
        uint32_t next;
        print_message("%s\n", rows[i].text);
        CHECK_INT(uidlist_raise(span_str(rows[i].text), 1, &raised, &next, &e), -1);
        CHECK_INT(e.code, ERR_CORRUPT);
        CHECK_CONTAINS(e.text, rows[i].told);
        CHECK_INT(raised.len, 0);
    }
    struct uidlist list;
    struct uidlist_record record;
    static const char nul[] = HEADER "1 :a\0b\n";
    CHECK_INT(uidlist_begin(&list, span_of(nul, sizeof(nul) - 1), &e), 0);
    CHECK_INT(uidlist_next(&list, &record, &e), -1);
}

static void
check_raised(const char *text, uint32_t gap, const char *raised, uint32_t expected)
{
    _cleanup_buf_ struct buf got = { 0 };
    uint32_t next;
    buf_add(&got, "old", 3);
    CHECK_INT(uidlist_raise(span_str(text), gap, &got, &next, &e), 0);
    CHECK_STR(text_of(buf_span(&got)), raised);
    CHECK_INT(next, expected);
}

TEST(the_next_uid_is_raised_beyond_header_and_records_and_nothing_else_changes)
{
    check_raised("3 V1 N4 G" GUID " P%u  Xkept\n1 S1  W2 :a\n3 :b\n", 1000,
                 "3 V1 N1004 G" GUID " P%u  Xkept\n1 S1  W2 :a\n3 :b\n", 1004);
    check_raised("3 N4 V1\n9 :b\n", 1000, "3 N1010 V1\n9 :b\n", 1010); /* appended since */
    check_raised("3 V1 N4\n", 0, "3 V1 N4\n", 4);
    check_raised("1 77 4\n2 a\n", 10, "1 77 14\n2 a\n", 14);
    check_raised("3 V1 N4\n1 :a\n2 :torn", 6, "3 V1 N10\n1 :a\n", 10);
    check_raised("3 V1 N4294967294\n", 0, "3 V1 N4294967294\n", UIDLIST_UID_MAX);
}

TEST(a_folder_that_has_no_uids_left_is_refused)
{
    _cleanup_buf_ struct buf got = { 0 };
    uint32_t next;
    CHECK_INT(uidlist_raise(span_str("3 V1 N4294967294\n"), 1, &got, &next, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_INT(uidlist_raise(span_str("3 V1 N2\n4294967294 :a\n"), 0, &got, &next, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_INT(uidlist_raise(span_str("3 V1 N2\n"), UINT32_MAX, &got, &next, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
}

static int
gap_of(const char *text, uint32_t gap, struct uidlist_gap *ret_gap)
{
    struct span all = span_str(text);
    size_t len = MIN(all.len, (size_t)UIDLIST_WINDOW);
    return uidlist_gap(span_from(all, 0, len), span_from(all, all.len - len, len), gap, ret_gap,
                       &e);
}

TEST(a_line_behind_the_end_raises_the_next_uid_of_a_list)
{
    struct uidlist_gap gap;
    struct uidlist list;
    uint32_t uid = 0;
    CHECK_INT(gap_of(HEADER "1 :a\n9 S1 :b\n", 1000, &gap), 1);
    CHECK_INT(gap.next, 1010); /* not the header's 4 */
    CHECK_INT(gap.torn, 0);
    CHECK_STR(gap.line, "1009 :mailtwin.gap-1009\n");
    CHECK_INT(gap.len, strlen(gap.line));
    CHECK_INT(gap_of(HEADER, 1000, &gap), 1);
    CHECK_INT(gap.next, 1004);
    CHECK_INT(gap_of(HEADER "1 :a\n2 :half", 1000, &gap), 1);
    CHECK_INT(gap.torn, strlen("2 :half"));
    CHECK_INT(gap.next, 1004);
    CHECK_INT(uidlist_begin(&list, span_str(HEADER "1 :a\n1003 :mailtwin.gap-1003\n"), &e), 0);
    CHECK_INT(uidlist_free_uid(&list, &uid, &e), 0);
    CHECK_INT(uid, 1004);
    CHECK_INT(gap_of("1 1763800000 9\n2 a\n", 1000, &gap), 0); /* its header has to be written */
}

TEST(a_long_list_is_told_by_its_beginning_and_its_end)
{
    struct uidlist_gap gap;
    _cleanup_buf_ struct buf text = { 0 };
    char line[64];
    buf_add(&text, HEADER, strlen(HEADER));
    for (unsigned uid = 1; uid <= 1000; uid++)
        buf_add(&text, line,
                (size_t)snprintf(line, sizeof(line), "%u :1763800000.M%uP1.mx1\n", uid, uid));
    buf_add(&text, "10", 3); /* with the NUL: the string's end */
    CHECK(text.len > 2 * UIDLIST_WINDOW);
    CHECK_INT(gap_of((const char *)text.ptr, 5, &gap), 1);
    CHECK_INT(gap.next, 1006);
    CHECK_INT(gap.torn, 2);
}

TEST(no_line_is_written_behind_a_list_that_is_not_understood_or_full)
{
    struct uidlist_gap gap;
    static const char *const bad[] = { "",          "3 V1 N1",
                                       "2 V1 N1\n", HEADER "x :a\n",
                                       HEADER "\n", HEADER "4294967295 :a\n" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_INT(gap_of(bad[i], 1000, &gap), -1);
        CHECK_INT(e.code, ERR_CORRUPT);
    }
    CHECK_INT(gap_of(HEADER "4294967290 :a\n", 1000, &gap), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_INT(gap_of(HEADER, UINT32_MAX, &gap), -1);
    CHECK_INT(gap_of(HEADER "4294967290 :a\n", 3, &gap), 1);
    CHECK_INT(gap.next, UIDLIST_UID_MAX);
}

static void
check_merge(const char *later, const char *earlier, const char *want)
{
    _cleanup_buf_ struct buf text = { 0 };
    if (uidlist_merge(span_str(later), span_str(earlier), &text, &e) < 0)
        fail_msg("%s", e.text);
    buf_add_u8(&text, '\0');
    CHECK_STR((const char *)text.ptr, want);
}

TEST(an_emptied_list_gets_the_records_of_its_earlier_version_back)
{
    check_merge("3 V7 N9 G0af1c21d2b3c4d5e6f70818283848586\n",
                "3 V7 N1 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n2 W5 :b\n8 :c\n",
                "3 V7 N9 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n2 W5 :b\n8 :c\n");
    check_merge("3 V7 N4 G0af1c21d2b3c4d5e6f70818283848586\n2 W6 :b\n9 :d\n",
                "3 V7 N3 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n2 W5 :b\n",
                "3 V7 N10 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n2 W6 :b\n9 :d\n");
    check_merge("3 V8 N9 G0af1c21d2b3c4d5e6f70818283848586\n",
                "3 V7 N1 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n",
                "3 V8 N9 G0af1c21d2b3c4d5e6f70818283848586\n");
    check_merge("3 V7 N4 G0af1c21d2b3c4d5e6f70818283848586\n3 :b\n",
                "3 V7 N90 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n2 :b\n",
                "3 V7 N90 G0af1c21d2b3c4d5e6f70818283848586\n1 :a\n3 :b\n");
    _cleanup_buf_ struct buf text = { 0 };
    CHECK_INT(uidlist_merge(span_str("3 V7 N9\n"), span_str("garbage"), &text, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
}
