/* gate.h - the program: its gates, their sessions, and what they share. One thread. */
#ifndef MAILTWIN_GATE_H
#define MAILTWIN_GATE_H

#include "gate/door.h"
#include "gate/memory.h"
#include "gate/waits.h"
#include "lib/os/conf.h"
#include "lib/os/endpoint.h"

#define GATE_DOORS_MAX 64   /* as many as there can be stores */
#define GATE_FLOWS_MAX 1000 /* connections at one gate; one more is told to try again */

struct flow;
struct reporter;
struct server;

struct gate {
    const struct conf_gate *conf;
    struct server *server;
    uv_stream_t *listener;
    struct endpoint listen, backend;
    struct sockaddr_storage address; /* of the backend */
    int listen_fd;
    struct door *doors[GATE_DOORS_MAX]; /* borrowed from the server: one for each store */
    size_t door_count;
    unsigned flows;
    bool shut;               /* told by an event */
    uint64_t backend_told_s; /* when its absence was told last */
    uint64_t unprotected_told_s;
    struct gate_counts counts; /* but for connections and held, which are counted when asked for */
    struct waits waits;
};

TAILQ_HEAD(flows, flow);

struct server {
    uv_loop_t *loop;
    const struct conf *conf;
    struct memory *memory;
    int dirfd; /* state-dir/gate: memory and spools */
    struct gate *gates;
    size_t gate_count;
    struct door *doors[GATE_DOORS_MAX];
    const char *door_stores[GATE_DOORS_MAX];
    size_t door_count;
    struct flows flows;
    struct reporter *reporter;
    uint64_t began_s;
    uv_timer_t tick;
    uint64_t stop_ms; /* not 0: ends, at this moment at the latest */
    bool forgets_told;
};

uint64_t server_now_s(void);
/* Recipients of the gate whose 250 is held now. */
size_t server_held(const struct gate *gate);
/* The memory could not be written (e), or could again (NULL). */
void server_memory_told(struct server *server, const struct err *e);

/* Everything that needs rights: sockets to listen on, the directory, the memory. */
int server_open(struct server *server, const struct conf *conf, uv_loop_t *loop,
                struct err *e) _must_check_;
/* Begins to listen. */
int server_serve(struct server *server, struct err *e) _must_check_;
/* Ends when the sessions have finished their messages, or soon. */
void server_stop(struct server *server);
void server_close(struct server *server);

/* A client has connected to the listener. */
void flow_accept(struct gate *gate);
/* Once a second. */
void flow_tick(struct flow *flow, uint64_t now_ms);
/* Takes no further message. */
void flow_stop(struct flow *flow);
/* At once. */
void flow_drop(struct flow *flow);
struct flow *flow_next(struct flow *flow);
/* Recipients of this gate whose 250 it holds. */
size_t flow_held(const struct flow *flow, const struct gate *gate);

#endif
