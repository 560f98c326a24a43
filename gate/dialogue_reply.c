/* What the server behind the gate answers. */
#include "gate/dialogue_private.h"

#define ODD_ANSWER "The server behind the gate gave an answer that is not understood"

/* For the client, once the barrier opened for the gate. */
#define STORED "250 2.0.0 Delivered\r\n"

static struct dialogue_text
path_of(struct dialogue_text line, const struct dialogue_asked *asked)
{
    return (struct dialogue_text){ .at = line.at + asked->path.at - asked->line.at,
                                   .len = asked->path.len };
}

static void
begin_message(struct dialogue *d, const struct dialogue_asked *mail)
{
    enum dialogue_mode mode = d->mode; /* of a message that begins behind this reply */
    dialogue_forget(d);
    d->mode = mode;
    d->mail = dialogue_add_text(&d->lines, text_in(&d->asked_lines, mail->line));
    d->sender = path_of(d->mail, mail);
}

static void
add_recipient(struct dialogue *d, const struct dialogue_asked *rcpt)
{
    if (d->count == d->room) {
        d->room = d->room * 2 + 4;
        d->rcpts = xrealloc(d->rcpts, d->room * sizeof(d->rcpts[0]));
    }
    struct dialogue_text line = dialogue_add_text(&d->lines, text_in(&d->asked_lines, rcpt->line));
    d->rcpts[d->count++] = (struct dialogue_rcpt){
        .line = line,
        .path = path_of(line, rcpt),
    };
}

/* What an accepted command means for the message under way. */
static void
accepted(struct dialogue *d, const struct dialogue_asked *asked)
{
    enum lmtp_verb verb = asked->verb;
    if (verb == LMTP_MAIL)
        begin_message(d, asked);
    else if (verb == LMTP_RCPT)
        add_recipient(d, asked);
    else if (verb == LMTP_RSET || verb == LMTP_HELLO || verb == LMTP_XCLIENT)
        dialogue_forget(d);
}

/* The replies to all that was asked are here. */
static void
nothing_asked(struct dialogue *d)
{
    d->asked_at = d->asked_count = 0;
    buf_reset(&d->asked_lines);
    if (!d->then_spool)
        return;
    d->then_spool = false;
    d->mode = d->count > 0 ? MODE_SPOOL : MODE_NONE;
    d->state = d->count > 0 ? STATE_CONTENT : STATE_READY;
    say(&d->to_client, d->count > 0 ? DATA_GO : "503 5.5.1 No valid recipients\r\n");
}

/* The reply to the last command that goes before content, or to a part of it. */
static void
on_content_reply(struct dialogue *d, enum lmtp_verb verb, unsigned code)
{
    if (verb == LMTP_DATA && code == 354) {
        d->mode = MODE_THROUGH;
        d->state = STATE_CONTENT;
    } else if (verb == LMTP_DATA) {
        d->mode = MODE_NONE;
    } else if (verb == LMTP_BDAT && code >= 300) {
        d->mode = MODE_DISCARD; /* until the client begins anew */
    } else if (verb == LMTP_AUTH && code == 334) {
        d->opaque = true;
    }
}

static void
on_reply(struct dialogue *d, struct lmtp_reply reply)
{
    struct dialogue_asked asked = d->asked[d->asked_at++];
    bool good = reply.code < 300, last = d->asked_at == d->asked_count;
    if (asked.verb == LMTP_HELLO && good)
        lmtp_hide(reply.text, &d->to_client);
    else
        buf_add(&d->to_client, reply.text.ptr, reply.text.len);
    if (last)
        d->state = asked.verb == LMTP_QUIT ? STATE_END : STATE_READY;
    if (good)
        accepted(d, &asked);
    on_content_reply(d, asked.verb, reply.code);
    if (last)
        nothing_asked(d);
}

/* What the server has and will not call safe waits for the gate's barrier like what it took. */
static void
on_final(struct dialogue *d, struct lmtp_reply reply)
{
    bool stored = lmtp_is_stored(&reply);
    d->at = dialogue_next_open(d, d->at);
    dialogue_settle(d, d->at, stored ? span_str(STORED) : reply.text);
    if (reply.code < 300 || stored)
        d->took = (int)d->at;
    dialogue_tell(d);
    if (dialogue_next_open(d, d->at) == d->count)
        dialogue_finish(d);
}

/* Is DATA answered next? */
static bool
at_data(const struct dialogue *d)
{
    return d->state == STATE_AGAIN_DATA ||
           (d->state == STATE_REPLY && d->asked[d->asked_at].verb == LMTP_DATA);
}

/* Does the reply go with what was asked? Else it is not known what the server believes. */
static bool
is_fit(const struct dialogue *d, unsigned code)
{
    if (at_data(d)) /* nothing was given yet that it could have taken: 2xx says nothing true */
        return code == 354 || code >= 400;
    if (code < 300 || code >= 400)
        return true;
    return d->state == STATE_REPLY && d->asked[d->asked_at].verb == LMTP_AUTH && code == 334;
}

/* The client's own DATA gets an answer before the goodbye: it is to keep the message. */
static void
misfit(struct dialogue *d)
{
    if (d->state == STATE_REPLY && at_data(d))
        say(&d->to_client, NOT_SAFE "The server behind the gate cannot be understood\r\n");
    dialogue_gone(d, ODD_ANSWER);
}

static void
take_reply(struct dialogue *d, struct lmtp_reply reply)
{
    if (reply.code == 421 || (d->state == STATE_GREETING && reply.code >= 300)) {
        buf_add(&d->to_client, reply.text.ptr, reply.text.len);
        d->state = STATE_END;
    } else if (!is_fit(d, reply.code) || (d->state == STATE_AGAIN_RSET && reply.code >= 300)) {
        misfit(d);
    } else if (d->state == STATE_GREETING) {
        buf_add(&d->to_client, reply.text.ptr, reply.text.len);
        d->state = STATE_READY;
    } else if (d->state == STATE_REPLY) {
        on_reply(d, reply);
    } else if (d->state == STATE_FINAL) {
        on_final(d, reply);
    } else {
        dialogue_again(d, reply);
    }
}

void
dialogue_stray(struct dialogue *d, struct span in)
{
    struct lmtp_reply reply;
    int r = lmtp_reply(in, &reply, NULL);
    if (r > 0 && reply.code == 421)
        take_reply(d, reply);
    else if (r != 0)
        dialogue_gone(d, ODD_ANSWER);
}

size_t
dialogue_backend(struct dialogue *d, struct span in)
{
    ASSERT(dialogue_wants(d) == DIALOGUE_BACKEND);
    struct lmtp_reply reply;
    int r = lmtp_reply(in, &reply, NULL);
    if (r < 0)
        dialogue_gone(d, ODD_ANSWER);
    if (r <= 0)
        return r < 0 ? in.len : 0;
    take_reply(d, reply);
    return reply.text.len;
}
