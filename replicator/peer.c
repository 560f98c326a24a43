#include "replicator/peer.h"

#include "lib/os/file.h"
#include "replicator/daemon.h"
#include "replicator/give.h"
#include "replicator/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

void
peer_init(struct peer *peer, struct daemon *daemon, const struct conf_node *conf)
{
    peer->daemon = daemon;
    peer->conf = conf;
    peer->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(peer->wake_fd >= 0);
    peer->link_fd = -1;
    pthread_mutex_init(&peer->lock, NULL);
}

void
peer_destroy(struct peer *peer)
{
    peer_detach(peer);
    file_closep(&peer->wake_fd);
    pthread_mutex_destroy(&peer->lock);
}

void
peer_wake(struct peer *peer)
{
    uint64_t one = 1;
    if (write(peer->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN); /* already awake */
}

static void
fail_order(struct peer *peer, const struct err *e)
{
    pthread_mutex_lock(&peer->lock);
    struct verify_order *order = peer->order;
    peer->order = NULL;
    pthread_mutex_unlock(&peer->lock);
    if (order != NULL)
        order->done(order, &(struct walk_progress){ 0 }, e);
}

static void
fail_gives(struct peer *peer, const struct err *e)
{
    struct give_order *order;
    while ((order = peer_next_give(peer)) != NULL)
        order->done(order, e);
}

static void *
session_thread(void *arg)
{
    struct peer *peer = arg;
    session_run(peer, peer->link_fd);
    shutdown(peer->link_fd,
             SHUT_RDWR); /* the network role ends the connection and makes a new one */
    struct err e = { 0 };
    err_set(&e, ERR_PEER, "the connection to %s ended", peer->conf->name);
    pthread_mutex_lock(&peer->lock);
    peer->facts.sending = false; /* no order is taken from here on */
    peer->facts.receiving = false;
    peer->facts.connected_ms = 0;
    pthread_mutex_unlock(&peer->lock);
    fail_order(peer, &e);
    fail_gives(peer, &e);
    daemon_peer_moved(peer->daemon);
    return NULL;
}

void
peer_detach(struct peer *peer)
{
    if (!peer->running)
        return;
    atomic_store(&peer->stop, true);
    shutdown(peer->link_fd, SHUT_RDWR); /* a session that waits for the peer wakes up */
    peer_wake(peer);
    turn_wake(&peer->daemon->turn);
    pthread_join(peer->thread, NULL);
    file_closep(&peer->link_fd);
    peer->running = false;
    atomic_store(&peer->stop, false);
}

void
peer_forget(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    peer->facts = (struct peer_facts){ .state = PEER_CONNECTING };
    pthread_mutex_unlock(&peer->lock);
}

int
peer_attach(struct peer *peer, int link_fd, struct err *e)
{
    peer_detach(peer);
    peer->link_fd = link_fd;
    int rc = pthread_create(&peer->thread, NULL, session_thread, peer);
    if (rc != 0) {
        file_closep(&peer->link_fd);
        return err_errnum(e, ERR_IO, rc, "start a thread for %s", peer->conf->name);
    }
    peer->running = true;
    return 0;
}

void
peer_facts(struct peer *peer, struct peer_facts *ret_facts)
{
    pthread_mutex_lock(&peer->lock);
    *ret_facts = peer->facts;
    pthread_mutex_unlock(&peer->lock);
}

bool
peer_connected(struct peer *peer)
{
    struct peer_facts facts;
    peer_facts(peer, &facts);
    return facts.connected_ms != 0;
}

void
peer_set_state(struct peer *peer, enum peer_state state, const char *fmt, ...)
{
    char text[sizeof(peer->facts.text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    pthread_mutex_lock(&peer->lock);
    peer->facts.state = state;
    memcpy(peer->facts.text, text, sizeof(text));
    if (state != PEER_RESYNC)
        peer->facts.resync = (struct sync_progress){ 0 };
    pthread_mutex_unlock(&peer->lock);
    daemon_peer_moved(peer->daemon);
}

void
peer_set_resync(struct peer *peer, const struct sync_progress *resync)
{
    pthread_mutex_lock(&peer->lock);
    peer->facts.resync = *resync;
    pthread_mutex_unlock(&peer->lock);
}

static void
displaced(struct verify_order *order)
{
    struct err e = { 0 };
    err_set(&e, ERR_BUSY, "another comparison was ordered");
    order->done(order, &(struct walk_progress){ 0 }, &e);
}

bool
peer_order(struct peer *peer, struct verify_order *order)
{
    pthread_mutex_lock(&peer->lock);
    struct verify_order *before = peer->order;
    bool taken = peer->facts.sending && (before == NULL || atomic_load(&before->gives_way));
    if (taken)
        peer->order = order;
    pthread_mutex_unlock(&peer->lock);
    if (taken && before != NULL)
        displaced(before);
    if (taken)
        peer_wake(peer);
    return taken;
}

bool
peer_takes_orders(struct peer *peer)
{
    struct peer_facts facts;
    peer_facts(peer, &facts);
    return facts.sending;
}

bool
peer_give(struct peer *peer, struct give_order *order)
{
    order->later = NULL;
    pthread_mutex_lock(&peer->lock);
    bool taken = peer->facts.receiving;
    struct give_order **end = &peer->gives;
    while (*end != NULL)
        end = &(*end)->later;
    if (taken)
        *end = order;
    pthread_mutex_unlock(&peer->lock);
    if (taken)
        peer_wake(peer);
    return taken;
}

bool
peer_gives_wait(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    bool wait = peer->gives != NULL;
    pthread_mutex_unlock(&peer->lock);
    return wait;
}

struct give_order *
peer_next_give(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    struct give_order *order = peer->gives;
    if (order != NULL)
        peer->gives = order->later;
    pthread_mutex_unlock(&peer->lock);
    return order;
}

const char *
peer_state_word(enum peer_state state)
{
    static const char *const words[] = { [PEER_CONNECTING] = "connecting",
                                         [PEER_CONNECTED] = "connected",
                                         [PEER_RESYNC] = "resync",
                                         [PEER_REFUSED] = "refused" };
    return words[state];
}

struct peer *
peer_receives_from(struct daemon *d)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        if (facts.receiving)
            return &d->peers[i];
    }
    return NULL;
}
