/* kill_kit.h - two nodes in processes of their own, so that SIGKILL may end either at any moment:
 * capture and sender here, receiver there, with the daemon's own code and without its network role.
 * The test's process works on the stores meanwhile, and kills. */
#ifndef MAILTWIN_TEST_KILL_KIT_H
#define MAILTWIN_TEST_KILL_KIT_H

#include "replicator/mass.h"
#include "replicator/session.h"
#include "tests/unit/pair_kit.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

#define KILL_WAIT_S 60

struct life {
    struct cap *c;
    uint8_t role; /* enum wire_role */
    pid_t pid;    /* 0 dead */
    int order_fd; /* of the test: a u64 as a question, a u64 as the answer */
};

struct kill_pair {
    struct pair work; /* its stores and its dice; nothing of it runs */
    struct life primary, standby;
    int listen_fd; /* of the standby; the test holds it too, so that nobody is refused */
    char path[96];
    unsigned kills;
};

/* --- in a node's process --- */

static struct daemon child;
static pthread_mutex_t child_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t child_moved = PTHREAD_COND_INITIALIZER;

static inline void
child_must(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    print_error("node %s: %s\n", child.conf->self, e->text);
    _exit(3);
}

void
daemon_wake_sessions(struct daemon *d)
{
    pthread_mutex_lock(&child_lock);
    pthread_cond_broadcast(&child_moved);
    pthread_mutex_unlock(&child_lock);
    peer_wake(&d->peers[0]);
}

void
daemon_peer_moved(struct daemon *d)
{
    (void)d;
}

void
daemon_follows(struct daemon *d)
{
    (void)d;
}

void
daemon_hear_epoch(struct daemon *d, const struct wire_hello *hello)
{
    (void)d;
    (void)hello;
}

void
daemon_step_down(struct daemon *d, const char *node, uint64_t epoch)
{
    print_error("%s steps down before %s, epoch %llu\n", d->conf->self, node,
                (unsigned long long)epoch);
    _exit(3);
}

int
daemon_stores_empty(const struct daemon *d, bool *ret_empty, struct err *e)
{
    (void)d;
    (void)e;
    *ret_empty = true; /* asked once, of a new standby */
    return 0;
}

int
daemon_permission(struct daemon *d, struct salvage_permission *ret, struct err *e)
{
    (void)d;
    (void)e;
    *ret = (struct salvage_permission){ 0 }; /* nobody deposes anybody */
    return 0;
}

int
daemon_hello(struct daemon *d, struct wire_hello *ret_hello, struct err *e)
{
    static const uint8_t none[WIRE_HISTORY_SIZE];
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    *ret_hello = (struct wire_hello){ .version_min = WIRE_VERSION, .version_max = WIRE_VERSION };
    ret_hello->cluster = span_str("test");
    ret_hello->node = span_str(d->conf->self);
    ret_hello->role = d->role;
    memcpy(ret_hello->history, meta->history, WIRE_HISTORY_SIZE);
    ret_hello->epoch = meta->epoch;
    ret_hello->tail = meta->tail;
    ret_hello->oldest = meta->oldest;
    ret_hello->sync_base = meta->sync_base;
    bool fresh = memcmp(meta->history, none, sizeof(none)) == 0;
    ret_hello->accept_sync = d->role == WIRE_ROLE_STANDBY && fresh;
    ret_hello->epoch_count = fresh ? 0 : 1;
    ret_hello->epochs[0] = (struct wire_epoch){ .epoch = 1, .first_seq = 1 };
    ret_hello->store_count = (uint16_t)d->conf->store_count;
    for (size_t i = 0; i < d->conf->store_count; i++) {
        ret_hello->stores[i].name = span_str(d->conf->stores[i].name);
        ret_hello->stores[i].kind = (uint8_t)d->conf->stores[i].kind;
    }
    return 0;
}

/* The first start of the primary: it promotes itself. */
static inline int
child_promote(struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(child.node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    if (meta->epoch > 0)
        return 0;
    memset(meta->history, 7, sizeof(meta->history));
    meta->epoch = 1;
    meta->role = WIRE_ROLE_PRIMARY;
    struct record r = { .op = OP_EPOCH, .time_ns = 1 };
    return state_append(txn, &r, e) < 0 ? -1 : state_commit(&txn, e);
}

static inline void
child_tail(void *arg, uint64_t tail)
{
    (void)arg;
    atomic_store(&child.tail, tail);
    daemon_wake_sessions(&child);
}

static inline int
child_link(const struct kill_pair *k)
{
    if (child.role == WIRE_ROLE_STANDBY)
        return accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    memcpy(name.sun_path, k->path, sizeof(k->path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&name, sizeof(name)) < 0)
        _exit(4);
    return fd;
}

/* As long as there is a link, and then the next. */
static inline void *
child_sessions(void *arg)
{
    for (;;) {
        int fd = child_link(arg);
        session_run(&child.peers[0], fd);
        close(fd);
    }
    return NULL;
}

static inline void
child_reached(void *arg, uint64_t seq)
{
    uint64_t *ret_seq = arg;
    pthread_mutex_lock(&child_lock);
    *ret_seq = seq;
    pthread_cond_broadcast(&child_moved);
    pthread_mutex_unlock(&child_lock);
}

static inline bool
child_syncs(void)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct err e = { 0 };
    child_must(state_begin(child.node->state, false, &txn, &e), &e);
    return state_meta(txn)->sync_base != 0;
}

/* A primary: all that happened is recorded, up to the answer. A standby: has and has noted all up
 * to seq, also of a sync, whose seq is that of its end from the beginning. */
static inline uint64_t
child_answer(uint64_t seq)
{
    uint64_t reached = 0;
    if (child.capture != NULL)
        capture_barrier(child.capture, child_reached, &reached);
    pthread_mutex_lock(&child_lock);
    while (child.capture != NULL ? reached == 0 : atomic_load(&child.tail) < seq)
        pthread_cond_wait(&child_moved, &child_lock);
    pthread_mutex_unlock(&child_lock);
    while (child.capture == NULL && child_syncs())
        usleep(1000);
    return child.capture != NULL ? reached : atomic_load(&child.tail);
}

static inline void
child_begin(struct cap *c, uint8_t role)
{
    static char self[2][8] = { "one", "two" };
    static struct conf_node other;
    static struct peer peer;
    struct err e = { 0 };
    bool primary = role == WIRE_ROLE_PRIMARY;
    c->conf.self = self[primary ? 0 : 1];
    other.name = self[primary ? 1 : 0];
    child = (struct daemon){
        .conf = &c->conf, .role = role, .adopt_fd = -1, .loss = loss_watch_new()
    };
    child.peers = &peer;
    child.peer_count = 1;
    peer_init(&peer, &child, &other);
    child_must(node_open(&c->conf, &child.node, &e), &e);
    child_must(mass_new(child.node, &child.mass, &e), &e);
    if (!primary)
        return;
    child_must(child_promote(&e), &e);
    child_must(capture_start(child.node, -1, child_tail, NULL, &child.capture, &e), &e);
    atomic_store(&child.tail, capture_tail(child.capture));
}

static inline void
child_live(struct kill_pair *k, const struct life *l, int order_fd)
{
    pthread_t thread;
    uint64_t seq;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    event_init("test", getenv("MAILTWIN_EVENTS") != NULL ? EVENT_INFO : EVENT_CRIT);
    child_begin(l->c, l->role);
    if (pthread_create(&thread, NULL, child_sessions, k) != 0)
        _exit(4);
    while (read(order_fd, &seq, sizeof(seq)) == sizeof(seq)) {
        seq = child_answer(seq);
        if (write(order_fd, &seq, sizeof(seq)) != sizeof(seq))
            break;
    }
    _exit(0);
}

/* --- in the test --- */

static inline void
life_begin(struct kill_pair *k, struct life *l)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct timeval patience = { .tv_sec = KILL_WAIT_S };
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    l->pid = fork();
    assert_true(l->pid >= 0);
    if (l->pid == 0) {
        close(fds[0]);
        child_live(k, l, fds[1]);
    }
    close(fds[1]);
    l->order_fd = fds[0];
}

static inline void
life_end(struct life *l)
{
    if (l->pid == 0)
        return;
    int status;
    kill(l->pid, SIGKILL);
    assert_int_equal(waitpid(l->pid, &status, 0), l->pid);
    assert_true(WIFSIGNALED(status)); /* it lived until then */
    close(l->order_fd);
    l->pid = 0;
}

static inline uint64_t
life_ask(const struct life *l, uint64_t seq)
{
    assert_int_equal(write(l->order_fd, &seq, sizeof(seq)), sizeof(seq));
    if (read(l->order_fd, &seq, sizeof(seq)) != sizeof(seq))
        fail_msg("the %s did not answer", l->role == WIRE_ROLE_PRIMARY ? "primary" : "standby");
    return seq;
}

/* All that was done is on the standby, and what it lacked has come too. */
static inline void
kill_pair_level(const struct kill_pair *k)
{
    uint64_t seq = life_ask(&k->primary, 0);
    for (uint64_t before = 0; before != seq;) {
        life_ask(&k->standby, seq);
        before = seq;
        seq = life_ask(&k->primary, 0);
    }
}

/* false without the rights. image_mb as in cap_new_on(). */
static inline bool
kill_pair_begin(struct kill_pair *k, uint64_t seed, const char *image_mb)
{
    *k = (struct kill_pair){ .work = { .seed = seed } };
    k->primary = (struct life){ .c = cap_new_on(image_mb), .role = WIRE_ROLE_PRIMARY };
    if (k->primary.c == NULL)
        return false;
    k->standby = (struct life){ .c = cap_new_on(image_mb), .role = WIRE_ROLE_STANDBY };
    k->work.c = k->primary.c;
    k->work.peer = k->standby.c;
    snprintf(k->path, sizeof(k->path), "%s/run/link", k->standby.c->base);
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    memcpy(name.sun_path, k->path, sizeof(k->path));
    k->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(k->listen_fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(k->listen_fd, 64), 0);
    life_begin(k, &k->standby);
    life_begin(k, &k->primary);
    return true;
}

static inline void
kill_pair_end(struct kill_pair *k)
{
    life_end(&k->primary);
    life_end(&k->standby);
    close(k->listen_fd);
    cap_free(k->standby.c);
    cap_free(k->primary.c);
}

#endif
