#include "tests/unit/test.h"

#include "lib/os/file.h"
#include "replicator/listing.h"

#include <ftw.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define STAMP_S  1700000000
#define STAMP_NS (STAMP_S * 1000000000LL + 5)

static const struct store_rules maildir = { .kind = STORE_MAILDIR };
static const struct store_rules files = { .kind = STORE_FILES };
static char root[64];

static int
open_root(void)
{
    snprintf(root, sizeof(root), "/tmp/mailtwin-listing-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static int
remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type,
           _unused_ struct FTW *at)
{
    return remove(path);
}

static void
remove_root(int *fd)
{
    close(*fd);
    CHECK_INT(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}
#define _cleanup_root_ _cleanup_(remove_root)

static void
stamp(int dirfd, const char *name)
{
    const struct timespec times[2] = { { STAMP_S, 5 }, { STAMP_S, 5 } };
    CHECK_INT(utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void
put(int dirfd, const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    stamp(dirfd, name);
}

static struct listing
list(const struct store_rules *rules, int dirfd, const char *dir, bool content)
{
    struct listing l = { 0 };
    struct err e = { 0 };
    if (listing_read(rules, dirfd, span_str(dir), content, NULL, &l, &e) < 0)
        fail_msg("%s", e.text);
    return l;
}

static void
check_names(const struct listing *l, size_t count, const char *const *names)
{
    CHECK_INT(l->count, count);
    for (size_t i = 0; i < count; i++)
        CHECK(span_equal(l->entries[i].name, span_str(names[i])));
}

static void
sha256(const char *text, uint8_t ret_hash[WIRE_DIGEST_SIZE])
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    CHECK_INT(EVP_Digest(text, strlen(text), whole, NULL, EVP_sha256(), NULL), 1);
    memcpy(ret_hash, whole, WIRE_DIGEST_SIZE);
}

TEST(a_directory_is_listed_sorted_with_what_stat_says)
{
    static const char *const names[] = { "a", "a\nb", "b", "dir", "fifo", "link", "\xff\xfe" };
    _cleanup_root_ int dirfd = open_root();
    put(dirfd, "\xff\xfe", "1");
    put(dirfd, "b", "22");
    put(dirfd, "a\nb", "");
    put(dirfd, "a", "message");
    CHECK_INT(mkdirat(dirfd, "dir", 0700), 0);
    CHECK_INT(symlinkat("target", dirfd, "link"), 0);
    CHECK_INT(mkfifoat(dirfd, "fifo", 0600), 0);
    _cleanup_listing_ struct listing l = list(&files, dirfd, "", false);
    check_names(&l, ARRAY_LEN(names), names);
    CHECK_INT(l.self.mode, S_IFDIR | 0700);
    CHECK_INT(l.self.uid, geteuid());
    CHECK_INT(l.entries[0].attr.mode, S_IFREG | 0600);
    CHECK_INT(l.entries[0].attr.size, 7);
    CHECK_INT(l.entries[0].attr.mtime_ns, STAMP_NS);
    CHECK_INT(l.entries[0].attr.uid, geteuid());
    CHECK_INT(l.entries[0].attr.gid, getegid());
    CHECK_INT(l.entries[0].nlink, 1);
    CHECK_INT(l.entries[0].has_hash, 0);
    CHECK_INT(l.entries[3].attr.mode & S_IFMT, S_IFDIR);
    CHECK_INT(l.entries[4].attr.mode & S_IFMT, S_IFIFO);
    uint8_t hash[WIRE_DIGEST_SIZE];
    sha256("target", hash);
    CHECK_INT(l.entries[5].has_hash, 1);
    assert_memory_equal(l.entries[5].hash, hash, sizeof(hash));
    struct stat st;
    CHECK_INT(fstatat(dirfd, "a", &st, 0), 0);
    CHECK_INT(l.entries[0].ino, st.st_ino);
}

TEST(a_caller_s_place_in_the_directory_does_not_move)
{
    _cleanup_root_ int dirfd = open_root();
    put(dirfd, "a", "");
    _cleanup_close_ int readable = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        _cleanup_listing_ struct listing l = list(&files, readable, "", false);
        CHECK_INT(l.count, 1);
    }
}

TEST(ignored_names_are_left_out)
{
    static const char *const names[] = { "dovecot-uidlist", "subscriptions" };
    _cleanup_root_ int dirfd = open_root();
    put(dirfd, "dovecot-uidlist", "");
    put(dirfd, "dovecot-uidlist.lock", "");
    put(dirfd, "dovecot.index.cache", "");
    put(dirfd, "subscriptions", "");
    CHECK_INT(mkdirat(dirfd, ".mailtwin", 0700), 0);
    _cleanup_listing_ struct listing l = list(&maildir, dirfd, "", false);
    check_names(&l, 2, names);
}

static void
check_tmp(const char *sibling, size_t expected)
{
    _cleanup_root_ int dirfd = open_root();
    CHECK_INT(mkdirat(dirfd, "tmp", 0700), 0);
    if (sibling != NULL)
        CHECK_INT(mkdirat(dirfd, sibling, 0700), 0);
    _cleanup_close_ int tmp = openat(dirfd, "tmp", O_PATH | O_CLOEXEC);
    put(tmp, "1.M1", "half a mess");
    _cleanup_listing_ struct listing l = list(&maildir, tmp, "ada/tmp", false);
    CHECK_INT(l.count, expected);
}

TEST(a_maildir_s_tmp_is_empty_and_another_tmp_is_not)
{
    check_tmp("cur", 0);
    check_tmp("new", 0);
    check_tmp("other", 1);
    check_tmp(NULL, 1);
}

static void
make_socket(int dirfd)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", dirfd);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

TEST(sockets_and_devices_are_no_part_of_a_store)
{
    _cleanup_root_ int dirfd = open_root();
    make_socket(dirfd);
    if (geteuid() == 0) {
        CHECK_INT(mknodat(dirfd, "null", S_IFCHR | 0600, makedev(1, 3)), 0);
        CHECK_INT(mknodat(dirfd, "loop", S_IFBLK | 0600, makedev(7, 0)), 0);
    }
    _cleanup_listing_ struct listing l = list(&files, dirfd, "", true);
    CHECK_INT(l.count, 0);
}

TEST(what_is_mounted_in_a_store_is_no_part_of_it)
{
    struct stat root_st, proc_st;
    CHECK(stat("/", &root_st) == 0 && stat("/proc", &proc_st) == 0);
    CHECK(root_st.st_dev != proc_st.st_dev);
    _cleanup_close_ int dirfd = open("/", O_PATH | O_CLOEXEC);
    _cleanup_listing_ struct listing l = list(&files, dirfd, "", false);
    CHECK(l.count > 0);
    for (size_t i = 0; i < l.count; i++)
        CHECK(!span_equal(l.entries[i].name, span_str("proc")));
}

static int
add_up(void *arg, uint64_t bytes, _unused_ struct err *e)
{
    *(uint64_t *)arg += bytes;
    return 0;
}

TEST(contents_are_hashed_when_they_are_asked_for)
{
    static char large[300000];
    uint8_t hash[WIRE_DIGEST_SIZE];
    uint64_t bytes = 0;
    _cleanup_root_ int dirfd = open_root();
    memset(large, 'x', sizeof(large) - 1);
    put(dirfd, "empty", "");
    put(dirfd, "large", large);
    CHECK_INT(mkfifoat(dirfd, "fifo", 0600), 0); /* must not wait for a writer */
    _cleanup_listing_ struct listing l = { 0 };
    struct listing_pace pace = { add_up, &bytes };
    CHECK_INT(listing_read(&files, dirfd, span_str(""), true, &pace, &l, NULL), 0);
    CHECK_INT(l.count, 3);
    CHECK_INT(bytes, sizeof(large) - 1 + 3 * LISTING_NAME_BYTES);
    sha256("", hash);
    assert_memory_equal(l.entries[0].hash, hash, sizeof(hash));
    CHECK_INT(l.entries[1].has_hash, 0);
    sha256(large, hash);
    CHECK_INT(l.entries[2].has_hash, 1);
    assert_memory_equal(l.entries[2].hash, hash, sizeof(hash));
}

struct growing {
    int fd;
    off_t size;
    uint64_t read;
};

static int
resize(void *arg, uint64_t bytes, _unused_ struct err *e)
{
    struct growing *g = arg;
    g->read += bytes;
    CHECK_INT(ftruncate(g->fd, g->size), 0);
    return 0;
}

static void
check_resized(off_t size, uint64_t expected)
{
    static char large[300000];
    memset(large, 'x', sizeof(large) - 1);
    _cleanup_root_ int dirfd = open_root();
    put(dirfd, "a", large);
    struct growing g = { .fd = openat(dirfd, "a", O_RDWR | O_CLOEXEC), .size = size };
    _cleanup_listing_ struct listing l = { 0 };
    struct listing_pace pace = { resize, &g };
    CHECK_INT(listing_read(&files, dirfd, span_str(""), true, &pace, &l, NULL), 0);
    close(g.fd);
    CHECK(l.count == 1 && l.entries[0].attr.size == sizeof(large) - 1);
    CHECK_INT(g.read, expected + LISTING_NAME_BYTES);
}

TEST(a_file_that_grows_or_shrinks_while_it_is_read_comes_to_an_end)
{
    check_resized(100000000, 299999);
    check_resized(140000, 140000);
    check_resized(10, 128 * 1024);
}

TEST(a_symlink_s_target_is_read_whole_or_not_at_all)
{
    static char longest[1024]; /* what every filesystem allows */
    memset(longest, 'x', sizeof(longest) - 1);
    _cleanup_root_ int dirfd = open_root();
    _cleanup_buf_ struct buf target = { 0 };
    struct err e;
    CHECK_INT(symlinkat(longest, dirfd, "long"), 0);
    CHECK_INT(symlinkat("t", dirfd, "short"), 0);
    put(dirfd, "file", "");
    CHECK_INT(listing_symlink(dirfd, "long", &target, &e), 1);
    CHECK(span_equal(buf_span(&target), span_str(longest)));
    CHECK_INT(listing_symlink(dirfd, "short", &target, &e), 1);
    CHECK(span_equal(buf_span(&target), span_str("t")));
    CHECK_INT(listing_symlink(dirfd, "file", &target, &e), 0);
    CHECK_INT(listing_symlink(dirfd, "none", &target, &e), 0);
    CHECK_INT(target.len, 0);
    CHECK_INT(listing_symlink(-1, "short", &target, &e), -1);
    CHECK_STR(e.text, "read the symlink short: Bad file descriptor");
}

TEST(a_name_is_listed_once_however_often_it_was_seen)
{
    static const char *const seen[] = { "b", "a", "b", "c", "a", "b" };
    static const char *const names[] = { "a", "b", "c" };
    _cleanup_listing_ struct listing l = { 0 };
    listing_sort(&l);
    for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
        struct wire_entry entry = { .name = span_str(seen[i]) };
        listing_add(&l, &entry);
    }
    listing_sort(&l);
    check_names(&l, 3, names);
}

static struct listing
one(const char *name, uint32_t mode)
{
    struct listing l = { .self = { .mode = S_IFDIR | 0700 } };
    struct wire_entry entry = { .name = span_str(name), .nlink = 1 };
    entry.attr = (struct attr){ .mode = mode, .uid = 1, .gid = 2, .size = 3, .mtime_ns = 4 };
    listing_add(&l, &entry);
    return l;
}

/* Does the digest see it, and is it what listing_entry_equal() says? */
static void
check_seen(const struct listing *l, const struct wire_entry *changed, bool expected)
{
    uint8_t before[WIRE_DIGEST_SIZE], after[WIRE_DIGEST_SIZE];
    struct wire_entry kept = l->entries[0];
    listing_digest(l, before);
    l->entries[0] = *changed;
    listing_digest(l, after);
    l->entries[0] = kept;
    CHECK_INT(memcmp(before, after, sizeof(before)) != 0, expected);
    CHECK_INT(!listing_entry_equal(&kept, changed, true), expected);
}

static void
check_facts(uint32_t type, bool size, bool mtime, bool nlink)
{
    _cleanup_listing_ struct listing l = one("a", type | 0600);
    struct wire_entry entry = l.entries[0];
    check_seen(&l, &entry, false);
#define SEEN(change, expected)            \
    do {                                  \
        entry = l.entries[0];             \
        change;                           \
        check_seen(&l, &entry, expected); \
    } while (0)
    SEEN(entry.name = span_str("b"), true);
    SEEN(entry.attr.mode ^= 1, true);
    SEEN(entry.attr.uid++, true);
    SEEN(entry.attr.gid++, true);
    SEEN(entry.attr.size++, size);
    SEEN(entry.attr.mtime_ns++, mtime);
    SEEN(entry.nlink = 2, nlink);
    SEEN(entry.nlink = 0, false);
    SEEN(entry.has_hash = 1, true);
    SEEN(entry.ino++, false);
    SEEN(entry.hash[0]++, false); /* there is none */
    l.entries[0].has_hash = 1;
    SEEN(entry.hash[WIRE_DIGEST_SIZE - 1]++, true);
#undef SEEN
}

TEST(a_comparison_sees_what_counts_and_nothing_else)
{
    check_facts(S_IFREG, true, true, true);
    check_facts(S_IFDIR, false, false, false);
    check_facts(S_IFLNK, false, true, false);
    check_facts(S_IFIFO, false, true, false);
}

TEST(nlink_can_be_left_aside)
{
    _cleanup_listing_ struct listing a = one("a", S_IFREG);
    _cleanup_listing_ struct listing b = one("a", S_IFREG);
    b.entries[0].nlink = 2;
    CHECK(!listing_entry_equal(&a.entries[0], &b.entries[0], true));
    CHECK(listing_entry_equal(&a.entries[0], &b.entries[0], false));
}

TEST(the_digest_covers_the_directory_itself_but_not_its_times)
{
    _cleanup_listing_ struct listing l = one("a", S_IFREG);
    uint8_t digests[6][WIRE_DIGEST_SIZE];
    listing_digest(&l, digests[0]);
    l.self.size++;
    l.self.mtime_ns++;
    listing_digest(&l, digests[1]);
    assert_memory_equal(digests[0], digests[1], WIRE_DIGEST_SIZE);
    l.self.mode ^= 1;
    listing_digest(&l, digests[2]);
    l.self.uid++;
    listing_digest(&l, digests[3]);
    l.self.gid++;
    listing_digest(&l, digests[4]);
    listing_free(&l);
    listing_digest(&l, digests[5]);
    for (int i = 1; i < 6; i++) {
        for (int j = 1; j < i; j++)
            CHECK(memcmp(digests[i], digests[j], WIRE_DIGEST_SIZE) != 0);
    }
}

/* Nodes of different versions compare digests: its bytes are a format (docs/formats/wire.md). */
TEST(the_digest_is_that_of_the_format)
{
    static const uint8_t expected[WIRE_DIGEST_SIZE] = { 0xb9, 0x36, 0x95, 0xac, 0xc3, 0x4d,
                                                        0x69, 0xa1, 0x24, 0x8c, 0xa1, 0x99,
                                                        0x93, 0x28, 0x0f, 0xe4 };
    uint8_t digest[WIRE_DIGEST_SIZE];
    _cleanup_listing_ struct listing l = { .self = { S_IFDIR | 0750, 5000, 5001, 4096, 77 } };
    struct wire_entry file = { .name = span_str("1.M1"), .ino = 9, .nlink = 2 };
    struct wire_entry dir = { .name = span_str(".Sent"), .ino = 10, .nlink = 5 };
    struct wire_entry link = { .name = span_str("l"), .nlink = 1, .has_hash = 1 };
    file.attr = (struct attr){ S_IFREG | 0600, 5000, 5001, 1234, -5 };
    dir.attr = (struct attr){ S_IFDIR | 0700, 5000, 5001, 4096, 6 };
    link.attr = (struct attr){ S_IFLNK | 0777, 0, 0, 6, 7 };
    sha256("target", link.hash);
    listing_add(&l, &file);
    listing_add(&l, &dir);
    listing_add(&l, &link);
    listing_sort(&l);
    listing_digest(&l, digest);
    assert_memory_equal(digest, expected, sizeof(expected));
}

static void
fill(struct listing *l, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%zu.M1", i * 7919 % count);
        struct wire_entry entry = { .name = span_str(name), .ino = i, .has_hash = i % 2 };
        listing_add(l, &entry);
    }
    listing_sort(l);
}

static void
check_packed(const struct listing *l, size_t max_bytes)
{
    _cleanup_listing_ struct listing back = { 0 };
    _cleanup_buf_ struct buf piece = { 0 };
    for (size_t next = 0, first = 0; next < l->count; first = next) {
        buf_reset(&piece);
        listing_pack(l, first, max_bytes, &piece, &next);
        CHECK(next > first);
        CHECK(piece.len <= MAX(MIN(max_bytes, (size_t)WIRE_BULK_MAX), (size_t)400));
        CHECK_INT(listing_unpack(buf_span(&piece), &back, NULL), 0);
        CHECK_INT(back.count, next);
    }
    CHECK_INT(back.count, l->count);
    for (size_t i = 0; i < l->count; i++) {
        CHECK(listing_entry_equal(&l->entries[i], &back.entries[i], true));
        CHECK_INT(l->entries[i].ino, back.entries[i].ino);
    }
}

TEST(a_listing_travels_in_pieces_of_any_size)
{
    _cleanup_listing_ struct listing l = { 0 };
    fill(&l, 20000);
    check_packed(&l, 0); /* one entry at a time, but it goes on */
    check_packed(&l, 1000);
    check_packed(&l, SIZE_MAX); /* no piece is larger than a message can carry */
    listing_free(&l);
    check_packed(&l, 1000);
}

TEST(a_piece_goes_behind_what_is_there)
{
    _cleanup_listing_ struct listing l = { 0 };
    _cleanup_buf_ struct buf out = { 0 };
    size_t next;
    fill(&l, 3);
    buf_add(&out, "before", 6);
    listing_pack(&l, 3, 1000, &out, &next);
    CHECK(next == 3 && out.len == 6);
    listing_pack(&l, 2, 1000, &out, &next);
    CHECK(next == 3 && memcmp(out.ptr, "before", 6) == 0);
}

TEST(a_malformed_piece_is_refused)
{
    _cleanup_listing_ struct listing l = { 0 };
    struct err e;
    CHECK_INT(listing_unpack(span_str("x"), &l, &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
}

TEST(an_unreadable_directory_is_an_error_with_its_place)
{
    struct listing l = { 0 };
    struct err e;
    CHECK_INT(listing_read(&files, -1, span_str(""), false, NULL, &l, &e), -1);
    CHECK_INT(e.code, ERR_IO);
    CHECK_INT(e.sys, EBADF);
    _cleanup_root_ int dirfd = open_root();
    put(dirfd, "a", "");
    _cleanup_close_ int file = openat(dirfd, "a", O_RDONLY | O_CLOEXEC);
    CHECK_INT(listing_read(&files, file, span_str(""), false, NULL, &l, &e), -1);
    CHECK_STR(e.text, "open the directory: Not a directory");
}

TEST(a_directory_removed_meanwhile_is_empty)
{
    _cleanup_root_ int dirfd = open_root();
    CHECK_INT(mkdirat(dirfd, "gone", 0700), 0);
    _cleanup_close_ int gone = openat(dirfd, "gone", O_PATH | O_CLOEXEC);
    CHECK_INT(unlinkat(dirfd, "gone", AT_REMOVEDIR), 0);
    struct listing l = { 0 };
    struct err e;
    int got = listing_read(&files, gone, span_str("gone"), false, NULL, &l, &e);
    CHECK(got == 0 ? l.count == 0 : e.sys == ENOENT);
}

static int
remove_the_others(void *arg, _unused_ uint64_t bytes, _unused_ struct err *e)
{
    for (char name[] = "a"; name[0] <= 'z'; name[0]++)
        (void)unlinkat(*(int *)arg, name, 0);
    return 0;
}

TEST(what_vanishes_meanwhile_is_left_out_or_listed_as_last_seen)
{
    _cleanup_root_ int dirfd = open_root();
    for (char name[] = "a"; name[0] <= 'z'; name[0]++)
        put(dirfd, name, "message");
    _cleanup_listing_ struct listing l = { 0 };
    struct listing_pace pace = { remove_the_others, &dirfd };
    CHECK_INT(listing_read(&files, dirfd, span_str(""), true, &pace, &l, NULL), 0);
    CHECK_INT(l.count, 1); /* the one that was read when the others went */
    CHECK_INT(l.entries[0].has_hash, 1);
}

struct swap {
    int dirfd;
    atomic_bool stop;
};

/* Under one name a file, a symlink, a socket and nothing, faster than anybody can look. */
static void *
swap_names(void *arg)
{
    struct swap *swap = arg;
    static const char *const names[] = { "file", "link", "socket" };
    for (unsigned i = 0; !atomic_load(&swap->stop); i++) {
        const char *name = names[i % ARRAY_LEN(names)];
        (void)renameat2(swap->dirfd, name, swap->dirfd, "x", RENAME_EXCHANGE);
        (void)renameat(swap->dirfd, "x", swap->dirfd, "y");
        (void)renameat(swap->dirfd, "y", swap->dirfd, "x");
        (void)renameat2(swap->dirfd, name, swap->dirfd, "x", RENAME_EXCHANGE);
    }
    return NULL;
}

TEST(names_that_change_their_meaning_meanwhile_do_no_harm)
{
    _cleanup_root_ int dirfd = open_root();
    struct swap swap = { .dirfd = dirfd };
    pthread_t thread;
    put(dirfd, "file", "message");
    put(dirfd, "x", "another");
    CHECK_INT(symlinkat("target", dirfd, "link"), 0);
    make_socket(dirfd);
    CHECK_INT(pthread_create(&thread, NULL, swap_names, &swap), 0);
    for (int i = 0; i < 3000; i++) {
        _cleanup_listing_ struct listing l = list(&files, dirfd, "", true);
        CHECK(l.count <= 5);
        for (size_t j = 1; j < l.count; j++) /* sorted, and no name twice */
            CHECK(span_compare(l.entries[j - 1].name, l.entries[j].name) < 0);
    }
    atomic_store(&swap.stop, true);
    CHECK_INT(pthread_join(thread, NULL), 0);
}

static int
list_with_descriptors(int dirfd, rlim_t more, struct err *e)
{
    int next = dup(0);
    close(next);
    struct rlimit before;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit few = { (rlim_t)next + more, before.rlim_max };
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct listing l = { 0 };
    int got = listing_read(&files, dirfd, span_str(""), true, NULL, &l, e);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    listing_free(&l);
    return got;
}

TEST(a_process_without_descriptors_reports_no_listing)
{
    struct err e;
    _cleanup_root_ int dirfd = open_root();
    put(dirfd, "a", "message");
    CHECK_INT(list_with_descriptors(dirfd, 0, &e), -1);
    CHECK_STR(e.text, "open the directory: Too many open files");
    CHECK_INT(list_with_descriptors(dirfd, 1, &e), -1);
    CHECK_STR(e.text, "open a: Too many open files");
    CHECK_INT(list_with_descriptors(dirfd, 2, &e), 0);
}
