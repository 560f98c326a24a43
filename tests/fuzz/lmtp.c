/* Any bytes of a client and of a server make a dialogue that ends or waits. What goes to the server
 * is read by two servers of opposite minds, strict and lenient about line ends: both find the same
 * messages, no reply 2xx to a message is told before the barrier, and none to DATA at all.
 *
 * The input: pieces, each a byte of who says it (and what the gate's owner answers meanwhile), a
 * byte of length, the bytes. */
#include "gate/dialogue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct dialogue d;
    struct buf client, server, content;
    uint8_t mood; /* bits: what the owner answers */
};

static void
owner(struct fuzz *f)
{
    struct dialogue *d = &f->d;
    bool yes = f->mood & 1;
    f->mood = (uint8_t)(f->mood >> 1 | f->mood << 7);
    switch (dialogue_wants(d)) {
    case DIALOGUE_DOOR:
        dialogue_door(d, yes ? NULL : "no");
        break;
    case DIALOGUE_BEGIN:
        for (size_t i = 0; i < dialogue_named(d); i++)
            (void)dialogue_recipient(d, i);
        buf_reset(&f->content);
        dialogue_begin(d, yes);
        break;
    case DIALOGUE_DECISION:
        for (size_t i = 0; i < d->count; i++)
            d->rcpts[i].known = (f->mood >> (i % 8)) & 1;
        dialogue_decide(d, f->content.len);
        break;
    case DIALOGUE_REPLAY:
        dialogue_replay(d, buf_span(&f->content));
        dialogue_replay_end(d);
        break;
    case DIALOGUE_BARRIER:
        dialogue_barrier(d, yes ? NULL : "late");
        break;
    case DIALOGUE_CLIENT:
    case DIALOGUE_BACKEND:
    case DIALOGUE_END:
        break;
    }
}

static size_t
give(struct fuzz *f)
{
    struct dialogue *d = &f->d;
    size_t used = 0;
    if (dialogue_wants(d) == DIALOGUE_CLIENT && f->server.len > 0)
        dialogue_stray(d, buf_span(&f->server));
    if (dialogue_wants(d) == DIALOGUE_CLIENT) {
        used = dialogue_client(d, buf_span(&f->client));
        buf_consume(&f->client, used);
    } else if (dialogue_wants(d) == DIALOGUE_BACKEND) {
        bool data = d->state == STATE_REPLY && d->asked[d->asked_at].verb == LMTP_DATA;
        used = dialogue_backend(d, buf_span(&f->server));
        ASSERT(!data || d->to_client.len == 0 || d->to_client.ptr[0] != '2');
        buf_consume(&f->server, used);
        if (used == 0) {
            used = dialogue_ahead(d, buf_span(&f->client));
            buf_consume(&f->client, used);
        }
    }
    return used;
}

static void
take_out(struct fuzz *f)
{
    struct dialogue *d = &f->d;
    if (d->took >= 0)
        ASSERT((size_t)d->took < d->count && dialogue_holds(d, (size_t)d->took));
    d->took = -1;
    ASSERT(d->told <= d->count && d->count <= DIALOGUE_RCPTS_MAX);
    buf_add(&f->content, d->content.ptr, d->content.len);
    buf_reset(&d->content);
    buf_reset(&d->to_client);
    buf_reset(&d->to_backend);
}

static void
go_on(struct fuzz *f)
{
    for (enum dialogue_want before = DIALOGUE_END;;) {
        size_t used = give(f);
        take_out(f);
        enum dialogue_want want = dialogue_wants(&f->d);
        owner(f);
        take_out(f);
        if (used == 0 && want == before && dialogue_wants(&f->d) == want)
            return;
        before = want;
    }
}

/* Where a server finds the end of data: lenient ones take LF for the end of a line. */
static size_t
server_end(struct span data, bool lenient)
{
    bool start = true;
    for (size_t i = 0; i < data.len; i++) {
        const uint8_t *p = data.ptr + i;
        size_t left = data.len - i;
        if (start && p[0] == '.' &&
            ((left >= 3 && p[1] == '\r' && p[2] == '\n') || (lenient && left >= 2 && p[1] == '\n')))
            return i + 1;
        start = p[0] == '\n' && (lenient || (i > 0 && p[-1] == '\r'));
    }
    return 0;
}

static void
check_message(struct span in)
{
    _cleanup_buf_ struct buf content = { 0 };
    _cleanup_buf_ struct buf out = { 0 };
    enum lmtp_place place = LMTP_LINE_START;
    bool end, at_start = true;
    size_t used = lmtp_decode(&place, in, &content, &end);
    ASSERT(used <= in.len && (end || used == in.len));
    lmtp_encode(&at_start, buf_span(&content), &out);
    lmtp_encode_end(at_start, &out);
    ASSERT(server_end(buf_span(&out), false) == out.len - 2);
    ASSERT(!end || server_end(buf_span(&out), true) == out.len - 2);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = { .mood = size > 0 ? data[0] : 0 };
    check_message(span_of(data, size));
    dialogue_init(&f.d);
    for (size_t at = 0; at + 2 <= size;) {
        size_t len = MIN((size_t)data[at + 1], size - at - 2);
        f.mood ^= (uint8_t)(data[at] >> 1);
        buf_add(data[at] & 1 ? &f.server : &f.client, data + at + 2, len);
        at += 2 + len;
        go_on(&f);
    }
    dialogue_gone(&f.d, "the end");
    ASSERT(dialogue_wants(&f.d) == DIALOGUE_END);
    dialogue_free(&f.d);
    buf_free(&f.client);
    buf_free(&f.server);
    buf_free(&f.content);
    return 0;
}
