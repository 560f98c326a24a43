/* Names of retained objects, and reading them; tests/unit/retain.c has how they come to be. */
#include "lib/data/retained.h"

#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct retained_name
named(struct span path)
{
    return (struct retained_name){ .why = RETAINED_DELETED,
                                   .seq = 0x1a,
                                   .epoch = 3,
                                   .time_ms = UINT64_C(1700000000123),
                                   .id = 77,
                                   .path = path };
}

static int
decode(const char *text, struct retained_name *name, struct err *e)
{
    static struct buf path;
    return retained_name_decode(span_str(text), &path, name, e);
}

TEST(a_retained_name_says_all_that_the_object_does_not)
{
    static const char *const paths[] = {
        "a",
        "example.org/ann/Maildir/cur/1700.M1.mx,S=1:2,S",
        "we|rd/100%/x",
        "new\nline/\xff",
        ".dot",
        "a.b.c/d",
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct retained_name name = named(span_str(paths[i])), got;
        char text[PATH_NAME_MAX + 1];
        struct err e = { 0 };
        retained_name_encode(&name, text);
        CHECK(!name.wrapped && strchr(text, '/') == NULL);
        CHECK_INT(decode(text, &got, &e), 0);
        CHECK(span_equal(got.path, name.path));
        CHECK(got.why == name.why && got.seq == name.seq && got.epoch == name.epoch &&
              got.time_ms == name.time_ms && got.id == name.id && !got.wrapped);
    }
}

TEST(a_path_too_long_for_a_name_is_wrapped_and_never_cut)
{
    char path[PATH_NAME_MAX + 60], text[PATH_NAME_MAX + 1];
    bool wrapped = false;
    for (size_t len = 1; len < sizeof(path) - 60; len++) {
        memset(path, '|', len);
        struct retained_name name = named(span_of(path, len)), got;
        struct err e = { 0 };
        retained_name_encode(&name, text);
        CHECK(strlen(text) <= PATH_NAME_MAX);
        CHECK(name.wrapped >= wrapped);
        wrapped = name.wrapped;
        CHECK_INT(decode(text, &got, &e), 0);
        CHECK(got.wrapped == wrapped && got.path.len == (wrapped ? 0 : len));
    }
    CHECK(wrapped);
}

TEST(a_name_that_is_none_of_ours_is_refused)
{
    static const char *const wrong[] = {
        "",
        "x",
        "1.2.3.4",
        "1.2.3.4.d.",
        "1.2.3.4.d./a",
        "1.2.3.4.x.a",
        "1.2.3.4.d.a%2",
        "1.2.3.4.d.a%2F",
        "1.2.3.4.d.a||b",
        "1.2.3.4.d.|a",
        "1.2.3.4.d.a|..|b",
        "01.2.3.4.d.a",
        "1.2.3.A.d.a",
        "12345678123456781.2.3.4.d.a",
        "1..3.4.d.a",
        "1.2.3.4.D.a",
        "1.2.3.4.dd.a",
        "was",
        "path",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct retained_name name;
        struct err e = { 0 };
        if (decode(wrong[i], &name, &e) == 0)
            fail_msg("\"%s\" is taken for a retained name", wrong[i]);
        CHECK_INT(e.code, ERR_CORRUPT);
    }
}

TEST(buckets_are_named_by_their_hour_in_order)
{
    char a[RETAINED_BUCKET_SIZE], b[RETAINED_BUCKET_SIZE];
    uint64_t hour;
    retained_bucket_name(472222, a);
    retained_bucket_name(472223, b);
    CHECK(strcmp(a, b) < 0);
    CHECK(retained_bucket_hour(a, &hour) && hour == 472222);
    CHECK(!retained_bucket_hour("gone", &hour) && !retained_bucket_hour("0007349E", &hour) &&
          !retained_bucket_hour("000734", &hour));
}

/* --- reading --- */

struct seen {
    unsigned count, stop_at;
    char last[300];
};

static int
see(void *arg, const struct retained_object *object, struct err *e)
{
    struct seen *seen = arg;
    (void)e;
    snprintf(seen->last, sizeof(seen->last), "%.*s", (int)object->name.path.len,
             (const char *)object->name.path.ptr);
    return ++seen->count == seen->stop_at ? 7 : 0;
}

static void
put(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
}

TEST(reading_goes_from_the_newest_hour_and_passes_what_is_no_object)
{
    char root[] = "/tmp/mailtwin-retained-XXXXXX";
    assert_non_null(mkdtemp(root));
    test_scratch(root);
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    const char *const dirs[] = {
        "00000001", "00000002", "gone", "was", "00000002/9.1.1.1.T.", "00000001/8.1.1.1.D."
    };
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        assert_int_equal(mkdirat(fd, dirs[i], 0700), 0);
    put(fd, "00000001/1.1.1.1.d.old");
    put(fd, "00000002/2.1.1.1.d.new");
    put(fd, "00000002/strange");
    put(fd, "gone/1.1.1.1.d.a");
    put(fd, "00000001/8.1.1.1.D./path"); /* empty, and nothing beside it */
    struct seen seen = { .stop_at = 1 };
    struct retained_read read = { .each = see, .arg = &seen };
    struct err e = { 0 };
    uint64_t strange;
    CHECK_INT(retained_read(fd, &read, &strange, &e), 7);
    CHECK_STR(seen.last, "new");
    seen = (struct seen){ 0 };
    CHECK_INT(retained_read(fd, &read, &strange, &e), 0);
    CHECK_INT(seen.count, 2);
    CHECK_STR(seen.last, "old");
    CHECK_INT(strange, 3); /* and the two wraps of nothing */
    close(fd);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}
