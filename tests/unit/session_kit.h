/* session_kit.h - a node as its sessions see it: state, stores, peers, and a thread that is its
 * main loop. The test plays the other nodes, a message at a time. Root only: SESSION_NEEDED(). */
#ifndef MAILTWIN_TEST_SESSION_KIT_H
#define MAILTWIN_TEST_SESSION_KIT_H

#include "replicator/barrier.h"
#include "replicator/gates.h"
#include "replicator/link_io.h"
#include "replicator/roles.h"
#include "replicator/session.h"
#include "replicator/status.h"
#include "tests/unit/capture_kit.h"

#include <sys/socket.h>

#define SESSION_WAIT_MS 20000

struct session_kit {
    struct cap *c; /* its state and stores */
    struct conf_node nodes[3];
    struct daemon d; /* of mx3; its peers are mx1 and mx2 */
    uv_loop_t loop;
    pthread_t thread;
    atomic_bool stop;
    control_handler *orders; /* of the socket; none are taken when a test sets no other */
};

#define SESSION_NEEDED(k)  \
    do {                   \
        if ((k) == NULL) { \
            skip();        \
            return;        \
        }                  \
    } while (0)

static inline void
session_no_orders(struct control_call *call, const json_t *request, const struct control_peer *peer,
                  void *arg)
{
    (void)request;
    (void)peer;
    (void)arg;
    control_reply(call, json_object());
}

static inline void *
session_loop(void *arg)
{
    struct session_kit *k = arg;
    uv_run(&k->loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline void
session_conf(struct session_kit *k)
{
    static const char *const names[] = { "mx1", "mx2", "mx3" };
    for (size_t i = 0; i < 3; i++)
        k->nodes[i] = (struct conf_node){ .name = xstrdup(names[i]),
                                          .durability = DURABILITY_DURABLE };
    for (size_t i = 0; i < CAP_STORES; i++)
        k->c->stores[i].durability = DURABILITY_DURABLE;
    k->c->conf.cluster = xstrdup("test");
    k->c->conf.self = k->nodes[2].name;
    k->c->conf.nodes = k->nodes;
    k->c->conf.node_count = 3;
}

static inline void
session_must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

/* NULL without the rights. */
static inline struct session_kit *
session_kit_new(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    struct session_kit *k = calloc(1, sizeof(*k));
    assert_non_null(k);
    k->c = c;
    k->orders = session_no_orders;
    session_conf(k);
    return k;
}

/* The daemon starts, with the state and the stores as they are. */
static inline void
session_start(struct session_kit *k)
{
    struct daemon *d = &k->d;
    struct err e = { 0 };
    cap_open(k->c);
    *d = (struct daemon){
        .conf = &k->c->conf, .node = k->c->node, .loop = &k->loop, .adopt_fd = -1
    };
    d->peers = xcalloc(2, sizeof(*d->peers));
    d->peer_count = 2;
    turn_init(&d->turn);
    for (size_t i = 0; i < 2; i++)
        peer_init(&d->peers[i], d, &k->nodes[i]);
    uv_loop_init(&k->loop);
    session_must(control_server_open(&k->loop, k->c->conf.run_dir, k->orders, k, &d->control, &e),
                 &e);
    d->barriers = barriers_new(d);
    d->gates = gates_new(d->conf);
    session_must(daemon_retains_begin(d, &e), &e);
    session_must(roles_begin(d, &e), &e);
    assert_int_equal(pthread_create(&k->thread, NULL, session_loop, k), 0);
}

/* --- in the loop's thread, to which roles, status and links belong --- */

struct session_call {
    struct daemon *d;
    bool promote, force;
    const char *from;
    struct peer *peer;
    int link_fd;
    struct err *e;
    int rc;
    json_t *status;
    sem_t done;
};

static inline void
session_change_role(void *arg)
{
    struct session_call *call = arg;
    call->rc = call->promote ? roles_promote(call->d, call->force, call->e)
                             : roles_demote(call->d, call->e);
    sem_post(&call->done);
}

static inline void
session_attach(void *arg)
{
    struct session_call *call = arg;
    call->rc = peer_attach(call->peer, call->link_fd, call->e);
    sem_post(&call->done);
}

static inline void
session_order_resync(void *arg)
{
    struct session_call *call = arg;
    call->rc = roles_resync(call->d, call->from, call->e);
    sem_post(&call->done);
}

static inline void
session_say_status(void *arg)
{
    struct session_call *call = arg;
    call->status = status_json(call->d);
    sem_post(&call->done);
}

static inline void
session_in_loop(struct session_kit *k, void (*fn)(void *arg), struct session_call *call)
{
    call->d = &k->d;
    sem_init(&call->done, 0, 0);
    control_post(k->d.control, fn, call);
    cap_wait(&call->done);
    sem_destroy(&call->done);
}

static inline int
session_promote(struct session_kit *k, bool force, struct err *e)
{
    struct session_call call = { .promote = true, .force = force, .e = e };
    session_in_loop(k, session_change_role, &call);
    return call.rc;
}

static inline int
session_demote(struct session_kit *k, struct err *e)
{
    struct session_call call = { .e = e };
    session_in_loop(k, session_change_role, &call);
    return call.rc;
}

static inline int
session_resync(struct session_kit *k, const char *from, struct err *e)
{
    struct session_call call = { .from = from, .e = e };
    session_in_loop(k, session_order_resync, &call);
    return call.rc;
}

static inline json_t *
session_status(struct session_kit *k)
{
    struct session_call call = { 0 };
    session_in_loop(k, session_say_status, &call);
    return call.status;
}

static inline void
session_end_main(void *arg)
{
    uv_stop(arg);
}

/* Of a primary: all that happened so far is recorded. */
static inline void
session_settle(struct session_kit *k)
{
    k->c->capture = k->d.capture;
    cap_barrier(k->c);
    k->c->capture = NULL;
}

static inline void
session_end_roles(void *arg)
{
    struct session_call *call = arg;
    roles_end(call->d);
    sem_post(&call->done);
}

/* The daemon ends cleanly. */
static inline void
session_stop(struct session_kit *k)
{
    struct daemon *d = &k->d;
    struct session_call call = { 0 };
    session_in_loop(k, session_end_roles, &call);
    control_post(d->control, session_end_main, &k->loop);
    assert_int_equal(pthread_join(k->thread, NULL), 0);
    control_server_close(&d->control);
    barriers_free(&d->barriers);
    gates_free(&d->gates);
    uv_run(&k->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&k->loop), 0);
    for (size_t i = 0; i < d->peer_count; i++)
        peer_destroy(&d->peers[i]);
    free(d->peers);
    daemon_retains_end(d);
    turn_destroy(&d->turn);
    cap_stop(k->c);
}

static inline void
session_kit_free(struct session_kit *k)
{
    session_stop(k);
    free(k->c->conf.cluster);
    for (size_t i = 0; i < 3; i++)
        free(k->nodes[i].name);
    cap_free(k->c);
    free(k);
}

/* --- the other nodes --- */

static struct wire_msg told; /* what is said next: messages are large */

/* mx1 or mx2 connects; the other end of the link is the test's. */
static inline struct link_io *
session_link(struct session_kit *k, size_t peer)
{
    int fds[2];
    struct err e = { 0 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct session_call call = { .peer = &k->d.peers[peer], .link_fd = fds[1], .e = &e };
    session_in_loop(k, session_attach, &call);
    session_must(call.rc, &e);
    return link_io_new(fds[0]);
}

/* That the node has ended the link already is for hear() to find. */
static inline void
say(struct link_io *io, enum wire_type type)
{
    struct err e = { 0 };
    told.type = type;
    int rc = link_io_send(io, &told, &e);
    if (rc >= 0)
        rc = link_io_flush(io, &e);
    session_must(e.code == ERR_PEER ? 0 : rc, &e);
}

/* The next message; NULL: the node ended the link. */
static inline const struct wire_msg *
hear(struct link_io *io)
{
    const struct wire_msg *msg = NULL;
    struct err e = { 0 };
    int got = link_io_receive(io, SESSION_WAIT_MS, -1, &msg, &e);
    if (got == 0)
        fail_msg("nothing was heard for %d s", SESSION_WAIT_MS / 1000);
    return got < 0 ? NULL : msg;
}

static inline const struct wire_msg *
hear_any(struct link_io *io)
{
    const struct wire_msg *msg = hear(io);
    if (msg == NULL) {
        fail_msg("the link ended");
        abort(); /* never: for the compiler */
    }
    return msg;
}

static inline const struct wire_msg *
hear_type(struct link_io *io, enum wire_type type)
{
    const struct wire_msg *msg = hear_any(io);
    if (msg->type != type)
        fail_msg("%s, expected %s", wire_type_word(msg->type), wire_type_word(type));
    return msg;
}

/* A primary's HELLO in `told`: history 1, an epoch for each promotion. */
static inline struct wire_hello *
primary_hello(struct session_kit *k, size_t peer, uint64_t epoch, uint64_t tail)
{
    told = (struct wire_msg){ .type = WIRE_HELLO };
    struct wire_hello *h = &told.hello;
    *h = (struct wire_hello){ .version_min = WIRE_VERSION,
                              .version_max = WIRE_VERSION,
                              .cluster = span_str("test"),
                              .node = span_str(k->nodes[peer].name),
                              .role = WIRE_ROLE_PRIMARY,
                              .history = { 1 },
                              .epoch = epoch,
                              .tail = tail,
                              .oldest = 1,
                              .epoch_count = 1,
                              .epochs = { { 1, 1 } },
                              .store_count = (uint16_t)k->c->conf.store_count };
    for (size_t i = 0; i < k->c->conf.store_count; i++)
        h->stores[i] = (struct wire_store){ span_str(k->c->stores[i].name),
                                            (uint8_t)k->c->stores[i].kind };
    return h;
}

static inline void
add_epoch(struct wire_hello *h, uint64_t epoch, uint64_t first_seq)
{
    h->epochs[h->epoch_count++] = (struct wire_epoch){ epoch, first_seq };
}

/* START as it follows from the HELLO, which must be in `told` still. */
static inline void
say_start(struct link_io *io, enum wire_mode mode, uint64_t from, uint64_t sync_base)
{
    struct wire_hello hello = told.hello;
    told = (struct wire_msg){ .type = WIRE_START };
    told.start = (struct wire_start){ .mode = (uint8_t)mode,
                                      .history = { hello.history[0] },
                                      .epoch = hello.epoch,
                                      .from = from,
                                      .sync_base = sync_base,
                                      .epoch_count = hello.epoch_count };
    memcpy(told.start.epochs, hello.epochs, sizeof(hello.epochs));
    say(io, WIRE_START);
}

static inline void
say_mkdir(struct link_io *io, uint64_t seq, const char *path)
{
    told = (struct wire_msg){ .type = WIRE_REC };
    told.rec.record = (struct record){ .op = OP_MKDIR, .seq = seq, .path = span_str(path) };
    told.rec.record.attr.mode = S_IFDIR | 0700;
    told.rec.now = told.rec.record.attr;
    say(io, WIRE_REC);
}

static inline void
say_commit(struct link_io *io, uint64_t run, uint64_t seq)
{
    told = (struct wire_msg){ .type = WIRE_COMMIT };
    told.commit = (struct wire_commit){ .run = run, .seq = seq, .tail = seq };
    say(io, WIRE_COMMIT);
}

static inline void
say_sync_done(struct link_io *io, uint64_t sync_base)
{
    told = (struct wire_msg){ .type = WIRE_SYNC_DONE };
    told.sync_done.sync_base = sync_base;
    say(io, WIRE_SYNC_DONE);
}

/* --- what the node knows --- */

static inline struct state_meta
meta_now(struct session_kit *k)
{
    struct state_txn *txn;
    struct err e = { 0 };
    session_must(state_begin(k->c->node->state, false, &txn, &e), &e);
    struct state_meta meta = *state_meta(txn);
    state_abort(&txn);
    return meta;
}

static inline bool
has_dir(const struct session_kit *k, const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", k->c->stores[0].path, name);
    return access(path, F_OK) == 0;
}

#endif
