/* What is found among what is retained: files with several names when none of them lives, and no
 * delivery that was never completed. */
#include "lib/store/retained_census.h"
#include "lib/store/retained_find.h"

#include "tests/unit/scratch_kit.h"
#include "tests/unit/test.h"

#include <string.h>
#include <unistd.h>

static void
sh(const char *command)
{
    char text[1000];
    snprintf(text, sizeof(text), "cd %s && %s", dir, command);
    assert_int_equal(system(text), 0);
}

/* Two folders, removed as a whole: a mail that was copied from one into the other, one that has a
 * third name in a folder that lives, and one of its own in each. */
static int
make_folders(void)
{
    sh("rm -rf r live; mkdir -p r/00000001/1.1.1.1.t.u r/00000002/2.1.1.1.t.v live;"
       "mkdir r/00000001/1.1.1.1.t.u/cur r/00000002/2.1.1.1.t.v/cur;"
       "cd r; u=00000001/1.1.1.1.t.u/cur; v=00000002/2.1.1.1.t.v/cur;"
       "echo both >$u/both; ln $u/both $v/copy;"
       "echo three >$u/three; ln $u/three $v/three; ln $u/three ../live/three;"
       "echo u >$u/own; echo v >$v/own");
    char path[100];
    snprintf(path, sizeof(path), "%s/r", dir);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    return fd;
}

static char told[1000];

static int
tell(void *arg, const struct retained_found *found, struct err *e)
{
    (void)arg;
    (void)e;
    size_t len = strlen(told);
    snprintf(told + len, sizeof(told) - len, "%.*s %.*s\n", (int)found->path.len,
             (const char *)found->path.ptr, (int)found->member.len,
             (const char *)found->member.ptr);
    return 0;
}

static void
find_all(int fd, enum store_kind kind)
{
    static const struct retained_filter filter = { .members = true };
    struct retained_search search = { .kind = kind, .filter = &filter, .each = tell };
    struct err e = { 0 };
    told[0] = '\0';
    if (retained_find(fd, &search, &e) < 0)
        fail_msg("%s", e.text);
}

TEST(a_file_whose_names_are_all_retained_is_found_under_each)
{
    int fd = make_folders();
    find_all(fd, STORE_FILES);
    CHECK_CONTAINS(told, "u/cur/both cur/both\n");
    CHECK_CONTAINS(told, "v/cur/copy cur/copy\n");
    CHECK_CONTAINS(told, "u/cur/own cur/own\n");
    CHECK_CONTAINS(told, "v/cur/own cur/own\n");
    CHECK(strstr(told, "three") == NULL);
    sh("rm live/three");
    find_all(fd, STORE_FILES);
    CHECK_CONTAINS(told, "u/cur/three cur/three\n");
    CHECK_CONTAINS(told, "v/cur/three cur/three\n");
    close(fd);
}

TEST(a_delivery_that_a_dying_mail_server_left_is_no_mail)
{
    int fd = make_folders();
    sh("cd r; u=00000001/1.1.1.1.t.u; mkdir $u/tmp; echo half >$u/tmp/1.M1P1.x;"
       "echo half >'00000002/3.1.1.1.d.v|tmp|1.M1P1.x'");
    find_all(fd, STORE_MAILDIR);
    CHECK_CONTAINS(told, "u/cur/own cur/own\n");
    CHECK(strstr(told, "/tmp/") == NULL);
    find_all(fd, STORE_FILES); /* a folder as any other there */
    CHECK_CONTAINS(told, "u/tmp/1.M1P1.x tmp/1.M1P1.x\n");
    CHECK_CONTAINS(told, "v/tmp/1.M1P1.x \n");
    close(fd);
}

TEST(a_file_that_came_back_under_one_of_its_names_lives)
{
    int fd = make_folders();
    struct retained_census *census = retained_census_new(fd);
    struct err e = { 0 };
    struct stat st;
    assert_int_equal(fstatat(fd, "00000001/1.1.1.1.t.u/cur/both", &st, 0), 0);
    CHECK_INT(retained_census_lives(census, &st, &e), 0);
    sh("ln r/00000001/1.1.1.1.t.u/cur/both live/both");
    assert_int_equal(fstatat(fd, "00000001/1.1.1.1.t.u/cur/both", &st, 0), 0);
    CHECK_INT(retained_census_lives(census, &st, &e), 1);
    assert_int_equal(fstatat(fd, "00000001/1.1.1.1.t.u/cur/own", &st, 0), 0);
    CHECK_INT(retained_census_lives(census, &st, &e), 0);
    retained_census_free(&census);
    close(fd);
}

TEST(without_a_file_of_several_names_nothing_is_read)
{
    struct retained_census *census = retained_census_new(-1);
    struct err e = { 0 };
    struct stat st = { .st_mode = S_IFREG, .st_nlink = 1 };
    CHECK_INT(retained_census_lives(census, &st, &e), 0);
    st.st_nlink = 2;
    CHECK_INT(retained_census_lives(census, &st, &e), -1);
    retained_census_free(&census);
}
