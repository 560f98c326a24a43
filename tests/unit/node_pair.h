/* node_pair.h - a cluster of two nodes on loopback for tests of the network role: a dials b, the
 * roles are real processes, the test plays both store roles. */
#ifndef MAILTWIN_TEST_NODE_PAIR_H
#define MAILTWIN_TEST_NODE_PAIR_H

#include "tests/unit/pki.h"

#include "lib/os/file.h"
#include "replicator/link_io.h"
#include "replicator/net/net.h"
#include "replicator/net/preface.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define WAIT_MS 20000

struct cluster {
    struct pki pki;
    struct pki_authority ca, other;
    struct conf_node nodes[3];
    struct conf a, b;
};

static inline unsigned
free_port(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&in, size) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&in, &size) == 0);
    close(fd);
    return ntohs(in.sin_port);
}

static inline char *
words(const char *text)
{
    static char pool[16][32];
    static unsigned next;
    char *word = pool[next++ % 16];
    snprintf(word, 32, "%s", text);
    return word;
}

/* Lets a node use the certificate `file`. */
static inline void
use_certificate(struct cluster *c, struct conf *conf, const char *file)
{
    static char pool[2][3][160];
    char(*paths)[160] = pool[conf == &c->b];
    pki_path(&c->pki, "ca", "pem", paths[0]);
    pki_path(&c->pki, file, "pem", paths[1]);
    pki_path(&c->pki, file, "key", paths[2]);
    conf->tls.authority = paths[0];
    conf->tls.certificate = paths[1];
    conf->tls.key = paths[2];
}

static inline void
cluster_begin(struct cluster *c)
{
    pki_begin(&c->pki);
    c->ca = pki_authority(&c->pki, "ca");
    c->other = pki_authority(&c->pki, "other");
    pki_issue(&c->pki, &c->ca, "a", "DNS:a", -PKI_DAY, PKI_DAY);
    pki_issue(&c->pki, &c->ca, "b", "DNS:b", -PKI_DAY, PKI_DAY);
    const char *names[] = { "a", "b", "c" };
    for (size_t i = 0; i < 3; i++)
        c->nodes[i] = (struct conf_node){ .name = words(names[i]),
                                          .address = words("127.0.0.1"),
                                          .port = free_port() };
    c->a = (struct conf){ .cluster = words("test"),
                          .run_dir = c->pki.dir,
                          .user = words("nobody"),
                          .self = c->nodes[0].name,
                          .nodes = c->nodes,
                          .node_count = 2 };
    c->b = c->a;
    c->b.self = c->nodes[1].name;
    use_certificate(c, &c->a, "a");
    use_certificate(c, &c->b, "b");
}

static inline void
cluster_end(struct cluster *c)
{
    pki_authority_free(&c->ca);
    pki_authority_free(&c->other);
    pki_end(&c->pki);
}

static inline struct net *
start(const struct conf *conf)
{
    struct net *net = NULL;
    struct err e = { 0 };
    if (net_start(conf, &net, &e) < 0)
        fail_msg("%s", e.text);
    return net;
}

static inline int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The next notice of this type; others pass by. The link's descriptor, or -1. */
static inline int
expect(struct net *net, enum net_notice_type type, struct net_notice *ret_notice)
{
    int64_t until = now_ms() + WAIT_MS;
    while (now_ms() < until) {
        struct err e;
        int link = -1, got = net_notice(net, ret_notice, &link, &e);
        if (got < 0)
            fail_msg("%s", e.text);
        if (got == 1 && ret_notice->type == type)
            return link;
        if (link >= 0)
            close(link);
        struct pollfd ready = { .fd = net_fd(net), .events = POLLIN };
        if (got == 0)
            poll(&ready, 1, 100);
    }
    fail_msg("no notice of type %d", (int)type);
    return -1;
}

static inline struct link_io *
expect_link(struct net *net, const char *peer)
{
    struct net_notice notice;
    int fd = expect(net, NET_LINK_UP, &notice);
    CHECK_STR(notice.peer, peer);
    CHECK_STR(notice.address, "127.0.0.1");
    CHECK(fd >= 0);
    return link_io_new(fd);
}

/* A notice of this type whose text has this part. */
static inline void
expect_text(struct net *net, enum net_notice_type type, const char *part)
{
    struct net_notice notice;
    int64_t until = now_ms() + WAIT_MS;
    do {
        int link = expect(net, type, &notice);
        file_closep(&link);
    } while (strstr(notice.text, part) == NULL && now_ms() < until);
    CHECK_CONTAINS(notice.text, part);
}

/* Memory of a role that is in use, in bytes. */
static inline size_t
resident(const struct net *net)
{
    char path[64];
    unsigned long pages = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)net_pid(net));
    FILE *file = fopen(path, "re");
    CHECK(file != NULL && fscanf(file, "%*u %lu", &pages) == 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Messages are large: one for the whole test program. */
static struct wire_msg message;

static inline const struct wire_msg *
hello(const char *node)
{
    message = (struct wire_msg){ .type = WIRE_HELLO };
    message.hello = (struct wire_hello){ .version_min = 1,
                                         .version_max = 1,
                                         .cluster = span_str("test"),
                                         .node = span_str(node),
                                         .oldest = 1 };
    return &message;
}

static inline const struct wire_msg *
data(uint64_t offset, struct span bytes)
{
    message = (struct wire_msg){ .type = WIRE_DATA };
    message.data = (struct wire_data){ .offset = offset, .bytes = bytes };
    return &message;
}

static inline void
send_now(struct link_io *io, const struct wire_msg *msg)
{
    struct err e;
    CHECK_INT(link_io_send(io, msg, &e), 0);
    CHECK_INT(link_io_flush(io, &e), 0);
}

static inline const struct wire_msg *
receive(struct link_io *io)
{
    const struct wire_msg *msg = NULL;
    struct err e = { 0 };
    int got = link_io_receive(io, WAIT_MS, -1, &msg, &e);
    if (got != 1)
        fail_msg("%s", got == 0 ? "nothing came" : e.text);
    return msg;
}

struct link_pair {
    struct net *a, *b;
    struct link_io *to_b, *to_a; /* a's and b's end */
};

static inline void
link_begin(struct cluster *c, struct link_pair *l)
{
    cluster_begin(c);
    l->b = start(&c->b);
    l->a = start(&c->a);
    l->to_b = expect_link(l->a, "b");
    l->to_a = expect_link(l->b, "a");
    send_now(l->to_b, hello("a"));
    send_now(l->to_a, hello("b"));
    CHECK_INT(receive(l->to_a)->type, WIRE_HELLO);
    CHECK_INT(receive(l->to_b)->type, WIRE_HELLO);
}

static inline void
link_end(struct cluster *c, struct link_pair *l)
{
    link_io_free(&l->to_b);
    link_io_free(&l->to_a);
    net_stop(&l->a);
    net_stop(&l->b);
    cluster_end(c);
}

#endif
