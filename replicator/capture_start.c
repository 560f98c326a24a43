/* capture_start.c - taking up the stores, and leaving them so that the next start need not look for
 * what happened. */
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/capture_private.h"
#include "replicator/recover.h"
#include "replicator/unpark.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

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

static int
start_index(struct capture *c, bool adopted, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    c->status.tail = meta->tail; /* the first turn tells of what is recorded here */
    compare_batch(&c->compare, txn, look_now_ns());
    if (node_check_roots(c->node, txn, e) < 0)
        return -1;
    c->initial = meta->indexed == 0;
    c->compare.record = !c->initial;
    for (uint16_t i = 0; i < c->node->store_count; i++) {
        if (compare_root(&c->compare, i, e) < 0)
            return -1;
    }
    if (!c->initial && (recover_begin(&c->compare, e) < 0 || capture_held_review(c, e) < 0))
        return -1;
    c->need_sweep = !(adopted && meta->clean) && !nothing_happened(c, meta);
    c->need_sweep |= recover_pending(txn) > 0; /* what was left out is not in the index */
    c->compare.blind = c->need_sweep;
    if (!c->initial && unpark(&c->compare, e) < 0)
        return -1;
    meta->clean = 0;
    node_boot_id(meta->boot_id);
    atomic_store(&c->held, recover_pending(txn));
    c->status.held = recover_pending(txn);
    atomic_store(&c->tail, meta->tail);
    c->status.phase = c->initial      ? CAPTURE_INITIAL
                      : c->need_sweep ? CAPTURE_SWEEPING
                                      : CAPTURE_LIVE;
    if (c->initial) { /* a first reading that was broken off begins again: unread directories are
                         marked */
        scan_sweep(&c->scan);
        c->need_sweep = false;
        c->unpark_due = true;
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
    free(c->heard);
    scan_free(&c->scan);
    batch_free(&c->batch);
    unreadable_free(&c->unreadable);
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
    c->heard = xcalloc(MAX(node->conf->node_count, (size_t)1), sizeof(*c->heard));
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = c->wake_fd < 0 ? err_sys(e, ERR_IO, "make the capture's eventfd") : 0;
    c->checkpoint_due_ms = capture_now_ms() + CHECKPOINT_MS;
    pthread_mutex_init(&c->lock, NULL);
    compare_init(&c->compare, node);
    scan_init(&c->scan, &c->compare);
    unreadable_init(&c->unreadable);
    /* The watch first: what happens while the index is being checked must be in the queue. */
    if (rc == 0)
        rc = start_watch(c, adopt_fd, e);
    batch_init(&c->batch, &c->compare, c->watch);
    compare_heeds(&c->compare, &c->unreadable.told);
    compare_heeds(&c->compare, &c->unreadable.tried);
    if (rc == 0)
        rc = start_index(c, adopt_fd >= 0, e);
    bool initial = c->initial, sweep = c->need_sweep; /* the thread's own once it runs */
    if (rc == 0 && pthread_create(&c->thread, NULL, capture_run, c) != 0)
        rc = err_set(e, ERR_IO, "start the capture thread");
    if (rc < 0) {
        capture_free(&c);
        return -1;
    }
    if (!initial) /* else the thread says it, behind the first reading */
        event(EV_CAPTURE_READY, F_U64("sweep", sweep));
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

static bool
events_are_waiting(const struct capture *c)
{
    struct pollfd queue = { .fd = watch_fd(c->watch), .events = POLLIN };
    return poll(&queue, 1, 0) != 0;
}

/* What happened between the last emptying of the queue and the evidence is told by events that are
 * still in it; then there is no evidence, and the next start sweeps. */
static int
save_evidence(struct capture *c, struct err *e)
{
    if (node_evidence_save(c->node, e) < 0)
        return -1;
    if (events_are_waiting(c))
        node_evidence_drop(c->node);
    return 0;
}

/* Marks a clean stop. Failing only costs the next start a sweep. */
static int
stop_clean(struct capture *c, struct err *e)
{
    if (node_sync(c->node, e) < 0)
        return -1;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    meta->checkpoint = meta->tail;
    meta->clean = 1;
    if (state_commit(&txn, e) < 0)
        return -1;
    return save_evidence(c, e);
}

bool
capture_stop(struct capture **capture)
{
    struct capture *c = *capture;
    if (c == NULL)
        return false;
    struct capture_status status;
    capture_status(c, &status);
    if (status.phase == CAPTURE_LIVE) {
        atomic_store(&c->stopping, true);
        capture_barrier(c, barrier_reached, c);
    } else {
        atomic_store(&c->stop, true);
    }
    capture_wake(c);
    pthread_join(c->thread, NULL);
    capture_checkpoint_join(c);
    struct err e = { 0 };
    bool complete = status.phase == CAPTURE_LIVE && !c->stalled && capture_settled(c);
    bool clean = complete && unreadable_count(c) == 0;
    if (clean && stop_clean(c, &e) < 0)
        event(EV_FAILED, F_STR("while", "stopping the capture"), F_ERR(&e));
    capture_free(capture);
    return complete;
}

int
capture_watch_fd(const struct capture *capture)
{
    return watch_fd(capture->watch);
}
