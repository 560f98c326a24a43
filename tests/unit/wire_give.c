#include "tests/unit/wire_kit.h"

#include <sys/stat.h>

TEST(an_object_that_is_given_comes_out_as_it_went_in)
{
    make(WIRE_GIVE);
    msg.give.guid = span_str("0123456789abcdef0123456789abcdef");
    check_accepted();
    CHECK_INT(got.give.id, 7);
    CHECK_INT(got.give.keyword_count, 2);
    CHECK(span_equal(got.give.keywords[1].name, span_str("Later")));
    CHECK(span_equal(got.give.guid, msg.give.guid));
    make(WIRE_GIVEN);
    check_accepted();
    CHECK(span_equal(got.given.path, span_str("ada/cur/1")));
    msg.given.path = span_str("");
    check_accepted();
}

TEST(mode_and_attributes_fit_the_kind_of_what_is_given)
{
    static const bool fits[4][7] = { { false },
                                     { false, true, true, true, true, true, true },
                                     { false, false, true, true, false, true, true },
                                     { false, false, true, false, false, true, true } };
    for (uint8_t kind = 1; kind <= 3; kind++) {
        for (uint8_t mode = 1; mode <= 6; mode++) {
            make(WIRE_GIVE);
            msg.give.kind = kind;
            msg.give.mode = mode;
            msg.give.keyword_count = 0;
            msg.give.from = span_str("ada/before");
            msg.give.attr.mode = kind == WIRE_GIVE_DIR ? S_IFDIR : S_IFREG;
            _cleanup_buf_ struct buf body = { 0 };
            put_body(&body);
            CHECK_INT(decode(WIRE_GIVE, buf_span(&body), NULL), fits[kind][mode] ? 0 : -1);
        }
    }
    make(WIRE_GIVE);
    msg.give.attr.mode = S_IFDIR;
    check_refused("malformed GIVE: attr is not that of a file");
    make(WIRE_GIVE);
    msg.give.kind = WIRE_GIVE_DIR;
    check_refused("malformed GIVE: mode 1 does not fit kind 3");
    make(WIRE_GIVE);
    msg.give.kind = 4;
    check_refused("malformed GIVE: kind is 4, allowed are 1 to 3");
    make(WIRE_GIVE);
    msg.give.mode = 0;
    check_refused("malformed GIVE: mode is 0, allowed are 1 to 6");
    make(WIRE_GIVE);
    msg.give.attr.size = UINT64_MAX;
    check_refused("malformed GIVE: size is 18446744073709551615, allowed are 0 to "
                  "9223372036854775807");
}

static void
make_file(void)
{
    make(WIRE_GIVE);
    msg.give.kind = WIRE_GIVE_FILE;
    msg.give.mode = WIRE_GIVE_REPLACE;
    msg.give.keyword_count = 0;
    msg.give.xattr_count = 2;
    msg.give.xattrs[0] = (struct wire_xattr){ span_str("user.b"), span_str("1") };
    msg.give.xattrs[1] = (struct wire_xattr){ span_str("user.a"), span_str("") };
}

TEST(a_file_that_is_given_has_extended_attributes_and_nothing_else_has)
{
    make_file();
    check_accepted();
    CHECK_INT(got.give.xattr_count, 2);
    CHECK(span_equal(got.give.xattrs[0].name, span_str("user.a"))); /* sorted */
    CHECK(span_equal(got.give.xattrs[1].value, span_str("1")));
    make_file();
    msg.give.mode = WIRE_GIVE_REMOVE;
    check_refused("malformed GIVE: xattrs with what is to be removed");
    make_file();
    msg.give.xattrs[0].name = span_str("");
    check_refused("malformed GIVE: the name of xattr 0 is malformed");
    static const uint8_t much[WIRE_XATTR_VALUE_MAX + 1];
    make_file();
    msg.give.xattrs[0].value = span_of(much, sizeof(much));
    check_refused("malformed GIVE: an xattr's size is 65537, allowed are 0 to 65536");
    make(WIRE_GIVE);
    msg.give.xattr_count = 1; /* of a message: not written */
    check_accepted();
    CHECK_INT(got.give.xattr_count, 0);
}

static void
make_moved_dir(void)
{
    make(WIRE_GIVE);
    msg.give.kind = WIRE_GIVE_DIR;
    msg.give.mode = WIRE_GIVE_MOVE;
    msg.give.attr.mode = S_IFDIR;
    msg.give.keyword_count = 0;
    msg.give.path = span_str("ada/.Job");
    msg.give.from = span_str("ada/.Work");
    msg.give.guid = span_str("0123456789abcdef0123456789abcdef");
}

static void
check_from(const char *from, const char *why)
{
    make_moved_dir();
    msg.give.from = span_str(from);
    check_refused(why);
}

TEST(what_is_moved_has_a_name_before_and_a_directory_that_goes_a_record_to_look_from)
{
    make_moved_dir();
    check_accepted();
    CHECK(span_equal(got.give.from, span_str("ada/.Work")));
    CHECK(span_equal(got.give.guid, msg.give.guid));
    check_from("", "malformed GIVE: from is the store's root");
    check_from("../x", "malformed GIVE: path is not a store path");
    check_from("ada/.Job", "malformed GIVE: from and path lie within each other");
    check_from("ada", "malformed GIVE: from and path lie within each other");
    check_from("ada/.Job/x", "malformed GIVE: from and path lie within each other");
    make_moved_dir();
    msg.give.mode = WIRE_GIVE_REMOVE;
    check_refused("malformed GIVE: keywords or guid with what is no message");
    msg.give.guid = span_str("");
    msg.give.since = 120;
    check_accepted();
    CHECK_INT(got.give.since, 120);
    CHECK_INT(got.give.from.len, 0);
    make_file();
    msg.give.mode = WIRE_GIVE_MOVE;
    msg.give.from = span_str("ada/before");
    check_refused("malformed GIVE: xattrs with what is to be moved");
}

TEST(what_is_given_has_a_place_below_the_root)
{
    make(WIRE_GIVE);
    msg.give.path = span_str("");
    check_refused("malformed GIVE: path is the store's root");
    make(WIRE_GIVE);
    msg.give.path = span_str("a/../b");
    check_refused("malformed GIVE: path is not a store path");
    make(WIRE_GIVE);
    msg.give.store = WIRE_STORES_MAX;
    check_refused("malformed GIVE: store is 64, allowed are 0 to 63");
    make(WIRE_GIVEN);
    msg.given.path = span_str("/etc");
    check_refused("malformed GIVEN: path is not a store path");
    make(WIRE_GIVEN);
    msg.given.result = 5;
    check_refused("malformed GIVEN: result is 5, allowed are 1 to 4");
}

TEST(keywords_are_told_once_each_and_with_messages_alone)
{
    make(WIRE_GIVE);
    msg.give.keywords[0].letter = 'A';
    check_refused("malformed GIVE: keyword 0 is malformed");
    make(WIRE_GIVE);
    msg.give.keywords[1].name = span_str("a b");
    check_refused("malformed GIVE: keyword 1 is malformed");
    make(WIRE_GIVE);
    msg.give.keywords[0].letter = 'b';
    check_refused("malformed GIVE: the keywords are not in the order of their letters");
    make(WIRE_GIVE);
    msg.give.keywords[0].letter = 'a';
    check_refused("malformed GIVE: the keywords are not in the order of their letters");
    make(WIRE_GIVE);
    msg.give.keywords[1].letter = 0; /* two marks */
    check_accepted();
    make(WIRE_GIVE);
    msg.give.keyword_count = WIRE_KEYWORDS_MAX + 1;
    for (size_t i = 0; i < WIRE_KEYWORDS_MAX; i++)
        msg.give.keywords[i] = msg.give.keywords[0];
    _cleanup_buf_ struct buf body = { 0 };
    msg.give.keyword_count = WIRE_KEYWORDS_MAX;
    put_body(&body);
    body.ptr[8 + 2 + 2 + 28 + 2 + msg.give.path.len + 1]++;
    CHECK_INT(decode(WIRE_GIVE, buf_span(&body), NULL), -1);
    make(WIRE_GIVE);
    msg.give.kind = WIRE_GIVE_FILE;
    msg.give.mode = WIRE_GIVE_PUT;
    check_refused("malformed GIVE: keywords or guid with what is no message");
    make(WIRE_GIVE);
    msg.give.guid = span_str("abc");
    check_refused("malformed GIVE: guid is not 32 hex digits");
    make(WIRE_GIVE);
    msg.give.guid = span_str("0123456789abcdef0123456789abcdeF");
    check_refused("malformed GIVE: guid is not 32 hex digits");
}

TEST(what_was_found_is_counted_in_numbers_that_json_has)
{
    make(WIRE_FOUND);
    msg.found = (struct wire_found){ 3, 1700000000, 5, 6, 7, 8 };
    check_accepted();
    CHECK_INT(got.found.expunges, 7);
    msg.found.others = UINT64_MAX;
    check_refused("malformed FOUND: a count is 18446744073709551615, allowed are 0 to "
                  "9223372036854775807");
}

TEST(a_folder_in_which_something_was_found_has_a_name_that_a_statement_can_hold)
{
    make(WIRE_FOUND_IN);
    check_accepted();
    CHECK(span_equal(got.found_in.folder, span_str("Sent")));
    CHECK_INT(got.found_in.others, 4);
    msg.found_in.folder = span_str("..");
    check_accepted();
    msg.found_in.user = span_of("a\0b", 3);
    check_refused("malformed FOUND_IN: user is too long, or has a NUL");
    make(WIRE_FOUND_IN);
    msg.found_in.store = WIRE_STORES_MAX;
    check_refused("malformed FOUND_IN: store is 64, allowed are 0 to 63");
    make(WIRE_FOUND_IN);
    msg.found_in.messages = UINT64_MAX;
    check_refused("malformed FOUND_IN: a count is 18446744073709551615, allowed are 0 to "
                  "9223372036854775807");
}

TEST(further_folders_have_no_name)
{
    make(WIRE_FOUND_IN);
    msg.found_in = (struct wire_found_in){ .further = 1, .others = 9 };
    check_accepted();
    CHECK_INT(got.found_in.further, 1);
    msg.found_in.folder = span_str("Sent");
    check_refused("malformed FOUND_IN: further folders have a name");
}
