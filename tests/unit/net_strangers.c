/* What a network role makes of peers that do not behave: node b's role is real, node a is played
 * by hand with OpenSSL. */
#include "tests/unit/node_pair.h"

#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>

struct puppet {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

static int
dial(const struct cluster *c)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)c->nodes[1].port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    struct timeval limit = { .tv_sec = WAIT_MS / 1000 };
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
    return fd;
}

static void
write_all(struct puppet *p, const void *ptr, size_t len)
{
    CHECK(SSL_write(p->ssl, ptr, (int)len) == (int)len);
}

static void
read_all(struct puppet *p, void *ptr, size_t len)
{
    for (size_t have = 0; have < len;) {
        int got = SSL_read(p->ssl, (char *)ptr + have, (int)(len - have));
        CHECK(got > 0);
        have += (size_t)got;
    }
}

/* Dials b as node a, up to the end of the TLS handshake. */
static struct puppet
puppet_shake(const struct cluster *c)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    struct puppet p = { .fd = dial(c), .ctx = SSL_CTX_new(TLS_client_method()) };
    CHECK(SSL_CTX_use_certificate_chain_file(p.ctx, c->a.tls.certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey_file(p.ctx, c->a.tls.key, SSL_FILETYPE_PEM) == 1);
    p.ssl = SSL_new(p.ctx);
    SSL_set_fd(p.ssl, p.fd);
    CHECK(SSL_connect(p.ssl) == 1);
    return p;
}

/* ... and to a link, compressed or not. */
static struct puppet
puppet_link(const struct cluster *c, bool zstd)
{
    struct puppet p = puppet_shake(c);
    uint8_t ours[PREFACE_SIZE], theirs[PREFACE_SIZE];
    preface_encode(ours);
    put_le32(ours + PREFACE_OFF_FLAGS, zstd ? PREFACE_F_ZSTD : 0);
    write_all(&p, ours, sizeof(ours));
    read_all(&p, theirs, sizeof(theirs));
    CHECK(memcmp(theirs, PREFACE_MAGIC, 8) == 0);
    CHECK_INT(get_le32(theirs + PREFACE_OFF_FLAGS), PREFACE_F_ZSTD);
    return p;
}

static void
puppet_end(struct puppet *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    close(p->fd);
}

static void
send_message(struct puppet *p, const struct wire_msg *msg)
{
    _cleanup_buf_ struct buf frame = { 0 };
    wire_encode(msg, &frame);
    write_all(p, frame.ptr, frame.len);
}

/* A role for b, a link from the puppet, and b's end of it. */
struct stage {
    struct cluster c;
    struct net *b;
    struct puppet a;
    struct link_io *to_a;
};

static void
stage_begin(struct stage *s, bool zstd)
{
    cluster_begin(&s->c);
    s->b = start(&s->c.b);
    s->a = puppet_link(&s->c, zstd);
    s->to_a = expect_link(s->b, "a");
}

/* The role must have outlived what was done to it: a new link works. */
static void
stage_end(struct stage *s)
{
    puppet_end(&s->a);
    link_io_free(&s->to_a);
    s->a = puppet_link(&s->c, false);
    s->to_a = expect_link(s->b, "a");
    send_message(&s->a, hello("a"));
    CHECK_INT(receive(s->to_a)->type, WIRE_HELLO);
    puppet_end(&s->a);
    link_io_free(&s->to_a);
    net_stop(&s->b);
    cluster_end(&s->c);
}

static void
check_link_ends(struct stage *s, const char *why)
{
    const struct wire_msg *msg;
    struct err e;
    expect_text(s->b, NET_LINK_DOWN, why);
    CHECK_INT(link_io_receive(s->to_a, WAIT_MS, -1, &msg, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
}

TEST(link_without_compression_works_too)
{
    struct stage s;
    stage_begin(&s, false);
    send_message(&s.a, hello("a"));
    CHECK_INT(receive(s.to_a)->type, WIRE_HELLO);
    send_now(s.to_a, data(3, span_str("plain")));
    uint8_t got[FRAME_HEADER_SIZE + 8 + 5];
    read_all(&s.a, got, sizeof(got));
    CHECK_INT(got[FRAME_OFF_TYPE], WIRE_DATA);
    CHECK(memcmp(got + sizeof(got) - 5, "plain", 5) == 0);
    stage_end(&s);
}

TEST(frames_before_a_malformed_one_arrive_and_then_the_link_ends)
{
    struct stage s;
    stage_begin(&s, false);
    send_message(&s.a, hello("a"));
    send_message(&s.a, data(1, span_str("good")));
    char garbage[100];
    memset(garbage, 0xee, sizeof(garbage));
    write_all(&s.a, garbage, sizeof(garbage));
    CHECK_INT(receive(s.to_a)->type, WIRE_HELLO);
    CHECK_INT(receive(s.to_a)->type, WIRE_DATA);
    check_link_ends(&s, "frame");
    stage_end(&s);
}

TEST(truncated_frame_is_not_passed_on)
{
    struct stage s;
    stage_begin(&s, false);
    send_message(&s.a, hello("a"));
    _cleanup_buf_ struct buf frame = { 0 };
    wire_encode(data(1, span_str("never whole")), &frame);
    write_all(&s.a, frame.ptr, frame.len - 1);
    SSL_shutdown(s.a.ssl);
    CHECK_INT(receive(s.to_a)->type, WIRE_HELLO);
    check_link_ends(&s, "the peer closed the connection");
    stage_end(&s);
}

TEST(message_that_breaks_its_format_is_not_passed_on)
{
    struct stage s;
    stage_begin(&s, false);
    send_message(&s.a, hello("a"));
    _cleanup_buf_ struct buf frame = { 0 };
    size_t mark = frame_begin(&frame, WIRE_ACK);
    buf_add(&frame, "short", 5);
    frame_end(&frame, mark);
    write_all(&s.a, frame.ptr, frame.len);
    CHECK_INT(receive(s.to_a)->type, WIRE_HELLO);
    check_link_ends(&s, "");
    stage_end(&s);
}

TEST(link_begins_with_the_hello_of_the_node_in_the_certificate)
{
    struct stage s;
    stage_begin(&s, false);
    send_message(&s.a, hello("c"));
    check_link_ends(&s, "the peer's HELLO is from c, its certificate for a");
    stage_end(&s);
    stage_begin(&s, false);
    send_message(&s.a, data(0, span_str("hello?")));
    check_link_ends(&s, "the peer did not begin with HELLO");
    stage_end(&s);
}

static void
send_ping(struct puppet *p, uint64_t stamp_ns)
{
    message = (struct wire_msg){ .type = WIRE_PING, .ping = { .stamp_ns = stamp_ns } };
    send_message(p, &message);
}

TEST(ping_is_answered_by_the_role_itself)
{
    struct stage s;
    stage_begin(&s, false);
    send_ping(&s.a, 0x1122334455667788);
    uint8_t pong[FRAME_HEADER_SIZE + 8];
    do /* the role's own pings may come between */
        read_all(&s.a, pong, sizeof(pong));
    while (pong[FRAME_OFF_TYPE] != WIRE_PONG);
    CHECK_INT(get_le64(pong + FRAME_HEADER_SIZE), 0x1122334455667788);
    send_message(&s.a, hello("a"));
    CHECK_INT(receive(s.to_a)->type, WIRE_HELLO); /* the ping did not come this far */
    stage_end(&s);
}

TEST(flood_of_pings_ends_the_link)
{
    struct stage s;
    stage_begin(&s, false);
    _cleanup_buf_ struct buf flood = { 0 };
    message = (struct wire_msg){ .type = WIRE_PING };
    for (int i = 0; i < 1000; i++)
        wire_encode(&message, &flood);
    write_all(&s.a, flood.ptr, flood.len);
    check_link_ends(&s, "floods us with heartbeats");
    stage_end(&s);
}

/* Compresses with a window of 2^window_log bytes. */
static size_t
compress(const void *ptr, size_t len, int window_log, void *out, size_t size)
{
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, window_log);
    ZSTD_inBuffer from = { .src = ptr, .size = len };
    ZSTD_outBuffer to = { .dst = out, .size = size };
    CHECK(ZSTD_compressStream2(ctx, &to, &from, ZSTD_e_flush) == 0);
    ZSTD_freeCCtx(ctx);
    return to.pos;
}

TEST(decompression_bomb_waits_for_its_reader_and_takes_no_memory)
{
    enum {
        FRAMES = 2000
    };
    struct stage s;
    _cleanup_buf_ struct buf plain = { 0 };
    wire_encode(hello("a"), &plain);
    static const uint8_t zeros[WIRE_DATA_MAX];
    for (int i = 0; i < FRAMES; i++) /* 500 MiB */
        wire_encode(data(0, span_of(zeros, sizeof(zeros))), &plain);
    static uint8_t bomb[1 << 20];
    size_t len = compress(plain.ptr, plain.len, 20, bomb, sizeof(bomb));
    CHECK(len < plain.len / 1000);
    buf_free(&plain);
    stage_begin(&s, true); /* only now: the making takes longer than a silent peer may live */
    size_t before = resident(s.b);
    write_all(&s.a, bomb, len);
    CHECK_INT(receive(s.to_a)->type, WIRE_HELLO);
    for (int i = 0; i < FRAMES; i++) {
        CHECK_INT(receive(s.to_a)->data.bytes.len, sizeof(zeros));
        if (i % 100 == 0)
            CHECK(resident(s.b) < before + (16UL << 20));
    }
    stage_end(&s);
}

TEST(window_larger_than_agreed_is_refused)
{
    struct stage s;
    stage_begin(&s, true);
    static uint8_t packed[1 << 20];
    size_t before = resident(s.b);
    size_t len = compress("anything", 8, 27, packed, sizeof(packed));
    write_all(&s.a, packed, len);
    check_link_ends(&s, "the compressed stream is damaged: Frame requires too much memory");
    CHECK(resident(s.b) < before + (16UL << 20));
    stage_end(&s);
}

TEST(damaged_compression_ends_the_link)
{
    struct stage s;
    stage_begin(&s, true);
    write_all(&s.a, "this is no zstd", 15);
    check_link_ends(&s, "the compressed stream is damaged");
    stage_end(&s);
}

TEST(newer_connection_of_a_node_replaces_the_older)
{
    struct stage s;
    stage_begin(&s, false);
    struct puppet newer = puppet_link(&s.c, false);
    check_link_ends(&s, "replaced by a newer connection");
    puppet_end(&s.a);
    link_io_free(&s.to_a);
    s.a = newer;
    s.to_a = expect_link(s.b, "a");
    stage_end(&s);
}

static void
check_preface(const uint8_t preface[PREFACE_SIZE], const char *why)
{
    struct cluster c;
    cluster_begin(&c);
    struct net *b = start(&c.b);
    struct puppet p = puppet_shake(&c);
    write_all(&p, preface, PREFACE_SIZE);
    expect_text(b, NET_TROUBLE, why);
    puppet_end(&p);
    net_stop(&b);
    cluster_end(&c);
}

TEST(preface_of_another_protocol_or_version_gets_no_link)
{
    uint8_t preface[PREFACE_SIZE];
    preface_encode(preface);
    put_le16(preface + PREFACE_OFF_MIN, 7);
    put_le16(preface + PREFACE_OFF_MAX, 9);
    check_preface(preface, "the peer speaks link versions 7 to 9, this node 1 to 1");
    preface_encode(preface);
    preface[0] = 'm';
    check_preface(preface, "not mailtwin's protocol");
}

/* Sends bytes that are no TLS, and waits until the role has hung up. */
static void
knock(const struct cluster *c, const char *text)
{
    char answer[256];
    int fd = dial(c);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    while (read(fd, answer, sizeof(answer)) > 0)
        ;
    close(fd);
}

TEST(web_browser_on_the_port_is_told_once_however_often_it_knocks)
{
    struct cluster c;
    struct net_notice notice;
    struct err e;
    int link;
    cluster_begin(&c);
    struct net *b = start(&c.b);
    for (int i = 0; i < 20; i++)
        knock(&c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    expect_text(b, NET_TROUBLE, "not TLS at all: an HTTP request");
    CHECK_INT(net_notice(b, &notice, &link, &e), 0);
    struct puppet p = puppet_link(&c, false); /* and peers still get in */
    struct link_io *io = expect_link(b, "a");
    link_io_free(&io);
    puppet_end(&p);
    net_stop(&b);
    cluster_end(&c);
}

static bool
has_hung_up(int fd)
{
    char byte;
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    return poll(&ready, 1, 0) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

TEST(crowd_of_silent_strangers_keeps_no_peer_out)
{
    enum {
        CROWD = 60,
        ALLOWED = 32
    };
    struct cluster c;
    int crowd[CROWD];
    cluster_begin(&c);
    struct net *b = start(&c.b);
    for (int i = 0; i < CROWD; i++)
        crowd[i] = dial(&c);
    expect_text(b, NET_TROUBLE, "more than 32 connections have not said who they are");
    struct puppet p = puppet_link(&c, false);
    struct link_io *io = expect_link(b, "a");
    int gone = 0;
    for (int i = 0; i < CROWD; i++)
        gone += has_hung_up(crowd[i]);
    CHECK(gone >= CROWD - ALLOWED);
    for (int i = 0; i < CROWD; i++)
        close(crowd[i]);
    link_io_free(&io);
    puppet_end(&p);
    net_stop(&b);
    cluster_end(&c);
}

TEST(handshake_that_takes_for_ever_is_cut_off)
{
    struct cluster c;
    cluster_begin(&c);
    struct net *b = start(&c.b);
    int fd = dial(&c);
    char answer[256];
    static const char slow[] = "\x16\x03\x01\x02";
    CHECK(write(fd, slow, 4) == 4); /* the start of a TLS record that never comes */
    expect_text(b, NET_TROUBLE, "the handshake was not completed in time");
    CHECK(read(fd, answer, sizeof(answer)) <= 0);
    close(fd);
    net_stop(&b);
    cluster_end(&c);
}
