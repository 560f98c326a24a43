/* dialogue_private.h - what dialogue*.c share. */
#ifndef MAILTWIN_GATE_DIALOGUE_PRIVATE_H
#define MAILTWIN_GATE_DIALOGUE_PRIVATE_H

#include "gate/dialogue.h"

static inline void
say(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

static inline struct span
text_in(const struct buf *b, struct dialogue_text text)
{
    return span_from(buf_span(b), text.at, text.len);
}

#define NOT_SAFE "451 4.3.0 "
#define DATA_GO  "354 OK\r\n" /* to a message that goes into the spool */

struct dialogue_text dialogue_add_text(struct buf *b, struct span bytes);
/* There is no message any more. */
void dialogue_forget(struct dialogue *d);
/* Replies to the recipients, in their order, as far as they may be told. */
void dialogue_tell(struct dialogue *d);
/* The first recipient from `at` on that has no reply yet. */
size_t dialogue_next_open(const struct dialogue *d, size_t at);
void dialogue_settle(struct dialogue *d, size_t i, struct span reply);
void dialogue_settle_rest(struct dialogue *d, struct span reply);
/* Each recipient has its reply: they are told, or wait for the barrier. */
void dialogue_finish(struct dialogue *d);
/* A reply while the message of the spool is delivered. */
void dialogue_again(struct dialogue *d, struct lmtp_reply reply);

#endif
