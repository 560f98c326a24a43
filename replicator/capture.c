/* capture.c - the capture thread: turn by turn from events to a commit. */
#include "lib/os/event.h"
#include "replicator/capture_private.h"
#include "replicator/recover.h"
#include "replicator/unpark.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SCAN_BUDGET 2000 /* names compared in one transaction beside the events */
#define RETRY_MS    1000

static uint64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t
capture_now_ms(void)
{
    return now_ns() / 1000000;
}

/* --- a turn --- */

bool
capture_settled(const struct capture *c)
{
    return scan_idle(&c->scan) && !c->need_sweep;
}

static void
publish(struct capture *c, uint64_t tail, uint64_t held)
{
    atomic_store(&c->held, held);
    pthread_mutex_lock(&c->lock);
    bool moved = c->status.tail != tail;
    c->status.tail = tail;
    if (moved)
        c->status.tail_ns = (uint64_t)c->compare.now_ns;
    c->status.phase = c->initial            ? CAPTURE_INITIAL
                      : !capture_settled(c) ? CAPTURE_SWEEPING
                                            : CAPTURE_LIVE;
    c->status.held = held;
    c->status.unreadable = unreadable_count(c);
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
    c->unpark_due = true;
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
        if (node_sync(c->node, e) < 0) /* no record tells of what is known now */
            return -1;
        c->initial = false;
        c->compare.record = true;
        event(EV_CAPTURE_READY, F_U64("directories", c->scan.dirs_read));
    }
    if (more > 0 || !c->unpark_due)
        return 0;
    c->unpark_due = false;
    return unpark(&c->compare, e);
}

static int
turn_in(struct capture *c, struct request **orders, struct err *e)
{
    bool flush = capture_barrier_waits(c);
    if (capture_obey(c, orders, e) < 0)
        return -1;
    flush |= capture_barrier_waits(c);
    if (batch_read(&c->batch, e) < 0)
        return -1;
    batch_take_due(&c->batch, flush);
    capture_try_unreadable(c);
    if (batch_process(&c->batch, flush, e) < 0 || batch_times_end(&c->batch, e) < 0)
        return -1;
    if (c->batch.overflow) {
        c->batch.overflow = false;
        c->need_sweep = true;
        event(EV_OVERFLOW);
    }
    capture_held_end(c);
    if (scan_turn(c, e) < 0 || compare_settle_parked(&c->compare, e) < 0)
        return -1;
    if (!c->initial) /* each time: the turn that ended the first reading may have come to nothing */
        state_meta(c->compare.txn)->indexed = 1;
    batch_take_again(&c->batch);
    capture_note_unknown(c);
    return 0;
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

/* One transaction. On failure nothing of it is in index and journal; its names have their turn
 * again, and a sweep will find what was being read. */
static int
turn(struct capture *c, struct request **orders, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, true, &txn, e) < 0)
        return -1;
    c->batch.now_ms = capture_now_ms();
    compare_batch(&c->compare, txn, look_now_ns());
    c->compare.blind = c->need_sweep || c->scan.sweeping;
    if (turn_in(c, orders, e) < 0)
        return -1;
    uint64_t tail = state_meta(txn)->tail;
    uint64_t held = recover_pending(txn);
    uint64_t began_ns = now_ns();
    if (state_commit(&txn, e) < 0)
        return -1;
    batch_turn_end(&c->batch, true);
    uint64_t ended_ns = now_ns();
    uint64_t records = tail - atomic_load(&c->tail);
    if (records > 0)
        pace_committed(&c->pace, records, ended_ns - began_ns, ended_ns);
    if (records > 0 && capture_hurries(c))
        pace_hurried(&c->pace, ended_ns);
    if (c->stalled)
        unstall(c);
    publish(c, tail, held);
    capture_answer(c, c->batch.drained);
    return 0;
}

static void
stall(struct capture *c, const struct err *e)
{
    if (!c->stalled)
        event(EV_JOURNAL_STALLED, F_ERR(e));
    c->stalled = true;
    c->need_sweep = true;
    capture_answer_settles(c);
    if (atomic_load(&c->stopping))
        atomic_store(&c->stop, true);
    batch_turn_end(&c->batch, false);
    places_forget(c->compare.places);
    scan_drop(&c->scan);
    buf_reset(&c->compare.to_read);
    if (c->initial)
        compare_batch(&c->compare, NULL, 0);
    pthread_mutex_lock(&c->lock);
    snprintf(c->status.text, sizeof(c->status.text), "%.250s", e->text);
    c->status.phase = CAPTURE_STALLED;
    pthread_mutex_unlock(&c->lock);
}

static void
hear(const struct capture *c)
{
    uint64_t count;
    if (read(c->wake_fd, &count, sizeof(count)) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
}

/* Lets changes gather for the next commit. Nobody who waits for a barrier waits for that; a sender
 * that wants its run to be complete does. */
static void
keep_pace(struct capture *c)
{
    struct pollfd wake = { .fd = c->wake_fd, .events = POLLIN };
    while (capture_settled(c) && !capture_is_urgent(c)) {
        uint64_t wait_ns = pace_wait_ns(&c->pace, now_ns());
        if (wait_ns == 0 ||
            ppoll(&wake, 1, &(struct timespec){ .tv_nsec = (long)wait_ns }, NULL) <= 0)
            return;
        hear(c);
    }
}

static void
idle(struct capture *c)
{
    struct pollfd fds[] = { { .fd = c->stalled ? -1 : watch_fd(c->watch), .events = POLLIN },
                            { .fd = c->wake_fd, .events = POLLIN } };
    uint64_t now = capture_now_ms();
    int timeout = c->checkpoint_due_ms > now ? (int)(c->checkpoint_due_ms - now) : 0;
    int due = batch_due_in(&c->batch, now);
    if (due >= 0)
        timeout = MIN(timeout, due);
    if (c->stalled)
        timeout = RETRY_MS;
    else if (!capture_settled(c) || c->waiting != NULL)
        timeout = capture_settled(c) ? MIN(timeout, 1) : 0;
    poll(fds, ARRAY_LEN(fds), timeout);
    hear(c);
    keep_pace(c);
}

/* --- checkpoints: what is behind them is on the stores' disks --- */

static void *
checkpoint_run(void *arg)
{
    struct capture *c = arg;
    struct err e;
    if (node_sync(c->node, &e) < 0)
        return NULL; /* the next one tries again; until then the last one holds */
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = REQ_CHECKPOINT;
    r->seq = c->checkpoint_seq;
    capture_post(c, r);
    return NULL;
}

void
capture_checkpoint_join(struct capture *c)
{
    if (c->checkpoint_seq == 0)
        return;
    pthread_join(c->checkpoint_thread, NULL);
    c->checkpoint_seq = 0;
}

static void
checkpoint_maybe(struct capture *c)
{
    if (capture_now_ms() < c->checkpoint_due_ms || c->stalled)
        return;
    capture_checkpoint_join(c);
    c->checkpoint_due_ms = capture_now_ms() + CHECKPOINT_MS;
    if (atomic_load(&c->tail) == 0)
        return;
    c->checkpoint_seq = atomic_load(&c->tail);
    if (pthread_create(&c->checkpoint_thread, NULL, checkpoint_run, c) != 0)
        c->checkpoint_seq = 0;
}

void *
capture_run(void *arg)
{
    struct capture *c = arg;
    struct request *orders = NULL;
    while (!atomic_load(&c->stop)) {
        struct err e = { 0 };
        if (orders == NULL)
            orders = capture_take(c);
        if (turn(c, &orders, &e) < 0)
            stall(c, &e);
        checkpoint_maybe(c);
        if (!atomic_load(&c->stop))
            idle(c);
    }
    capture_give_up(c, orders);
    return NULL;
}
