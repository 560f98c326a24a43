#include "tests/unit/apply_kit.h"

#include <librsync.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/xattr.h>

TEST(apply_leaves_nothing_of_a_content_with_a_wrong_checksum)
{
    struct kit *kit = kit_new();
    kit_put(kit, 1, "f", "good");
    kit_commit(kit);
    struct wire_rec rec = kit_seq(2, kit_rec(OP_PUT, "f", NULL));
    rec.content = WIRE_CONTENT_DATA;
    rec.now.size = 4;
    kit_do(kit, rec);
    struct wire_data data = { .bytes = span_str("goof") };
    kit_must(kit, apply_data(kit->apply, &data, &kit->e));
    struct wire_end end = { .size = 4, .crc = crc32c(span_str("good")), .ok = 1 };
    CHECK_INT(apply_end(kit->apply, &end, &kit->e), -1);
    CHECK_INT(kit->e.code, ERR_CORRUPT);
    CHECK_CONTAINS(kit->e.text, kit->path);
    apply_abort(kit->apply);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    kit_check_file(kit, "f", "good");
    kit_put(kit, 2, "f", "better");
    kit_commit(kit);
    kit_check_file(kit, "f", "better");
    kit_free(kit);
}

/* Begins a file of ten bytes, that a lying peer goes on with. */
static struct kit *
announce_ten(void)
{
    struct kit *kit = kit_new();
    kit_put(kit, 1, "f", "good");
    kit_commit(kit);
    struct wire_rec rec = kit_seq(2, kit_rec(OP_PUT, "f", NULL));
    rec.content = WIRE_CONTENT_DATA;
    rec.now.size = 10;
    kit_do(kit, rec);
    return kit;
}

static void
check_refused(struct kit **kit, int r)
{
    CHECK_INT(r, -1);
    CHECK_INT((*kit)->e.code, ERR_PROTOCOL);
    CHECK_CONTAINS((*kit)->e.text, "announced");
    apply_abort((*kit)->apply);
    CHECK_INT(kit_count_names(*kit, ".mailtwin/stage"), 0);
    kit_check_file(*kit, "f", "good");
    kit_free(*kit);
    *kit = NULL;
}

TEST(apply_takes_no_more_bytes_than_were_announced)
{
    static const struct wire_data lies[] = {
        { .offset = 0, .bytes = { (const uint8_t *)"eleven byte", 11 } },
        { .offset = 9, .bytes = { (const uint8_t *)"ab", 2 } },
        { .offset = 11, .bytes = { (const uint8_t *)"a", 1 } },
        { .offset = UINT64_MAX, .bytes = { (const uint8_t *)"ab", 2 } },
    };
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct kit *kit = announce_ten();
        struct wire_data all = { .bytes = span_str("ten bytes.") };
        kit_must(kit, apply_data(kit->apply, &all, &kit->e));
        check_refused(&kit, apply_data(kit->apply, &lies[i], &kit->e));
    }
    for (uint64_t size = 9; size <= 11; size += 2) {
        struct kit *kit = announce_ten();
        struct wire_end end = { .size = size, .crc = crc32c(span_of(NULL, 0)), .ok = 1 };
        check_refused(&kit, apply_end(kit->apply, &end, &kit->e));
    }
}

/* The first ones have no name until they have their own, the rest has one in stage/. */
TEST(apply_stages_more_files_than_it_may_keep_open)
{
    struct rlimit before;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, before.rlim_max }), 0);
    struct kit *kit = kit_new();
    for (uint64_t run = 0; run < 3; run++) { /* made, then replaced */
        char text[] = "content 0";
        text[8] = (char)('0' + run);
        for (uint64_t i = 1; i <= 20; i++) {
            char name[] = { (char)('a' + i), '\0' };
            kit_put(kit, 20 * run + i, name, text);
        }
        CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 20 - 64 / 8);
        kit_commit(kit);
        CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
        kit_check_file(kit, "b", text);
        kit_check_file(kit, "u", text);
    }
    kit_put(kit, 61, "b", "never");
    apply_abort(kit->apply);
    kit_check_file(kit, "b", "content 2");
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    kit_free(kit);
}

TEST(apply_keeps_holes)
{
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_rec(OP_PUT, "sparse", NULL);
    rec.content = WIRE_CONTENT_DATA;
    rec.now.size = 80 << 20;
    kit_do(kit, rec);
    struct wire_data data = { .offset = 40 << 20, .bytes = span_str("island") };
    kit_must(kit, apply_data(kit->apply, &data, &kit->e));
    struct wire_end end = { .size = 80 << 20, .crc = crc32c(data.bytes), .ok = 1 };
    kit_must(kit, apply_end(kit->apply, &end, &kit->e));
    kit_commit(kit);
    struct stat st = kit_stat(kit, "sparse");
    CHECK_INT(st.st_size, 80 << 20);
    CHECK(st.st_blocks * 512 < 1 << 20);
    _cleanup_close_ int fd = openat(kit->root, "sparse", O_RDONLY);
    char text[7] = { 0 };
    CHECK_INT(pread(fd, text, 6, 40 << 20), 6);
    CHECK_STR(text, "island");
    kit_free(kit);
}

/* --- deltas --- */

static int
collect(void *arg, struct span bytes, struct err *e)
{
    (void)e;
    buf_add(arg, bytes.ptr, bytes.len);
    return 0;
}

/* Runs a librsync job over `in` at once. */
static struct buf
run_job(rs_job_t *job, struct span in)
{
    struct buf out = { 0 };
    buf_reserve(&out, 32 << 20);
    char *copy = malloc(in.len + 1);
    assert_non_null(copy);
    if (in.len > 0)
        memcpy(copy, in.ptr, in.len);
    rs_buffers_t b = { .next_in = copy,
                       .avail_in = in.len,
                       .eof_in = 1,
                       .next_out = (char *)out.ptr,
                       .avail_out = out.cap };
    assert_int_equal(rs_job_iter(job, &b), RS_DONE);
    out.len = out.cap - b.avail_out;
    rs_job_free(job);
    free(copy);
    return out;
}

/* The delta from what the store has under path to `content`, by the signature it gives. */
static struct buf
make_delta(struct kit *kit, const char *path, struct span content)
{
    _cleanup_buf_ struct buf sig = { 0 };
    int r = apply_signature(kit->apply, 0, span_str(path), collect, &sig, &kit->e);
    kit_must(kit, r);
    assert_int_equal(r, 0);
    rs_signature_t *sums = NULL;
    struct buf nothing = run_job(rs_loadsig_begin(&sums), buf_span(&sig));
    buf_free(&nothing);
    assert_int_equal(rs_build_hash_table(sums), RS_DONE);
    struct buf delta = run_job(rs_delta_begin(sums), content);
    rs_free_sumset(sums);
    return delta;
}

static void
send_delta(struct kit *kit, const char *path, struct span delta, uint64_t size)
{
    struct wire_rec rec = kit_rec(OP_PUT, path, NULL);
    rec.content = WIRE_CONTENT_DELTA;
    rec.now.size = size;
    kit_do(kit, rec);
    for (size_t at = 0; at < delta.len; at += 1000) {
        struct span piece = span_from(delta, at, MIN(delta.len - at, (size_t)1000));
        struct wire_data data = { .offset = at, .bytes = piece };
        kit_must(kit, apply_data(kit->apply, &data, &kit->e));
    }
    struct wire_end end = { .size = size, .crc = crc32c(delta), .ok = 1 };
    kit_must(kit, apply_end(kit->apply, &end, &kit->e));
}

/* Bytes that do not repeat. */
static struct buf
noise(size_t len)
{
    struct buf b = { 0 };
    buf_reserve(&b, len);
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i + 8 <= len; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        buf_add_le64(&b, x);
    }
    return b;
}

TEST(apply_patches_a_large_file_with_a_small_delta)
{
    struct kit *kit = kit_new();
    _cleanup_buf_ struct buf old = noise(10 << 20);
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "big", NULL), buf_span(&old)));
    kit_commit(kit);
    _cleanup_buf_ struct buf new = { 0 };
    buf_add(&new, old.ptr, 5 << 20);
    buf_add(&new, "put in the middle", 17);
    buf_add(&new, old.ptr + (5 << 20), 5 << 20);
    _cleanup_buf_ struct buf delta = make_delta(kit, "big", buf_span(&new));
    CHECK(delta.len < 100000);
    send_delta(kit, "big", buf_span(&delta), new.len);
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_DONE);
    char *data = NULL;
    size_t len = 0;
    CHECK_INT(file_read(kit->root, "big", new.len, &data, &len, &kit->e), 1);
    CHECK(span_equal(span_of(data, len), buf_span(&new)));
    free(data);
    kit_free(kit);
}

TEST(apply_patches_to_zeros_and_to_nothing)
{
    struct kit *kit = kit_new();
    _cleanup_buf_ struct buf old = noise(1 << 20);
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "f", NULL), buf_span(&old)));
    kit_commit(kit);
    _cleanup_buf_ struct buf new = { 0 };
    buf_reserve(&new, 1 << 20);
    memset(new.ptr, 0, 1 << 20);
    new.len = 1 << 20;
    _cleanup_buf_ struct buf delta = make_delta(kit, "f", buf_span(&new));
    send_delta(kit, "f", buf_span(&delta), new.len);
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_DONE);
    CHECK_INT(kit_stat(kit, "f").st_size, 1 << 20);
    CHECK_INT(kit_stat(kit, "f").st_blocks, 0);
    _cleanup_buf_ struct buf none = make_delta(kit, "f", span_str(""));
    send_delta(kit, "f", buf_span(&none), 0);
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_DONE);
    kit_check_file(kit, "f", "");
    kit_free(kit);
}

TEST(apply_asks_for_the_whole_when_a_delta_does_not_fit)
{
    struct kit *kit = kit_new();
    _cleanup_buf_ struct buf old = noise(100000);
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "f", NULL), buf_span(&old)));
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "g", NULL), buf_span(&old)));
    kit_commit(kit);
    _cleanup_buf_ struct buf delta = make_delta(kit, "f", buf_span(&old));
    _cleanup_buf_ struct buf junk = noise(3000);
    send_delta(kit, "none", buf_span(&delta), old.len);
    send_delta(kit, "g", buf_span(&delta), old.len);            /* not the file that was signed */
    send_delta(kit, "f", buf_span(&delta), old.len + 1);        /* another size comes out */
    send_delta(kit, "f", span_from(buf_span(&delta), 0, 5), 5); /* cut short */
    send_delta(kit, "f", buf_span(&junk), old.len);             /* nonsense */
    buf_add(&delta, "more", 4);
    send_delta(kit, "f", buf_span(&delta), old.len); /* something behind its end */
    kit_commit(kit);
    CHECK_INT(kit->count, 6);
    for (size_t i = 0; i < kit->count; i++)
        CHECK_INT(kit->got[i].result, APPLY_NEED);
    delta.len -= 4;
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "f", NULL), buf_span(&old))); /* replaced since */
    kit_commit(kit);
    send_delta(kit, "f", buf_span(&delta), old.len);
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_NEED);
    CHECK_INT(kit_stat(kit, "f").st_size, (off_t)old.len);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    CHECK_INT(apply_signature(kit->apply, 0, span_str("none"), collect, &delta, &kit->e), 1);
    CHECK_INT(apply_signature(kit->apply, 0, span_str(""), collect, &delta, &kit->e), 1);
    CHECK_INT(apply_signature(kit->apply, 1, span_str("f"), collect, &delta, &kit->e), -1);
    kit_free(kit);
}

/* The whole base again and again: six bytes stand for 100,000. */
static struct buf
long_delta(void)
{
    static const uint8_t head[] = { 'r', 's', 2, '6' };
    static const uint8_t copy[] = { 0x47, 0, 0x00, 0x01, 0x86, 0xa0 }; /* from 0, 100,000 bytes */
    struct buf delta = { 0 };
    buf_add(&delta, head, sizeof(head));
    for (int i = 0; i < 1000; i++)
        buf_add(&delta, copy, sizeof(copy));
    buf_add_u8(&delta, 0);
    return delta;
}

TEST(apply_makes_no_more_of_a_delta_than_was_announced)
{
    struct kit *kit = kit_new();
    struct rlimit before;
    _cleanup_buf_ struct buf old = noise(100000);
    _cleanup_buf_ struct buf delta = long_delta();
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "f", NULL), buf_span(&old)));
    kit_commit(kit);
    _cleanup_buf_ struct buf sig = { 0 };
    CHECK_INT(apply_signature(kit->apply, 0, span_str("f"), collect, &sig, &kit->e), 0);
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*was)(int) = signal(SIGXFSZ, SIG_IGN);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1 << 20, before.rlim_max }), 0);
    send_delta(kit, "f", buf_span(&delta), old.len);
    kit_commit(kit);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, was);
    CHECK_INT(kit->got[0].result, APPLY_NEED);
    CHECK_INT(kit_stat(kit, "f").st_size, (off_t)old.len);
    kit_free(kit);
}

/* --- more names than the filesystem gives one file --- */

/* Gives the file names until it can have no more; false: this filesystem knows no bound. */
static bool
link_to_the_bound(const struct kit *kit, const char *path)
{
    char name[32];
    CHECK_INT(mkdirat(kit->root, "names", 0700), 0);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(name, sizeof(name), "names/%u", i);
        if (linkat(kit->root, path, kit->root, name, 0) < 0) {
            CHECK_INT(errno, EMLINK);
            return true;
        }
    }
    return false;
}

static struct wire_rec
full_file(enum record_op op, const char *path, const char *other)
{
    struct wire_rec rec = kit_rec(op, path, other);
    rec.record.attr.mode = S_IFREG | 0640;
    rec.record.attr.size = 8;
    rec.now = rec.record.attr;
    return rec;
}

/* The name has what the file has, and is no name of it. */
static void
check_own_copy(struct kit *kit, const char *path, const char *of)
{
    char value[8];
    struct stat st = kit_stat(kit, path), from = kit_stat(kit, of);
    kit_check_file(kit, path, "From: a\n");
    CHECK(st.st_ino != from.st_ino);
    CHECK_INT(st.st_nlink, 1);
    CHECK_INT(st.st_mode, S_IFREG | 0640);
    CHECK_INT(st.st_uid, from.st_uid);
    CHECK_INT(st.st_gid, from.st_gid);
    CHECK_INT(attrs_ns(&st.st_mtim), KIT_MTIME);
    _cleanup_close_ int fd = openat(kit->root, path, O_RDONLY | O_CLOEXEC);
    CHECK_INT(fgetxattr(fd, "user.note", value, sizeof(value)), 1);
}

TEST(apply_makes_a_copy_where_a_file_can_have_no_further_name)
{
    struct kit *kit = kit_new();
    struct wire_rec put = kit_seq(1, full_file(OP_PUT, "mail", NULL));
    put.now.uid = geteuid() == 0 ? 12345 : geteuid();
    put.now.gid = geteuid() == 0 ? 54321 : getegid();
    put.xattr_count = 1;
    put.xattrs[0] = (struct wire_xattr){ span_str("user.note"), span_str("x") };
    kit_must(kit, kit_send(kit, put, span_str("From: a\n")));
    kit_commit(kit);
    if (!link_to_the_bound(kit, "mail")) {
        kit_free(kit);
        print_message("SKIP: this filesystem gives a file as many names as one likes\n");
        skip();
    }
    nlink_t names = kit_stat(kit, "mail").st_nlink;
    CHECK_INT(kit_run(kit, kit_seq(2, full_file(OP_LINK, "a/b", "mail"))), APPLY_DONE);
    CHECK(kit->got[0].exists && kit->got[0].certain);
    CHECK_INT(kit->got[0].nlink, 1);
    CHECK_INT(kit->got[0].ino, kit_stat(kit, "a/b").st_ino);
    check_own_copy(kit, "a/b", "mail");
    kit_put(kit, 3, "c", "something else");
    kit_do(kit, kit_seq(4, full_file(OP_LINK, "c", "mail")));
    kit_do(kit,
           full_file(OP_LINK, "a/b", "mail")); /* a fix-up finds its copy, and makes it again */
    kit_do(kit, kit_seq(5, full_file(OP_LINK, "d", "a/b"))); /* a copy has names of its own */
    kit_commit(kit);
    for (size_t i = 0; i < kit->count; i++)
        CHECK_INT(kit->got[i].result, APPLY_DONE);
    check_own_copy(kit, "c", "mail");
    CHECK_INT(kit_stat(kit, "d").st_ino, kit_stat(kit, "a/b").st_ino);
    CHECK_INT(kit_stat(kit, "mail").st_nlink, names);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    CHECK_INT(apply_marker(kit->apply, 0), 5);
    kit_free(kit);
}

/* --- a full disk --- */

TEST(apply_gives_up_a_run_on_a_full_disk_and_goes_on_when_there_is_room)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        skip(); /* needs root */
    struct kit *kit = kit_new();
    apply_free(&kit->apply);
    CHECK_INT(mount("none", kit->path, "tmpfs", 0, "size=1m"), 0);
    close(kit->root);
    kit->root = open(kit->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kit_start(kit);
    kit_put(kit, 1, "small", "fits");
    _cleanup_buf_ struct buf large = noise(2 << 20);
    CHECK_INT(kit_send(kit, kit_seq(2, kit_rec(OP_PUT, "large", NULL)), buf_span(&large)), -1);
    CHECK_INT(kit->e.code, ERR_NOSPACE);
    CHECK_CONTAINS(kit->e.text, kit->path);
    CHECK_CONTAINS(kit->e.text, "put large");
    apply_abort(kit->apply);
    CHECK_INT(kit_count_names(kit, "."), 1);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    kit_put(kit, 1, "small", "fits");
    large.len = 700000; /* fits only when the space came back */
    kit_must(kit, kit_send(kit, kit_seq(2, kit_rec(OP_PUT, "large", NULL)), buf_span(&large)));
    kit_commit(kit);
    kit_check_file(kit, "small", "fits");

    CHECK_INT(mount("none", kit->path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    CHECK_INT(kit_send(kit, kit_seq(3, kit_rec(OP_PUT, "f", NULL)), span_str("x")), -1);
    CHECK_INT(kit->e.code, ERR_IO);
    CHECK_CONTAINS(kit->e.text, "Read-only");
    apply_abort(kit->apply);
    CHECK_INT(mount("none", kit->path, NULL, MS_REMOUNT, "size=1m"), 0);
    kit_put(kit, 3, "f", "x");
    kit_commit(kit);
    apply_free(&kit->apply);
    close(kit->root);
    CHECK_INT(umount2(kit->path, MNT_DETACH), 0);
    kit->root = open(kit->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kit_free(kit);
}
