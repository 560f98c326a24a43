/* link_kit.h - a link of which the test holds both ends: what one thread sends, another keeps. */
#ifndef MAILTWIN_TEST_LINK_KIT_H
#define MAILTWIN_TEST_LINK_KIT_H

#include "lib/base/crc.h"
#include "replicator/link_io.h"
#include "tests/unit/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

struct link_ends {
    struct link_io *to, *from;
};

static inline void
link_ends_open(struct link_ends *l)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    l->to = link_io_new(fds[0]);
    l->from = link_io_new(fds[1]);
}

static inline void
link_ends_close(struct link_ends *l)
{
    link_io_free(&l->to);
    link_io_free(&l->from);
}

/* One object as it arrives: its REC, and the bytes of DATA with holes as zeros. */
struct arrival {
    struct link_io *from;
    enum wire_content content;
    struct attr now;
    size_t xattrs;
    struct buf bytes;
    uint64_t size, sent; /* as END says; bytes that travelled */
    bool ok, crc_right;
};

static inline void
arrival_data(struct arrival *a, const struct wire_data *data, uint32_t *crc)
{
    *crc = crc32c_more(*crc, data->bytes);
    a->sent += data->bytes.len;
    size_t end = (size_t)data->offset + data->bytes.len;
    if (end > a->bytes.len) {
        buf_reserve(&a->bytes, end - a->bytes.len);
        memset(a->bytes.ptr + a->bytes.len, 0, end - a->bytes.len);
        a->bytes.len = end;
    }
    memcpy(a->bytes.ptr + data->offset, data->bytes.ptr, data->bytes.len);
}

static inline const struct wire_msg *
arrival_next(struct arrival *a)
{
    const struct wire_msg *msg = NULL;
    struct err e = { 0 };
    if (link_io_receive(a->from, 60000, -1, &msg, &e) != 1)
        abort();
    return msg;
}

static inline void *
arrival_take(void *arg)
{
    struct arrival *a = arg;
    const struct wire_msg *msg = arrival_next(a);
    uint32_t crc = 0;
    a->content = (enum wire_content)msg->rec.content;
    a->now = msg->rec.now;
    a->xattrs = msg->rec.xattr_count;
    if (a->content != WIRE_CONTENT_DATA && a->content != WIRE_CONTENT_DELTA)
        return NULL;
    for (msg = arrival_next(a); msg->type == WIRE_DATA; msg = arrival_next(a))
        arrival_data(a, &msg->data, &crc);
    a->size = msg->end.size;
    a->ok = msg->end.ok;
    a->crc_right = msg->end.crc == crc;
    return NULL;
}

static inline pthread_t
arrival_begin(struct arrival *a, const struct link_ends *l)
{
    pthread_t thread;
    buf_reset(&a->bytes);
    *a = (struct arrival){ .from = l->from, .bytes = a->bytes };
    assert_int_equal(pthread_create(&thread, NULL, arrival_take, a), 0);
    return thread;
}

#endif
