/* peer.h - another node as seen from here, and the thread that talks with it. */
#ifndef MAILTWIN_PEER_H
#define MAILTWIN_PEER_H

#include "lib/data/wire.h"
#include "lib/os/conf.h"
#include "replicator/sync_progress.h"

#include <pthread.h>
#include <stdatomic.h>

struct daemon;
struct give_order;

enum peer_state {
    PEER_CONNECTING,
    PEER_CONNECTED, /* records flow, or could */
    PEER_RESYNC,    /* it is being brought level */
    PEER_REFUSED,   /* see text */
};

/* An order to verify, carried out by the session; lives until done was called. */
struct verify_order {
    struct walk_opts opts;
    void (*progress)(struct verify_order *order, const struct walk_progress *progress);
    /* e is NULL when it went through. Called once, from the session's thread or from the one that
     * gave another order. */
    void (*done)(struct verify_order *order, const struct walk_progress *progress,
                 const struct err *e);
    void *arg;
    atomic_bool gives_way; /* to another order: it ends with ERR_BUSY */
};

/* What is known of another node for the day when this one takes over. Pure: handover.h. */
struct handover_peer {
    bool told;             /* it is connected and has greeted, as follows */
    bool whole;            /* with this history, not in the middle of a sync */
    uint8_t role;          /* enum wire_role */
    uint64_t epoch, tail;  /* of its HELLO */
    uint64_t served_epoch; /* the last epoch in which it sent to this node as the primary; 0 none */
};

/* What the status shows, and what a promotion goes by. */
struct peer_facts {
    enum peer_state state;
    bool sending, receiving;
    bool paused; /* it applies nothing until an operator says so */
    uint64_t shipped, received, durable;
    uint64_t bytes_sent;
    uint64_t connected_ms;       /* monotonic; 0 not */
    double ack_seconds;          /* capture to durable there, of the last records; 0 not known */
    struct sync_progress resync; /* either way; known in the state PEER_RESYNC alone */
    struct handover_peer handover;
    char text[512]; /* what is wrong, or waited for; while connecting, why the last link ended */
};

struct peer {
    struct daemon *daemon;
    const struct conf_node *conf;
    int wake_fd;
    atomic_bool stop;

    /* main thread */
    bool running;
    bool trim_told; /* the journal no longer reaches back to it */
    bool late_told; /* it confirms later than allowed */
    pthread_t thread;
    int link_fd; /* of the running session: for ending it */

    pthread_mutex_t lock; /* of what follows */
    struct peer_facts facts;
    struct verify_order *order; /* waiting to be taken by the session */
    struct give_order *gives;   /* likewise, in their order */
};

void peer_init(struct peer *peer, struct daemon *daemon, const struct conf_node *conf);
void peer_destroy(struct peer *peer);
/* Main thread: takes over a link; a session that still runs is ended first. */
int peer_attach(struct peer *peer, int link_fd, struct err *e) _must_check_;
/* Main thread: ends the session and waits for it. */
void peer_detach(struct peer *peer);
/* Main thread, without a session: nothing is known of it. */
void peer_forget(struct peer *peer);
void peer_wake(struct peer *peer);
void peer_facts(struct peer *peer, struct peer_facts *ret_facts);
bool peer_connected(struct peer *peer);
void peer_set_state(struct peer *peer, enum peer_state state, const char *fmt, ...) _printf_(3, 4);
void peer_set_resync(struct peer *peer, const struct sync_progress *resync);
/* false: no session sends to it now, or an order that gives no way waits already. */
bool peer_order(struct peer *peer, struct verify_order *order);
/* Does a session send to it now? */
bool peer_takes_orders(struct peer *peer);
/* The session that receives from it will give what the order has, behind others: see give.h.
 * false: none does now, and the order stays the caller's. */
bool peer_give(struct peer *peer, struct give_order *order);
bool peer_gives_wait(struct peer *peer); /* is there one that no session has taken? */
/* Session: the next one, NULL none. */
struct give_order *peer_next_give(struct peer *peer);

/* Main thread: the peer whose records this node receives, NULL none. */
struct peer *peer_receives_from(struct daemon *d);

const char *peer_state_word(enum peer_state state);

#endif
