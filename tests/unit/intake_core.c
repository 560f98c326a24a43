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
