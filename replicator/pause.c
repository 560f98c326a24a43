#include "replicator/pause.h"

#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/mass.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define PROBE_MS 1000

void
pause_tell(struct session *s, const struct err *why)
{
    struct err e = { 0 };
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_STALL;
    msg->stall = (struct wire_stall){ .code = why == NULL ? 0 : (uint16_t)why->code,
                                      .text = span_str(why == NULL ? "" : why->text) };
    if (msg->stall.text.len > WIRE_TEXT_MAX)
        msg->stall.text.len = WIRE_TEXT_MAX;
    int sent = link_io_send(s->io, msg, &e);
    free(msg);
    if (sent < 0 || link_io_flush(s->io, &e) < 0)
        return; /* the link is down: the peer's status says that */
}

void
pause_stalled(struct session *s, const struct err *why)
{
    pause_tell(s, why);
    if (!atomic_exchange(&s->daemon->apply_stalled, true))
        event(EV_APPLY_STALLED, F_ERR(why));
}

static int
wait_a_moment(const struct pause *pause, struct err *e)
{
    struct pollfd fds[] = { { .fd = pause->s->peer->wake_fd, .events = POLLIN },
                            { .fd = link_io_fd(pause->s->io) } };
    uint64_t count;
    int got = poll(fds, ARRAY_LEN(fds), PROBE_MS);
    if (got > 0 && (fds[1].revents & (POLLHUP | POLLERR)) != 0)
        return err_set(e, ERR_PEER, "the link is down"); /* who sent may be dead */
    if (got > 0 && read(fds[0].fd, &count, sizeof(count)) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
    return 0;
}

static void
show(const struct pause *pause, const struct err *why)
{
    peer_set_state(pause->s->peer, PEER_CONNECTED, "applying is paused: %s", why->text);
}

int
pause_until_space(const struct pause *pause, struct err *e)
{
    const struct daemon *d = pause->s->daemon;
    bool told = false;
    struct err why = { 0 };
    while (!pause->must_end(pause->arg)) {
        if (node_probe(d->node, &why) >= 0) {
            if (told)
                peer_set_state(pause->s->peer, PEER_CONNECTED, "%s", "");
            return 0;
        }
        if (retain_give_way(d->retains, d->node->store_count))
            continue;
        if (!told) {
            pause_stalled(pause->s, &why);
            show(pause, &why);
        }
        told = true;
        if (wait_a_moment(pause, e) < 0)
            return -1;
    }
    return err_set(e, ERR_PEER, "told to stop");
}

int
pause_until_release(const struct pause *pause, struct err *e)
{
    bool told = false;
    struct err why = { 0 };
    while (!pause->must_end(pause->arg)) {
        if (!mass_closed(pause->s->daemon->mass, &why)) {
            if (told) {
                pause_tell(pause->s, NULL);
                peer_set_state(pause->s->peer, PEER_CONNECTED, "%s", "");
            }
            return 0;
        }
        if (!told) {
            pause_tell(pause->s, &why);
            show(pause, &why);
        }
        told = true;
        if (wait_a_moment(pause, e) < 0)
            return -1;
    }
    return err_set(e, ERR_PEER, "told to stop");
}
