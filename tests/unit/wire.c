#include "tests/unit/wire_kit.h"

#include "lib/base/crc.h"
#include "tests/unit/dies.h"

TEST(every_message_has_a_codec_and_a_word)
{
#define MSG(name, number, from, help)              \
    CHECK_STR(wire_type_word(WIRE_##name), #name); \
    CHECK(codec_of(WIRE_##name) != NULL);          \
    make(WIRE_##name);                             \
    check_accepted();                              \
    CHECK_INT(got.type, WIRE_##name);
#include "lib/data/messages.def"
#undef MSG
    CHECK_STR(wire_type_word((enum wire_type)0), "?");
    CHECK_STR(wire_type_word((enum wire_type)4), "?");
    CHECK_STR(wire_type_word((enum wire_type)255), "?");
    CHECK_STR(wire_type_word((enum wire_type)(WIRE_FOUND_IN + 1)), "?");
}

TEST(an_unknown_message_is_refused)
{
    static const enum wire_type unknown[] = { 0, 4, 9, 39, 255 };
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        CHECK_INT(decode(unknown[i], span_str(""), &e), -1);
        CHECK_INT(e.code, ERR_PROTOCOL);
        CHECK_CONTAINS(e.text, "message type ");
    }
}

/* What decodes encodes to the same bytes, or is refused with a sentence that names the message. */
static bool
one_valid_encoding(enum wire_type type, struct span body)
{
    struct err e = { 0 };
    if (decode(type, body, &e) < 0) {
        CHECK_INT(e.code, ERR_PROTOCOL);
        CHECK_CONTAINS(e.text, "malformed ");
        CHECK_CONTAINS(e.text, wire_type_word(type));
        return false;
    }
    _cleanup_buf_ struct buf again = { 0 };
    wire_encode(&got, &again);
    CHECK(span_equal(span_of(again.ptr + FRAME_HEADER_SIZE, again.len - FRAME_HEADER_SIZE), body));
    return true;
}

/* The record in a REC has a checksum: make it right again, so that more gets behind it. */
static void
sign_record(enum wire_type type, struct buf *body)
{
    if (type != WIRE_REC || body->len < 6)
        return;
    size_t len = get_le16(body->ptr);
    if (len >= 4 && len <= body->len - 2)
        put_le32(body->ptr + 2 + len - 4, crc32c(span_of(body->ptr + 2, len - 4)));
}

TEST(every_wrong_byte_in_every_message_is_refused_or_means_something)
{
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        _cleanup_buf_ struct buf body = { 0 };
        make(codecs[i].type);
        put_body(&body);
        for (size_t at = 0; at < body.len; at++) {
            uint8_t right = body.ptr[at];
            for (unsigned value = 0; value < 256; value++) {
                body.ptr[at] = (uint8_t)value;
                sign_record(codecs[i].type, &body);
                one_valid_encoding(codecs[i].type, buf_span(&body));
            }
            body.ptr[at] = right;
        }
    }
}

static bool
has_rest(enum wire_type type)
{
    return type == WIRE_DATA || type == WIRE_SIG;
}

TEST(a_message_cut_anywhere_is_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        enum wire_type type = codecs[i].type;
        _cleanup_buf_ struct buf body = { 0 };
        make(type);
        put_body(&body);
        for (size_t len = 0; len < body.len; len++) {
            /* At its true size on the heap, so that a sanitizer sees a read behind the end. */
            _cleanup_free_ uint8_t *exact = xmalloc(len);
            memcpy(exact, body.ptr, len);
            bool fine = one_valid_encoding(type, span_of(exact, len));
            CHECK(!fine || has_rest(type));
        }
    }
}

TEST(bytes_behind_the_end_are_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        _cleanup_buf_ struct buf body = { 0 };
        make(codecs[i].type);
        put_body(&body);
        buf_add_u8(&body, 0);
        CHECK_INT(one_valid_encoding(codecs[i].type, buf_span(&body)), has_rest(codecs[i].type));
    }
    struct err e;
    CHECK_INT(decode(WIRE_PING, span_of("123456789", 9), &e), -1);
    CHECK_STR(e.text, "malformed PING: 1 bytes behind its end");
    CHECK_INT(decode(WIRE_PING, span_of("1234567", 7), &e), -1);
    CHECK_STR(e.text, "malformed PING: it ends too early");
}

static void
encode_no_message(void)
{
    struct buf out = { 0 };
    msg = (struct wire_msg){ .type = (enum wire_type)99 };
    wire_encode(&msg, &out);
}

static void
encode_what_cannot_be(void)
{
    struct buf out = { 0 };
    make(WIRE_NEED);
    msg.need.path = span_str("/");
    wire_encode(&msg, &out);
}

static void
put_a_long_name(void)
{
    static const char name[256];
    struct buf out = { 0 };
    wire_put_span8(&out, span_of(name, sizeof(name)));
}

TEST(a_message_that_cannot_be_is_a_bug)
{
    CHECK(dies(encode_no_message));
    CHECK(dies(encode_what_cannot_be));
    CHECK(dies(put_a_long_name));
}
