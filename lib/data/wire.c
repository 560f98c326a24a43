#include "lib/data/wire.h"

#include "lib/base/path.h"
#include "lib/data/wire_codec.h"

static const char *const words[] = {
#define MSG(name, number, from, help) [number] = #name,
#include "lib/data/messages.def"
#undef MSG
};

static const struct wire_codec *const codecs[] = {
    [WIRE_HELLO] = &wire_hello_codec,
    [WIRE_START] = &wire_start_codec,
    [WIRE_REFUSE] = &wire_refuse_codec,
    [WIRE_REC] = &wire_rec_codec,
    [WIRE_DATA] = &wire_data_codec,
    [WIRE_END] = &wire_end_codec,
    [WIRE_COMMIT] = &wire_commit_codec,
    [WIRE_TAIL] = &wire_tail_codec,
    [WIRE_ACK] = &wire_ack_codec,
    [WIRE_DIGEST_ASK] = &wire_digest_ask_codec,
    [WIRE_DIGEST_ANSWER] = &wire_digest_answer_codec,
    [WIRE_SYNC_DONE] = &wire_sync_done_codec,
    [WIRE_SYNC_PROGRESS] = &wire_sync_progress_codec,
    [WIRE_SIG_ASK] = &wire_sig_ask_codec,
    [WIRE_SIG] = &wire_sig_codec,
    [WIRE_NEED] = &wire_need_codec,
    [WIRE_FETCH] = &wire_fetch_codec,
    [WIRE_STALL] = &wire_stall_codec,
    [WIRE_GIVE] = &wire_give_codec,
    [WIRE_GIVEN] = &wire_given_codec,
    [WIRE_FOUND] = &wire_found_codec,
    [WIRE_FOUND_IN] = &wire_found_in_codec,
    [WIRE_BARRIER] = &wire_barrier_codec,
    [WIRE_REACHED] = &wire_reached_codec,
    [WIRE_PING] = &wire_ping_codec,
    [WIRE_PONG] = &wire_ping_codec,
    [WIRE_BYE] = &wire_bye_codec,
};

_Static_assert(ARRAY_LEN(words) == ARRAY_LEN(codecs), "a message of messages.def has no codec");

static const struct wire_codec *
codec_of(enum wire_type type)
{
    return (size_t)type < ARRAY_LEN(codecs) ? codecs[type] : NULL;
}

const char *
wire_type_word(enum wire_type type)
{
    return codec_of(type) == NULL ? "?" : words[type];
}

void
wire_encode(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_codec *codec = codec_of(msg->type);
    ASSERT(codec != NULL);
    struct err e;
    if (codec->check != NULL && codec->check(msg, &e) < 0) {
        (void)err_wrap(&e, "%s", words[msg->type]);
        assert_failed(e.text, __FILE__, __LINE__);
    }
    size_t mark = frame_begin(out, (uint8_t)msg->type);
    codec->put(msg, out);
    frame_end(out, mark);
}

static int
decode_body(const struct wire_codec *codec, struct wire_in *in, struct wire_msg *ret_msg)
{
    codec->get(in, ret_msg);
    if (in->bad)
        return -1;
    if (!reader_ok(&in->r))
        return err_set(in->e, ERR_PROTOCOL, "it ends too early");
    if (codec->check != NULL && codec->check(ret_msg, in->e) < 0)
        return -1;
    if (!reader_done(&in->r))
        return err_set(in->e, ERR_PROTOCOL, "%zu bytes behind its end", in->r.rest.len);
    return 0;
}

int
wire_decode(const struct frame *frame, struct wire_msg *ret_msg, struct err *e)
{
    ret_msg->type = (enum wire_type)frame->type;
    const struct wire_codec *codec = codec_of(ret_msg->type);
    if (codec == NULL)
        return err_set(e, ERR_PROTOCOL, "message type %u is not known", (unsigned)frame->type);
    struct wire_in in = { .r = reader_of(frame->body), .e = e };
    if (decode_body(codec, &in, ret_msg) == 0)
        return 0;
    if (e != NULL) /* a record inside says CORRUPT, as if it came from our own disk */
        e->code = ERR_PROTOCOL;
    return err_wrap(e, "malformed %s", words[frame->type]);
}

void
wire_put_span8(struct buf *out, struct span s)
{
    ASSERT(s.len <= UINT8_MAX);
    buf_add_u8(out, (uint8_t)s.len);
    buf_add(out, s.ptr, s.len);
}

struct span
wire_get_span8(struct reader *in)
{
    return reader_bytes(in, reader_u8(in));
}

static bool
is_control(uint8_t byte)
{
    return byte < 0x20 || byte == 0x7f;
}

void
wire_put_text(struct buf *out, struct span text)
{
    size_t len = MIN(text.len, (size_t)WIRE_TEXT_MAX);
    buf_add_le16(out, (uint16_t)len);
    for (size_t i = 0; i < len; i++)
        buf_add_u8(out, is_control(text.ptr[i]) ? '?' : text.ptr[i]);
}

struct span
wire_get_text(struct wire_in *in)
{
    struct span text = reader_span16(&in->r);
    bool clean = text.len <= WIRE_TEXT_MAX;
    for (size_t i = 0; clean && i < text.len; i++)
        clean = !is_control(text.ptr[i]);
    if (!clean) {
        in->bad = true;
        (void)err_set(in->e, ERR_PROTOCOL, "text is above %d bytes or has control bytes in it",
                      WIRE_TEXT_MAX);
    }
    return text;
}

struct span
wire_get_rest(struct reader *in)
{
    return reader_bytes(in, in->rest.len);
}

void
wire_get_copy(struct reader *in, void *ret_bytes, size_t len)
{
    struct span bytes = reader_bytes(in, len);
    if (reader_ok(in))
        memcpy(ret_bytes, bytes.ptr, len);
}

static bool
is_name_byte(uint8_t byte)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    return memchr(allowed, byte, sizeof(allowed) - 1) != NULL;
}

int
wire_check_name(struct span name, const char *field, struct err *e)
{
    bool good = name.len >= 1 && name.len <= WIRE_NAME_MAX;
    for (size_t i = 0; good && i < name.len; i++)
        good = is_name_byte(name.ptr[i]);
    return good ? 0 : err_set(e, ERR_PROTOCOL, "%s is not a name", field);
}

int
wire_check_range(uint64_t value, uint64_t min, uint64_t max, const char *field, struct err *e)
{
    if (value >= min && value <= max)
        return 0;
    return err_set(e, ERR_PROTOCOL, "%s is %llu, allowed are %llu to %llu", field,
                   (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
}

int
wire_check_place(uint16_t store, struct span path, struct err *e)
{
    if (wire_check_range(store, 0, WIRE_STORES_MAX - 1, "store", e) < 0)
        return -1;
    return path_valid(path) ? 0 : err_set(e, ERR_PROTOCOL, "path is not a store path");
}

int
wire_check_attr(const struct attr *attr, const char *field, struct err *e)
{
    if (attr_valid(attr))
        return 0;
    return err_set(e, ERR_PROTOCOL, "%s has mode 0%o, which no store holds", field, attr->mode);
}
