#include "tests/unit/wire_kit.h"

#include "lib/base/path.h"
#include "tests/unit/dies.h"

#include <sys/stat.h>

TEST(content_fits_the_operation)
{
    for (unsigned op = OP_EPOCH; op <= OP_RMTREE; op++) {
        for (unsigned content = 0; content < 4; content++) {
            make_rec((enum record_op)op, (enum wire_content)content);
            if (op == OP_EPOCH)
                msg.rec.record.path = span_str("");
            if (op == OP_MKNOD)
                msg.rec.record.attr.mode = msg.rec.now.mode = S_IFIFO;
            bool fits = content == WIRE_CONTENT_GONE ? op != OP_EPOCH
                                                     : (op == OP_PUT) != (content == 0);
            _cleanup_buf_ struct buf body = { 0 };
            put_body(&body);
            CHECK_INT(decode(WIRE_REC, buf_span(&body), NULL), fits ? 0 : -1);
        }
    }
    make_rec(OP_UNLINK, WIRE_CONTENT_DATA);
    check_refused("malformed REC: content 1 does not fit unlink");
    make_rec(OP_PUT, 4);
    check_refused("malformed REC: content is 4, allowed are 0 to 3");
}

TEST(what_is_shipped_fits_the_operation)
{
    make_rec(OP_PUT, WIRE_CONTENT_DATA);
    msg.rec.now.mode = S_IFDIR;
    check_refused("malformed REC: now: record 7 (put): the mode does not fit the operation");
    msg.rec.content = WIRE_CONTENT_GONE; /* nothing is to be done with it then */
    check_accepted();
    msg.rec.now.mode = S_IFBLK;
    check_refused("malformed REC: now has mode 060000, which no store holds");
    make_rec(OP_MKNOD, WIRE_CONTENT_GONE);
    msg.rec.record.attr.mode = S_IFSOCK;
    check_accepted();
}

TEST(a_record_on_the_wire_is_a_whole_one_without_handle)
{
    make_rec(OP_PUT, WIRE_CONTENT_DATA);
    msg.rec.record.handle = span_str("h");
    check_refused("malformed REC: the record has a handle");
    make_rec(OP_PUT, WIRE_CONTENT_DATA);
    _cleanup_buf_ struct buf body = { 0 };
    put_body(&body);
    body.ptr[10]++;
    struct err e;
    CHECK_INT(decode(WIRE_REC, buf_span(&body), &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK_STR(e.text, "malformed REC: record checksum mismatch");
}

static void
set_xattrs(size_t count, const char *const *names)
{
    make_rec(OP_META, WIRE_CONTENT_NONE);
    msg.rec.xattr_count = (uint16_t)count;
    for (size_t i = 0; i < count; i++)
        msg.rec.xattrs[i] = (struct wire_xattr){ span_str(names[i]), span_str(names[i]) };
}

TEST(xattrs_are_sorted_when_they_are_sent)
{
    static const char *const names[] = { "user.b", "user.a", "user.ab", "a" };
    static const char *const sorted[] = { "a", "user.a", "user.ab", "user.b" };
    set_xattrs(4, names);
    check_accepted();
    CHECK_INT(got.rec.xattr_count, 4);
    for (size_t i = 0; i < 4; i++) {
        CHECK(span_equal(got.rec.xattrs[i].name, span_str(sorted[i])));
        CHECK(span_equal(got.rec.xattrs[i].value, span_str(sorted[i])));
    }
}

static void
check_xattrs_refused(const char *first, const char *second)
{
    _cleanup_buf_ struct buf body = { 0 };
    struct err e;
    set_xattrs(0, NULL);
    put_body(&body);
    put_le16(body.ptr + body.len - 2, 2);
    wire_put_span8(&body, span_str(first));
    buf_add_le32(&body, 0);
    wire_put_span8(&body, span_str(second));
    buf_add_le32(&body, 0);
    CHECK_INT(decode(WIRE_REC, buf_span(&body), &e), -1);
    CHECK_STR(e.text, "malformed REC: the xattrs are not in the order of their names");
}

TEST(xattrs_that_come_unsorted_or_twice_are_refused)
{
    check_xattrs_refused("b", "a");
    check_xattrs_refused("a", "a");
    check_xattrs_refused("ab", "a");
}

TEST(xattrs_are_within_their_limits)
{
    static char large[WIRE_XATTR_VALUE_MAX + 1];
    static const char *const names[] = {
        "user.a", "user.b", "user.c", "user.d", "user.e", "user.f"
    };
    set_xattrs(1, names);
    msg.rec.xattrs[0].value = span_of(large, WIRE_XATTR_VALUE_MAX);
    check_accepted();
    msg.rec.xattrs[0].value.len++;
    check_refused("malformed REC: an xattr's size is 65537, allowed are 0 to 65536");
    set_xattrs(6, names);
    for (size_t i = 0; i < 6; i++)
        msg.rec.xattrs[i].value = span_of(large, WIRE_XATTR_VALUE_MAX - 6);
    check_accepted();
    msg.rec.xattrs[3].value.len++;
    check_refused("malformed REC: the size of all xattrs is 393217, allowed are 0 to 393216");
    set_xattrs(1, names);
    msg.rec.xattrs[0].name = span_str("");
    check_refused("malformed REC: the name of xattr 0 is malformed");
    msg.rec.xattrs[0].name = span_of("a\0b", 3);
    check_refused("malformed REC: the name of xattr 0 is malformed");
    msg.rec.xattrs[0].name = span_of(large, WIRE_XATTR_NAME_MAX);
    memset(large, 'x', WIRE_XATTR_NAME_MAX);
    check_accepted();
}

TEST(more_xattrs_than_there_is_room_for_are_refused)
{
    _cleanup_buf_ struct buf body = { 0 };
    struct err e;
    set_xattrs(0, NULL);
    put_body(&body);
    put_le16(body.ptr + body.len - 2, WIRE_XATTRS_MAX + 1);
    for (uint8_t i = 0; i <= WIRE_XATTRS_MAX; i++) {
        wire_put_span8(&body, span_of((uint8_t[]){ (uint8_t)(i + 1) }, 1));
        buf_add_le32(&body, 0);
    }
    CHECK_INT(decode(WIRE_REC, buf_span(&body), &e), -1);
    CHECK_STR(e.text, "malformed REC: the number of xattrs is 65, allowed are 0 to 64");
}

TEST(the_largest_messages_fit_their_frames)
{
    static char longest[PATH_STORE_MAX];
    static char bytes[WIRE_DATA_MAX + 1];
    for (size_t i = 0; i < sizeof(longest); i++)
        longest[i] = i % 2 == 1 && i < sizeof(longest) - 1 ? '/' : 'x';
    make_rec(OP_RENAME, WIRE_CONTENT_NONE);
    msg.rec.record.path = msg.rec.record.other = span_of(longest, sizeof(longest) - 1);
    msg.rec.xattr_count = 6;
    for (size_t i = 0; i < 6; i++)
        msg.rec.xattrs[i] = (struct wire_xattr){ span_of(longest + i, i + 1),
                                                 span_of(bytes, 65536 - i - 1) };
    check_accepted();
    make(WIRE_DATA);
    msg.data.bytes = span_of(bytes, WIRE_DATA_MAX);
    check_accepted();
    msg.data.bytes.len++;
    check_refused("malformed DATA: the number of bytes is 262145, allowed are 0 to 262144");
}

TEST(content_lies_within_what_a_file_can_hold)
{
    make(WIRE_DATA);
    msg.data.offset = INT64_MAX - 5;
    check_accepted();
    msg.data.offset++;
    check_refused("malformed DATA: offset is 9223372036854775803, "
                  "allowed are 0 to 9223372036854775802");
    make(WIRE_END);
    msg.end.size = INT64_MAX;
    check_accepted();
    msg.end.size++;
    check_refused("malformed END: size is 9223372036854775808, "
                  "allowed are 0 to 9223372036854775807");
    make(WIRE_END);
    msg.end.ok = 2;
    check_refused("malformed END: ok is 2, allowed are 0 to 1");
}

static void
encode_an_xattr_twice(void)
{
    static const char *const names[] = { "user.a", "user.a" };
    struct buf out = { 0 };
    set_xattrs(2, names);
    wire_encode(&msg, &out);
}

static void
encode_a_long_xattr_name(void)
{
    static const char *const names[] = { "user.a" };
    static char name[WIRE_XATTR_NAME_MAX + 1];
    struct buf out = { 0 };
    memset(name, 'x', sizeof(name));
    set_xattrs(1, names);
    msg.rec.xattrs[0].name = span_of(name, sizeof(name));
    wire_encode(&msg, &out);
}

static void
encode_a_malformed_record(void)
{
    struct buf out = { 0 };
    make_rec(OP_PUT, WIRE_CONTENT_DATA);
    msg.rec.record.path = span_str("..");
    wire_encode(&msg, &out);
}

TEST(an_operation_that_cannot_be_is_a_bug)
{
    CHECK(dies(encode_an_xattr_twice));
    CHECK(dies(encode_a_long_xattr_name));
    CHECK(dies(encode_a_malformed_record));
}
