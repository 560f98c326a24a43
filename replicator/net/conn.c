/* The life of a connection: handshake, preface, link, farewell. */
#include "lib/os/file.h"
#include "replicator/net/role.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

#define PAIR_BUFFER (1 << 20)

static void
on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    if (--conn->handles > 0)
        return;
    LIST_REMOVE(conn, next);
    if (conn->role->stop_ms != 0 && LIST_EMPTY(&conn->role->conns))
        uv_stop(&conn->role->loop);
    tls_free(&conn->tls);
    squeeze_free(&conn->squeeze);
    unsqueeze_free(&conn->unsqueeze);
    inbox_free(&conn->inbox);
    buf_free(&conn->cipher);
    buf_free(&conn->zin);
    buf_free(&conn->plain);
    buf_free(&conn->packed);
    free(conn);
}

static void
close_pair(struct conn *conn)
{
    if (conn->pair < 0)
        return;
    uv_close((uv_handle_t *)&conn->pair_poll, on_closed);
    file_closep(&conn->pair);
    conn->pair = -1;
}

static void
no_stranger(struct conn *conn)
{
    if (conn->stranger)
        conn->role->strangers--;
    conn->stranger = false;
}

static uint64_t
round_trip_ms(const struct conn *conn)
{
    struct tcp_info info = { 0 };
    socklen_t size = sizeof(info);
    (void)getsockopt(conn->sock, IPPROTO_TCP, TCP_INFO, &info, &size); /* 0: unknown, so near */
    return info.tcpi_rtt / 1000;
}

static void
call_again(const struct conn *conn)
{
    struct peer *peer = conn->peer;
    uint64_t now_ms = role_now_ms(conn->role);
    if (conn->state == CONN_LINKED && now_ms - conn->linked_ms >= REDIAL_HELD_MS)
        redial_lost(&peer->redial, round_trip_ms(conn), now_ms);
    else
        redial_failed(&peer->redial, conn->state != CONN_CONNECTING);
    peer_dial_later(peer);
}

/* The role forgets the connection and tells why it is of no use any more. */
static void
detach(struct conn *conn, const char *why)
{
    struct peer *peer = conn->peer;
    const char *name = peer != NULL ? peer->node->name : "";
    if (conn->state == CONN_LINKED) {
        ASSERT(peer != NULL); /* only a known peer is linked */
        peer->link = NULL;
        role_notice(conn->role, NET_LINK_DOWN, name, conn->address, why, -1);
    } else if (conn->state < CONN_LINKED) {
        role_trouble(conn->role, name, conn->address, why);
    }
    if (peer != NULL && peer->dialing == conn)
        peer->dialing = NULL;
    if (peer != NULL && peer->dials && conn->state <= CONN_LINKED)
        call_again(conn);
}

void
conn_close(struct conn *conn, const struct err *e)
{
    if (conn->state == CONN_CLOSED)
        return;
    detach(conn, e->text);
    no_stranger(conn);
    conn->state = CONN_CLOSED;
    close_pair(conn);
    uv_close((uv_handle_t *)&conn->sock_poll, on_closed);
    uv_close((uv_handle_t *)&conn->throttle, on_closed);
    file_closep(&conn->sock);
    conn->sock = -1;
}

/* Sends what it can and waits for the peer to close: closing with unread bytes would be a reset,
 * which takes away from the peer what it has not read yet. */
static void
enter_farewell(struct conn *conn, const char *why)
{
    detach(conn, why);
    close_pair(conn);
    conn->state = CONN_FAREWELL;
    conn->in_ended = conn->in_full = false;
    conn->deadline_ms = role_now_ms(conn->role) + ROLE_FAREWELL_MS;
}

void
conn_farewell(struct conn *conn, const char *why)
{
    tls_close(conn->tls);
    enter_farewell(conn, why);
    conn_work(conn);
}

static int
enter_linger(struct conn *conn, struct err *e)
{
    if (shutdown(conn->sock, SHUT_WR) < 0)
        return err_sys(e, ERR_PEER, "the connection broke");
    conn->state = CONN_LINGER;
    conn->deadline_ms = role_now_ms(conn->role) + ROLE_LINGER_MS;
    return 0;
}

static int
finish_connect(struct conn *conn, struct err *e)
{
    int failed = 0;
    socklen_t size = sizeof(failed);
    if (getsockopt(conn->sock, SOL_SOCKET, SO_ERROR, &failed, &size) < 0)
        return err_sys(e, ERR_IO, "look at the new connection");
    if (failed != 0)
        return err_errnum(e, ERR_PEER, failed, "cannot connect to port %u", conn->peer->node->port);
    conn->state = CONN_HANDSHAKE;
    return 0;
}

static int
shake(struct conn *conn, struct err *e)
{
    int done = tls_handshake(conn->tls, e);
    if (done <= 0)
        return done;
    if (conn->peer == NULL)
        conn->peer = role_peer(conn->role, tls_peer_name(conn->tls));
    ASSERT(conn->peer != NULL); /* only names of peers were taken */
    uint8_t preface[PREFACE_SIZE];
    preface_encode(preface);
    conn->state = CONN_PREFACE;
    return tls_write(conn->tls, span_of(preface, sizeof(preface)), e);
}

/* Makes the link's socketpair; the store role's end is *ret_theirs. */
static int
make_pair(struct conn *conn, int *ret_theirs, struct err *e)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_sys(e, ERR_IO, "make the link's socketpair");
    for (int i = 0; i < 2; i++) /* the system's limit may be lower */
        (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &(int){ PAIR_BUFFER }, sizeof(int));
    conn->pair = ends[0];
    *ret_theirs = ends[1];
    int failed = uv_poll_init(&conn->role->loop, &conn->pair_poll, conn->pair);
    if (failed == 0) {
        conn->handles++;
        conn->pair_poll.data = conn;
        return 0;
    }
    file_closep(&ends[0]);
    file_closep(&ends[1]);
    conn->pair = -1;
    return err_errnum(e, ERR_IO, -failed, "watch the link's socketpair");
}

static void
replace_older(struct conn *conn)
{
    struct err why;
    err_set(&why, ERR_PEER, "replaced by a newer connection");
    if (conn->peer->link != NULL)
        conn_close(conn->peer->link, &why);
    uv_timer_stop(&conn->peer->timer);
}

static int
become_link(struct conn *conn, const struct preface *preface, struct err *e)
{
    int theirs = -1;
    replace_older(conn);
    if (make_pair(conn, &theirs, e) < 0)
        return -1;
    if (preface->zstd) {
        conn->squeeze = squeeze_new();
        conn->unsqueeze = unsqueeze_new();
    }
    inbox_init(&conn->inbox);
    bucket_init(&conn->bucket, conn->peer->node->bandwidth, uv_hrtime());
    no_stranger(conn);
    conn->state = CONN_LINKED;
    conn->deadline_ms = 0;
    conn->linked_ms = conn->sent_ms = role_now_ms(conn->role);
    conn->peer->dialing = NULL;
    conn->peer->link = conn;
    role_notice(conn->role, NET_LINK_UP, conn->peer->node->name, conn->address, "", theirs);
    return 0;
}

/* 1 the preface is complete and agreed on, 0 more bytes please, -1 failed. */
static int
read_preface(struct conn *conn, struct err *e)
{
    while (conn->preface_len < PREFACE_SIZE) {
        ssize_t got = tls_read(conn->tls, conn->preface + conn->preface_len,
                               PREFACE_SIZE - conn->preface_len, e);
        if (got <= 0)
            return (int)got;
        conn->preface_len += (size_t)got;
    }
    struct preface preface;
    if (preface_decode(conn->preface, &preface, e) < 0)
        return -1;
    return become_link(conn, &preface, e) < 0 ? -1 : 1;
}

/* Carries bytes both ways as far as they go. */
static int
work_link(struct conn *conn, struct err *e)
{
    if (conn_forward(conn, e) < 0 || conn_collect(conn, e) < 0)
        return -1;
    struct err broken;
    if (conn_send(conn, &broken) < 0)
        conn_end_input(conn, &broken); /* what has come is still forwarded */
    return 0;
}

static int
work_farewell(struct conn *conn, struct err *e)
{
    if (conn_send(conn, e) < 0)
        return -1;
    return conn_queued(conn) == 0 ? enter_linger(conn, e) : 0;
}

/* Handshake and preface, as far as the bytes go; the first bytes of the link may lie behind. */
static int
work_greeting(struct conn *conn, struct err *e)
{
    if (conn->state == CONN_CONNECTING && finish_connect(conn, e) < 0)
        return -1;
    if (conn->state == CONN_HANDSHAKE && shake(conn, e) < 0)
        return -1;
    if (conn->state == CONN_PREFACE && read_preface(conn, e) < 0)
        return -1;
    return conn_send(conn, e);
}

/* TLS may have an answer for a stranger; he gets it, and the time to read it. */
static void
refuse(struct conn *conn, const struct err *e)
{
    if (conn->state == CONN_CONNECTING) {
        conn_close(conn, e);
        return;
    }
    enter_farewell(conn, e->text);
    conn_work(conn);
}

static int
wanted_of_sock(const struct conn *conn)
{
    bool reads = !conn->in_full && !conn->deaf;
    if (conn->state == CONN_CONNECTING)
        return UV_WRITABLE;
    if (conn->in_ended)
        return 0;
    return (reads ? UV_READABLE : 0) | (conn->sock_full ? UV_WRITABLE : 0);
}

static int
wanted_of_pair(const struct conn *conn)
{
    bool collects = !conn->in_ended && conn_queued(conn) < conn_out_max(conn);
    bool forwards = conn->in_full || conn->in_ended;
    return (collects ? UV_READABLE : 0) | (forwards ? UV_WRITABLE : 0);
}

static void
watch(uv_poll_t *poll, int *events, int wanted, uv_poll_cb callback)
{
    if (wanted == *events)
        return;
    *events = wanted;
    if (wanted == 0)
        uv_poll_stop(poll);
    else
        uv_poll_start(poll, wanted, callback);
}

static void
on_sock(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    struct err e = { 0 };
    if (status < 0) {
        conn->sock_events = 0; /* libuv has stopped watching */
        if (conn->in_full || conn->deaf) {
            err_set(&e, ERR_PEER, "the connection broke");
            conn_end_input(conn, &e);
        }
    }
    bool readable = status < 0 || (events & UV_READABLE);
    if (conn->state != CONN_CONNECTING && readable && conn_receive(conn, &e) < 0)
        conn_close(conn, &e);
    else
        conn_work(conn);
}

static void
on_pair(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    (void)events;
    if (status < 0)
        conn->pair_events = 0;
    conn_work(conn);
}

static int
work(struct conn *conn, struct err *e)
{
    if (conn->state < CONN_LINKED && work_greeting(conn, e) < 0)
        return -1;
    if (conn->state == CONN_LINKED)
        return work_link(conn, e);
    return conn->state == CONN_FAREWELL ? work_farewell(conn, e) : 0;
}

void
conn_work(struct conn *conn)
{
    struct err e = { 0 };
    if (conn->state == CONN_CLOSED)
        return;
    if (work(conn, &e) < 0) {
        if (conn->state < CONN_LINKED)
            refuse(conn, &e);
        else
            conn_close(conn, &e);
        return;
    }
    if (conn->state == CONN_LINKED && conn->store_ended) {
        conn_farewell(conn, "closed by this node");
        return;
    }
    watch(&conn->sock_poll, &conn->sock_events, wanted_of_sock(conn), on_sock);
    if (conn->state == CONN_LINKED)
        watch(&conn->pair_poll, &conn->pair_events, wanted_of_pair(conn), on_pair);
}

static void
describe_address(struct conn *conn, const struct sockaddr_storage *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    if (address->ss_family == AF_INET)
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    else
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
    const char *plain = strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text;
    snprintf(conn->address, sizeof(conn->address), "%s", plain);
}

/* A dialed peer must be the one that was dialed; one that dials us must be a node whose turn it is
 * to dial. */
static bool
name_expected(const char *name, const void *arg)
{
    const struct conn *conn = arg;
    if (conn->peer != NULL)
        return strcmp(name, conn->peer->node->name) == 0;
    const struct peer *peer = role_peer(conn->role, name);
    return peer != NULL && !peer->dials;
}

struct conn *
conn_new(struct role *role, int fd, struct peer *peer, const struct sockaddr_storage *address)
{
    struct conn *conn = xcalloc(1, sizeof(*conn));
    *conn = (struct conn){ .role = role, .peer = peer, .sock = fd, .pair = -1 };
    conn->state = peer != NULL ? CONN_CONNECTING : CONN_HANDSHAKE;
    conn->stranger = peer == NULL;
    role->strangers += conn->stranger;
    conn->deadline_ms = role_now_ms(role) + ROLE_HANDSHAKE_MS;
    describe_address(conn, address);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    conn->tls = tls_new(role->tls, peer != NULL, name_expected, conn);
    conn->sock_poll.data = conn->pair_poll.data = conn->throttle.data = conn;
    ASSERT(uv_poll_init(&role->loop, &conn->sock_poll, fd) == 0);
    ASSERT(uv_timer_init(&role->loop, &conn->throttle) == 0);
    conn->handles = 2;
    LIST_INSERT_HEAD(&role->conns, conn, next);
    watch(&conn->sock_poll, &conn->sock_events, wanted_of_sock(conn), on_sock);
    return conn;
}

static const char *
late_text(enum conn_state state)
{
    switch (state) {
    case CONN_CONNECTING:
        return "no answer to our connection request";
    case CONN_HANDSHAKE:
    case CONN_PREFACE:
        return "the handshake was not completed in time";
    default:
        return "the peer does not take our goodbye";
    }
}

void
conn_unanswered(struct conn *conn)
{
    struct err e;
    if (conn->state != CONN_CONNECTING)
        return;
    err_set(&e, ERR_TIMEOUT, "%s", late_text(conn->state));
    conn_close(conn, &e);
}

void
conn_tick(struct conn *conn, uint64_t now_ms)
{
    struct err e = { 0 };
    if (conn->deadline_ms != 0 && now_ms >= conn->deadline_ms) {
        err_set(&e, ERR_TIMEOUT, "%s", late_text(conn->state));
        conn_close(conn, &e);
        return;
    }
    if (conn->state != CONN_LINKED)
        return;
    conn->pings = 0;
    uint64_t heard_ms = now_ms - conn->received_ms, spoke_ms = now_ms - conn->sent_ms;
    if (heard_ms >= ROLE_SILENCE_MS && !conn->in_full && !conn->deaf) {
        err_set(&e, ERR_TIMEOUT, "no sign of life for %d seconds", ROLE_SILENCE_MS / 1000);
        conn_close(conn, &e);
    } else if (heard_ms >= ROLE_PING_MS || spoke_ms >= ROLE_PING_MS) {
        if (conn_heartbeat(conn, WIRE_PING, uv_hrtime(), &e) < 0)
            conn_close(conn, &e);
        else
            conn_work(conn);
    }
}
