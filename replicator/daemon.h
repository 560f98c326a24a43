/* daemon.h - the store role as a whole: role, peers, and what its threads ask of each other.
 *
 * The main thread owns loop, control socket, network role and the change of roles. Sessions never
 * outlive a change of role: they are ended before it and begun anew after it. */
#ifndef MAILTWIN_DAEMON_H
#define MAILTWIN_DAEMON_H

#include "lib/os/control.h"
#include "replicator/capture.h"
#include "replicator/loss.h"
#include "replicator/net/net.h"
#include "replicator/peer.h"
#include "replicator/salvage_core.h"
#include "replicator/turn.h"

#include <pthread.h>
#include <stdatomic.h>

/* Where the last scheduled comparison of a store is, if it did not come to its end. */
struct verify_place {
    uint64_t tried_ms; /* monotonic */
    uint64_t from;     /* directory id; 0 at the beginning */
    uint64_t began;
    uint32_t part;
    const struct peer *peer; /* with which */
};

/* What protection.c remembers; all but the monotonic ones in the state as well. Times in seconds
 * since 1970, 0 not. */
struct protection_facts {
    uint64_t degraded_since;
    uint64_t protected_since;
    uint64_t no_standby_since; /* no other node follows, whether or not one is waited for */
    uint64_t safe;    /* newest seq that another node has on its disk, as far as is known */
    uint64_t kept;    /* what the state's row says of it */
    uint64_t kept_ms; /* monotonic: when that was noted */
    uint64_t told_ms; /* monotonic: the last alarm */
    bool told;        /* was there one in this run? */
    /* monotonic, of this run: since when no standby protects; 0 one does */
    uint64_t alone_ms;
};

struct salvages;

struct daemon {
    const struct conf *conf;
    struct node *node;
    int lock_fd; /* one daemon for one state directory */
    uv_loop_t *loop;
    struct control_server *control;
    struct net *net;
    struct peer *peers; /* one for each other node */
    size_t peer_count;

    atomic_uchar role; /* enum wire_role; set by the main thread */
    /* Set by the main thread while no session runs, read by sessions. */
    struct capture *capture; /* NULL unless primary */
    struct prepare *prepare; /* NULL when primary */
    struct loss_watch *loss; /* what is known of a primary that is followed */
    uint64_t folders_failed; /* at this promotion: their numbers could not be made safe */
    int adopt_fd;            /* a fanotify queue from the service manager, -1 none */

    atomic_uint_fast64_t tail; /* newest durable seq here */
    /* Newest record that was carried out in a store here: ahead of the tail after a crash, or while
     * something asked for has not come. */
    atomic_uint_fast64_t applied;
    atomic_uint awaited;          /* who waits at a barrier; barrier.c counts */
    atomic_bool moved_posted;     /* a look at positions is under way */
    atomic_bool journal_finished; /* of a deposed primary: all that it did is in its journal */
    atomic_bool apply_stalled;    /* the last session ended because a disk took no writes */
    struct turn turn;             /* of the sessions that receive */
    struct retain **retains;      /* of the stores; NULL where nothing is retained */
    struct retain_keeper *keeper;
    struct mass *mass;       /* the mass-change guard */
    struct restore *restore; /* of retained objects into the stores of this node; NULL none */
    struct barriers *barriers;
    struct gates *gates;
    struct salvages *salvages;   /* what this node had alone; NULL while nothing serves */
    struct promotion *promotion; /* an order that waits, NULL none */
    double barrier_last_seconds;
    struct protection_facts protection;
    uint64_t began_ms;                            /* monotonic, of the first tick */
    struct verify_job *verify_jobs;               /* comparisons that run */
    struct verify_place verify[RECORD_STORE_MAX]; /* of scheduled ones */
    char why_not_serving[256];
    struct err failure; /* why the loop was ended */
    bool ending;        /* no session begins any more */
};

/* Opens state and stores of d->conf and takes the one place of a daemon for this state directory.
 */
int daemon_open(struct daemon *d, struct err *e) _must_check_;
/* Serves the control socket in d->loop and takes up the role that the state says. */
int daemon_serve(struct daemon *d, struct err *e) _must_check_;
/* What is retained, and the guard over it; a part of serving. */
int daemon_retains_begin(struct daemon *d, struct err *e) _must_check_;
void daemon_retains_end(struct daemon *d);
/* A peer is connected: a session begins, unless the daemon ends. Takes link_fd over. */
void daemon_link_up(struct daemon *d, const char *name, int link_fd);
/* Once a second. Ends the loop, with `failure`, when only a new start helps. */
void daemon_tick(struct daemon *d);
struct peer *daemon_peer(struct daemon *d, const char *name); /* NULL: no such node */
/* Ends sessions, capture, network role and all handles of the loop; frees what was opened. */
void daemon_close(struct daemon *d);

/* Fills a HELLO from the state as it is now; spans point into conf. */
int daemon_hello(struct daemon *d, struct wire_hello *ret_hello, struct err *e) _must_check_;
/* What stands behind its accept_sync. */
int daemon_permission(struct daemon *d, struct salvage_permission *ret, struct err *e) _must_check_;
/* From a session: a node told in HELLO of a newer promotion of this history, and is not followed.
 */
void daemon_hear_epoch(struct daemon *d, const struct wire_hello *hello);
/* From a session: a node with a newer epoch exists. */
void daemon_step_down(struct daemon *d, const char *node, uint64_t epoch);
/* From a session: this node, deposed before, follows the new primary. */
void daemon_follows(struct daemon *d);
/* From a session: a peer's acknowledged position moved, or its state did. */
void daemon_peer_moved(struct daemon *d);
/* Wakes all sessions: there is more to ship. */
void daemon_wake_sessions(struct daemon *d);

/* Is every store without data of its own? */
int daemon_stores_empty(const struct daemon *d, bool *ret_empty, struct err *e) _must_check_;

#endif
