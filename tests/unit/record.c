#include "tests/unit/test.h"

#include "lib/base/crc.h"
#include "lib/base/path.h"
#include "lib/data/record.h"
#include "tests/unit/dies.h"

#include <sys/stat.h>

static const struct {
    enum record_op op;
    uint32_t type; /* one that fits */
} ops[] = {
    { OP_MKDIR, S_IFDIR },   { OP_PUT, S_IFREG },    { OP_META, S_IFREG },
    { OP_SYMLINK, S_IFLNK }, { OP_MKNOD, S_IFSOCK }, { OP_LINK, S_IFREG },
    { OP_RENAME, S_IFDIR },  { OP_UNLINK, S_IFIFO }, { OP_RMTREE, S_IFDIR },
};

static struct record
make(enum record_op op)
{
    struct record r = { .seq = 7, .epoch = 2, .op = op };
    if (op == OP_EPOCH)
        return r;
    r.store = 1;
    r.path = span_str("a/b");
    r.other = span_str((record_op_flags(op) & OP_F_TWO) != 0 ? "a/c" : "");
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (ops[i].op == op)
            r.attr.mode = ops[i].type | 0600;
    }
    return r;
}

static void
check_refused(const struct record *r, const char *part)
{
    struct err e = { 0 };
    CHECK_INT(record_check(r, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
    CHECK_CONTAINS(e.text, part);
}

/* What is in b, with a right checksum behind it. */
static int
decode_signed(struct buf *b, struct err *e)
{
    struct record r;
    put_le32(b->ptr + b->len - 4, crc32c(span_of(b->ptr, b->len - 4)));
    return record_decode(buf_span(b), &r, e);
}

TEST(a_record_reads_back_as_it_was_written)
{
    struct record r = make(OP_RENAME);
    r.late = true;
    r.time_ns = UINT64_MAX;
    r.attr.mtime_ns = INT64_MIN;
    r.attr.size = UINT64_MAX;
    r.handle = span_str("handle");
    _cleanup_buf_ struct buf b = { 0 };
    buf_add(&b, "before", 6); /* the encoding stands behind what is there */
    record_encode(&r, &b);
    struct record got;
    CHECK_INT(record_decode(span_of(b.ptr + 6, b.len - 6), &got, NULL), 0);
    CHECK(got.seq == 7 && got.epoch == 2 && got.time_ns == UINT64_MAX && got.store == 1);
    CHECK(got.op == OP_RENAME && got.late && got.attr.mode == (S_IFDIR | 0600));
    CHECK(got.attr.mtime_ns == INT64_MIN && got.attr.size == UINT64_MAX);
    CHECK(span_equal(got.path, r.path) && span_equal(got.other, r.other));
    CHECK(span_equal(got.handle, r.handle));
}

TEST(words_and_flags_of_operations_are_those_of_the_table)
{
#define OP(name, number, word, flags)           \
    CHECK_STR(record_op_word(OP_##name), word); \
    CHECK_INT(record_op_flags(OP_##name), (flags));
#include "lib/data/ops.def"
#undef OP
    CHECK_STR(record_op_word((enum record_op)0), "?");
    CHECK_STR(record_op_word((enum record_op)200), "?");
    CHECK_STR(record_op_word((enum record_op)(OP_RMTREE + 1)), "?");
    CHECK_INT(record_op_flags((enum record_op)0), 0);
    CHECK_INT(record_op_flags((enum record_op)200), 0);
}

TEST(a_record_cut_anywhere_is_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct record r = make(ops[i].op);
        _cleanup_buf_ struct buf b = { 0 };
        record_encode(&r, &b);
        struct record got;
        for (size_t len = 0; len < b.len; len++)
            CHECK_INT(record_decode(span_of(b.ptr, len), &got, NULL), -1);
        for (; b.len > 4; b.len--) /* nor when a checksum was made over the piece */
            CHECK((decode_signed(&b, NULL) == 0) ==
                  (b.len == 4 + 4 + 58 + r.path.len + r.other.len + 5));
    }
}

TEST(no_single_wrong_bit_gets_through)
{
    struct record r = make(OP_UNLINK);
    _cleanup_buf_ struct buf b = { 0 };
    record_encode(&r, &b);
    struct record got;
    struct err e;
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_INT(record_decode(buf_span(&b), &got, &e), -1);
        CHECK_INT(e.code, ERR_CORRUPT);
        b.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK_INT(record_decode(buf_span(&b), &got, NULL), 0);
}

/* However the operation's byte changes, even under a right checksum: what did not destroy does not
 * begin to. */
TEST(no_record_becomes_a_destructive_one)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct record r = make(ops[i].op);
        bool destroys = (record_op_flags(r.op) & OP_F_DESTROY) != 0;
        _cleanup_buf_ struct buf b = { 0 };
        record_encode(&r, &b);
        for (unsigned op = 0; op < 256; op++) {
            b.ptr[1] = (uint8_t)op;
            bool would = (record_op_flags((enum record_op)op) & OP_F_DESTROY) != 0;
            if (would != destroys)
                CHECK_INT(decode_signed(&b, NULL), -1);
        }
    }
}

TEST(reserved_bytes_are_zero_and_the_version_is_known)
{
    static const struct {
        size_t offset;
        uint8_t value;
        const char *text;
    } cases[] = {
        { 0, 2, "record of version 2, this program reads version 1" },
        { 2, 2, "record 7 (put): flags that are not known" },
        { 3, 1, "record 7 (put): flags that are not known" },
        { 4, 1, "record 7 (put): the magic of the operation is wrong" },
        { 1, 9, "record 7 (unlink): the magic of the operation is wrong" },
        { 1, 11, "record 7: operation 11 is not known" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct record r = make(OP_PUT);
        _cleanup_buf_ struct buf b = { 0 };
        struct err e;
        record_encode(&r, &b);
        b.ptr[cases[i].offset] = cases[i].value;
        CHECK_INT(decode_signed(&b, &e), -1);
        CHECK_STR(e.text, cases[i].text);
    }
}

TEST(lengths_that_do_not_add_up_are_refused)
{
    struct record r = make(OP_PUT);
    _cleanup_buf_ struct buf b = { 0 };
    struct err e;
    record_encode(&r, &b);
    b.ptr[62]++; /* the length of the path */
    CHECK_INT(decode_signed(&b, &e), -1);
    CHECK_STR(e.text, "record 7 (put): its lengths do not add up");
    b.ptr[62] -= 2;
    CHECK_INT(decode_signed(&b, &e), -1);
    struct record got;
    CHECK_INT(record_decode(span_of("abc", 3), &got, &e), -1);
    CHECK_STR(e.text, "record of 3 bytes");
    b.ptr[62]++;
    b.ptr[b.len - 1] ^= 1;
    CHECK_INT(record_decode(buf_span(&b), &got, &e), -1);
    CHECK_STR(e.text, "record checksum mismatch");
}

TEST(only_a_root_s_owner_can_change)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct record r = make(ops[i].op);
        r.path = span_str("");
        if (r.op == OP_META)
            CHECK_INT(record_check(&r, NULL), 0);
        else
            check_refused(&r, "the path is the store's root");
    }
}

TEST(paths_are_store_paths)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct record r = make(ops[i].op);
        r.path = span_str("../x");
        check_refused(&r, "the path is not a store path");
        r = make(ops[i].op);
        bool two = (record_op_flags(r.op) & OP_F_TWO) != 0;
        r.other = span_str(two ? "" : "x");
        check_refused(&r, two ? "the second path is missing" : "has a second path");
    }
    struct record r = make(OP_RENAME);
    r.other = span_str("a//b");
    check_refused(&r, "record 7 (rename): the second path is not a store path");
}

TEST(the_target_of_a_symlink_is_any_text)
{
    static char longest[RECORD_TARGET_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    struct record r = make(OP_SYMLINK);
    r.other = span_str("/etc/../\n");
    CHECK_INT(record_check(&r, NULL), 0);
    r.other = span_of(longest, RECORD_TARGET_MAX);
    CHECK_INT(record_check(&r, NULL), 0);
    r.other = span_of(longest, RECORD_TARGET_MAX + 1);
    check_refused(&r, "the target is too long or has a NUL in it");
    r.other = span_of("a\0b", 3);
    check_refused(&r, "the target is too long or has a NUL in it");
}

static bool
fits(enum record_op op, uint32_t type)
{
    struct record r = make(op);
    r.attr.mode = type | 0600;
    return record_check(&r, NULL) == 0;
}

TEST(the_type_of_an_object_fits_the_operation_and_is_never_a_device)
{
    static const struct {
        enum record_op op;
        const char *types; /* directory, file, link, fifo, socket, not known */
    } table[] = {
        { OP_MKDIR, "d.....?" },   { OP_PUT, ".f....?" },    { OP_META, "dflps.?" },
        { OP_SYMLINK, "..l...?" }, { OP_MKNOD, "...ps.." },  { OP_LINK, ".flps.?" },
        { OP_RENAME, "dflps.?" },  { OP_UNLINK, ".flps.?" }, { OP_RMTREE, "d.....?" },
    };
    static const uint32_t types[] = { S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, 0 };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        for (size_t j = 0; j < ARRAY_LEN(types); j++)
            CHECK_INT(fits(table[i].op, types[j]), table[i].types[j] != '.');
        CHECK(!fits(table[i].op, S_IFBLK));
    }
    struct record r = make(OP_PUT);
    r.attr.mode |= 0x10000;
    check_refused(&r, "the mode does not fit the operation");
}

TEST(stores_and_handles_are_within_their_limits)
{
    static const uint8_t handle[RECORD_HANDLE_MAX + 1];
    struct record r = make(OP_PUT);
    r.store = RECORD_STORE_MAX - 1;
    r.handle = span_of(handle, RECORD_HANDLE_MAX);
    CHECK_INT(record_check(&r, NULL), 0);
    r.handle.len++;
    check_refused(&r, "the handle is too long");
    r = make(OP_PUT);
    r.store = RECORD_STORE_MAX;
    check_refused(&r, "the store's number is too large");
}

TEST(a_promotion_names_no_object)
{
    struct record good = make(OP_EPOCH);
    CHECK_INT(record_check(&good, NULL), 0);
    struct record bad[10];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        bad[i] = good;
    bad[0].store = 1;
    bad[1].path = span_str("a");
    bad[2].handle = span_str("h");
    bad[3].late = true;
    bad[4].attr.mode = S_IFREG;
    bad[5].attr.uid = 1;
    bad[6].attr.gid = 1;
    bad[7].attr.size = 1;
    bad[8].attr.mtime_ns = 1;
    bad[9].other = span_str("a");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_refused(&bad[i], "record 7 (epoch): has a");
}

static void
encode_what_cannot_be(void)
{
    struct record r = make(OP_PUT);
    struct buf b = { 0 };
    r.path = span_str("/");
    record_encode(&r, &b);
}

TEST(an_invalid_record_is_a_bug)
{
    CHECK(dies(encode_what_cannot_be));
}
