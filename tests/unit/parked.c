#include "lib/store/parked.h"

#include "tests/unit/test.h"

#include <string.h>

#define PARKED PARKED_PREFIX "00000000000a3f20"

TEST(a_parked_name_is_known_by_its_exact_form)
{
    char name[PARKED_SIZE];
    parked_name(0xa3f20, name);
    CHECK_STR(name, PARKED);
    CHECK(parked_is_name(span_str(name)));
    parked_name(UINT64_MAX, name);
    CHECK(parked_is_name(span_str(name)));
    static const char *const others[] = {
        "",
        ".mailtwin",
        PARKED_PREFIX,
        PARKED_PREFIX "00000000000a3f2",
        PARKED_PREFIX "00000000000a3f200",
        PARKED_PREFIX "00000000000A3F20",
        PARKED_PREFIX "00000000000a3f2g",
        ".mailtwin-parkee-00000000000a3f20",
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(!parked_is_name(span_str(others[i])));
    CHECK(parked_has_prefix(span_str(PARKED_PREFIX "x")));
    CHECK(!parked_has_prefix(span_str(".mailtwin")));
    CHECK(parked_is_path(span_str(PARKED)));
    CHECK(parked_is_path(span_str(PARKED "/cur/1")));
    CHECK(!parked_is_path(span_str("ada/" PARKED)));
    CHECK(!parked_is_path(span_str("")));
}

static void
check_aside(const char *origin, unsigned again, const char *expected)
{
    char name[PATH_NAME_MAX + 1];
    parked_aside_name(span_str(PARKED), span_str(origin), again, name);
    CHECK_STR(name, expected);
}

TEST(a_name_aside_is_near_the_one_that_is_taken_and_keeps_a_messages_flags)
{
    check_aside("", 0, "aside-a3f20");
    check_aside("", 7, "aside-a3f20-7");
    check_aside("ada", 0, "ada-aside-a3f20");
    check_aside("ada", 1, "ada-aside-a3f20-1");
    check_aside(".Sent", 0, ".Sent-aside-a3f20");
    check_aside("1.M2.mx:2,RS", 0, "1.M2.mx-aside-a3f20:2,RS");
    check_aside("1.M2.mx:2,", 0, "1.M2.mx-aside-a3f20:2,");
    check_aside("1.M2.mx:2", 0, "1.M2.mx:2-aside-a3f20");
    char name[PATH_NAME_MAX + 1];
    parked_aside_name(span_str(PARKED_PREFIX "0000000000000000"), span_str("a"), 0, name);
    CHECK_STR(name, "a-aside-0");
}

/* `unit` as often as it fits, and what is `behind` it. */
static void
check_cut(const char *unit, const char *behind, const char *end)
{
    char origin[PATH_NAME_MAX + 1] = "";
    char name[PATH_NAME_MAX + 1];
    while (strlen(origin) + strlen(unit) + strlen(behind) <= PATH_NAME_MAX)
        strcat(origin, unit);
    strcat(origin, behind);
    parked_aside_name(span_str(PARKED), span_str(origin), 0, name);
    size_t head = strlen(name) - strlen(end);
    CHECK(path_name_valid(span_str(name)));
    CHECK_STR(name + head, end);
    CHECK(memcmp(name, origin, head) == 0);
    CHECK_INT(head % strlen(unit), 0); /* no character is cut in two */
    CHECK(strlen(name) > PATH_NAME_MAX - strlen(unit));
}

TEST(a_name_aside_is_cut_where_it_would_be_too_long)
{
    check_cut("x", "", "-aside-a3f20");
    check_cut("x", ":2,S", "-aside-a3f20:2,S");
    check_cut("\xc3\xa9", "", "-aside-a3f20");
    check_cut("\xe2\x82\xac", ":2,S", "-aside-a3f20:2,S");
    check_cut(":2,", "", "-aside-a3f20"); /* no flags are that long */
}
