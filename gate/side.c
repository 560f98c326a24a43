#include "gate/side.h"

#include <stdlib.h>
#include <sys/un.h>

#define CHUNK (64 * 1024)

struct outgoing {
    uv_write_t request;
    struct buf bytes;
    size_t sent;
};

void
side_init(struct side *side, uv_loop_t *loop, int family, void (*changed)(void *arg),
          void (*closed)(void *arg), void *arg)
{
    *side = (struct side){ .changed = changed, .closed = closed, .arg = arg };
    if (family == AF_UNIX)
        uv_pipe_init(loop, &side->pipe, 0);
    else
        uv_tcp_init(loop, &side->tcp);
    side->handle.data = side;
}

static void
opened(struct side *side)
{
    side->open = true;
    if (side->handle.type == UV_TCP)
        uv_tcp_nodelay(&side->tcp, 1);
}

int
side_accept(struct side *side, uv_stream_t *listener)
{
    if (uv_accept(listener, &side->stream) < 0)
        return -1;
    opened(side);
    return 0;
}

static void
fail(struct side *side)
{
    side->failed = side->eof = true;
    side->open = false;
}

static void
connected(uv_connect_t *request, int status)
{
    struct side *side = request->handle->data;
    if (uv_is_closing(&side->handle))
        return;
    if (status < 0)
        fail(side);
    else
        opened(side);
    side->changed(side->arg);
}

void
side_connect(struct side *side, const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_UNIX) {
        struct sockaddr_un un;
        memcpy(&un, address, sizeof(un));
        uv_pipe_connect(&side->connect, &side->pipe, un.sun_path, connected);
    } else if (uv_tcp_connect(&side->connect, &side->tcp, (const struct sockaddr *)address,
                              connected) < 0) {
        fail(side);
    }
}

static void
take_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char chunk[CHUNK]; /* what comes is copied before anything else is read */
    (void)handle, (void)suggested;
    *buf = uv_buf_init(chunk, sizeof(chunk));
}

static void
drop_used(struct side *side)
{
    buf_consume(&side->in, side->used);
    side->used = 0;
    if (side->in.len == 0)
        buf_free(&side->in); /* idle connections cost little */
}

static void
on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct side *side = stream->data;
    if (len == 0)
        return;
    if (len > 0)
        buf_add(&side->in, buf->base, (size_t)len);
    else
        side->eof = true;
    if (len < 0 && len != UV_EOF)
        side->failed = true;
    if (side->in.len >= SIDE_IN_MAX || side->eof) {
        uv_read_stop(stream);
        side->reading = false;
    }
    side->changed(side->arg);
}

void
side_read(struct side *side)
{
    drop_used(side);
    if (!side->open || side->reading || side->eof || side->in.len >= SIDE_IN_MAX)
        return;
    side->reading = uv_read_start(&side->stream, take_buffer, on_read) == 0;
}

size_t
side_unsent(const struct side *side)
{
    return side->open ? uv_stream_get_write_queue_size(&side->stream) : 0;
}

static void
on_written(uv_write_t *request, int status)
{
    struct outgoing *out = request->data;
    struct side *side = request->handle->data;
    buf_free(&out->bytes);
    free(out);
    if (uv_is_closing(&side->handle))
        return;
    if (status < 0)
        side->failed = true;
    side->changed(side->arg);
}

void
side_send(struct side *side, struct buf *bytes)
{
    if (bytes->len == 0)
        return;
    if (!side->open || side->failed) {
        buf_reset(bytes);
        return;
    }
    int sent = 0;
    uv_buf_t part = uv_buf_init((char *)bytes->ptr, (unsigned)bytes->len);
    if (uv_stream_get_write_queue_size(&side->stream) == 0)
        sent = uv_try_write(&side->stream, &part, 1);
    if (sent == (int)bytes->len) {
        buf_reset(bytes);
        return;
    }
    if (sent < 0 && sent != UV_EAGAIN) {
        side->failed = true;
        buf_reset(bytes);
        return;
    }
    struct outgoing *out = xcalloc(1, sizeof(*out));
    out->bytes = *bytes;
    *bytes = (struct buf){ 0 };
    out->request.data = out;
    size_t at = sent > 0 ? (size_t)sent : 0;
    part = uv_buf_init((char *)out->bytes.ptr + at, (unsigned)(out->bytes.len - at));
    if (uv_write(&out->request, &side->stream, &part, 1, on_written) < 0) {
        side->failed = true;
        buf_free(&out->bytes);
        free(out);
    }
}

static void
on_closed(uv_handle_t *handle)
{
    struct side *side = handle->data;
    buf_free(&side->in);
    side->closed(side->arg);
}

void
side_close(struct side *side)
{
    side->open = false;
    if (!uv_is_closing(&side->handle))
        uv_close(&side->handle, on_closed);
}
