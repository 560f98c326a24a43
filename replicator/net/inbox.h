/* inbox.h - received frames between the network and the store role: a buffer of fixed size, so that
 * neither a slow store role nor a peer whose stream unpacks to gigabytes makes us grow. */
#ifndef MAILTWIN_INBOX_H
#define MAILTWIN_INBOX_H

#include "lib/data/frame.h"

#define INBOX_SIZE (FRAME_HEADER_SIZE + FRAME_BODY_MAX + 256 * 1024)

struct inbox {
    uint8_t *ptr;   /* INBOX_SIZE bytes, owned */
    size_t start;   /* before it: forwarded */
    size_t checked; /* start to checked: whole frames, checked, to be forwarded */
    size_t end;     /* checked to end: not looked at, or not complete */
};

void inbox_init(struct inbox *inbox);
void inbox_free(struct inbox *inbox);
/* Where received bytes go; inbox_added() tells how many came. */
uint8_t *inbox_room(struct inbox *inbox, size_t *ret_size);
void inbox_added(struct inbox *inbox, size_t len);
/* The next frame that was not checked: 1 in *ret_frame, 0 not complete, -1 malformed. */
int inbox_peek(const struct inbox *inbox, struct frame *ret_frame, struct err *e) _must_check_;
/* What inbox_peek() showed may be forwarded. */
void inbox_accept(struct inbox *inbox, const struct frame *frame);
/* What inbox_peek() showed is not for the store role. Only when nothing waits to be forwarded. */
void inbox_skip(struct inbox *inbox, const struct frame *frame);
/* Writes what is checked into fd. 1 all of it, 0 fd is full, -1 fd is closed. */
int inbox_forward(struct inbox *inbox, int fd);

static inline bool
inbox_waits(const struct inbox *inbox)
{
    return inbox->start < inbox->checked;
}

#endif
