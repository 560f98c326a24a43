#include "replicator/net/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void
inbox_init(struct inbox *inbox)
{
    *inbox = (struct inbox){ .ptr = xmalloc(INBOX_SIZE) };
}

void
inbox_free(struct inbox *inbox)
{
    free(inbox->ptr);
    *inbox = (struct inbox){ 0 };
}

uint8_t *
inbox_room(struct inbox *inbox, size_t *ret_size)
{
    if (!inbox_waits(inbox) && inbox->start > 0) { /* what is left is a part of one frame */
        memmove(inbox->ptr, inbox->ptr + inbox->start, inbox->end - inbox->start);
        inbox->end -= inbox->start;
        inbox->start = inbox->checked = 0;
    }
    *ret_size = INBOX_SIZE - inbox->end;
    return inbox->ptr + inbox->end;
}

void
inbox_added(struct inbox *inbox, size_t len)
{
    ASSERT(len <= INBOX_SIZE - inbox->end);
    inbox->end += len;
}

int
inbox_peek(const struct inbox *inbox, struct frame *ret_frame, struct err *e)
{
    return frame_decode(span_of(inbox->ptr + inbox->checked, inbox->end - inbox->checked),
                        ret_frame, e);
}

void
inbox_accept(struct inbox *inbox, const struct frame *frame)
{
    inbox->checked += frame->size;
}

void
inbox_skip(struct inbox *inbox, const struct frame *frame)
{
    ASSERT(!inbox_waits(inbox));
    inbox->checked += frame->size;
    inbox->start = inbox->checked;
}

int
inbox_forward(struct inbox *inbox, int fd)
{
    while (inbox_waits(inbox)) {
        ssize_t sent = send(fd, inbox->ptr + inbox->start, inbox->checked - inbox->start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            inbox->start += (size_t)sent;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -1;
    }
    return 1;
}
