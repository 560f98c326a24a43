/* A message of which some recipients may have a copy: kept until its end, then delivered to the
 * others. */
#include "gate/dialogue_private.h"

#define FULL "452 4.3.1 The gate has no space to keep the message\r\n"

void
dialogue_spool_failed(struct dialogue *d)
{
    d->spool_failed = true;
}

void
dialogue_decide(struct dialogue *d, uint64_t spool_size)
{
    ASSERT(d->state == STATE_DECISION);
    d->chunk_left = spool_size;
    if (d->spool_failed)
        dialogue_settle_rest(d, span_str(FULL));
    say(&d->to_backend, "RSET\r\n"); /* the recipients as the client named them */
    d->state = STATE_AGAIN_RSET;
}

static void
again_clean(struct dialogue *d)
{
    say(&d->to_backend, "RSET\r\n");
    d->state = STATE_AGAIN_CLEAN;
}

/* The recipients before d->at were named again. */
static void
again_rcpt(struct dialogue *d)
{
    d->at = dialogue_next_open(d, d->at);
    d->state = STATE_AGAIN_RCPT;
    if (d->at < d->count) {
        struct span line = text_in(&d->lines, d->rcpts[d->at].line);
        buf_add(&d->to_backend, line.ptr, line.len);
        return;
    }
    d->at = dialogue_next_open(d, 0);
    d->at_start = true;
    if (d->at == d->count) {
        again_clean(d);
    } else if (d->chunking) {
        char text[64] = "BDAT ", digits[24];
        size_t n = 0, len = 5;
        for (uint64_t v = d->chunk_left; v > 0 || n == 0; v /= 10)
            digits[n++] = (char)('0' + v % 10);
        while (n > 0)
            text[len++] = digits[--n];
        memcpy(text + len, " LAST\r\n", 8);
        say(&d->to_backend, text);
        d->state = STATE_AGAIN_CONTENT;
    } else {
        say(&d->to_backend, "DATA\r\n");
        d->state = STATE_AGAIN_DATA;
    }
}

void
dialogue_replay(struct dialogue *d, struct span piece)
{
    ASSERT(d->state == STATE_AGAIN_CONTENT);
    if (d->chunking)
        buf_add(&d->to_backend, piece.ptr, piece.len);
    else
        lmtp_encode(&d->at_start, piece, &d->to_backend);
}

void
dialogue_replay_end(struct dialogue *d)
{
    ASSERT(d->state == STATE_AGAIN_CONTENT);
    if (!d->chunking)
        lmtp_encode_end(d->at_start, &d->to_backend);
    d->state = STATE_FINAL;
}

void
dialogue_again(struct dialogue *d, struct lmtp_reply reply)
{
    bool good = reply.code < 300;
    bool settled = dialogue_next_open(d, 0) == d->count;
    if (d->state == STATE_AGAIN_CLEAN || (d->state == STATE_AGAIN_RSET && settled)) {
        dialogue_finish(d);
    } else if (d->state == STATE_AGAIN_RSET) {
        struct span line = text_in(&d->lines, d->mail);
        buf_add(&d->to_backend, line.ptr, line.len);
        d->state = STATE_AGAIN_MAIL;
    } else if (d->state == STATE_AGAIN_RCPT) {
        if (!good)
            dialogue_settle(d, d->at, reply.text);
        d->at++;
        again_rcpt(d);
    } else if (d->state == STATE_AGAIN_MAIL && good) {
        d->at = 0;
        again_rcpt(d);
    } else if (d->state == STATE_AGAIN_DATA && reply.code == 354) {
        d->state = STATE_AGAIN_CONTENT;
    } else {
        dialogue_settle_rest(d, reply.text);
        again_clean(d);
    }
}
