#include "tests/unit/test.h"

#include "lib/os/file.h"
#include "replicator/link_io.h"

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 20000

static struct wire_msg message;

static const struct wire_msg *
data(uint64_t offset, struct span bytes)
{
    message = (struct wire_msg){ .type = WIRE_DATA };
    message.data = (struct wire_data){ .offset = offset, .bytes = bytes };
    return &message;
}

/* A link with a bare descriptor as the other end. */
static struct link_io *
open_link(int *ret_other)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    *ret_other = pair[1];
    return link_io_new(pair[0]);
}

static const struct wire_msg *
receive(struct link_io *io)
{
    const struct wire_msg *msg = NULL;
    struct err e = { 0 };
    if (link_io_receive(io, WAIT_MS, -1, &msg, &e) != 1)
        fail_msg("nothing came: %s", e.text);
    return msg;
}

static void
write_all(int fd, const void *ptr, size_t len)
{
    struct err e;
    CHECK_INT(file_write_full(fd, span_of(ptr, len), &e), 0);
}

TEST(message_is_kept_until_flush_and_then_sent_whole)
{
    int other;
    char got[100];
    struct err e;
    struct link_io *io = open_link(&other);
    CHECK_INT(link_io_send(io, data(1, span_str("mail")), &e), 0);
    CHECK(recv(other, got, sizeof(got), MSG_DONTWAIT) < 0 && errno == EAGAIN);
    CHECK_INT(link_io_bytes_sent(io), 0);
    CHECK_INT(link_io_flush(io, &e), 0);
    CHECK_INT(recv(other, got, sizeof(got), MSG_DONTWAIT), FRAME_HEADER_SIZE + 8 + 4);
    CHECK_INT(link_io_bytes_sent(io), FRAME_HEADER_SIZE + 8 + 4);
    link_io_free(&io);
    CHECK(io == NULL);
    close(other);
}

static void *
drain(void *fd)
{
    static uint8_t sink[64 * 1024];
    while (read(*(int *)fd, sink, sizeof(sink)) > 0)
        ;
    return NULL;
}

TEST(much_is_sent_without_flush)
{
    int other;
    struct err e;
    pthread_t reader;
    static const uint8_t bytes[4096];
    struct link_io *io = open_link(&other);
    CHECK_INT(pthread_create(&reader, NULL, drain, &other), 0);
    for (int i = 0; i < 60; i++)
        CHECK_INT(link_io_send(io, data(0, span_of(bytes, sizeof(bytes))), &e), 0);
    CHECK_INT(link_io_bytes_sent(io), 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(link_io_send(io, data(0, span_of(bytes, sizeof(bytes))), &e), 0);
    CHECK(link_io_bytes_sent(io) >= 256 * 1024);
    link_io_free(&io);
    CHECK_INT(pthread_join(reader, NULL), 0);
    close(other);
}

TEST(message_arrives_however_its_bytes_are_cut)
{
    _cleanup_buf_ struct buf frame = { 0 };
    wire_encode(data(42, span_str("cut me")), &frame);
    for (size_t cut = 1; cut < frame.len; cut++) {
        int other;
        const struct wire_msg *msg = NULL;
        struct err e;
        struct link_io *io = open_link(&other);
        write_all(other, frame.ptr, cut);
        CHECK_INT(link_io_receive(io, 0, -1, &msg, &e), 0);
        write_all(other, frame.ptr + cut, frame.len - cut);
        msg = receive(io);
        CHECK(msg->data.offset == 42 && span_equal(msg->data.bytes, span_str("cut me")));
        CHECK_INT(link_io_bytes_received(io), frame.len);
        link_io_free(&io);
        close(other);
    }
}

TEST(receive_ends_at_its_time_or_when_woken)
{
    int other, wake = eventfd(0, EFD_CLOEXEC);
    const struct wire_msg *msg = NULL;
    struct err e;
    struct link_io *io = open_link(&other);
    CHECK_INT(link_io_receive(io, 10, wake, &msg, &e), 0);
    CHECK_INT(eventfd_write(wake, 1), 0);
    CHECK_INT(link_io_receive(io, -1, wake, &msg, &e), 0);
    _cleanup_buf_ struct buf frame = { 0 };
    wire_encode(data(1, span_str("first")), &frame);
    write_all(other, frame.ptr, frame.len); /* what is there comes before the wake-up */
    CHECK_INT(link_io_receive(io, -1, wake, &msg, &e), 1);
    CHECK_INT(link_io_receive(io, -1, wake, &msg, &e), 0);
    link_io_free(&io);
    close(other);
    close(wake);
}

TEST(messages_before_the_end_are_handed_out_and_then_the_end_is_told)
{
    for (int with_unread = 0; with_unread < 2; with_unread++) {
        int other;
        const struct wire_msg *msg = NULL;
        struct err e;
        struct link_io *io = open_link(&other);
        _cleanup_buf_ struct buf frames = { 0 };
        for (uint64_t i = 0; i < 3; i++)
            wire_encode(data(i, span_str("last words")), &frames);
        write_all(other, frames.ptr, frames.len - 5); /* the third is not whole */
        if (with_unread)                              /* closing with unread bytes is a reset */
            CHECK(link_io_send(io, data(9, span_str("x")), &e) == 0 && link_io_flush(io, &e) == 0);
        close(other);
        CHECK_INT(receive(io)->data.offset, 0);
        CHECK_INT(receive(io)->data.offset, 1);
        CHECK_INT(link_io_receive(io, WAIT_MS, -1, &msg, &e), -1);
        CHECK_INT(e.code, ERR_PEER);
        CHECK_INT(link_io_send(io, data(0, span_str("too late")), &e), 0);
        CHECK_INT(link_io_flush(io, &e), -1);
        CHECK_INT(e.code, ERR_PEER);
        link_io_free(&io);
    }
}

TEST(what_is_no_message_is_an_error)
{
    int other;
    const struct wire_msg *msg = NULL;
    struct err e;
    struct link_io *io = open_link(&other);
    char garbage[64];
    memset(garbage, 0xff, sizeof(garbage));
    write_all(other, garbage, sizeof(garbage));
    CHECK_INT(link_io_receive(io, WAIT_MS, -1, &msg, &e), -1);
    CHECK(e.code == ERR_PROTOCOL || e.code == ERR_CORRUPT);
    link_io_free(&io);
    close(other);
}

struct talker {
    struct link_io *io;
    struct wire_msg msg;
    uint64_t messages;
    const char *failed;
};

#define TALK_BYTES (16 * 1024)

/* Sends all its messages before it reads anything, then reads as many. */
static void *
talk(void *arg)
{
    struct talker *t = arg;
    struct err e;
    const struct wire_msg *msg = NULL;
    static const uint8_t bytes[TALK_BYTES];
    t->msg.type = WIRE_DATA;
    for (uint64_t i = 0; i < t->messages; i++) {
        t->msg.data = (struct wire_data){ .offset = i, .bytes = span_of(bytes, sizeof(bytes)) };
        if (link_io_send(t->io, &t->msg, &e) < 0)
            t->failed = "send";
    }
    if (link_io_flush(t->io, &e) < 0)
        t->failed = "flush";
    for (uint64_t i = 0; i < t->messages && t->failed == NULL; i++)
        if (link_io_receive(t->io, WAIT_MS, -1, &msg, &e) != 1 || msg->data.offset != i)
            t->failed = "receive";
    return NULL;
}

static void
talk_both(uint64_t messages, bool expects)
{
    int pair[2];
    static struct talker talkers[2];
    pthread_t threads[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    for (size_t i = 0; i < 2; i++)
        talkers[i] = (struct talker){ .io = link_io_new(pair[i]), .messages = messages };
    if (expects)
        link_io_expects(talkers[0].io, 80 * 1024 * 1024, -1);
    for (size_t i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, talk, &talkers[i]), 0);
    for (size_t i = 0; i < 2; i++)
        CHECK_INT(pthread_timedjoin_np(threads[i], NULL, &until), 0);
    for (size_t i = 0; i < 2; i++) {
        CHECK(talkers[i].failed == NULL);
        link_io_free(&talkers[i].io);
    }
}

TEST(two_who_both_talk_first_do_not_block_each_other)
{
    talk_both(400, false); /* 6 MiB each, which is kept by either */
}

TEST(who_expects_much_blocks_nobody_who_talks_first)
{
    talk_both(4000, true);
}

#define LIES (64 * 1024 * 1024)

/* Talks and does not listen; when it has said it all it takes what waits. */
static void *
lie(void *fd)
{
    _cleanup_buf_ struct buf frame = { 0 };
    static const uint8_t bytes[TALK_BYTES];
    static struct wire_msg msg = { .type = WIRE_DATA };
    msg.data.bytes = span_of(bytes, sizeof(bytes));
    wire_encode(&msg, &frame);
    for (size_t said = 0; said < LIES; said += frame.len)
        if (send(*(int *)fd, frame.ptr, frame.len, MSG_NOSIGNAL) != (ssize_t)frame.len)
            return NULL; /* it was cut off */
    return drain(fd);
}

TEST(a_peer_that_talks_and_does_not_listen_is_refused_and_fills_no_memory)
{
    int other, rc = 0;
    struct err e = { 0 };
    pthread_t liar;
    static const uint8_t bytes[TALK_BYTES];
    struct link_io *io = open_link(&other);
    link_io_expects(io, 1024 * 1024, 100);
    CHECK_INT(pthread_create(&liar, NULL, lie, &other), 0);
    for (int i = 0; rc == 0 && i < 4000; i++)
        rc = link_io_send(io, data(0, span_of(bytes, sizeof(bytes))), &e);
    CHECK_INT(rc, -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK_CONTAINS(e.text, "bytes that nobody waited for, and reads nothing");
    CHECK(link_io_bytes_received(io) < 4 * 1024 * 1024);
    link_io_free(&io);
    CHECK_INT(pthread_join(liar, NULL), 0);
    close(other);
}

TEST(message_stays_valid_while_answers_are_sent)
{
    int other;
    struct err e;
    struct link_io *io = open_link(&other);
    _cleanup_buf_ struct buf frames = { 0 };
    wire_encode(data(1, span_str("read me while you write")), &frames);
    wire_encode(data(2, span_str("next")), &frames);
    write_all(other, frames.ptr, frames.len);
    const struct wire_msg *msg = receive(io);
    CHECK_INT(link_io_send(io, data(7, span_str("answer")), &e), 0);
    CHECK_INT(link_io_flush(io, &e), 0);
    CHECK(msg->data.offset == 1);
    CHECK(span_equal(msg->data.bytes, span_str("read me while you write")));
    CHECK_INT(receive(io)->data.offset, 2);
    link_io_free(&io);
    close(other);
}
