#include "tests/unit/test.h"

#include "lib/base/path.h"

static struct span
of(const char *text)
{
    return span_str(text);
}

TEST(any_bytes_but_slash_and_nul_make_a_name)
{
    CHECK(path_name_valid(of("1700000000.M1P2.mx1,S=12:2,S")));
    CHECK(path_name_valid(of("a\nb")));
    CHECK(path_name_valid(of("\xff\xfe")));
    CHECK(path_name_valid(of("...")));
    CHECK(path_name_valid(of(".a")));
    CHECK(!path_name_valid(of("")));
    CHECK(!path_name_valid(of(".")));
    CHECK(!path_name_valid(of("..")));
    CHECK(!path_name_valid(of("a/b")));
    CHECK(!path_name_valid(span_of("a\0b", 3)));
}

TEST(a_name_has_at_most_255_bytes)
{
    char name[PATH_NAME_MAX + 1];
    memset(name, 'x', sizeof(name));
    CHECK(path_name_valid(span_of(name, PATH_NAME_MAX)));
    CHECK(!path_name_valid(span_of(name, PATH_NAME_MAX + 1)));
    CHECK(path_valid(span_of(name, PATH_NAME_MAX)));
    CHECK(!path_valid(span_of(name, PATH_NAME_MAX + 1)));
}

TEST(a_path_never_leaves_the_store)
{
    static const char *const bad[] = { "/",    "/a",     "a/",  "a//b", "..",   "../a",
                                       "a/..", "a/../b", "./a", "a/.",  "a/./b" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!path_valid(of(bad[i])));
    CHECK(!path_valid(span_of("a/b\0", 4)));
    CHECK(path_valid(of("")));
    CHECK(path_valid(of("a")));
    CHECK(path_valid(of("example.org/ada/.Sent/cur/1:2,\n\xff")));
}

TEST(a_path_has_at_most_16384_bytes)
{
    char path[PATH_STORE_MAX + 2];
    for (size_t i = 0; i < sizeof(path); i++)
        path[i] = i % 2 == 1 ? '/' : 'x';
    path[PATH_STORE_MAX - 1] = 'x';
    CHECK(path_valid(span_of(path, PATH_STORE_MAX)));
    CHECK(!path_valid(span_of(path, PATH_STORE_MAX + 1)));
}

TEST(parent_and_name_put_together_are_the_path)
{
    CHECK(span_equal(path_parent(of("a/b/c")), of("a/b")));
    CHECK(span_equal(path_name(of("a/b/c")), of("c")));
    CHECK(span_equal(path_parent(of("a")), of("")));
    CHECK(span_equal(path_name(of("a")), of("a")));
    CHECK(span_equal(path_parent(of("")), of("")));
    CHECK(span_equal(path_name(of("")), of("")));
}

TEST(below_means_the_directory_and_what_is_in_it)
{
    CHECK(path_is_below(of("a/b"), of("a/b")));
    CHECK(path_is_below(of("a/b/c"), of("a/b")));
    CHECK(!path_is_below(of("a/bc"), of("a/b")));
    CHECK(!path_is_below(of("a"), of("a/b")));
    CHECK(!path_is_below(of("x/b/c"), of("a/b")));
    CHECK(path_is_below(of("a"), of("")));
    CHECK(path_is_below(of(""), of("")));
}

TEST(components_come_one_by_one)
{
    struct span rest = of("a/bc/d");
    struct span name;
    CHECK(path_next(&rest, &name) && span_equal(name, of("a")));
    CHECK(path_next(&rest, &name) && span_equal(name, of("bc")));
    CHECK(path_next(&rest, &name) && span_equal(name, of("d")));
    CHECK(!path_next(&rest, &name));
}

TEST(a_name_is_given_as_text)
{
    char text[PATH_NAME_MAX + 1];
    char name[PATH_NAME_MAX];
    memset(name, 'x', sizeof(name));
    CHECK_STR(path_name_text(of("a\nb"), text), "a\nb");
    CHECK_INT(strlen(path_name_text(span_of(name, sizeof(name)), text)), sizeof(name));
}
