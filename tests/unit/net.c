#include "tests/unit/node_pair.h"

#include "lib/os/sandbox.h"

#include <linux/capability.h>
#include <pthread.h>
#include <sys/wait.h>

#define PIECE  (64 * 1024)
#define VOLUME (50UL << 20)

TEST(two_roles_link_and_messages_travel_both_ways)
{
    struct cluster c;
    struct link_pair l;
    link_begin(&c, &l);
    send_now(l.to_b, data(7, span_str("to b")));
    const struct wire_msg *msg = receive(l.to_a);
    CHECK(msg->type == WIRE_DATA && msg->data.offset == 7);
    CHECK(span_equal(msg->data.bytes, span_str("to b")));
    send_now(l.to_a, data(8, span_str("to a")));
    msg = receive(l.to_b);
    CHECK(msg->data.offset == 8 && span_equal(msg->data.bytes, span_str("to a")));
    link_end(&c, &l);
}

TEST(no_message_waits_for_a_timer)
{
    struct cluster c;
    struct link_pair l;
    link_begin(&c, &l);
    int64_t begun = now_ms();
    for (uint64_t i = 0; i < 30; i++) {
        send_now(l.to_b, data(i, span_str("there")));
        CHECK_INT(receive(l.to_a)->data.offset, i);
        send_now(l.to_a, data(i, span_str("and back")));
        CHECK_INT(receive(l.to_b)->data.offset, i);
    }
    CHECK(now_ms() - begun <
          10000); /* the shortest timer, half a second, would take three times that */
    link_end(&c, &l);
}

/* The bytes at an offset of the stream: half of them compress, half do not. */
static void
fill_piece(uint64_t offset, uint8_t *piece, size_t len)
{
    uint64_t x = offset * 0x9e3779b97f4a7c15u + 1;
    memset(piece, (int)(offset / PIECE), len);
    for (size_t i = 0; i + 8 <= len / 2; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        put_le64(piece + i, x);
    }
}

struct sender {
    struct link_io *io;
    uint64_t volume;
    struct wire_msg msg;
    uint8_t piece[PIECE];
};

/* Sends the volume in frames of all sizes. */
static void *
send_volume(void *arg)
{
    struct sender *s = arg;
    struct err e;
    int failed = 0;
    uint64_t offset = 0;
    for (size_t len = 1; failed == 0 && offset < s->volume; len = len * 5 % PIECE + 1) {
        fill_piece(offset, s->piece, len);
        s->msg.type = WIRE_DATA;
        s->msg.data = (struct wire_data){ .offset = offset, .bytes = span_of(s->piece, len) };
        failed = link_io_send(s->io, &s->msg, &e);
        offset += len;
    }
    if (failed == 0)
        failed = link_io_flush(s->io, &e);
    return failed == 0 ? s : NULL;
}

static void
receive_volume(struct link_io *io, uint64_t volume)
{
    static uint8_t piece[PIECE];
    for (uint64_t offset = 0; offset < volume;) {
        const struct wire_msg *msg = receive(io);
        CHECK_INT(msg->type, WIRE_DATA);
        CHECK_INT(msg->data.offset, offset);
        fill_piece(offset, piece, msg->data.bytes.len);
        CHECK(memcmp(piece, msg->data.bytes.ptr, msg->data.bytes.len) == 0);
        offset += msg->data.bytes.len;
    }
}

static pthread_t
begin_sending(struct link_io *io, uint64_t volume, struct sender *s)
{
    pthread_t thread;
    s->io = io;
    s->volume = volume;
    CHECK_INT(pthread_create(&thread, NULL, send_volume, s), 0);
    return thread;
}

static void
end_sending(pthread_t thread)
{
    void *fine = NULL;
    CHECK_INT(pthread_join(thread, &fine), 0);
    CHECK(fine != NULL);
}

static struct sender sender_a, sender_b;

TEST(fifty_megabytes_each_way_arrive_whole_and_in_order)
{
    struct cluster c;
    struct link_pair l;
    link_begin(&c, &l);
    pthread_t there = begin_sending(l.to_b, VOLUME, &sender_a);
    receive_volume(l.to_a, VOLUME);
    end_sending(there);
    pthread_t back = begin_sending(l.to_a, VOLUME, &sender_b);
    receive_volume(l.to_b, VOLUME);
    end_sending(back);
    CHECK(link_io_bytes_sent(l.to_b) > VOLUME && link_io_bytes_received(l.to_b) > VOLUME);
    link_end(&c, &l);
}

static void
check_no_news(struct net *net)
{
    struct net_notice notice;
    struct err e;
    int link = -1;
    CHECK_INT(net_notice(net, &notice, &link, &e), 0);
}

/* Until the sender has been stuck for so long that a silent peer would be taken for dead. */
static void
wait_until_stuck(const struct link_io *io)
{
    uint64_t sent = link_io_bytes_sent(io);
    for (int64_t since = now_ms(); now_ms() - since < 7000; poll(NULL, 0, 100)) {
        if (link_io_bytes_sent(io) != sent)
            since = now_ms();
        sent = link_io_bytes_sent(io);
    }
}

TEST(slow_store_role_slows_the_sender_and_neither_memory_nor_link_suffers)
{
    struct cluster c;
    struct link_pair l;
    link_begin(&c, &l);
    size_t before_a = resident(l.a), before_b = resident(l.b);
    pthread_t there = begin_sending(l.to_b, VOLUME, &sender_a);
    wait_until_stuck(l.to_b);
    CHECK(link_io_bytes_sent(l.to_b) < VOLUME);
    CHECK(resident(l.a) < before_a + (24UL << 20) && resident(l.b) < before_b + (24UL << 20));
    check_no_news(l.a);
    check_no_news(l.b);
    receive_volume(l.to_a, VOLUME);
    end_sending(there);
    link_end(&c, &l);
}

static void
check_closed(struct link_io *io)
{
    const struct wire_msg *msg;
    struct err e;
    int got;
    while ((got = link_io_receive(io, WAIT_MS, -1, &msg, &e)) == 1)
        ;
    CHECK_INT(got, -1);
    CHECK_INT(e.code, ERR_PEER);
}

TEST(frozen_peer_is_noticed_and_linked_again_when_it_thaws)
{
    struct cluster c;
    struct link_pair l;
    link_begin(&c, &l);
    CHECK(kill(net_pid(l.b), SIGSTOP) == 0);
    expect_text(l.a, NET_LINK_DOWN, "no sign of life for 5 seconds");
    check_closed(l.to_b);
    CHECK(kill(net_pid(l.b), SIGCONT) == 0);
    link_io_free(&l.to_b);
    l.to_b = expect_link(l.a, "b");
    expect_text(l.b, NET_LINK_DOWN, "");
    check_closed(l.to_a);
    link_io_free(&l.to_a);
    l.to_a = expect_link(l.b, "a");
    send_now(l.to_b, hello("a"));
    CHECK_INT(receive(l.to_a)->type, WIRE_HELLO);
    link_end(&c, &l);
}

TEST(what_was_sent_before_the_store_role_closed_still_arrives)
{
    struct cluster c;
    struct link_pair l;
    link_begin(&c, &l);
    pthread_t there = begin_sending(l.to_b, 4UL << 20, &sender_a);
    receive_volume(l.to_a, 3UL << 20);
    end_sending(there);
    link_io_free(&l.to_b);
    const struct wire_msg *msg = NULL;
    struct err e;
    uint64_t seen = 0;
    while (link_io_receive(l.to_a, WAIT_MS, -1, &msg, &e) == 1)
        seen = msg->data.offset + msg->data.bytes.len;
    CHECK(seen >= 4UL << 20);
    CHECK_INT(e.code, ERR_PEER);
    expect_text(l.a, NET_LINK_DOWN, "closed by this node");
    expect_text(l.b, NET_LINK_DOWN, "the peer closed the connection");
    l.to_b = expect_link(l.a, "b"); /* and on they go */
    link_io_free(&l.to_a);
    l.to_a = expect_link(l.b, "a");
    link_end(&c, &l);
}

TEST(bandwidth_limit_holds)
{
    struct cluster c;
    struct link_pair l;
    cluster_begin(&c);
    struct conf_node limited[2] = { c.nodes[0], c.nodes[1] };
    limited[1].bandwidth = 1 << 20; /* what a sends to b */
    c.a.nodes = limited;
    l.b = start(&c.b);
    l.a = start(&c.a);
    l.to_b = expect_link(l.a, "b");
    l.to_a = expect_link(l.b, "a");
    send_now(l.to_b, hello("a"));
    CHECK_INT(receive(l.to_a)->type, WIRE_HELLO);
    int64_t begun = now_ms();
    pthread_t there = begin_sending(l.to_b, 4UL << 20, &sender_a); /* 2 MiB do not compress */
    receive_volume(l.to_a, 4UL << 20);
    end_sending(there);
    CHECK(now_ms() - begun >= 1800);
    link_end(&c, &l);
}

static void
check_refused(const char *file, const char *dns, bool foreign, long to, const char *why)
{
    struct cluster c;
    cluster_begin(&c);
    pki_issue(&c.pki, foreign ? &c.other : &c.ca, file, dns, -2 * PKI_DAY, to);
    use_certificate(&c, &c.a, file);
    struct net *b = start(&c.b), *a = start(&c.a);
    expect_text(b, NET_TROUBLE, why);
    expect_text(a, NET_TROUBLE, "the peer refused our certificate");
    net_stop(&a);
    net_stop(&b);
    cluster_end(&c);
}

TEST(peer_with_a_wrong_certificate_gets_no_link_and_both_sides_say_so)
{
    check_refused("expired", "DNS:a", false, -PKI_DAY, "the certificate expired on");
    check_refused("foreign", "DNS:a", true, PKI_DAY, "not from this cluster's authority");
    check_refused("wrong", "DNS:c", false, PKI_DAY, "is for \"c\", which is not expected here");
    check_refused("self", "DNS:b", false, PKI_DAY, "is for \"b\", which is not expected here");
}

TEST(dialed_node_must_be_the_one_that_was_dialed)
{
    struct cluster c;
    cluster_begin(&c);
    c.a.node_count = 3;
    pki_issue(&c.pki, &c.ca, "c", "DNS:c", -PKI_DAY, PKI_DAY);
    use_certificate(&c, &c.b, "c");
    struct net *b = start(&c.b), *a = start(&c.a);
    expect_text(b, NET_TROUBLE, "is for \"c\" and this node is b");
    expect_text(a, NET_TROUBLE, "is for \"c\", which is not expected here");
    net_stop(&a);
    net_stop(&b);
    cluster_end(&c);
}

TEST(nodes_find_each_other_whoever_starts_first_and_over_ipv6)
{
    struct cluster c;
    cluster_begin(&c);
    c.nodes[1].address = words("::1");
    struct net *a = start(&c.a);
    expect_text(a, NET_TROUBLE, "Connection refused");
    struct net *b = start(&c.b);
    struct net_notice notice;
    int link = expect(a, NET_LINK_UP, &notice);
    CHECK_STR(notice.address, "::1");
    close(link);
    close(expect(b, NET_LINK_UP, &notice));
    net_stop(&a);
    net_stop(&b);
    cluster_end(&c);
}

static void
check_start_fails(const struct conf *conf, const char *why)
{
    struct net *net = NULL;
    struct err e = { 0 };
    CHECK_INT(net_start(conf, &net, &e), -1);
    CHECK(net == NULL);
    CHECK_CONTAINS(e.text, "start the network role");
    CHECK_CONTAINS(e.text, why);
}

TEST(role_that_cannot_start_says_why)
{
    struct cluster c;
    cluster_begin(&c);
    struct net *a = start(&c.a);
    check_start_fails(&c.a, "Address already in use");
    net_stop(&a);
    struct conf bad = c.a;
    bad.tls.key = bad.tls.certificate;
    check_start_fails(&bad, "read the key");
    bad = c.a;
    bad.self = words("d");
    check_start_fails(&bad, "there is no node d");
    if (geteuid() == 0) {
        bad = c.a;
        bad.user = words("no-such-account");
        check_start_fails(&bad, "there is no user no-such-account");
    }
    c.nodes[1].address = words("mx2.example.org");
    check_start_fails(&c.a, "node b: address \"mx2.example.org\"");
    cluster_end(&c);
}

TEST(role_that_dies_is_told_with_its_reason)
{
    struct cluster c;
    cluster_begin(&c);
    struct net *a = start(&c.a);
    struct net_notice notice;
    struct err e = { 0 };
    int link, got;
    CHECK(kill(net_pid(a), SIGKILL) == 0);
    do {
        struct pollfd ready = { .fd = net_fd(a), .events = POLLIN };
        CHECK_INT(poll(&ready, 1, WAIT_MS), 1);
        got = net_notice(a, &notice, &link, &e);
    } while (got == 1);
    CHECK_INT(got, -1);
    CHECK_STR(e.text, "the network role is gone: killed by signal 9 (Killed)");
    net_stop(&a);
    CHECK(a == NULL);
    cluster_end(&c);
}

/* The value of a line of /proc/PID/status. */
static void
status_line(const struct net *net, const char *key, char value[64])
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)net_pid(net));
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    value[0] = 0;
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), ": %63s", value);
    fclose(file);
}

TEST(role_runs_without_rights)
{
    if (geteuid() != 0)
        skip();
    struct cluster c;
    cluster_begin(&c);
    struct net *a = start(&c.a);
    char value[64];
    status_line(a, "Uid", value);
    CHECK_STR(value, "65534");
    status_line(a, "CapPrm", value);
    CHECK_STR(value, "0000000000000000");
    status_line(a, "CapBnd", value);
    CHECK_STR(value, "0000000000000000");
    status_line(a, "NoNewPrivs", value);
    CHECK_STR(value, "1");
    status_line(a, "Seccomp", value);
    CHECK_STR(value, "2");
    char path[64], root[160];
    snprintf(path, sizeof(path), "/proc/%d/root", (int)net_pid(a));
    ssize_t len = readlink(path, root, sizeof(root) - 1);
    CHECK(len > 0);
    root[len] = 0;
    CHECK_CONTAINS(root, "(deleted)");
    net_stop(&a);
    cluster_end(&c);
}

/* What the daemon does to itself once its roles run. */
static int
confine_as_store_role(const struct conf *conf, struct err *e)
{
    static const int caps[] = { CAP_SYS_ADMIN,  CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE, CAP_SETUID,
                                CAP_SYS_CHROOT, CAP_SETGID,          CAP_SETPCAP,      CAP_KILL };
    struct sandbox_files *files = NULL;
    if (sandbox_landlock_new(SANDBOX_WRITE, &files, e) < 0 ||
        sandbox_landlock_allow(files, conf->run_dir, SANDBOX_WRITE, e) < 0 ||
        sandbox_keep_caps(caps, ARRAY_LEN(caps), e) < 0 || sandbox_landlock_enter(&files, e) < 0)
        return -1;
    return sandbox_seccomp(SANDBOX_STORE, e);
}

static int
start_from_confinement(const struct conf *conf)
{
    struct net *net = NULL;
    struct err e = { 0 };
    char seccomp[64];
    if (confine_as_store_role(conf, &e) < 0 || net_start(conf, &net, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    status_line(net, "Seccomp_filters", seccomp);
    kill(net_pid(net), SIGSTOP); /* it will not end by itself */
    net_stop(&net);
    return strcmp(seccomp, "2") == 0 ? 0 : 2;
}

TEST(role_can_be_started_again_and_killed_by_a_confined_store_role)
{
    if (geteuid() != 0)
        skip();
    struct cluster c;
    cluster_begin(&c);
    pid_t pid = fork();
    if (pid == 0)
        _exit(start_from_confinement(&c.a));
    int status = -1;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    cluster_end(&c);
}
