#include "directory/native.h"

#define LOOK_EVERY_MS 1000

static double
newest_of(struct span csns)
{
    double newest = 0, seconds;
    while (csns.len > 0) {
        const uint8_t *end = memchr(csns.ptr, ';', csns.len);
        size_t len = end == NULL ? csns.len : (size_t)(end - csns.ptr);
        if (ldapsync_csn_time(span_from(csns, 0, len), &seconds))
            newest = MAX(newest, seconds);
        len += end != NULL;
        csns = span_from(csns, len, csns.len - len);
    }
    return newest;
}

static int
connect_peer(struct dir_store *s, struct err *e)
{
    const char *uri = s->conf->ldap.peer_uri;
    if (s->native.peer != NULL)
        return 0;
    return server_open(s->conf, uri, s->password, &s->native.peer, e);
}

static int
look(struct dir_store *s, struct err *e)
{
    _cleanup_buf_ struct buf here = { 0 };
    _cleanup_buf_ struct buf there = { 0 };
    if (connect_peer(s, e) < 0 || server_csns(s->server, &here, e) != 0 ||
        server_csns(s->native.peer, &there, e) != 0)
        return -1;
    if (here.len == 0 || there.len == 0)
        return err_set(e, ERR_UNSUITABLE, "the server of %s has no contextCSN: does it replicate?",
                       here.len == 0 ? "this node" : "the other node");
    double lag = newest_of(buf_span(&here)) - newest_of(buf_span(&there));
    s->native.lag_seconds = lag < 0 ? -lag : lag;
    s->native.level = span_equal(buf_span(&here), buf_span(&there));
    return 0;
}

int
native_step(struct dir_store *s)
{
    struct err e = { 0 };
    if (dir_connect(s) < 0)
        return LOOK_EVERY_MS;
    if (look(s, &e) < 0) {
        dir_disconnect(s, &e);
        server_close(&s->native.peer);
        s->native.level = false;
    } else {
        dir_trouble(s, NULL);
    }
    return LOOK_EVERY_MS;
}

void
native_end(struct dir_store *s)
{
    server_close(&s->server);
    server_close(&s->native.peer);
}
