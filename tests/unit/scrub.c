#include "tests/unit/test.h"

#include "lib/os/file.h"
#include "replicator/scrub.h"

#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 60000

struct place {
    char path[64];
    struct node_store store;
    int wake_fd;
};

static struct place
begin(void)
{
    struct place p = { .path = "/tmp/mailtwin-scrub-XXXXXX" };
    CHECK(mkdtemp(p.path) != NULL);
    test_scratch(p.path);
    p.store.root_fd = open(p.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    p.store.rules.kind = STORE_FILES;
    p.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(p.store.root_fd >= 0 && p.wake_fd >= 0);
    return p;
}

static int
remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type,
           _unused_ struct FTW *at)
{
    return remove(path);
}

static void
end(struct place *p)
{
    close(p->store.root_fd);
    close(p->wake_fd);
    CHECK_INT(nftw(p->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}
#define _cleanup_place_ _cleanup_(end)

/* Of the place that is in use. */
static const struct node *
node_of(struct place *p)
{
    static struct node node;
    node = (struct node){ .stores = &p->store, .store_count = 1 };
    return &node;
}

static void
make_dir(struct place *p, const char *name)
{
    CHECK_INT(mkdirat(p->store.root_fd, name, 0700), 0);
}

static void
make_file(struct place *p, const char *name, off_t size)
{
    int fd = openat(p->store.root_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_INT(ftruncate(fd, size), 0);
    close(fd);
}

static struct scrub_item *
item_for(const char *path, uint64_t dir)
{
    struct scrub_item *item = scrub_item_new(0, span_str(path));
    item->dir = dir;
    return item;
}

static void
ask(struct scrub *scrub, struct scrub_item *item)
{
    struct err e = { 0 };
    if (scrub_ask(scrub, item, &e) < 0)
        fail_msg("%s", e.text);
}

/* Waits for it as its users do. */
static struct scrub_item *
take(struct place *p, struct scrub *scrub)
{
    struct scrub_item *item;
    while ((item = scrub_take(scrub)) == NULL) {
        struct pollfd wake = { .fd = p->wake_fd, .events = POLLIN };
        uint64_t count;
        CHECK_INT(poll(&wake, 1, WAIT_MS), 1);
        CHECK_INT(read(p->wake_fd, &count, sizeof(count)), sizeof(count));
    }
    return item;
}

static uint64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

TEST(directories_are_read_in_the_order_they_are_asked_for)
{
    _cleanup_place_ struct place p = begin();
    make_dir(&p, "b");
    make_file(&p, "b/y", 5);
    make_file(&p, "b/x", 5);
    make_file(&p, "file", 5);
    struct scrub *scrub = scrub_new(node_of(&p), 0, p.wake_fd);
    static const struct {
        const char *path;
        int result;
        size_t count;
    } rows[] = { { "b", SCRUB_READ, 2 },
                 { "gone", SCRUB_ABSENT, 0 },
                 { "file", SCRUB_ABSENT, 0 },
                 { "", SCRUB_READ, 2 } };
    CHECK(!scrub_has_done(scrub));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        ask(scrub, item_for(rows[i].path, i));
    CHECK_INT(scrub_open_count(scrub), ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_scrub_item_ struct scrub_item *item = take(&p, scrub);
        CHECK_INT(item->dir, i);
        CHECK_INT(item->result, rows[i].result);
        CHECK_INT(item->listing.count, rows[i].count);
        CHECK(i != 0 || span_equal(item->listing.entries[0].name, span_str("x")));
    }
    CHECK_INT(scrub_open_count(scrub), 0);
    CHECK(scrub_take(scrub) == NULL);
    scrub_free(&scrub);
    CHECK(scrub == NULL);
    scrub_free(&scrub);
}

TEST(a_directory_that_moves_is_read_through_its_descriptor)
{
    _cleanup_place_ struct place p = begin();
    make_dir(&p, "a");
    make_file(&p, "a/mail", 5);
    struct scrub *scrub = scrub_new(node_of(&p), 0, p.wake_fd);
    struct scrub_item *item = item_for("a", 1);
    item->fd = openat(p.store.root_fd, "a", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK_INT(renameat(p.store.root_fd, "a", p.store.root_fd, "b"), 0);
    ask(scrub, item);
    item = take(&p, scrub);
    CHECK_INT(item->result, SCRUB_READ);
    CHECK_INT(item->listing.count, 1);
    scrub_item_free(&item);
    scrub_free(&scrub);
}

/* Names and contents; what was not used before is not made up for. */
TEST(no_more_is_read_than_the_rate_allows)
{
    static const struct {
        int files;
        off_t size;
        uint64_t ms; /* at least, of 1 MiB a second */
    } rows[] = { { 1, 400 * 1024, 360 }, { 1500, 0, 320 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_place_ struct place p = begin();
        for (int file = 0; file < rows[i].files; file++) {
            char name[16];
            snprintf(name, sizeof(name), "%d", file);
            make_file(&p, name, rows[i].size);
        }
        struct scrub *scrub = scrub_new(node_of(&p), 1 << 20, p.wake_fd);
        ask(scrub, item_for("gone", 1));
        struct scrub_item *item = take(&p, scrub);
        scrub_item_free(&item);
        usleep(100000);
        uint64_t began = now_ms();
        item = item_for("", 1);
        item->content = true;
        ask(scrub, item);
        item = take(&p, scrub);
        CHECK(now_ms() - began >= rows[i].ms);
        CHECK_INT(item->listing.count, rows[i].files);
        scrub_item_free(&item);
        scrub_free(&scrub);
    }
}

/* Until some thread of the program has a file of this name open. */
static void
wait_for_open(const char *name)
{
    for (unsigned i = 0;; i++) {
        char link[64];
        char target[PATH_MAX];
        snprintf(link, sizeof(link), "/proc/self/fd/%u", i % 64);
        ssize_t len = readlink(link, target, sizeof(target) - 1);
        target[MAX(len, (ssize_t)0)] = '\0';
        const char *last = strrchr(target, '/');
        if (last != NULL && strcmp(last + 1, name) == 0)
            return;
    }
}

/* At this rate the file takes more than a day. */
TEST(the_end_waits_for_no_file)
{
    _cleanup_place_ struct place p = begin();
    make_file(&p, "large", (off_t)8 << 30);
    struct scrub *scrub = scrub_new(node_of(&p), 64 * 1024, p.wake_fd);
    for (int i = 0; i < 3; i++) {
        struct scrub_item *item = item_for("", 1);
        item->content = true;
        ask(scrub, item);
    }
    wait_for_open("large");
    scrub_free(&scrub);
}

TEST(a_descriptor_too_few_is_a_failure_of_that_directory)
{
    _cleanup_place_ struct place p = begin();
    struct scrub *scrub = scrub_new(node_of(&p), 0, p.wake_fd);
    struct rlimit before, none;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct scrub_item *item = item_for("", 1);
    scrub_read(node_of(&p), item, NULL);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_INT(item->result, SCRUB_FAILED);
    CHECK_INT(item->why.sys, EMFILE);
    scrub_item_free(&item);
    scrub_free(&scrub);
}

static int
refuse_the_second(void *arg, _unused_ uint64_t bytes, struct err *e)
{
    return ++*(int *)arg == 2 ? err_set(e, ERR_PEER, "told to stop") : 0;
}

/* Between two names, and in the middle of a file. */
TEST(a_reading_ends_when_its_pace_says_so)
{
    for (int content = 0; content < 2; content++) {
        _cleanup_place_ struct place p = begin();
        _cleanup_listing_ struct listing l = { 0 };
        struct err e = { 0 };
        int ticks = 0;
        struct listing_pace pace = { refuse_the_second, &ticks };
        make_file(&p, "a", 300000);
        make_file(&p, "b", 300000);
        CHECK_INT(listing_read(&p.store.rules, p.store.root_fd, span_str(""), content != 0, &pace,
                               &l, &e),
                  -1);
        CHECK_INT(ticks, 2);
        CHECK_INT(e.code, ERR_PEER);
        CHECK_INT(l.count, 0);
    }
}
