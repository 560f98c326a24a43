/* The names in a directory: all of them, or an error. */
#include "tests/unit/scratch_kit.h"
#include "tests/unit/test.h"

#include "lib/os/dir.h"
#include "lib/os/file.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
scratch(int flags)
{
    int fd = open(dir, flags | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

TEST(each_name_is_given_once_and_the_dots_are_not)
{
    static const char *const names[] = { ".hidden", "...", "line\nfeed", "plain", "sub" };
    char command[256];
    unsigned seen = 0, count = 0;
    struct err e = { 0 };
    const struct dirent *item;
    snprintf(command, sizeof(command),
             "cd %s && touch .hidden ... plain \"$(printf 'line\\nfeed')\" && mkdir sub && "
             "ln -s sub link",
             dir);
    CHECK_INT(system(command), 0);
    _cleanup_close_ int fd = scratch(O_PATH);
    _cleanup_dir_ DIR *stream = dir_open(fd, ".", &e);
    CHECK(stream != NULL);
    while (dir_next(stream, &item, &e) > 0) {
        count++;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            seen |= strcmp(item->d_name, names[i]) == 0 ? 1u << i : 0;
        CHECK_INT(dir_item_is_dir(stream, item), strcmp(item->d_name, "sub") == 0);
    }
    CHECK_INT(e.code, ERR_NONE);
    CHECK_INT(count, 6);
    CHECK_INT(seen, (1u << ARRAY_LEN(names)) - 1);
}

TEST(a_type_that_reading_does_not_tell_is_looked_at)
{
    struct err e = { 0 };
    _cleanup_close_ int fd = scratch(O_RDONLY);
    _cleanup_dir_ DIR *stream = dir_open(fd, ".", &e);
    CHECK(stream != NULL);
    struct dirent item = { .d_type = DT_UNKNOWN, .d_name = "there" };
    CHECK(!dir_item_is_dir(stream, &item)); /* gone */
    CHECK_INT(mkdirat(fd, "there", 0700), 0);
    CHECK(dir_item_is_dir(stream, &item));
    CHECK_INT(unlinkat(fd, "there", AT_REMOVEDIR), 0);
}

TEST(what_is_no_directory_or_a_link_to_one_is_not_opened)
{
    struct err e = { 0 };
    _cleanup_close_ int fd = scratch(O_RDONLY);
    CHECK_INT(mkdirat(fd, "real", 0700), 0);
    CHECK_INT(symlinkat("real", fd, "way"), 0);
    CHECK(dir_open(fd, "way", &e) == NULL);
    CHECK_INT(e.sys, ENOTDIR);
    CHECK(dir_open(fd, "nowhere", &e) == NULL);
    CHECK_INT(e.sys, ENOENT);
    CHECK(dir_open(fd, "nowhere", NULL) == NULL);
}

TEST(that_nothing_has_the_name_is_an_answer_and_another_failure_none)
{
    struct err e = { 0 };
    _cleanup_close_ int fd = scratch(O_RDONLY);
    DIR *stream = NULL;
    CHECK_INT(dir_find(fd, "nowhere", &stream, &e), 0);
    CHECK_INT(e.code, ERR_NONE);
    CHECK_INT(dir_find(fd, "nowhere", &stream, NULL), 0);
    CHECK_INT(dir_find(fd, "plain", &stream, &e), -1);
    CHECK_INT(e.sys, ENOTDIR);
    CHECK_INT(dir_find(fd, "plain", &stream, NULL), -1);
    CHECK(stream == NULL);
    CHECK_INT(dir_find(fd, ".", &stream, &e), 1);
    dir_closep(&stream);
}

/* As a disk that fails does: what was read so far is not all. */
TEST(a_reading_that_breaks_off_is_no_end)
{
    struct err e = { 0 };
    const struct dirent *item;
    _cleanup_close_ int fd = scratch(O_RDONLY);
    DIR *stream = dir_open(fd, ".", &e);
    CHECK(stream != NULL);
    int own = dirfd(stream);
    close(own);
    CHECK_INT(dir_next(stream, &item, &e), -1);
    CHECK_INT(e.sys, EBADF);
    CHECK_INT(dir_next(stream, &item, NULL), -1);
    CHECK_INT(dup2(fd, own), own); /* closedir() closes it */
    dir_closep(&stream);
    CHECK(stream == NULL);
    dir_closep(&stream);
}
