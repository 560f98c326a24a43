/* side.h - one end of a session: a stream with what came in and what is on its way out. */
#ifndef MAILTWIN_GATE_SIDE_H
#define MAILTWIN_GATE_SIDE_H

#include "lib/base/buf.h"

#include <sys/socket.h>
#include <uv.h>

#define SIDE_IN_MAX  (128 * 1024) /* bytes taken in and not used; more than a line or a reply */
#define SIDE_OUT_MAX (256 * 1024) /* bytes not sent yet, beyond which the other end is not read */

struct side {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_connect_t connect;
    struct buf in;
    size_t used; /* of in */
    bool open;   /* may be read and written */
    bool reading, eof, failed;
    void (*changed)(void *arg); /* bytes came, went, or the end did */
    void (*closed)(void *arg);
    void *arg;
};

/* A stream for a socket of this family, not connected. */
void side_init(struct side *side, uv_loop_t *loop, int family, void (*changed)(void *arg),
               void (*closed)(void *arg), void *arg);
int side_accept(struct side *side, uv_stream_t *listener); /* 0, or -1 */
/* changed() when it is open, or failed. */
void side_connect(struct side *side, const struct sockaddr_storage *address);
/* Sends the bytes and leaves an empty buffer behind. */
void side_send(struct side *side, struct buf *bytes);
/* Reads as long as there is room. */
void side_read(struct side *side);
/* closed() comes later; nothing else does. */
void side_close(struct side *side);
size_t side_unsent(const struct side *side);

static inline struct span
side_input(const struct side *side)
{
    return span_from(buf_span(&side->in), side->used, side->in.len - side->used);
}

#endif
