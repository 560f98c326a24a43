/* One store's part of a salvage: an attempt that ended leaves a log, and the next one goes on
 * behind it, but never with bytes that may be others. */
#include "replicator/salvage_part.h"
#include "lib/os/file.h"
#include "tests/unit/scratch_kit.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ITEMS 3

static char name_of_store[] = "mail";
static struct conf_store conf = { .name = name_of_store };
static struct node_store store = { .conf = &conf };
static const struct salvage_head head = { .epoch = 1, .fork = 7, .tail = 12 };

/* A store without anything. */
static void
begin(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s/.mailtwin && mkdir %s/.mailtwin", dir, dir);
    assert_int_equal(system(command), 0);
    store.root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(store.root_fd >= 0);
}

static void
end(void)
{
    close(store.root_fd);
}

static int
content(const char *bytes)
{
    int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    CHECK_INT(write(fd, bytes, strlen(bytes)), strlen(bytes));
    return fd;
}

/* Adds `count` messages of these bytes; the last one was changed at `mtime_ns`. */
static struct salvage_part
attempt(const char *const bytes[], size_t count, int64_t mtime_ns)
{
    struct salvage_part part = { .dirfd = -1, .log_fd = -1 };
    struct err e = { 0 };
    CHECK_INT(salvage_part_open(&part, &store, "1-7", &head, &e), 0);
    for (size_t i = 0; i < count; i++) {
        char path[32];
        snprintf(path, sizeof(path), "ada/cur/%zu.M", i);
        struct salvage_item item = { .kind = SALVAGE_MESSAGE, .path = span_str(path) };
        item.attr = (struct attr){ .mode = S_IFREG | 0600, .size = strlen(bytes[i]) };
        item.attr.mtime_ns = i + 1 == count ? mtime_ns : 1;
        _cleanup_close_ int fd = content(bytes[i]);
        CHECK_INT(salvage_part_add(&part, &item, fd, &e), 0);
    }
    return part;
}

static void
check_kept(const struct salvage_part *part, const char *const bytes[], size_t count)
{
    for (size_t i = 0; i <= count; i++) {
        char name[16], got[64] = "";
        snprintf(name, sizeof(name), "%08zx", i);
        _cleanup_close_ int fd = openat(part->dirfd, name, O_RDONLY | O_CLOEXEC);
        CHECK_INT(fd >= 0, i < count);
        if (i == count)
            continue;
        CHECK_INT(read(fd, got, sizeof(got) - 1), strlen(bytes[i]));
        CHECK_STR(got, bytes[i]);
    }
}

static void
check_finished(struct salvage_part *part, const char *const bytes[], size_t count)
{
    struct err e = { 0 };
    CHECK_INT(salvage_part_finish(part, &e), 0);
    CHECK_INT(part->count, count);
    check_kept(part, bytes, count);
    salvage_part_forget(part);
    CHECK_INT(faccessat(part->dirfd, SALVAGE_LOG, F_OK, 0), -1);
    CHECK_INT(faccessat(part->dirfd, "manifest", F_OK, 0), 0);
    salvage_part_free(part);
}

static ino_t
inode(const struct salvage_part *part, unsigned number)
{
    char name[16];
    struct stat st = { 0 };
    snprintf(name, sizeof(name), "%08x", number);
    fstatat(part->dirfd, name, &st, 0);
    return st.st_ino;
}

static const char *const first[] = { "one", "two", "three" };

TEST(the_next_attempt_goes_on_with_what_the_last_one_copied)
{
    begin();
    struct salvage_part part = attempt(first, 2, 1);
    ino_t before[] = { inode(&part, 0), inode(&part, 1) };
    salvage_part_free(&part);
    part = attempt(first, ITEMS, 1);
    CHECK(inode(&part, 0) == before[0] && inode(&part, 1) == before[1]);
    salvage_part_free(&part);
    part = attempt(first, 2, 1); /* the third one is gone by now */
    check_finished(&part, first, 2);
    end();
}

TEST(what_changed_since_the_last_attempt_is_copied_anew_and_all_behind_it)
{
    static const char *const later[] = { "one", "TWO", "three" };
    begin();
    struct salvage_part part = attempt(first, ITEMS, 1);
    salvage_part_free(&part);
    part = attempt(later, 2, 2);
    check_finished(&part, later, 2);
    part = attempt(later, ITEMS, 1);
    check_finished(&part, later, ITEMS);
    end();
}

static void
spoil_log(const struct salvage_part *part, off_t cut, bool boot)
{
    _cleanup_close_ int fd = openat(part->dirfd, SALVAGE_LOG, O_RDWR | O_CLOEXEC);
    if (boot)
        CHECK_INT(pwrite(fd, "x", 1, 0), 1);
    else
        CHECK_INT(ftruncate(fd, cut), 0);
}

TEST(a_log_that_is_cut_anywhere_costs_copies_alone)
{
    off_t size = 1;
    for (off_t cut = 0; cut < size; cut++) {
        struct stat st;
        begin();
        struct salvage_part part = attempt(first, ITEMS, 1);
        CHECK_INT(fstatat(part.dirfd, SALVAGE_LOG, &st, 0), 0);
        size = st.st_size;
        spoil_log(&part, cut, false);
        salvage_part_free(&part);
        part = attempt(first, ITEMS, 1);
        check_finished(&part, first, ITEMS);
        end();
    }
    CHECK(size > 100);
}

/* After a power loss a name may have come without its bytes. */
TEST(what_another_boot_copied_is_copied_anew)
{
    begin();
    struct salvage_part part = attempt(first, ITEMS, 1);
    ino_t before = inode(&part, 0);
    int held = openat(part.dirfd, "00000000", O_RDONLY | O_CLOEXEC); /* so that no other gets it */
    spoil_log(&part, 0, true);
    salvage_part_free(&part);
    part = attempt(first, ITEMS, 1);
    CHECK(inode(&part, 0) != before);
    check_finished(&part, first, ITEMS);
    close(held);
    end();
}

static int
enough(void *arg, uint64_t bytes, struct err *e)
{
    uint64_t *left = arg;
    if (bytes >= *left)
        return err_set(e, ERR_PEER, "told to stop");
    *left -= bytes;
    return 0;
}

TEST(a_large_file_is_left_in_the_middle)
{
    struct salvage_part part = { .dirfd = -1, .log_fd = -1 };
    struct err e = { 0 };
    uint64_t left = 1 << 20;
    begin();
    CHECK_INT(salvage_part_open(&part, &store, "1-7", &head, &e), 0);
    part.watch = (struct salvage_watch){ enough, &left };
    struct salvage_item item = { .kind = SALVAGE_FILE, .path = span_str("f") };
    item.attr = (struct attr){ .mode = S_IFREG | 0600, .size = 8 << 20 };
    _cleanup_close_ int fd = content("");
    CHECK_INT(ftruncate(fd, 8 << 20), 0);
    CHECK_INT(salvage_part_add(&part, &item, fd, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
    check_kept(&part, first, 0);
    salvage_part_free(&part);
    end();
}
