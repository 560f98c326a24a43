/* From the store role to the network: socketpair, frame check, zstd, TLS, bandwidth limit. */
#include "lib/os/file.h"
#include "replicator/net/role.h"

#define PACK_TOGETHER  (64 * 1024)
#define LIMITED_MIN    (64UL * 1024)
#define QUEUE_FRACTION 4 /* a limited link queues a quarter of a second */

size_t
conn_queued(const struct conn *conn)
{
    return tls_output(conn->tls)->len - conn->sent;
}

size_t
conn_out_max(const struct conn *conn)
{
    uint64_t rate = conn->bucket.rate;
    return rate == 0 ? ROLE_OUT_MAX : MIN(MAX(rate / QUEUE_FRACTION, LIMITED_MIN), ROLE_OUT_MAX);
}

/* Encrypts whole frames; with flush, all that was held back too. */
static int
pack(struct conn *conn, struct span frames, bool flush, struct err *e)
{
    if (conn->squeeze == NULL)
        return tls_write(conn->tls, frames, e);
    squeeze_write(conn->squeeze, frames, flush, &conn->packed);
    conn->unflushed = !flush;
    if (!flush && conn->packed.len < PACK_TOGETHER)
        return 0;
    int failed = tls_write(conn->tls, buf_span(&conn->packed), e);
    buf_reset(&conn->packed);
    return failed;
}

/* The length of the whole frames at the start of plain, -1 when they are none. */
static ssize_t
whole_frames(const struct conn *conn, struct err *e)
{
    struct span rest = buf_span(&conn->plain);
    struct frame frame;
    int found;
    while ((found = frame_decode(rest, &frame, e)) == 1)
        rest = span_from(rest, frame.size, rest.len - frame.size);
    if (found < 0)
        return err_wrap(e, "our store role sent what is no frame");
    return (ssize_t)(conn->plain.len - rest.len);
}

/* Reads a step from the store role and packs its frames. 1 there may be more, 0 that was all. */
static int
collect_step(struct conn *conn, struct err *e)
{
    buf_reserve(&conn->plain, ROLE_READ_STEP);
    ssize_t got = recv(conn->pair, conn->plain.ptr + conn->plain.len, ROLE_READ_STEP, MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNRESET)
        return err_sys(e, ERR_IO, "read from our store role");
    conn->store_ended = got == 0 || (got < 0 && errno == ECONNRESET);
    if (got > 0)
        conn->plain.len += (size_t)got;
    ssize_t whole = whole_frames(conn, e);
    if (whole < 0)
        return -1;
    bool last = got < ROLE_READ_STEP;
    struct span frames = span_from(buf_span(&conn->plain), 0, (size_t)whole);
    if ((whole > 0 || (last && conn->unflushed)) && pack(conn, frames, last, e) < 0)
        return -1;
    buf_consume(&conn->plain, (size_t)whole);
    return !last;
}

int
conn_collect(struct conn *conn, struct err *e)
{
    int more = 1;
    for (size_t turn = 0; more > 0 && !conn->in_ended && turn < ROLE_TURN_MAX;
         turn += ROLE_READ_STEP) {
        if (conn_queued(conn) >= conn_out_max(conn))
            return 0;
        more = collect_step(conn, e);
    }
    return more < 0 ? -1 : 0;
}

static void
encode_heartbeat(enum wire_type type, uint64_t stamp_ns, struct buf *out)
{
    size_t mark = frame_begin(out, (uint8_t)type);
    buf_add_le64(out, stamp_ns);
    frame_end(out, mark);
}

int
conn_heartbeat(struct conn *conn, enum wire_type type, uint64_t stamp_ns, struct err *e)
{
    if (conn_queued(conn) >= conn_out_max(conn))
        return 0; /* what is queued is sign of life enough */
    _cleanup_buf_ struct buf frame = { 0 };
    encode_heartbeat(type, stamp_ns, &frame);
    return pack(conn, buf_span(&frame), true, e);
}

static void
throttle_over(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    conn->throttled = false;
    conn_work(conn);
}

/* What was sent leaves the buffer now and then, not at every packet. */
static void
forget_sent(struct conn *conn, size_t sent)
{
    struct buf *out = tls_output(conn->tls);
    bucket_spend(&conn->bucket, sent);
    conn->sent_ms = role_now_ms(conn->role);
    conn->sent += sent;
    if (conn->sent == out->len || conn->sent >= ROLE_OUT_MAX) {
        buf_consume(out, conn->sent);
        conn->sent = 0;
    }
}

int
conn_send(struct conn *conn, struct err *e)
{
    conn->sock_full = false;
    while (conn_queued(conn) > 0 && !conn->throttled && !conn->in_ended) {
        size_t may = bucket_allow(&conn->bucket, conn_queued(conn), uv_hrtime());
        if (may == 0) {
            conn->throttled = true;
            uv_timer_start(&conn->throttle, throttle_over, bucket_wait_ms(&conn->bucket), 0);
            return 0;
        }
        ssize_t sent = send(conn->sock, tls_output(conn->tls)->ptr + conn->sent, may,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            forget_sent(conn, (size_t)sent);
        } else if (errno == EAGAIN) {
            conn->sock_full = true;
            return 0;
        } else if (errno != EINTR) {
            return err_sys(e, ERR_PEER, "the connection broke");
        }
    }
    return 0;
}
