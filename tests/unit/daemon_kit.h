/* daemon_kit.h - whole daemons side by side in one process: each with its state, stores, control
 * socket and main loop in a thread of its own, linked by socketpairs in place of the network role.
 * Told what to do over their control sockets. Root only: DAEMONS_NEEDED(). */
#ifndef MAILTWIN_TEST_DAEMON_KIT_H
#define MAILTWIN_TEST_DAEMON_KIT_H

#include "replicator/daemon.h"
#include "replicator/link.h"
#include "replicator/session.h"
#include "tests/unit/pair_kit.h"

#include <poll.h>
#include <sys/socket.h>

#define DAEMONS_MAX      3
#define DAEMONS_WAIT_MS  60000
#define DAEMONS_LEVEL_MS 10000

struct daemons;

struct host {
    struct daemons *all;
    struct cap *c; /* its configuration, state and stores */
    struct conf_node nodes[DAEMONS_MAX];
    struct daemon d;
    uv_loop_t loop;
    pthread_t thread;
    bool up;
};

struct daemons {
    struct host hosts[DAEMONS_MAX];
    size_t count;
    int links[DAEMONS_MAX][DAEMONS_MAX]; /* our copy of the end that host i has of its link to j */
    bool wanted[DAEMONS_MAX][DAEMONS_MAX];
    pthread_mutex_t lock; /* of links, wanted, and hosts that come up or go down */
    pthread_t network;    /* makes links that ended anew, as the network role does */
    atomic_bool done;
    struct pair work; /* random work on the stores of a host, and comparing two hosts */
};

#define DAEMONS_NEEDED(n)  \
    do {                   \
        if ((n) == NULL) { \
            skip();        \
            return;        \
        }                  \
    } while (0)

static const char *const host_names[DAEMONS_MAX] = { "mx1", "mx2", "mx3" };

static inline void
host_conf(struct host *h, size_t self, size_t count)
{
    for (size_t i = 0; i < count; i++)
        h->nodes[i] = (struct conf_node){ .name = xstrdup(host_names[i]),
                                          .durability = DURABILITY_DURABLE };
    for (size_t i = 0; i < CAP_STORES; i++)
        h->c->stores[i].durability = DURABILITY_DURABLE;
    h->c->conf.cluster = xstrdup("test");
    h->c->conf.journal_max = 64 << 20;
    h->c->conf.self = h->nodes[self].name;
    h->c->conf.nodes = h->nodes;
    h->c->conf.node_count = count;
}

/* --- up and down --- */

static inline void *
host_loop(void *arg)
{
    struct host *h = arg;
    uv_run(&h->loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline void
host_start(struct host *h)
{
    struct err e = { 0 };
    h->d = (struct daemon){ .conf = &h->c->conf, .loop = &h->loop, .adopt_fd = -1, .lock_fd = -1 };
    uv_loop_init(&h->loop);
    if (daemon_open(&h->d, &e) < 0 || daemon_serve(&h->d, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(pthread_create(&h->thread, NULL, host_loop, h), 0);
    pthread_mutex_lock(&h->all->lock);
    h->up = true;
    pthread_mutex_unlock(&h->all->lock);
}

/* An order over the control socket; the answer is the caller's, NULL: refused, and why in *e. */
static inline json_t *
host_ask(struct host *h, const char *order, const char *key, json_t *value, struct err *e)
{
    json_t *request = json_object();
    json_t *reply = NULL;
    json_object_set_new(request, "do", json_string(order));
    if (key != NULL)
        json_object_set_new(request, key, value);
    int rc = control_ask(h->c->conf.run_dir, CONTROL_SOCKET, request, DAEMONS_WAIT_MS, NULL, NULL,
                         &reply, e);
    json_decref(request);
    return rc < 0 ? NULL : reply;
}

static inline json_t *
host_must(struct host *h, const char *order, const char *key, json_t *value)
{
    struct err e = { 0 };
    json_t *reply = host_ask(h, order, key, value, &e);
    if (reply == NULL)
        fail_msg("%s on %s: %s", order, h->c->conf.self, e.text);
    return reply;
}

static inline void
host_order(struct host *h, const char *order)
{
    json_decref(host_must(h, order, NULL, NULL));
}

/* Its loop ends, or has. */
static inline void
host_ended(struct host *h)
{
    pthread_mutex_lock(&h->all->lock);
    h->up = false;
    pthread_mutex_unlock(&h->all->lock);
    assert_int_equal(pthread_join(h->thread, NULL), 0);
    daemon_close(&h->d);
    assert_int_equal(uv_loop_close(&h->loop), 0);
}

static inline void
host_stop(struct host *h)
{
    pthread_mutex_lock(&h->all->lock);
    h->up = false;
    pthread_mutex_unlock(&h->all->lock);
    host_order(h, "stop");
    host_ended(h);
}

/* --- links --- */

struct link_up {
    struct daemon *d;
    const char *peer;
    int fd;
};

static inline void
link_up_main(void *arg)
{
    struct link_up *up = arg;
    daemon_link_up(up->d, up->peer, up->fd);
    free(up);
}

static inline void
daemons_give_end(struct daemons *n, size_t at, size_t peer, int fd)
{
    struct link_up *up = calloc(1, sizeof(*up));
    assert_non_null(up);
    file_closep(&n->links[at][peer]);
    n->links[at][peer] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    *up = (struct link_up){ &n->hosts[at].d, host_names[peer], fd };
    control_post(n->hosts[at].d.control, link_up_main, up);
}

static inline void
daemons_dial(struct daemons *n, size_t a, size_t b)
{
    int fds[2];
    if (!n->hosts[a].up || !n->hosts[b].up)
        return;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    daemons_give_end(n, a, b, fds[0]);
    daemons_give_end(n, b, a, fds[1]);
}

/* One end closed, or none there yet. */
static inline bool
daemons_is_down(const struct daemons *n, size_t a, size_t b)
{
    struct pollfd ends[] = { { .fd = n->links[a][b], .events = POLLRDHUP },
                             { .fd = n->links[b][a], .events = POLLRDHUP } };
    return ends[0].fd < 0 || poll(ends, 2, 0) > 0;
}

static inline void *
daemons_network(void *arg)
{
    struct daemons *n = arg;
    while (!atomic_load(&n->done)) {
        pthread_mutex_lock(&n->lock);
        for (size_t a = 0; a < n->count; a++) {
            for (size_t b = a + 1; b < n->count; b++) {
                if (n->wanted[a][b] && daemons_is_down(n, a, b))
                    daemons_dial(n, a, b);
            }
        }
        pthread_mutex_unlock(&n->lock);
        usleep(5000);
    }
    return NULL;
}

/* From now on, until the cut. a < b. */
static inline void
daemons_link(struct daemons *n, size_t a, size_t b)
{
    pthread_mutex_lock(&n->lock);
    n->wanted[a][b] = true;
    pthread_mutex_unlock(&n->lock);
}

static inline void
daemons_cut(struct daemons *n, size_t a, size_t b)
{
    pthread_mutex_lock(&n->lock);
    n->wanted[a][b] = false;
    shutdown(n->links[a][b], SHUT_RDWR);
    shutdown(n->links[b][a], SHUT_RDWR);
    pthread_mutex_unlock(&n->lock);
}

/* --- all of them --- */

static inline void
daemons_free(struct daemons *n)
{
    atomic_store(&n->done, true);
    assert_int_equal(pthread_join(n->network, NULL), 0);
    for (size_t i = 0; i < n->count; i++) {
        struct host *h = &n->hosts[i];
        if (h->up)
            host_stop(h);
        for (size_t j = 0; j < n->count; j++) {
            file_closep(&n->links[i][j]);
            free(h->nodes[j].name);
            free(h->nodes[j].follow);
        }
        free(h->c->conf.cluster);
        cap_free(h->c);
    }
    pthread_mutex_destroy(&n->lock);
    free(n);
}

/* Hosts that were never started. NULL without the rights. */
static inline struct daemons *
daemons_new(size_t count, uint64_t seed)
{
    struct daemons *n = calloc(1, sizeof(*n));
    assert_non_null(n);
    link_rules_check();
    n->work.seed = seed;
    pthread_mutex_init(&n->lock, NULL);
    for (; n->count < count; n->count++) {
        struct host *h = &n->hosts[n->count];
        h->c = cap_new();
        if (h->c == NULL) {
            free(n); /* the first: nobody has the rights */
            return NULL;
        }
        h->all = n;
        host_conf(h, n->count, count);
        for (size_t j = 0; j < DAEMONS_MAX; j++)
            n->links[n->count][j] = -1;
    }
    assert_int_equal(pthread_create(&n->network, NULL, daemons_network, n), 0);
    return n;
}

/* --- what they say --- */

/* Of one peer in the status; borrowed. */
static inline const json_t *
status_peer(const json_t *status, const char *name)
{
    const json_t *peers = json_object_get(status, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *peer = json_array_get(peers, i);
        if (strcmp(json_string_value(json_object_get(peer, "node")), name) == 0)
            return peer;
    }
    fail_msg("the status knows no peer %s", name);
    abort(); /* never: for the compiler */
}

/* Waits until `peer` is in that state for the host; the peer's text then. */
static inline void
host_wait_peer(struct host *h, const char *peer, const char *state)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    for (;;) {
        json_t *status = host_must(h, "status", NULL, NULL);
        const char *now = json_string_value(json_object_get(status_peer(status, peer), "state"));
        bool is = strcmp(now, state) == 0;
        char *text = json_dumps(status, 0);
        json_decref(status);
        if (!is && session_now_ms() > until)
            fail_msg("%s is not %s: %s", peer, state, text);
        free(text);
        if (is)
            return;
        usleep(2000);
    }
}

/* Until all that happened so far is durable on the standby. */
static inline void
host_safe(struct host *h)
{
    json_t *reply = host_must(h, "barrier", "timeout_ms", json_integer(DAEMONS_WAIT_MS));
    CHECK_STR(json_string_value(json_object_get(reply, "state")), "safe");
    json_decref(reply);
}

/* The same after a cut: the host may not have noticed it yet, and then it stands alone for a
 * moment.
 */
static inline void
host_safe_again(struct host *h)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    bool safe = false;
    while (!safe && session_now_ms() < until) {
        json_t *reply = host_must(h, "barrier", "timeout_ms", json_integer(DAEMONS_WAIT_MS));
        safe = strcmp(json_string_value(json_object_get(reply, "state")), "safe") == 0;
        json_decref(reply);
    }
    CHECK(safe);
}

/* One look at the clock, as the daemon's own once a second. */
static inline void
daemons_tick(void *arg)
{
    daemon_tick(arg);
}

/* Until its status counts so many salvaged items as `what`: "delivered", "waiting". */
static inline void
host_wait_salvage(struct host *h, const char *what, json_int_t wanted)
{
    json_int_t now = -1;
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    while (now != wanted && session_now_ms() < until) {
        control_post(h->d.control, daemons_tick, &h->d);
        json_t *status = host_must(h, "status", NULL, NULL);
        now = json_integer_value(json_object_get(json_object_get(status, "salvage"), what));
        json_decref(status);
        usleep(5000);
    }
    CHECK_INT(now, wanted);
}

static inline void
host_work(struct daemons *n, size_t host, unsigned steps)
{
    n->work.c = n->hosts[host].c;
    work(&n->work, steps);
}

/* mx1 is primary with some work in its stores, mx2 its level standby. */
static inline struct daemons *
daemons_pair(uint64_t seed)
{
    struct daemons *n = daemons_new(2, seed);
    if (n == NULL)
        return NULL;
    host_work(n, 0, 200);
    for (size_t i = 0; i < 2; i++)
        host_start(&n->hosts[i]);
    host_order(&n->hosts[0], "promote");
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[0], "mx2", "connected");
    host_safe(&n->hosts[0]);
    return n;
}

/* What the standby found lacking is asked for and comes behind the barrier: a moment is allowed. */
static inline void
daemons_same(struct daemons *n, size_t a, size_t b)
{
    n->work.c = n->hosts[a].c;
    n->work.peer = n->hosts[b].c;
    uint64_t until = session_now_ms() + DAEMONS_LEVEL_MS;
    while (!is_same(&n->work) && session_now_ms() < until)
        host_safe(&n->hosts[a]);
    check_same(&n->work);
}

/* mx1 is the primary, with ada's mailbox; mx2 was level with it, and hears no more. */
static inline void
daemons_part(struct daemons *n)
{
    for (size_t i = 0; i < 2; i++)
        host_start(&n->hosts[i]);
    host_order(&n->hosts[0], "promote");
    cap_sh(n->hosts[0].c, "mkdir -p mail/ada/cur mail/ada/new mail/ada/tmp");
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[0], "mx2", "connected");
    host_safe(&n->hosts[0]);
    daemons_cut(n, 0, 1);
    host_wait_peer(&n->hosts[1], "mx1", "connecting");
}

#endif
