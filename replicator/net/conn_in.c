/* From the network to the store role: TLS, zstd, checks, socketpair. */
#include "lib/os/file.h"
#include "replicator/net/role.h"

#define HANDSHAKE_READ 16384

void
conn_end_input(struct conn *conn, const struct err *e)
{
    if (!conn->in_ended)
        conn->end = *e;
    conn->in_ended = true;
}

/* Behind our goodbye nobody listens. */
static int
discard(struct conn *conn, struct err *e)
{
    buf_reserve(&conn->cipher, HANDSHAKE_READ);
    ssize_t got = recv(conn->sock, conn->cipher.ptr, conn->cipher.cap, MSG_DONTWAIT);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return 0;
    return err_set(e, ERR_PEER, "the peer closed the connection");
}

static int
receive(struct conn *conn, struct err *e)
{
    size_t step = conn->state == CONN_LINKED ? ROLE_READ_STEP : HANDSHAKE_READ;
    buf_reset(&conn->cipher);
    buf_reserve(&conn->cipher, step);
    ssize_t got = recv(conn->sock, conn->cipher.ptr, step, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        return err_sys(e, ERR_PEER, "the connection broke");
    if (got == 0)
        return err_set(e, ERR_PEER, "the peer ended the connection without a goodbye");
    tls_feed(conn->tls, span_of(conn->cipher.ptr, (size_t)got));
    conn->received_ms = role_now_ms(conn->role);
    return 0;
}

int
conn_receive(struct conn *conn, struct err *e)
{
    if (conn->state >= CONN_FAREWELL)
        return discard(conn, e);
    if (conn->in_ended || conn->in_full || conn->deaf || tls_unread(conn->tls) > 0)
        return 0;
    if (receive(conn, e) == 0)
        return 0;
    if (conn->state != CONN_LINKED)
        return -1;
    conn_end_input(conn, e);
    return 0;
}

/* Plain bytes of the stream: their count, 0 none now, -1 it ended. */
static ssize_t
unpack(struct conn *conn, uint8_t *room, size_t size, struct err *e)
{
    if (conn->unsqueeze == NULL)
        return tls_read(conn->tls, room, size, e);
    for (;;) {
        ssize_t got = unsqueeze_read(conn->unsqueeze, &conn->zrest, room, size, e);
        if (got != 0)
            return got;
        buf_reserve(&conn->zin, HANDSHAKE_READ);
        got = tls_read(conn->tls, conn->zin.ptr, conn->zin.cap, e);
        if (got <= 0)
            return got;
        conn->zrest = span_of(conn->zin.ptr, (size_t)got);
    }
}

/* Fills the inbox as far as there are bytes and room; true when something came. */
static bool
fill(struct conn *conn)
{
    struct err e;
    size_t size;
    uint8_t *room = inbox_room(&conn->inbox, &size);
    size_t before = conn->inbox.end;
    while (size > 0) {
        ssize_t got = unpack(conn, room, size, &e);
        if (got < 0)
            conn_end_input(conn, &e);
        if (got <= 0)
            break;
        inbox_added(&conn->inbox, (size_t)got);
        room += got;
        size -= (size_t)got;
    }
    return conn->inbox.end != before;
}

static int
check_hello(struct conn *conn, struct err *e)
{
    const struct wire_msg *msg = &conn->role->msg;
    if (msg->type != WIRE_HELLO)
        return conn->hello_seen ? 0 : err_set(e, ERR_PROTOCOL, "the peer did not begin with HELLO");
    if (!span_equal(msg->hello.node, span_str(conn->peer->node->name)))
        return err_set(e, ERR_PROTOCOL, "the peer's HELLO is from %.*s, its certificate for %s",
                       (int)msg->hello.node.len, (const char *)msg->hello.node.ptr,
                       conn->peer->node->name);
    conn->hello_seen = true;
    return 0;
}

static int
take_heartbeat(struct conn *conn, struct err *e)
{
    const struct wire_msg *msg = &conn->role->msg;
    if (++conn->pings > ROLE_PINGS_MAX)
        return err_set(e, ERR_PROTOCOL, "the peer floods us with heartbeats");
    if (msg->type == WIRE_PONG)
        return 0;
    return conn_heartbeat(conn, WIRE_PONG, msg->ping.stamp_ns, e);
}

/* Checks what is complete. Stops at a heartbeat while something waits before it. */
static int
check_frames(struct conn *conn, struct err *e)
{
    struct frame frame;
    int found;
    while ((found = inbox_peek(&conn->inbox, &frame, e)) == 1) {
        bool heartbeat = frame.type == WIRE_PING || frame.type == WIRE_PONG;
        if (heartbeat && inbox_waits(&conn->inbox))
            return 0;
        if (wire_decode(&frame, &conn->role->msg, e) < 0)
            return -1;
        if ((heartbeat ? take_heartbeat(conn, e) : check_hello(conn, e)) < 0)
            return -1;
        if (heartbeat)
            inbox_skip(&conn->inbox, &frame);
        else
            inbox_accept(&conn->inbox, &frame);
    }
    return found;
}

/* The store role stops reading or is full: 1 all was forwarded. */
static int
forward(struct conn *conn)
{
    int done = inbox_forward(&conn->inbox, conn->pair);
    if (done < 0 && !conn->deaf) {
        conn->deaf = true;
        conn->deadline_ms = role_now_ms(conn->role) + ROLE_FAREWELL_MS;
    }
    if (done > 0 && conn->in_full) /* silence was ours */
        conn->received_ms = role_now_ms(conn->role);
    conn->in_full = done == 0;
    return done;
}

int
conn_forward(struct conn *conn, struct err *e)
{
    struct err bad;
    for (size_t turn = 0; turn < ROLE_TURN_MAX; turn += conn->inbox.checked - conn->inbox.start) {
        if (!conn->deaf && forward(conn) == 0)
            return 0;
        if (conn->in_ended) {
            *e = conn->end;
            return -1;
        }
        if (conn->deaf)
            return 0;
        bool came = fill(conn);
        if (check_frames(conn, &bad) < 0)
            conn_end_input(conn, &bad);
        if (!came && !conn->in_ended && !inbox_waits(&conn->inbox))
            return 0;
    }
    conn->in_full = true; /* not true, but brings us back after the others had their turn */
    return 0;
}
