#include "replicator/link_io.h"

#include "lib/os/file.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define SEND_TOGETHER (256 * 1024)
#define READ_STEP     (256 * 1024)
/* Read while we wait to send, so that two peers who both send cannot block each other. */
#define EARLY_MAX (8 * 1024 * 1024)

struct link_io {
    int fd;
    bool closed; /* the other side ended */
    struct buf out;
    struct buf in; /* frames; the message handed out points into it */
    size_t used;   /* bytes of `in` handed out already */
    size_t early_max;
    int patience_ms;
    struct buf early; /* came while we were sending; goes behind `in` at the next receive */
    atomic_uint_fast64_t sent, received; /* counted by the session, read by whoever tells of it */
    struct wire_msg msg;
};

struct link_io *
link_io_new(int fd)
{
    struct link_io *io = xcalloc(1, sizeof(*io));
    io->fd = fd;
    io->early_max = EARLY_MAX;
    io->patience_ms = -1;
    buf_reserve(&io->in, READ_STEP);
    return io;
}

void
link_io_expects(struct link_io *io, size_t max, int patience_ms)
{
    io->early_max = max;
    io->patience_ms = patience_ms;
}

void
link_io_free(struct link_io **io)
{
    if (*io == NULL)
        return;
    file_closep(&(*io)->fd);
    buf_free(&(*io)->out);
    buf_free(&(*io)->in);
    buf_free(&(*io)->early);
    freep(io);
}

static int
err_closed(struct err *e)
{
    return err_set(e, ERR_PEER, "the link is down");
}

/* Reads what is there into b. 1 got some, 0 nothing now or the end (io->closed), -1 failed. */
static int
read_some(struct link_io *io, struct buf *b, struct err *e)
{
    buf_reserve(b, READ_STEP);
    ssize_t got = recv(io->fd, b->ptr + b->len, b->cap - b->len, MSG_DONTWAIT);
    if (got > 0) {
        b->len += (size_t)got;
        atomic_fetch_add_explicit(&io->received, (size_t)got, memory_order_relaxed);
        return 1;
    }
    if (got == 0 || errno == ECONNRESET)
        io->closed = true;
    else if (errno != EAGAIN && errno != EINTR)
        return err_sys(e, ERR_IO, "read from the network role");
    return 0;
}

/* Waits until we may send; keeps reading meanwhile, as much as may be kept. */
static int
wait_to_send(struct link_io *io, struct err *e)
{
    bool full = io->early.len >= io->early_max;
    bool may_read = !full && !io->closed;
    struct pollfd ready = { .fd = io->fd, .events = POLLOUT };
    if (may_read)
        ready.events |= POLLIN;
    int count = poll(&ready, 1, full ? io->patience_ms : -1);
    if (count < 0 && errno != EINTR)
        return err_sys(e, ERR_IO, "wait for the network role");
    if (count == 0)
        return err_set(e, ERR_PROTOCOL,
                       "the peer sent %zu bytes that nobody waited for, and reads nothing",
                       io->early.len);
    if (may_read && (ready.revents & (POLLIN | POLLHUP | POLLERR)))
        return read_some(io, &io->early, e) < 0 ? -1 : 0;
    return 0;
}

int
link_io_flush(struct link_io *io, struct err *e)
{
    size_t done = 0;
    while (done < io->out.len) {
        ssize_t sent = send(io->fd, io->out.ptr + done, io->out.len - done,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            done += (size_t)sent;
            atomic_fetch_add_explicit(&io->sent, (size_t)sent, memory_order_relaxed);
        } else if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return err_closed(e);
        } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return err_sys(e, ERR_IO, "write to the network role");
        } else if (wait_to_send(io, e) < 0) {
            return -1;
        }
    }
    buf_reset(&io->out);
    return 0;
}

int
link_io_send(struct link_io *io, const struct wire_msg *msg, struct err *e)
{
    wire_encode(msg, &io->out);
    return io->out.len >= SEND_TOGETHER ? link_io_flush(io, e) : 0;
}

/* Decodes the next message of `in`. 1, 0 more bytes please, -1. */
static int
next_message(struct link_io *io, struct err *e)
{
    struct span rest = span_from(buf_span(&io->in), io->used, io->in.len - io->used);
    struct frame frame;
    int found = frame_decode(rest, &frame, e);
    if (found <= 0)
        return found;
    io->used += frame.size;
    return wire_decode(&frame, &io->msg, e) < 0 ? -1 : 1;
}

/* Makes room: the messages handed out are done with, what came early gets its place. */
static void
settle(struct link_io *io)
{
    buf_consume(&io->in, io->used);
    io->used = 0;
    buf_add(&io->in, io->early.ptr, io->early.len);
    buf_reset(&io->early);
}

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int
remaining_ms(int timeout_ms, int64_t start)
{
    return timeout_ms <= 0 ? timeout_ms : (int)MAX(0, timeout_ms - (now_ms() - start));
}

/* 1 the link is readable, 0 woken or too late, -1 failed; EINTR looks like readable. */
static int
wait_to_receive(struct link_io *io, int timeout_ms, int wake_fd, struct err *e)
{
    struct pollfd ready[] = { { .fd = io->fd, .events = POLLIN },
                              { .fd = wake_fd, .events = POLLIN } };
    int count = poll(ready, ARRAY_LEN(ready), timeout_ms);
    if (count < 0 && errno != EINTR)
        return err_sys(e, ERR_IO, "wait for the network role");
    return count < 0 || ready[0].revents != 0;
}

int
link_io_receive(struct link_io *io, int timeout_ms, int wake_fd, const struct wire_msg **ret_msg,
                struct err *e)
{
    int64_t start = timeout_ms > 0 ? now_ms() : 0;
    for (;;) {
        int found = next_message(io, e);
        if (found != 0) {
            *ret_msg = &io->msg;
            return found;
        }
        bool more = io->early.len > 0;
        settle(io);
        if (more)
            continue;
        int got = read_some(io, &io->in, e);
        if (got == 0 && io->closed)
            return err_closed(e);
        if (got == 0)
            got = wait_to_receive(io, remaining_ms(timeout_ms, start), wake_fd, e);
        if (got <= 0)
            return got;
    }
}

int
link_io_fd(const struct link_io *io)
{
    return io->fd;
}

uint64_t
link_io_bytes_sent(const struct link_io *io)
{
    return atomic_load_explicit(&io->sent, memory_order_relaxed);
}

uint64_t
link_io_bytes_received(const struct link_io *io)
{
    return atomic_load_explicit(&io->received, memory_order_relaxed);
}
