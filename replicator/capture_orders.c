/* capture_orders.c - what other threads ask of the capture, and the answers to those who wait. */
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/capture_private.h"
#include "replicator/renames.h"

#include <stdlib.h>
#include <unistd.h>

void
capture_wake(struct capture *c)
{
    uint64_t one = 1;
    if (write(c->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN); /* already awake */
}

void
capture_post(struct capture *c, struct request *r)
{
    pthread_mutex_lock(&c->lock);
    *c->queue_end = r;
    c->queue_end = &r->next;
    pthread_mutex_unlock(&c->lock);
    capture_wake(c);
}

void
request_free(struct request *r)
{
    buf_free(&r->bytes);
    free(r->key);
    free(r);
}

struct request *
capture_take(struct capture *c)
{
    pthread_mutex_lock(&c->lock);
    struct request *list = c->queue;
    c->queue = NULL;
    c->queue_end = &c->queue;
    c->needs = 0;
    pthread_mutex_unlock(&c->lock);
    return list;
}

/* --- in the capture thread --- */

static void
hint_forced(struct capture *c, uint64_t dir, struct span name, bool is_dir)
{
    hints_add(&c->batch.hints, dir, name, CAPTURE_FORCED | (is_dir ? WATCH_IS_DIR : 0u));
}

/* "" is the directory itself; a root has no name to be looked at. */
static int
obey_force(struct capture *c, const struct request *r, struct err *e)
{
    struct state_dir row;
    if (r->bytes.len > 0) {
        hint_forced(c, r->dir, buf_span(&r->bytes), r->is_dir);
        return 0;
    }
    int found = state_dir_get(c->compare.txn, r->dir, &row, e);
    if (found > 0 && row.parent == 0)
        return compare_root_attr(&c->compare, r->dir, CAPTURE_FORCED, e);
    if (found > 0)
        hint_forced(c, row.parent, row.name, r->is_dir);
    return found < 0 ? -1 : 0;
}

/* All below a directory, parents first. */
static int
hint_below(struct capture *c, uint64_t top, struct err *e)
{
    _cleanup_buf_ struct buf dirs = { 0 };
    buf_add_le64(&dirs, top);
    for (size_t at = 0; at < dirs.len; at += 8) {
        uint64_t dir = get_le64(dirs.ptr + at);
        struct span name = { 0 };
        struct state_entry entry;
        int found;
        while ((found = state_entry_next(c->compare.txn, dir, name, &name, &entry, e)) > 0) {
            hint_forced(c, dir, name, false);
            if (entry.dir != 0)
                buf_add_le64(&dirs, entry.dir);
        }
        if (found < 0)
            return -1;
    }
    return 0;
}

static int
obey_need(struct capture *c, struct request *r, struct err *e)
{
    uint64_t dir;
    struct span name;
    struct state_entry entry;
    struct state_txn *txn = c->compare.txn;
    if (renames_since(txn, r->store, r->seq, &r->bytes, e) < 0)
        return -1;
    int found = state_resolve(txn, r->store, buf_span(&r->bytes), &dir, &name, e);
    if (found <= 0)
        return found; /* its directory is gone: so says a record on its way */
    if (name.len == 0)
        return compare_root_attr(&c->compare, dir, CAPTURE_FORCED, e);
    hint_forced(c, dir, name, r->is_dir);
    found = state_entry_get(txn, dir, name, &entry, e);
    return found > 0 && entry.dir != 0 ? hint_below(c, entry.dir, e) : found;
}

static int
obey(struct capture *c, struct request *r, struct err *e)
{
    switch (r->kind) {
    case REQ_FORCE:
        return obey_force(c, r, e);
    case REQ_NEED:
        return obey_need(c, r, e) < 0 ? -1 : 0;
    case REQ_UNREADABLE:
        return capture_obey_unreadable(c, r, e);
    case REQ_BACK:
    case REQ_SPOILT:
    case REQ_WITHOUT:
    case REQ_HEARD:
    case REQ_YIELD:
    case REQ_GIVE_UP:
        return capture_obey_held(c, r, e);
    case REQ_PEER:
        return state_put(c->compare.txn, r->key, buf_span(&r->bytes), e);
    case REQ_CHECKPOINT:
        state_meta(c->compare.txn)->checkpoint = r->seq; /* everything up to it is on the disk */
        if (!capture_settled(c))
            return 0; /* times that a sweep has not seen yet must not look as if it had */
        return batch_times_begin(&c->batch, e);
    case REQ_BARRIER:
    case REQ_SETTLE:
        break;
    }
    return 0;
}

/* Carries orders out; those who wait are kept. On failure what is left is kept for the next turn.
 */
int
capture_obey(struct capture *c, struct request **list, struct err *e)
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
is_urgent(const struct request *r)
{
    return r->kind == REQ_SETTLE ? r->hurry : r->kind != REQ_PEER;
}

bool
capture_is_urgent(struct capture *c)
{
    bool urgent = atomic_load(&c->stop) || capture_hurries(c);
    pthread_mutex_lock(&c->lock);
    for (const struct request *r = c->queue; r != NULL; r = r->next)
        urgent = urgent || is_urgent(r);
    pthread_mutex_unlock(&c->lock);
    return urgent;
}

bool
capture_hurries(const struct capture *c)
{
    for (const struct request *r = c->waiting; r != NULL; r = r->next) {
        if (is_urgent(r))
            return true;
    }
    return false;
}

bool
capture_barrier_waits(const struct capture *c)
{
    for (const struct request *r = c->waiting; r != NULL; r = r->next) {
        if (r->kind == REQ_BARRIER)
            return true;
    }
    return false;
}

/* A sender that asked must not hang while the journal cannot be written. */
void
capture_answer_settles(struct capture *c)
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

void
capture_answer(struct capture *c, bool drained)
{
    bool quiet = drained && hints_count(&c->batch.later) == 0 && capture_settled(c);
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

/* Nobody is left waiting: what was not done is told by the old tail. */
void
capture_give_up(struct capture *c, struct request *orders)
{
    struct request *lists[] = { orders, capture_take(c), c->waiting };
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

/* --- in the asking threads --- */

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
    capture_post(c, r);
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
capture_settle(struct capture *c, bool hurry)
{
    struct settle s = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = REQ_SETTLE;
    r->hurry = hurry;
    r->done = settled;
    r->arg = &s;
    capture_post(c, r);
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
capture_force(struct capture *c, uint64_t dir, struct span name, bool is_dir)
{
    struct request *r = path_request(REQ_FORCE, 0, name);
    r->dir = dir;
    r->is_dir = is_dir;
    capture_post(c, r);
}

static bool
has_room(struct capture *c)
{
    pthread_mutex_lock(&c->lock);
    bool has = c->needs < CAPTURE_NEEDS_MAX;
    c->needs += has;
    pthread_mutex_unlock(&c->lock);
    return has;
}

int
capture_need(struct capture *c, const struct wire_need *need, struct err *e)
{
    if (!has_room(c))
        return err_set(e, ERR_PROTOCOL, "the peer asks for more than %d names at once",
                       CAPTURE_NEEDS_MAX);
    struct request *r = path_request(REQ_NEED, need->store, need->path);
    r->seq = need->seq;
    r->is_dir = need->is_dir != 0;
    capture_post(c, r);
    return 0;
}

void
capture_unreadable(struct capture *c, uint16_t store, struct span path, uint64_t seq)
{
    struct request *r = path_request(REQ_UNREADABLE, store, path);
    r->seq = seq;
    capture_post(c, r);
}

void
capture_note_peer(struct capture *c, const char *key, struct span value)
{
    struct request *r = path_request(REQ_PEER, 0, value);
    r->key = xstrdup(key);
    capture_post(c, r);
}
