#include "gate/dialogue_private.h"

#include <stdlib.h>

#define HAS_IT "250 2.0.0 Delivered at an attempt before\r\n"

static const enum dialogue_want wants[STATE_COUNT] = {
    [STATE_GREETING] = DIALOGUE_BACKEND,
    [STATE_READY] = DIALOGUE_CLIENT,
    [STATE_REPLY] = DIALOGUE_BACKEND,
    [STATE_DOOR] = DIALOGUE_DOOR,
    [STATE_BEGIN] = DIALOGUE_BEGIN,
    [STATE_CONTENT] = DIALOGUE_CLIENT,
    [STATE_CHUNK] = DIALOGUE_CLIENT,
    [STATE_FINAL] = DIALOGUE_BACKEND,
    [STATE_DECISION] = DIALOGUE_DECISION,
    [STATE_AGAIN_RSET] = DIALOGUE_BACKEND,
    [STATE_AGAIN_MAIL] = DIALOGUE_BACKEND,
    [STATE_AGAIN_RCPT] = DIALOGUE_BACKEND,
    [STATE_AGAIN_DATA] = DIALOGUE_BACKEND,
    [STATE_AGAIN_CONTENT] = DIALOGUE_REPLAY,
    [STATE_AGAIN_CLEAN] = DIALOGUE_BACKEND,
    [STATE_BARRIER] = DIALOGUE_BARRIER,
    [STATE_END] = DIALOGUE_END,
};

static void
say_why(struct buf *out, const char *code, const char *why)
{
    say(out, code);
    say(out, why);
    say(out, "\r\n");
}

struct dialogue_text
dialogue_add_text(struct buf *b, struct span bytes)
{
    struct dialogue_text text = { .at = b->len, .len = bytes.len };
    buf_add(b, bytes.ptr, bytes.len);
    return text;
}

static void
note_why(struct dialogue *d, const char *why)
{
    size_t len = MIN(strlen(why), sizeof(d->why) - 1);
    memcpy(d->why, why, len);
    d->why[len] = '\0';
}

void
dialogue_init(struct dialogue *d)
{
    *d = (struct dialogue){ .state = STATE_GREETING, .took = -1, .at_start = true };
}

void
dialogue_free(struct dialogue *d)
{
    struct buf *all[] = { &d->to_client, &d->to_backend, &d->content,    &d->lines,
                          &d->replies,   &d->line,       &d->asked_lines };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_free(all[i]);
    freep(&d->rcpts);
}

enum dialogue_want
dialogue_wants(const struct dialogue *d)
{
    return wants[d->state];
}

bool
dialogue_idle(const struct dialogue *d)
{
    return d->state == STATE_READY && d->mail.len == 0;
}

/* A command of the kind that has no reply yet; NULL: none. */
static const struct dialogue_asked *
asked_for(const struct dialogue *d, enum lmtp_verb verb, size_t skip)
{
    for (size_t i = d->asked_at; i < d->asked_count; i++)
        if (d->asked[i].verb == verb && skip-- == 0)
            return &d->asked[i];
    return NULL;
}

struct span
dialogue_sender(const struct dialogue *d)
{
    const struct dialogue_asked *mail = asked_for(d, LMTP_MAIL, 0);
    return mail != NULL ? text_in(&d->asked_lines, mail->path) : text_in(&d->lines, d->sender);
}

struct span
dialogue_recipient(const struct dialogue *d, size_t i)
{
    if (i < d->count)
        return text_in(&d->lines, d->rcpts[i].path);
    const struct dialogue_asked *rcpt = asked_for(d, LMTP_RCPT, i - d->count);
    ASSERT(rcpt != NULL);
    return text_in(&d->asked_lines, rcpt->path);
}

size_t
dialogue_named(const struct dialogue *d)
{
    size_t i = 0;
    while (asked_for(d, LMTP_RCPT, i) != NULL)
        i++;
    return d->count + i;
}

void
dialogue_gone(struct dialogue *d, const char *why)
{
    if (d->state == STATE_END)
        return;
    say_why(&d->to_client, "421 4.3.2 ", why);
    d->state = STATE_END;
}

/* Of no message any more. */
void
dialogue_forget(struct dialogue *d)
{
    buf_reset(&d->lines);
    buf_reset(&d->replies);
    d->mail = d->sender = (struct dialogue_text){ 0 };
    d->count = d->at = d->told = 0;
    d->mode = MODE_NONE;
    d->chunking = d->released = d->spool_failed = d->refused = false;
    d->place = LMTP_LINE_START;
    d->at_start = true;
}

/* --- replies to the recipients, in their order --- */

static bool
is_settled(const struct dialogue_rcpt *rcpt)
{
    return rcpt->known || rcpt->reply.len > 0;
}

static bool
is_taken(const struct dialogue *d, const struct dialogue_rcpt *rcpt)
{
    return rcpt->known || (rcpt->reply.len > 0 && d->replies.ptr[rcpt->reply.at] == '2');
}

bool
dialogue_holds(const struct dialogue *d, size_t i)
{
    return i >= d->told && is_taken(d, &d->rcpts[i]);
}

void
dialogue_tell(struct dialogue *d)
{
    for (; d->told < d->count && is_settled(&d->rcpts[d->told]); d->told++) {
        const struct dialogue_rcpt *rcpt = &d->rcpts[d->told];
        bool taken = is_taken(d, rcpt);
        if (taken && !d->released)
            return;
        if (taken && d->why[0] != '\0')
            say_why(&d->to_client, NOT_SAFE, d->why);
        else if (rcpt->known)
            say(&d->to_client, HAS_IT);
        else
            buf_add(&d->to_client, d->replies.ptr + rcpt->reply.at, rcpt->reply.len);
    }
}

/* Each recipient has its reply. */
void
dialogue_finish(struct dialogue *d)
{
    dialogue_tell(d);
    d->state = STATE_BARRIER;
    if (d->told < d->count)
        return;
    dialogue_forget(d);
    d->state = STATE_READY;
}

void
dialogue_barrier(struct dialogue *d, const char *why)
{
    ASSERT(d->state == STATE_BARRIER);
    note_why(d, why != NULL ? why : "");
    d->released = true;
    dialogue_finish(d);
}

size_t
dialogue_next_open(const struct dialogue *d, size_t at)
{
    while (at < d->count && is_settled(&d->rcpts[at]))
        at++;
    return at;
}

void
dialogue_settle(struct dialogue *d, size_t i, struct span reply)
{
    d->rcpts[i].reply = dialogue_add_text(&d->replies, reply);
}

void
dialogue_settle_rest(struct dialogue *d, struct span reply)
{
    for (size_t i = dialogue_next_open(d, 0); i < d->count; i = dialogue_next_open(d, i))
        dialogue_settle(d, i, reply);
}

/* --- commands --- */

/* A reply to what was sent last. */
static void
expect(struct dialogue *d, enum lmtp_verb verb)
{
    ASSERT(d->asked_count < DIALOGUE_AHEAD_MAX);
    struct dialogue_text line = dialogue_add_text(&d->asked_lines, buf_span(&d->line));
    d->asked[d->asked_count++] = (struct dialogue_asked){
        .verb = verb,
        .line = line,
        .path = { .at = line.at + d->path.at, .len = d->path.len },
    };
    d->state = STATE_REPLY;
}

static void
forward(struct dialogue *d, enum lmtp_verb verb)
{
    buf_add(&d->to_backend, d->line.ptr, d->line.len);
    expect(d, verb);
}

/* The content is all here. */
static void
content_ended(struct dialogue *d)
{
    if (d->mode == MODE_SPOOL) {
        d->state = STATE_DECISION;
        return;
    }
    d->at = 0;
    d->state = STATE_FINAL;
    if (d->count > 0)
        return;
    d->mode = MODE_NONE; /* for nobody: one reply, as to any command */
    expect(d, LMTP_OTHER);
}

/* The chunk is all here. */
static void
chunk_ended(struct dialogue *d)
{
    d->state = STATE_READY;
    if (d->mode == MODE_DISCARD) {
        say_why(&d->to_client, d->refused ? NOT_SAFE : "503 5.5.1 ",
                d->refused ? d->why : "A chunk before this one was refused");
    } else if (d->command.last) {
        content_ended(d);
    } else if (d->mode == MODE_SPOOL) {
        say(&d->to_client, "250 2.0.0 Chunk taken\r\n");
    } else {
        expect(d, LMTP_BDAT);
    }
}

static void
chunk_begins(struct dialogue *d)
{
    d->chunk_left = d->command.size;
    d->state = STATE_CHUNK;
    if (d->mode == MODE_THROUGH)
        buf_add(&d->to_backend, d->line.ptr, d->line.len);
    if (d->chunk_left == 0)
        chunk_ended(d);
}

static void
on_bdat(struct dialogue *d)
{
    d->chunking = true;
    if (d->refused)
        d->mode = MODE_DISCARD;
    else if (d->mode == MODE_NONE && d->count > 0)
        d->state = STATE_BEGIN;
    else if (d->mode == MODE_NONE)
        d->mode = MODE_THROUGH; /* the server refuses it */
    if (d->state != STATE_BEGIN)
        chunk_begins(d);
}

static void
on_data(struct dialogue *d)
{
    d->chunking = false;
    if (d->refused)
        say_why(&d->to_client, NOT_SAFE, d->why);
    else if (d->mode != MODE_NONE)
        say(&d->to_client, "503 5.5.1 The message came in chunks\r\n");
    else if (dialogue_named(d) > 0)
        d->state = STATE_BEGIN;
    else
        forward(d, LMTP_DATA);
}

static void
on_rcpt(struct dialogue *d)
{
    if (d->refused)
        say_why(&d->to_client, NOT_SAFE, d->why);
    else if (d->count == DIALOGUE_RCPTS_MAX || d->lines.len + d->line.len > DIALOGUE_LINES_MAX)
        say(&d->to_client, "452 4.5.3 Too many recipients\r\n");
    else
        forward(d, LMTP_RCPT);
}

void
dialogue_door(struct dialogue *d, const char *why)
{
    ASSERT(d->state == STATE_DOOR);
    if (why == NULL) {
        if (d->refused)
            dialogue_forget(d); /* the MAIL before this one */
        forward(d, LMTP_MAIL);
        return;
    }
    note_why(d, why);
    d->refused = true;
    say_why(&d->to_client, NOT_SAFE, why);
    d->state = STATE_READY;
}

void
dialogue_begin(struct dialogue *d, bool spool)
{
    ASSERT(d->state == STATE_BEGIN);
    d->mode = spool ? MODE_SPOOL : MODE_THROUGH;
    if (d->chunking) {
        chunk_begins(d);
    } else if (spool && d->asked_count > 0) {
        d->then_spool = true;
        d->state = STATE_REPLY;
    } else if (spool) {
        say(&d->to_client, DATA_GO);
        d->state = STATE_CONTENT;
    } else {
        forward(d, LMTP_DATA);
    }
}

static void
on_command(struct dialogue *d)
{
    switch (d->command.verb) {
    case LMTP_MAIL:
        if (d->mail.len > 0)
            forward(d, LMTP_MAIL); /* a second one: the server refuses it */
        else
            d->state = STATE_DOOR;
        break;
    case LMTP_RCPT:
        on_rcpt(d);
        break;
    case LMTP_DATA:
        on_data(d);
        break;
    case LMTP_BDAT:
        on_bdat(d);
        break;
    case LMTP_HIDDEN:
        say(&d->to_client, "502 5.5.1 Not through this gate, which has to see the message\r\n");
        break;
    case LMTP_OTHER:
    case LMTP_HELLO:
    case LMTP_RSET:
    case LMTP_QUIT:
    case LMTP_XCLIENT:
    case LMTP_AUTH:
        forward(d, d->command.verb);
        break;
    }
}

/* A command that cannot be read: what would follow BDAT is unknown, so the dialogue ends. */
static void
refuse_line(struct dialogue *d, const struct err *e)
{
    bool bdat = d->command.verb == LMTP_BDAT;
    say_why(&d->to_client, bdat ? "501 5.5.4 " : "500 5.5.2 ", e->text);
    if (bdat)
        dialogue_gone(d, "What follows is not understood");
}

static void
take_line(struct dialogue *d, struct span line)
{
    struct err e = { 0 };
    buf_reset(&d->line);
    buf_add(&d->line, line.ptr, line.len);
    line = buf_span(&d->line);
    int r = 0;
    if (d->opaque)
        d->command = (struct lmtp_command){ .verb = LMTP_AUTH };
    else
        r = lmtp_command(line, &d->command, &e);
    d->opaque = false;
    if (d->command.path.len > 0)
        d->path = (struct dialogue_text){ .at = (size_t)(d->command.path.ptr - line.ptr),
                                          .len = d->command.path.len };
    else
        d->path = (struct dialogue_text){ 0 };
    say(&d->line, "\r\n"); /* the path is known by its place from here on */
    if (r < 0)
        refuse_line(d, &e);
    else
        on_command(d);
}

/* --- bytes of the client --- */

static size_t
client_line(struct dialogue *d, struct span in)
{
    struct span line;
    size_t used;
    struct err e = { 0 };
    int r = lmtp_line(in, &line, &used, &e);
    if (r < 0) {
        say_why(&d->to_client, "500 5.5.2 ", e.text);
        dialogue_gone(d, "What follows is not understood");
        return in.len;
    }
    if (r == 0)
        return 0;
    take_line(d, line);
    return used;
}

static size_t
client_content(struct dialogue *d, struct span in)
{
    bool end;
    size_t before = d->content.len;
    size_t used = lmtp_decode(&d->place, in, &d->content, &end);
    struct span fresh = span_from(buf_span(&d->content), before, d->content.len - before);
    if (d->mode == MODE_THROUGH)
        lmtp_encode(&d->at_start, fresh, &d->to_backend);
    if (end && d->mode == MODE_THROUGH)
        lmtp_encode_end(d->at_start, &d->to_backend);
    if (end)
        content_ended(d);
    return used;
}

static size_t
client_chunk(struct dialogue *d, struct span in)
{
    size_t len = (size_t)MIN((uint64_t)in.len, d->chunk_left);
    d->chunk_left -= len;
    if (d->mode != MODE_DISCARD)
        buf_add(&d->content, in.ptr, len);
    if (d->mode == MODE_THROUGH)
        buf_add(&d->to_backend, in.ptr, len);
    if (d->chunk_left == 0)
        chunk_ended(d);
    return len;
}

size_t
dialogue_client(struct dialogue *d, struct span in)
{
    if (in.len == 0)
        return 0;
    if (d->state == STATE_CONTENT)
        return client_content(d, in);
    if (d->state == STATE_CHUNK)
        return client_chunk(d, in);
    ASSERT(d->state == STATE_READY);
    return client_line(d, in);
}

size_t
dialogue_ahead(struct dialogue *d, struct span in)
{
    struct span line;
    size_t used;
    struct lmtp_command c;
    if (d->state != STATE_REPLY || d->mail.len > 0 || d->then_spool || d->asked_count == 0 ||
        d->asked_count == DIALOGUE_AHEAD_MAX || lmtp_line(in, &line, &used, NULL) <= 0 ||
        lmtp_command(line, &c, NULL) < 0)
        return 0;
    enum lmtp_verb before = d->asked[d->asked_count - 1].verb;
    bool fits = (before == LMTP_MAIL && c.verb == LMTP_RCPT) ||
                (before == LMTP_RCPT && (c.verb == LMTP_RCPT || c.verb == LMTP_DATA));
    if (!fits || d->mode != MODE_NONE)
        return 0;
    take_line(d, line);
    return used;
}
