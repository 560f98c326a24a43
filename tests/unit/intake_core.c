/* Each case of the primary's decision about an object that is given. */
#include "replicator/intake_core.h"
#include "tests/unit/test.h"

static const struct intake_found none, same = { true, true, true }, other = { true, true, false },
                                       vague = { true, false, false };

TEST(a_message_is_delivered_once_and_never_over_another)
{
    static const struct {
        const struct intake_found *here, *elsewhere;
        enum intake_act act;
    } cases[] = {
        { &none, &none, INTAKE_MAKE },   { &same, &none, INTAKE_EXISTS },
        { &none, &same, INTAKE_EXISTS }, { &other, &none, INTAKE_MAKE_OTHER },
        { &none, &other, INTAKE_MAKE },  { &other, &same, INTAKE_EXISTS },
        { &vague, &none, INTAKE_AGAIN }, { &none, &vague, INTAKE_AGAIN },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_INT(intake_decide(WIRE_GIVE_DELIVER, cases[i].here, cases[i].elsewhere),
                  cases[i].act);
}

TEST(a_message_that_returns_takes_the_place_of_what_became_of_it_and_of_nothing_else)
{
    CHECK_INT(intake_decide_return(&other, &none), INTAKE_REPLACE);
    CHECK_INT(intake_decide_return(&same, &none), INTAKE_EXISTS);
    CHECK_INT(intake_decide_return(&none, &none), INTAKE_MAKE);
    CHECK_INT(intake_decide_return(&none, &same), INTAKE_EXISTS);
    CHECK_INT(intake_decide_return(&none, &other), INTAKE_MAKE);
    CHECK_INT(intake_decide_return(&vague, &none), INTAKE_AGAIN);
    CHECK_INT(intake_decide_return(&none, &vague), INTAKE_AGAIN);
}

TEST(every_other_mode_looks_at_the_one_name)
{
    static const struct {
        enum wire_give_mode mode;
        enum intake_act if_none, if_same, if_other;
    } cases[] = {
        { WIRE_GIVE_PUT, INTAKE_MAKE, INTAKE_EXISTS, INTAKE_EXISTS },
        { WIRE_GIVE_REPLACE, INTAKE_MAKE, INTAKE_REPLACE, INTAKE_REPLACE },
        { WIRE_GIVE_FLAGS, INTAKE_ABSENT, INTAKE_REFLAG, INTAKE_ABSENT },
        { WIRE_GIVE_REMOVE, INTAKE_EXISTS, INTAKE_REMOVE, INTAKE_ABSENT },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_INT(intake_decide(cases[i].mode, &none, &none), cases[i].if_none);
        CHECK_INT(intake_decide(cases[i].mode, &same, &none), cases[i].if_same);
        CHECK_INT(intake_decide(cases[i].mode, &other, &none), cases[i].if_other);
        CHECK_INT(intake_decide(cases[i].mode, &vague, &none), INTAKE_AGAIN);
    }
}

static void
check_name(const char *base, const char *expected)
{
    _cleanup_buf_ struct buf out = { 0 };
    intake_other_base(span_str(base), 0xbeef, &out);
    CHECK(span_equal(buf_span(&out), span_str(expected)));
}

TEST(another_base_name_keeps_the_sizes)
{
    check_name("1.M1.mx,S=5,W=6", "1.M1.mx-0000beef,S=5,W=6");
    check_name("1.M1.mx", "1.M1.mx-0000beef");
}

TEST(flags_are_kept_and_letters_of_keywords_are_those_of_this_folder)
{
    _cleanup_buf_ struct buf out = { 0 };
    intake_flags(span_str("TSa,1SF"), span_str("dbd"), &out);
    CHECK(span_equal(buf_span(&out), span_str("FSTbd")));
}

TEST(what_is_renamed_is_what_is_meant_and_takes_no_others_place)
{
    static const struct {
        struct intake_move facts;
        enum intake_act act;
        const char *why;
    } cases[] = {
        { { true, true, false, false }, INTAKE_MOVE, "" },
        { { false, false, true, true }, INTAKE_EXISTS, "" },
        { { false, false, false, false }, INTAKE_ABSENT, "not where it was" },
        { { false, false, true, false }, INTAKE_ABSENT, "not where it was" },
        { { true, false, false, false }, INTAKE_ABSENT, "another one by now" },
        { { true, false, true, true }, INTAKE_ABSENT, "another one by now" },
        { { true, true, true, false }, INTAKE_ABSENT, "something else" },
        { { true, true, true, true }, INTAKE_ABSENT, "something else" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *why;
        CHECK_INT(intake_decide_move(&cases[i].facts, &why), cases[i].act);
        CHECK_INT(why != NULL, cases[i].act == INTAKE_ABSENT);
        if (why != NULL)
            CHECK_CONTAINS(why, cases[i].why);
    }
}

/* Of a/.B, by one record; "" nothing. */
static void
check_came(enum store_kind kind, enum record_op op, const char *path, const char *before,
           const char *expected)
{
    struct store_rules rules = { .kind = kind };
    struct record r = { .op = op, .path = span_str(path), .other = span_str(before) };
    const char *why = intake_came(&rules, span_str("a/.B"), &r);
    if ((why == NULL) != (expected[0] == '\0'))
        fail_msg("%d %s %s: %s", op, path, before, why == NULL ? "" : why);
    if (why != NULL)
        CHECK_CONTAINS(why, expected);
}

TEST(a_directory_that_something_came_into_is_not_removed)
{
    static const struct {
        enum record_op op;
        const char *path, *before, *in_mail, *in_files;
    } cases[] = {
        { OP_PUT, "a/.B/new/1.M1", "", "come into it", "come into it" },
        { OP_LINK, "a/.B/cur/1.M1:2,", "a/cur/1.M1:2,", "come into it", "come into it" },
        { OP_RENAME, "a/.B/cur/1.M1:2,", "a/cur/1.M1:2,", "come into it", "come into it" },
        { OP_RENAME, "a/.B/cur/1.M1:2,S", "a/.B/new/1.M1", "", "" },
        { OP_RENAME, "a/cur/1.M1:2,S", "a/.B/cur/1.M1:2,", "", "" },
        { OP_UNLINK, "a/.B/cur/1.M1:2,", "", "", "" },
        { OP_RMTREE, "a/.B/cur", "", "", "" },
        { OP_META, "a/.B/cur/1.M1:2,", "", "", "" },
        { OP_EPOCH, "", "", "", "" },
        { OP_PUT, "a/.B/dovecot-uidlist", "", "", "come into it" },
        { OP_PUT, "a/.B/dovecot-keywords", "", "", "come into it" },
        { OP_PUT, "a/.B/sub/dovecot-acl", "", "come into it", "come into it" },
        { OP_PUT, "a/.B/tmp/1.M1", "", "", "come into it" },
        { OP_MKDIR, "a/.B/tmp", "", "", "come into it" },
        { OP_MKDIR, "a/.B/sub", "", "come into it", "come into it" },
        { OP_SYMLINK, "a/.B/l", "x", "come into it", "come into it" },
        { OP_MKDIR, "a/.B", "", "was made", "was made" },
        { OP_MKDIR, "a", "", "was made", "was made" },
        { OP_RENAME, "a/.B", "a/.X", "was made", "was made" },
        { OP_RENAME, "a/.X", "a/.B", "was renamed", "was renamed" },
        { OP_RENAME, "b", "a", "was renamed", "was renamed" },
        { OP_PUT, "a/.Bc/new/1.M1", "", "", "" },
        { OP_PUT, "a/new/1.M1", "", "", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_came(STORE_MAILDIR, cases[i].op, cases[i].path, cases[i].before, cases[i].in_mail);
        check_came(STORE_FILES, cases[i].op, cases[i].path, cases[i].before, cases[i].in_files);
    }
}

static void
check_merge(const char *was, const char *is, const char *here, const char *expected)
{
    _cleanup_buf_ struct buf out = { 0 };
    intake_merge_flags(span_str(was), span_str(is), span_str(here), &out);
    CHECK(span_equal(buf_span(&out), span_str(expected)));
}

TEST(a_message_that_is_moved_keeps_its_flags_but_for_those_that_changed_with_it)
{
    check_merge("", "", "FS", "FS");
    check_merge("", "S", "F", "FS");
    check_merge("S", "", "FS", "F");
    check_merge("S", "S", "", "");
    check_merge("Sa", "Sb", "Sc", "S");
}
