/* role.h - the inside of the network role: one loop, the peers it must reach, the connections it
 * has. One thread; every callback ends in conn_work(). */
#ifndef MAILTWIN_ROLE_H
#define MAILTWIN_ROLE_H

#include "lib/os/tls.h"
#include "replicator/net/bucket.h"
#include "replicator/net/inbox.h"
#include "replicator/net/net.h"
#include "replicator/net/preface.h"
#include "replicator/net/redial.h"
#include "replicator/net/squeeze.h"
#include "replicator/net/trouble.h"

#include <sys/queue.h>
#include <sys/socket.h>
#include <uv.h>

#define ROLE_TICK_MS       500
#define ROLE_STRANGERS_MAX 32        /* connections that have not said who they are */
#define ROLE_HANDSHAKE_MS  10000     /* from the connection to the peer's preface */
#define ROLE_PING_MS       1000      /* of silence in either direction */
#define ROLE_SILENCE_MS    5000      /* then the connection is dead */
#define ROLE_FAREWELL_MS   5000      /* to send what is queued when the store role has closed */
#define ROLE_LINGER_MS     2000      /* until the peer has seen our goodbye */
#define ROLE_STOP_MS       1000      /* for all of that when the role ends */
#define ROLE_OUT_MAX       (1 << 20) /* bytes queued for the network before we stop reading */
#define ROLE_READ_STEP     (256 * 1024)
#define ROLE_TURN_MAX      (4 << 20) /* bytes for one connection before the others get a turn */
#define ROLE_PINGS_MAX     100       /* heartbeats of a peer in one tick */

struct conn;

struct peer {
    struct role *role;
    const struct conf_node *node;
    struct sockaddr_storage address;
    bool dials;           /* we dial it */
    struct conn *link;    /* authenticated, its store role's end is out */
    struct conn *dialing; /* on its way to become that */
    uv_timer_t timer;     /* the next call, or how long this one may stay unanswered */
    struct redial redial;
};

struct notice_item {
    struct net_notice notice;
    int fd; /* -1 or a link's end for the store role */
    STAILQ_ENTRY(notice_item) next;
};

struct role {
    const struct conf *conf;
    uv_loop_t loop;
    struct tls_ctx *tls;
    int control_fd, listen_fd;
    uv_poll_t control, listener;
    uv_timer_t tick;
    uint64_t ticked_ms;
    uint64_t stop_ms; /* when the loop ends at the latest; 0: the role is not ending */
    struct peer *peers;
    size_t peer_count;
    LIST_HEAD(conn_list, conn) conns;
    unsigned strangers;
    STAILQ_HEAD(notice_queue, notice_item) notices;
    size_t notice_count;
    struct trouble trouble;
    struct wire_msg msg; /* for checking; nothing is kept in it */
};

enum conn_state {
    CONN_CONNECTING,
    CONN_HANDSHAKE,
    CONN_PREFACE,
    CONN_LINKED,
    CONN_FAREWELL, /* sends what is queued, then our goodbye */
    CONN_LINGER,   /* waits for the peer to close */
    CONN_CLOSED    /* its handles are being closed */
};

struct conn {
    struct role *role;
    struct peer *peer; /* NULL until an accepted connection has shown its certificate */
    LIST_ENTRY(conn) next;
    enum conn_state state;
    int sock, pair; /* pair: our end of the link, -1 before it exists */
    uv_poll_t sock_poll, pair_poll;
    uv_timer_t throttle; /* the bandwidth limit */
    int sock_events, pair_events;
    unsigned handles; /* of libuv, still open */
    bool stranger;    /* counted in role->strangers */
    bool throttled, sock_full;
    char address[64];
    uint64_t deadline_ms; /* of the state; 0 none */
    uint64_t linked_ms, received_ms, sent_ms;
    struct tls *tls;
    uint8_t preface[PREFACE_SIZE];
    size_t preface_len;
    /* from the network to the store role */
    struct buf cipher; /* as received; TLS reads from it */
    struct buf zin;    /* out of TLS, compressed */
    struct span zrest; /* of zin, not decompressed yet */
    struct unsqueeze *unsqueeze;
    struct inbox inbox;
    bool hello_seen;
    bool in_full;  /* the store role has to read first */
    bool deaf;     /* the store role closed its end: nothing goes there any more */
    bool in_ended; /* nothing more comes; `end` says why */
    unsigned pings;
    struct err end;
    /* from the store role to the network */
    struct buf plain;  /* frames, the last one perhaps not complete */
    struct buf packed; /* compressed */
    struct squeeze *squeeze;
    bool unflushed;   /* squeeze holds something back */
    bool store_ended; /* all the store role sent was read, and it closed */
    size_t sent;      /* bytes of the TLS output that are on their way */
    struct bucket bucket;
};

uint64_t role_now_ms(const struct role *role);
struct peer *role_peer(struct role *role, const char *name); /* NULL: none of ours */
void role_notice(struct role *role, enum net_notice_type type, const char *peer,
                 const char *address, const char *text, int fd);
/* NET_TROUBLE, if it is news. */
void role_trouble(struct role *role, const char *peer, const char *address, const char *text);

/* peer.c */
int peers_init(struct role *role, struct err *e) _must_check_;
void peer_dial(struct peer *peer);
void peer_dial_later(struct peer *peer);
/* Parses a numeric IPv4 or IPv6 address. */
int peer_address(const struct conf_node *node, struct sockaddr_storage *ret_address,
                 struct err *e) _must_check_;

/* conn.c */
/* Takes fd over. peer: the one that is being dialed, NULL for an accepted connection. */
struct conn *conn_new(struct role *role, int fd, struct peer *peer,
                      const struct sockaddr_storage *address);
void conn_work(struct conn *conn);
/* Ends it now; e says why, for notice or trouble. */
void conn_close(struct conn *conn, const struct err *e);
/* Gives up a call that nobody has answered yet. */
void conn_unanswered(struct conn *conn);
/* The store role or we want it to end: send what is queued, say goodbye. */
void conn_farewell(struct conn *conn, const char *why);
void conn_tick(struct conn *conn, uint64_t now_ms);

/* conn_in.c: 0, or -1 when the connection must end at once */
int conn_receive(struct conn *conn, struct err *e) _must_check_;
int conn_forward(struct conn *conn, struct err *e) _must_check_;
/* Nothing more comes, because of *e; what is here already still goes to the store role. */
void conn_end_input(struct conn *conn, const struct err *e);
/* conn_out.c */
int conn_collect(struct conn *conn, struct err *e) _must_check_;
int conn_heartbeat(struct conn *conn, enum wire_type type, uint64_t stamp_ns,
                   struct err *e) _must_check_;
int conn_send(struct conn *conn, struct err *e) _must_check_;
size_t conn_queued(const struct conn *conn);  /* bytes for the network */
size_t conn_out_max(const struct conn *conn); /* with so many queued we read no more */

#endif
