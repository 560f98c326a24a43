/* wire_kit.h - what the tests of the wire format share: messages that are fine, and a way to send
 * what is not. put_body() writes without the encoder's check. */
#ifndef MAILTWIN_WIRE_KIT_H
#define MAILTWIN_WIRE_KIT_H

#include "tests/unit/test.h"

#include "lib/data/wire.h"
#include "lib/data/wire_codec.h"

static const struct {
    enum wire_type type;
    const struct wire_codec *codec;
} codecs[] = {
    { WIRE_HELLO, &wire_hello_codec },
    { WIRE_START, &wire_start_codec },
    { WIRE_REFUSE, &wire_refuse_codec },
    { WIRE_REC, &wire_rec_codec },
    { WIRE_DATA, &wire_data_codec },
    { WIRE_END, &wire_end_codec },
    { WIRE_COMMIT, &wire_commit_codec },
    { WIRE_TAIL, &wire_tail_codec },
    { WIRE_ACK, &wire_ack_codec },
    { WIRE_DIGEST_ASK, &wire_digest_ask_codec },
    { WIRE_DIGEST_ANSWER, &wire_digest_answer_codec },
    { WIRE_SYNC_DONE, &wire_sync_done_codec },
    { WIRE_SYNC_PROGRESS, &wire_sync_progress_codec },
    { WIRE_SIG_ASK, &wire_sig_ask_codec },
    { WIRE_SIG, &wire_sig_codec },
    { WIRE_NEED, &wire_need_codec },
    { WIRE_FETCH, &wire_fetch_codec },
    { WIRE_STALL, &wire_stall_codec },
    { WIRE_GIVE, &wire_give_codec },
    { WIRE_GIVEN, &wire_given_codec },
    { WIRE_FOUND, &wire_found_codec },
    { WIRE_FOUND_IN, &wire_found_in_codec },
    { WIRE_BARRIER, &wire_barrier_codec },
    { WIRE_REACHED, &wire_reached_codec },
    { WIRE_PING, &wire_ping_codec },
    { WIRE_PONG, &wire_ping_codec },
    { WIRE_BYE, &wire_bye_codec },
};

static struct wire_msg msg;
static struct wire_msg got; /* its spans point into what was decoded last */
static struct buf entries;

static inline void
make_rec(enum record_op op, enum wire_content content)
{
    bool two = (record_op_flags(op) & OP_F_TWO) != 0;
    msg = (struct wire_msg){ .type = WIRE_REC };
    msg.rec.record = (struct record){ .seq = 7, .op = op, .path = span_str("a/b") };
    msg.rec.record.other = span_str(two ? "a/c" : "");
    msg.rec.content = (uint8_t)content;
}

static inline void
make_hello(void)
{
    msg.hello.version_min = msg.hello.version_max = 1;
    msg.hello.cluster = span_str("example");
    msg.hello.node = span_str("mx1");
    msg.hello.follow = span_str("mx2");
    msg.hello.epoch = 9;
    msg.hello.tail = 10;
    msg.hello.oldest = 11;
    msg.hello.epoch_count = 2;
    msg.hello.epochs[0] = (struct wire_epoch){ 3, 1 };
    msg.hello.epochs[1] = (struct wire_epoch){ 9, 1 };
    msg.hello.store_count = 2;
    msg.hello.stores[0] = (struct wire_store){ span_str("mail"), 1 };
    msg.hello.stores[1] = (struct wire_store){ span_str("sieve"), 2 };
}

static inline void
make_answer(void)
{
    static const char *const names[] = { "a", "a\n", "b" };
    buf_reset(&entries);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct wire_entry entry = { .name = span_str(names[i]), .has_hash = i % 2 };
        wire_entry_add(&entries, &entry);
    }
    msg.digest_answer.verdict = WIRE_DIR_DIFFERENT;
    msg.digest_answer.entry_count = ARRAY_LEN(names);
    msg.digest_answer.entries = buf_span(&entries);
}

static inline void
make_give(void)
{
    msg.give = (struct wire_give){ .id = 7,
                                   .kind = WIRE_GIVE_MESSAGE,
                                   .mode = WIRE_GIVE_DELIVER,
                                   .attr.mode = 0100600,
                                   .path = span_str("ada/cur/1.M1:2,Sa"),
                                   .keyword_count = 2 };
    msg.give.keywords[0] = (struct wire_keyword){ 0, span_str("$Salvaged") };
    msg.give.keywords[1] = (struct wire_keyword){ 'a', span_str("Later") };
}

/* A message of the type that is fine. */
static inline void
make(enum wire_type type)
{
    msg = (struct wire_msg){ .type = type };
    switch (type) {
    case WIRE_HELLO:
        make_hello();
        break;
    case WIRE_START:
        msg.start.mode = WIRE_MODE_RESUME;
        msg.start.epoch_count = 1;
        break;
    case WIRE_REFUSE:
        msg.refuse = (struct wire_refuse){ 2, 3, 4, span_str("mx1"), span_str("no") };
        break;
    case WIRE_REC:
        make_rec(OP_PUT, WIRE_CONTENT_DATA);
        msg.rec.xattr_count = 2;
        msg.rec.xattrs[0] = (struct wire_xattr){ span_str("user.a"), span_str("1") };
        msg.rec.xattrs[1] = (struct wire_xattr){ span_str("user.b"), span_str("") };
        break;
    case WIRE_DATA:
        msg.data.bytes = span_str("bytes");
        break;
    case WIRE_DIGEST_ASK:
        msg.digest_ask.count = 2;
        msg.digest_ask.dirs[1].path = span_str("a/b");
        break;
    case WIRE_DIGEST_ANSWER:
        make_answer();
        break;
    case WIRE_SYNC_PROGRESS:
        msg.sync_progress = (struct wire_sync_progress){ 8, 20, 3, 5, 1500 };
        break;
    case WIRE_SIG:
        msg.sig = (struct wire_sig){ 1, 0, span_str("sig") };
        break;
    case WIRE_SIG_ASK:
        msg.sig_ask.path = span_str("a/b");
        break;
    case WIRE_NEED:
        msg.need.path = span_str("a/b");
        break;
    case WIRE_FETCH:
        msg.fetch.path = span_str("a/b");
        break;
    case WIRE_STALL:
        msg.stall.text = span_str("full");
        break;
    case WIRE_BYE:
        msg.bye.text = span_str("stop");
        break;
    case WIRE_GIVE:
        make_give();
        break;
    case WIRE_GIVEN:
        msg.given = (struct wire_given){ 7, WIRE_GIVEN_EXISTS, span_str("ada/cur/1"), { 0 } };
        break;
    case WIRE_FOUND_IN:
        msg.found_in = (struct wire_found_in){
            1, 0, span_str("ada"), span_str("Sent"), 1, 2, 3, 4
        };
        break;
    case WIRE_FOUND:
    case WIRE_BARRIER:
    case WIRE_REACHED:
    case WIRE_END:
    case WIRE_COMMIT:
    case WIRE_TAIL:
    case WIRE_ACK:
    case WIRE_SYNC_DONE:
    case WIRE_PING:
    case WIRE_PONG:
        break;
    }
}

static inline const struct wire_codec *
codec_of(enum wire_type type)
{
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        if (codecs[i].type == type)
            return codecs[i].codec;
    }
    fail_msg("message type %d has no codec", (int)type);
    return &wire_ping_codec;
}

static inline int
decode(enum wire_type type, struct span body, struct err *e)
{
    struct frame frame = { .type = (uint8_t)type, .body = body };
    return wire_decode(&frame, &got, e);
}

/* The body of msg, which need not be fine. */
static inline void
put_body(struct buf *out)
{
    codec_of(msg.type)->put(&msg, out);
}

/* msg goes through the decoder and comes out as the same bytes. */
static inline void
check_accepted(void)
{
    static struct buf body; /* got points into it afterwards */
    struct err e = { 0 };
    buf_reset(&body);
    put_body(&body);
    if (decode(msg.type, buf_span(&body), &e) < 0)
        fail_msg("refused: %s", e.text);
    _cleanup_buf_ struct buf again = { 0 };
    wire_encode(&got, &again);
    struct span frame = buf_span(&again);
    CHECK(span_equal(span_from(frame, FRAME_HEADER_SIZE, frame.len - FRAME_HEADER_SIZE),
                     buf_span(&body)));
}

/* By the decoder, with this sentence. */
static inline void
check_refused(const char *text)
{
    _cleanup_buf_ struct buf body = { 0 };
    struct err e = { 0 };
    put_body(&body);
    CHECK_INT(decode(msg.type, buf_span(&body), &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK_STR(e.text, text);
    CHECK_INT(decode(msg.type, buf_span(&body), NULL), -1);
}

#endif
