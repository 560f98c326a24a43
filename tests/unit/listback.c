/* An earlier version of a file that carries identity comes back, and no UID is given out twice. */
#include "tests/unit/test.h"

#include "lib/store/listback.h"

#define HEAD "G0af1c21d2b3c4d5e6f70818283848586\n"
#define HERE "3 V7 N4 " HEAD "2 :b\n3 :c\n"
#define BACK "3 V7 N3 " HEAD "1 :a\n2 :b\n"

static struct err e;
static size_t moved; /* of what check() looked at last */

/* want: NULL nothing is written; else the text. */
static void
check(enum listback_kind kind, const char *here, const char *back, bool merge, const char *want)
{
    _cleanup_buf_ struct buf text = { 0 };
    struct listback x = { kind, span_str(here), span_str(back), merge, 100, 9 };
    int got = listback_text(&x, &text, &e);
    if (got < 0)
        fail_msg("%s", e.text);
    moved = x.moved;
    CHECK_INT(got, want != NULL);
    buf_add_u8(&text, '\0');
    if (want != NULL)
        CHECK_STR((const char *)text.ptr, want);
}

static void
check_refused(enum listback_kind kind, const char *here, const char *back, const char *why)
{
    _cleanup_buf_ struct buf text = { 0 };
    struct listback x = { kind, span_str(here), span_str(back), true, 100, 9 };
    CHECK_INT(listback_text(&x, &text, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_CONTAINS(e.text, why);
}

TEST(a_list_that_nobody_can_read_gives_way_and_uids_given_out_since_are_passed_over)
{
    static const char *const unreadable[] = { "", "\x8f\x01garbage",
                                              "3 V7 N4\nencrypted from here on\n", "3 V7" };
    for (size_t i = 0; i < ARRAY_LEN(unreadable); i++) {
        for (int merge = 0; merge < 2; merge++)
            check(LISTBACK_UIDS, unreadable[i], BACK, merge != 0, "3 V7 N103 " HEAD "1 :a\n2 :b\n");
    }
    check(LISTBACK_UIDS, "x", "1 7 3\n1 a\n", false, "1 7 103\n1 a\n");
    check(LISTBACK_SIZES, "x", "/3 5 7\nline\n", false, "/3 105 7\nline\n");
}

TEST(a_list_that_can_be_read_keeps_all_that_it_says_and_gets_what_it_lacks_on_an_operators_word)
{
    check(LISTBACK_UIDS, HERE, BACK, false, NULL);
    check(LISTBACK_UIDS, HERE, BACK, true, "3 V7 N4 " HEAD "1 :a\n2 :b\n3 :c\n");
    check(LISTBACK_UIDS, HERE, "3 V7 N3 " HEAD "2 :b\n", true, NULL);
    /* the same message under a UID that was given out since */
    check(LISTBACK_UIDS, "3 V7 N10 " HEAD "9 :a\n", BACK, true, "3 V7 N10 " HEAD "2 :b\n9 :a\n");
    CHECK_INT(moved, 1);
    check(LISTBACK_UIDS, HERE, "3 V7 N50 " HEAD, true, "3 V7 N50 " HEAD "2 :b\n3 :c\n");
    CHECK_INT(moved, 0);
    check(LISTBACK_UIDS, "1 7 9\n8 z\n", "1 7 3\n1 a\n", true, NULL);
    check(LISTBACK_SIZES, "/3 9 7\n", "/3 5 7\nline\n", true, NULL);
}

TEST(what_contradicts_a_list_that_can_be_read_is_refused_and_told)
{
    check_refused(LISTBACK_UIDS, "3 V8 N2 " HEAD, BACK, "UIDVALIDITY 8 instead of 7");
    check_refused(LISTBACK_UIDS, HERE, "garbage", "cannot be read");
    check_refused(LISTBACK_UIDS, "garbage", "garbage", "cannot be read");
    check_refused(LISTBACK_SIZES, "garbage", "garbage", "cannot be read");
    check_refused(LISTBACK_KEYWORDS, "0 Work\n", "0 Later\n", "the letter a stands for another");
    check_refused(LISTBACK_KEYWORDS, "1 later\n", "0 Later\n", "the letter a stands for another");
    check_refused(LISTBACK_KEYWORDS, "", "garbage", "no list of keywords");
    check_refused(LISTBACK_VALIDITY, "garbage", "trash", "no UIDVALIDITY");
}

TEST(letters_mean_again_what_they_meant)
{
    check(LISTBACK_KEYWORDS, "\x01\xffgarbage", "0 Later\n2 Work\n", false, "0 Later\n2 Work\n");
    check(LISTBACK_KEYWORDS, "1 New\n", "0 Later\n", true, "0 Later\n1 New\n");
    check(LISTBACK_KEYWORDS, "1 New\n", "0 Later\n", false, NULL);
    check(LISTBACK_KEYWORDS, "0 later\n1 New\n", "0 Later\n", true, NULL);
    check(LISTBACK_KEYWORDS, "0 Later\n", "", true, NULL);
}

TEST(the_last_uidvalidity_never_falls)
{
    check(LISTBACK_VALIDITY, "6b03773c", "6b03773b", true, NULL);
    check(LISTBACK_VALIDITY, "6b03773a", "6b03773b", true, "6b03773b");
    check(LISTBACK_VALIDITY, "6b03773a", "6b03773b", false, NULL);
    check(LISTBACK_VALIDITY, "garbage!", "6b03773b", false, "6b03773b");
}

TEST(files_that_carry_identity_are_known_by_name)
{
    CHECK_INT(listback_kind_of(span_str("dovecot-uidlist")), LISTBACK_UIDS);
    CHECK_INT(listback_kind_of(span_str("courierimapuiddb")), LISTBACK_UIDS);
    CHECK_INT(listback_kind_of(span_str("courierpop3dsizelist")), LISTBACK_SIZES);
    CHECK_INT(listback_kind_of(span_str("dovecot-keywords")), LISTBACK_KEYWORDS);
    CHECK_INT(listback_kind_of(span_str("dovecot-uidvalidity")), LISTBACK_VALIDITY);
    CHECK_INT(listback_kind_of(span_str("subscriptions")), LISTBACK_NONE);
    check(LISTBACK_NONE, "mine", "given", true, "given");
}
