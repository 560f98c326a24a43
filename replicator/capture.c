#include "replicator/capture.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/batch.h"
#include "replicator/recover.h"
#include "replicator/scan.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SCAN_BUDGET   2000 /* names compared in one transaction beside the events */
#define CHECKPOINT_MS 30000
#define RETRY_MS      1000

enum request_kind {
    REQ_BARRIER,
    REQ_SETTLE,
    REQ_FORCE,
    REQ_RELEASE,
    REQ_PEER,
    REQ_CHECKPOINT
};

struct request {
    struct request *next;
    enum request_kind kind;
    void (*done)(void *arg, uint64_t seq);
    void *arg;
    uint16_t store;
    bool is_dir;
    uint64_t seq;
    char *key;
    struct buf bytes; /* path or value */
};

struct held {
    uint16_t store;
    bool released;
    struct buf path;
};

struct capture {
    struct node *node;
    struct watch *watch;
    struct compare compare;
    struct scan scan;
    struct batch batch;
    void (*on_tail)(void *arg, uint64_t tail);
    void *on_tail_arg;
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;     /* end after this turn */
    atomic_bool stopping; /* a clean stop waits for its barrier; a stall ends it at once */
    atomic_uint_fast64_t tail;

    pthread_mutex_t lock; /* of what follows */
    struct request *queue, **queue_end;
    struct capture_status status;
    struct held *held; /* names that a power loss may have taken, as found at start */
    size_t held_count;

    /* the thread's own */
    struct request *waiting; /* barriers not answered yet */
    bool need_sweep, initial, stalled;
    uint64_t checkpoint_due_ms;
    uint64_t checkpoint_seq; /* 0: none under way */
    pthread_t checkpoint_thread;
};

static uint64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
wake(struct capture *c)
{
    uint64_t one = 1;
    if (write(c->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN); /* already awake */
}

static void
post(struct capture *c, struct request *r)
{
    pthread_mutex_lock(&c->lock);
    *c->queue_end = r;
    c->queue_end = &r->next;
    pthread_mutex_unlock(&c->lock);
    wake(c);
}

static void
request_free(struct request *r)
{
    buf_free(&r->bytes);
    free(r->key);
    free(r);
}

static struct request *
take_requests(struct capture *c)
{
    pthread_mutex_lock(&c->lock);
    struct request *list = c->queue;
    c->queue = NULL;
    c->queue_end = &c->queue;
    pthread_mutex_unlock(&c->lock);
    return list;
}

/* --- orders from other threads --- */

static int
hint_path(struct capture *c, const struct request *r, struct err *e)
{
    uint64_t dir;
    struct span name;
    int found = state_resolve(c->compare.txn, r->store, buf_span(&r->bytes), &dir, &name, e);
    unsigned what = HINT_FORCE | WATCH_ATTRIB | (r->is_dir ? WATCH_IS_DIR : 0u);
    if (found > 0 && name.len > 0)
        hints_add(&c->batch.hints, dir, name, what);
    return found < 0 ? -1 : 0;
}

static void
unhold(struct capture *c, const struct request *r)
{
    uint64_t dir;
    struct span name;
    if (state_resolve(c->compare.txn, r->store, buf_span(&r->bytes), &dir, &name, NULL) <= 0)
        return;
    hints_add(&c->compare.held, dir, name, 0)->what = 0;
}

static int
obey(struct capture *c, struct request *r, struct err *e)
{
    switch (r->kind) {
    case REQ_FORCE:
        return hint_path(c, r, e);
    case REQ_RELEASE:
        unhold(c, r);
        return hint_path(c, r, e);
    case REQ_PEER:
        return state_put(c->compare.txn, r->key, buf_span(&r->bytes), e);
    case REQ_CHECKPOINT:
        if (recover_pending(&c->compare) == 0)
            state_meta(c->compare.txn)->checkpoint = r->seq;
        return batch_keep_times(&c->batch, e);
    case REQ_BARRIER:
    case REQ_SETTLE:
        break;
    }
    return 0;
}

/* Carries orders out; those who wait are kept. On failure what is left is kept for the next turn.
 */
static int
obey_all(struct capture *c, struct request **list, struct err *e)
{
    while (*list != NULL) {
        struct request *r = *list;
        if (obey(c, r, e) < 0)
            return -1;
        *list = r->next;
        if (r->kind == REQ_BARRIER || r->kind == REQ_SETTLE) {
            r->next = c->waiting;
            c->waiting = r;
        } else {
            request_free(r);
        }
    }
    return 0;
}

static bool
barrier_waits(const struct capture *c)
{
    for (const struct request *r = c->waiting; r != NULL; r = r->next) {
        if (r->kind == REQ_BARRIER)
            return true;
    }
    return false;
}

/* A sender that asked must not hang while the journal cannot be written. */
static void
answer_settles(struct capture *c)
{
    struct request **at = &c->waiting;
    while (*at != NULL) {
        struct request *r = *at;
        if (r->kind != REQ_SETTLE) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->done(r->arg, atomic_load(&c->tail));
        request_free(r);
    }
}

static void
answer_waiting(struct capture *c, bool drained)
{
    bool quiet = drained && hints_count(&c->batch.later) == 0 && scan_idle(&c->scan);
    uint64_t tail = atomic_load(&c->tail);
    struct request **at = &c->waiting;
    while (*at != NULL) {
        struct request *r = *at;
        if (!(r->kind == REQ_SETTLE ? drained : quiet)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->done(r->arg, tail);
        request_free(r);
    }
}

/* --- a turn --- */

static void
publish(struct capture *c, uint64_t tail)
{
    pthread_mutex_lock(&c->lock);
    bool moved = c->status.tail != tail;
    c->status.tail = tail;
    if (moved)
        c->status.tail_ns = (uint64_t)c->compare.now_ns;
    c->status.phase = c->stalled             ? CAPTURE_STALLED
                      : c->initial           ? CAPTURE_INITIAL
                      : !scan_idle(&c->scan) ? CAPTURE_SWEEPING
                                             : CAPTURE_LIVE;
    c->status.held = recover_pending(&c->compare);
    c->status.dirs_seen = c->scan.dirs_seen + c->scan.dirs_read;
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->tail, tail);
    if (moved && c->on_tail != NULL)
        c->on_tail(c->on_tail_arg, tail);
}

static void
sweep_begin(struct capture *c)
{
    c->need_sweep = false;
    scan_sweep(&c->scan);
    event(EV_SWEEP_BEGIN);
}

static void
sweep_ended(struct capture *c)
{
    event(EV_SWEEP_END, F_U64("directories", c->scan.dirs_seen), F_U64("read", c->scan.dirs_read),
          F_U64("records", c->compare.emitted));
}

static int
scan_turn(struct capture *c, struct err *e)
{
    if (c->need_sweep && scan_idle(&c->scan) && !c->initial)
        sweep_begin(c);
    bool was_sweeping = c->scan.sweeping;
    if (scan_idle(&c->scan))
        return 0;
    int more = scan_step(&c->scan, SCAN_BUDGET, e);
    if (more < 0)
        return -1;
    if (more == 0 && was_sweeping)
        sweep_ended(c);
    if (more == 0 && c->initial) {
        c->initial = false;
        c->compare.record = true;
        state_meta(c->compare.txn)->indexed = 1;
        event(EV_CAPTURE_READY, F_U64("directories", c->scan.dirs_read));
    }
    return 0;
}

static int
turn_in(struct capture *c, struct request **orders, struct err *e)
{
    bool flush = barrier_waits(c);
    if (obey_all(c, orders, e) < 0)
        return -1;
    flush |= barrier_waits(c);
    if (batch_read(&c->batch, e) < 0)
        return -1;
    batch_take_due(&c->batch, flush);
    if (batch_process(&c->batch, flush, e) < 0)
        return -1;
    if (c->batch.overflow) {
        c->batch.overflow = false;
        c->need_sweep = true;
        event(EV_OVERFLOW);
    }
    if (scan_turn(c, e) < 0)
        return -1;
    return compare_settle_parked(&c->compare, e);
}

/* One transaction. On failure nothing of it is in index and journal, and a sweep will find it
 * again. */
static int
turn(struct capture *c, struct request **orders, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, true, &txn, e) < 0)
        return -1;
    c->batch.now_ms = now_ms();
    compare_batch(&c->compare, txn, look_now_ns());
    if (turn_in(c, orders, e) < 0)
        return -1;
    uint64_t tail = state_meta(txn)->tail;
    if (state_commit(&txn, e) < 0)
        return -1;
    publish(c, tail);
    answer_waiting(c, c->batch.drained);
    return 0;
}

static void
stall(struct capture *c, const struct err *e)
{
    if (!c->stalled)
        event(EV_JOURNAL_STALLED, F_ERR(e));
    c->stalled = true;
    c->need_sweep = true;
    answer_settles(c);
    if (atomic_load(&c->stopping))
        atomic_store(&c->stop, true);
    hints_clear(&c->batch.hints);
    places_forget(c->compare.places);
    scan_free(&c->scan);
    buf_reset(&c->compare.to_read);
    if (c->initial)
        compare_batch(&c->compare, NULL, 0);
    pthread_mutex_lock(&c->lock);
    snprintf(c->status.text, sizeof(c->status.text), "%.250s", e->text);
    c->status.phase = CAPTURE_STALLED;
    pthread_mutex_unlock(&c->lock);
}

static void
unstall(struct capture *c)
{
    c->stalled = false;
    event(EV_JOURNAL_RESUMED);
    pthread_mutex_lock(&c->lock);
    c->status.text[0] = '\0';
    pthread_mutex_unlock(&c->lock);
}

static void
idle(struct capture *c)
{
    struct pollfd fds[] = { { .fd = c->stalled ? -1 : watch_fd(c->watch), .events = POLLIN },
                            { .fd = c->wake_fd, .events = POLLIN } };
    uint64_t now = now_ms();
    int timeout = c->checkpoint_due_ms > now ? (int)(c->checkpoint_due_ms - now) : 0;
    int due = batch_due_in(&c->batch, now);
    if (due >= 0)
        timeout = MIN(timeout, due);
    if (c->stalled)
        timeout = RETRY_MS;
    else if (!scan_idle(&c->scan) || c->need_sweep || c->waiting != NULL)
        timeout = c->waiting != NULL && scan_idle(&c->scan) ? MIN(timeout, 1) : 0;
    poll(fds, ARRAY_LEN(fds), timeout);
    uint64_t count;
    if (read(c->wake_fd, &count, sizeof(count)) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
}

/* --- checkpoints: what is behind them is on the stores' disks --- */

static void *
checkpoint_run(void *arg)
{
    struct capture *c = arg;
    struct err e;
    for (size_t i = 0; i < c->node->store_count; i++) {
        if (file_sync_fs(c->node->stores[i].root_fd, &e) < 0)
            return NULL; /* the next one tries again; until then the last one holds */
    }
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = REQ_CHECKPOINT;
    r->seq = c->checkpoint_seq;
    post(c, r);
    return NULL;
}

static void
checkpoint_join(struct capture *c)
{
    if (c->checkpoint_seq == 0)
        return;
    pthread_join(c->checkpoint_thread, NULL);
    c->checkpoint_seq = 0;
}

static void
checkpoint_maybe(struct capture *c)
{
    if (now_ms() < c->checkpoint_due_ms || c->stalled)
        return;
    checkpoint_join(c);
    c->checkpoint_due_ms = now_ms() + CHECKPOINT_MS;
    if (atomic_load(&c->tail) == 0)
        return;
    c->checkpoint_seq = atomic_load(&c->tail);
    if (pthread_create(&c->checkpoint_thread, NULL, checkpoint_run, c) != 0)
        c->checkpoint_seq = 0;
}

/* Nobody is left waiting: what was not done is told by the old tail. */
static void
give_up(struct capture *c, struct request *orders)
{
    struct request *lists[] = { orders, take_requests(c), c->waiting };
    c->waiting = NULL;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        while (lists[i] != NULL) {
            struct request *r = lists[i];
            lists[i] = r->next;
            if (r->done != NULL)
                r->done(r->arg, atomic_load(&c->tail));
            request_free(r);
        }
    }
}

static void *
capture_run(void *arg)
{
    struct capture *c = arg;
    struct request *orders = NULL;
    while (!atomic_load(&c->stop)) {
        struct err e = { 0 };
        if (orders == NULL)
            orders = take_requests(c);
        if (turn(c, &orders, &e) < 0)
            stall(c, &e);
        else if (c->stalled)
            unstall(c);
        checkpoint_maybe(c);
        idle(c);
    }
    give_up(c, orders);
    return NULL;
}

/* --- start and stop --- */

/* Was nothing written since a clean stop in this boot? */
static bool
nothing_happened(struct capture *c, const struct state_meta *meta)
{
    uint8_t boot[16];
    node_boot_id(boot);
    if (!meta->clean || memcmp(boot, meta->boot_id, sizeof(boot)) != 0)
        return false;
    return node_evidence_holds(c->node);
}

/* The held names as paths, for the sessions. */
static int
list_held(struct capture *c, struct err *e)
{
    size_t count = hints_count(&c->compare.held);
    c->held = xcalloc(count, sizeof(*c->held));
    for (size_t i = 0; i < count; i++) {
        const struct hint *hint = hints_at(&c->compare.held, i);
        struct held *held = &c->held[c->held_count++];
        struct state_dir row;
        if (state_dir_get(c->compare.txn, hint->dir, &row, e) < 0 ||
            state_dir_path(c->compare.txn, hint->dir, &held->path, e) < 0)
            return -1;
        held->store = row.store;
        if (held->path.len > 0)
            buf_add_u8(&held->path, '/');
        buf_add(&held->path, hints_name(&c->compare.held, hint), hint->name_len);
    }
    return 0;
}

static int
start_index(struct capture *c, bool adopted, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    compare_batch(&c->compare, txn, look_now_ns());
    if (node_check_roots(c->node, txn, e) < 0)
        return -1;
    c->initial = meta->indexed == 0;
    c->compare.record = !c->initial;
    for (uint16_t i = 0; i < c->node->store_count; i++) {
        if (compare_root(&c->compare, i, e) < 0)
            return -1;
    }
    if (!c->initial && (recover_begin(&c->compare, e) < 0 || list_held(c, e) < 0))
        return -1;
    c->need_sweep = !(adopted && meta->clean) && !nothing_happened(c, meta);
    meta->clean = 0;
    node_boot_id(meta->boot_id);
    atomic_store(&c->tail, meta->tail);
    c->status.tail = meta->tail;
    c->status.phase = c->initial      ? CAPTURE_INITIAL
                      : c->need_sweep ? CAPTURE_SWEEPING
                                      : CAPTURE_LIVE;
    if (c->initial) { /* a first reading that was broken off begins again: unread directories are
                         marked */
        scan_sweep(&c->scan);
        c->need_sweep = false;
    }
    return state_commit(&txn, e);
}

static int
start_watch(struct capture *c, int adopt_fd, struct err *e)
{
    if (adopt_fd >= 0)
        c->watch = watch_adopt(adopt_fd);
    else if (watch_new(&c->watch, e) < 0)
        return -1;
    for (size_t i = 0; i < c->node->store_count; i++) {
        const struct node_store *s = &c->node->stores[i];
        if (watch_add(c->watch, s->root_fd, s->conf->path, e) < 0)
            return err_wrap(e, "store %s", s->conf->name);
    }
    return 0;
}

static void
capture_free(struct capture **capture)
{
    struct capture *c = *capture;
    for (size_t i = 0; i < c->held_count; i++)
        buf_free(&c->held[i].path);
    free(c->held);
    scan_free(&c->scan);
    batch_free(&c->batch);
    compare_free(&c->compare);
    watch_free(&c->watch);
    file_closep(&c->wake_fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *capture = NULL;
}

int
capture_start(struct node *node, int adopt_fd, void (*on_tail)(void *arg, uint64_t tail), void *arg,
              struct capture **ret_capture, struct err *e)
{
    struct capture *c = xcalloc(1, sizeof(*c));
    c->node = node;
    c->on_tail = on_tail;
    c->on_tail_arg = arg;
    c->queue_end = &c->queue;
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->checkpoint_due_ms = now_ms() + CHECKPOINT_MS;
    pthread_mutex_init(&c->lock, NULL);
    compare_init(&c->compare, node);
    scan_init(&c->scan, &c->compare);
    /* The watch first: what happens while the index is being checked must be in the queue. */
    int rc = start_watch(c, adopt_fd, e);
    batch_init(&c->batch, &c->compare, c->watch);
    if (rc < 0 || start_index(c, adopt_fd >= 0, e) < 0 ||
        pthread_create(&c->thread, NULL, capture_run, c) != 0) {
        capture_free(&c);
        return -1;
    }
    if (!c->initial)
        event(EV_CAPTURE_READY, F_U64("sweep", c->need_sweep));
    *ret_capture = c;
    return 0;
}

static void
barrier_reached(void *arg, uint64_t seq)
{
    (void)seq;
    struct capture *c = arg;
    atomic_store(&c->stop, true);
}

/* Marks a clean stop. Failing only costs the next start a sweep. */
static int
stop_clean(struct capture *c, struct err *e)
{
    for (size_t i = 0; i < c->node->store_count; i++) {
        if (file_sync_fs(c->node->stores[i].root_fd, e) < 0)
            return -1;
    }
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, true, &txn, e) < 0)
        return -1;
    compare_batch(&c->compare, txn, look_now_ns());
    if (batch_keep_times(&c->batch, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    if (recover_pending(&c->compare) == 0)
        meta->checkpoint = meta->tail;
    meta->clean = 1;
    if (state_commit(&txn, e) < 0)
        return -1;
    return node_evidence_save(c->node, e);
}

void
capture_stop(struct capture **capture)
{
    struct capture *c = *capture;
    if (c == NULL)
        return;
    struct capture_status status;
    capture_status(c, &status);
    if (status.phase == CAPTURE_LIVE) {
        atomic_store(&c->stopping, true);
        capture_barrier(c, barrier_reached, c);
    } else {
        atomic_store(&c->stop, true);
    }
    wake(c);
    pthread_join(c->thread, NULL);
    checkpoint_join(c);
    struct err e = { 0 };
    bool clean = status.phase == CAPTURE_LIVE && !c->stalled && scan_idle(&c->scan);
    if (clean && stop_clean(c, &e) < 0)
        event(EV_FAILED, F_STR("while", "stopping the capture"), F_ERR(&e));
    capture_free(capture);
}

int
capture_watch_fd(const struct capture *capture)
{
    return watch_fd(capture->watch);
}

/* --- what others ask --- */

void
capture_status(struct capture *c, struct capture_status *ret_status)
{
    pthread_mutex_lock(&c->lock);
    *ret_status = c->status;
    pthread_mutex_unlock(&c->lock);
}

uint64_t
capture_tail(const struct capture *c)
{
    return atomic_load(&c->tail);
}

void
capture_barrier(struct capture *c, void (*done)(void *arg, uint64_t seq), void *arg)
{
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = REQ_BARRIER;
    r->done = done;
    r->arg = arg;
    post(c, r);
}

struct settle {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    uint64_t seq;
};

static void
settled(void *arg, uint64_t seq)
{
    struct settle *s = arg;
    pthread_mutex_lock(&s->lock);
    s->done = true;
    s->seq = seq;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

uint64_t
capture_settle(struct capture *c)
{
    struct settle s = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = REQ_SETTLE;
    r->done = settled;
    r->arg = &s;
    post(c, r);
    pthread_mutex_lock(&s.lock);
    while (!s.done)
        pthread_cond_wait(&s.cond, &s.lock);
    pthread_mutex_unlock(&s.lock);
    return s.seq;
}

static struct request *
path_request(enum request_kind kind, uint16_t store, struct span path)
{
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = kind;
    r->store = store;
    buf_add(&r->bytes, path.ptr, path.len);
    return r;
}

void
capture_force(struct capture *c, uint16_t store, struct span path, bool is_dir)
{
    struct request *r = path_request(REQ_FORCE, store, path);
    r->is_dir = is_dir;
    post(c, r);
}

int
capture_held(struct capture *c, size_t index, uint16_t *ret_store, struct buf *ret_path)
{
    int found = 0;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->held_count && found == 0; i++) {
        struct held *held = &c->held[i];
        if (held->released || index-- > 0)
            continue;
        *ret_store = held->store;
        buf_reset(ret_path);
        buf_add(ret_path, held->path.ptr, held->path.len);
        found = 1;
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

void
capture_release(struct capture *c, uint16_t store, struct span path)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->held_count; i++) {
        if (c->held[i].store == store && span_equal(buf_span(&c->held[i].path), path))
            c->held[i].released = true;
    }
    pthread_mutex_unlock(&c->lock);
    post(c, path_request(REQ_RELEASE, store, path));
}

void
capture_note_peer(struct capture *c, const char *key, struct span value)
{
    struct request *r = path_request(REQ_PEER, 0, value);
    r->key = xstrdup(key);
    post(c, r);
}
