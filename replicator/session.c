#include "replicator/session.h"

#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/salvage.h"
#include "replicator/salvage_core.h"
#include "replicator/tally.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HELLO_MS 10000
#define HOLD_MS  1000

uint64_t
session_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool
session_stopped(const struct session *s)
{
    return atomic_load(&s->peer->stop);
}

/* The decoded HELLO points into the link's buffer: what is kept of it is copied. */
static void
keep_hello(struct session *s, const struct wire_hello *hello, struct buf *names)
{
    *s->theirs = *hello;
    struct span *spans[] = { &s->theirs->cluster, &s->theirs->node, &s->theirs->follow };
    size_t need = 0;
    for (size_t i = 0; i < ARRAY_LEN(spans); i++)
        need += spans[i]->len;
    for (size_t i = 0; i < hello->store_count; i++)
        need += hello->stores[i].name.len;
    buf_reserve(names, need + 1); /* so that nothing moves below */
    for (size_t i = 0; i < ARRAY_LEN(spans) + hello->store_count; i++) {
        struct span *span = i < ARRAY_LEN(spans) ? spans[i]
                                                 : &s->theirs->stores[i - ARRAY_LEN(spans)].name;
        size_t at = names->len;
        buf_add(names, span->ptr, span->len);
        *span = span_of(names->ptr + at, span->len);
    }
}

/* Carried out before it is in the journal: read first, what is carried out meanwhile is in neither.
 */
static int
make_hello(struct session *s, struct err *e)
{
    s->applied = atomic_load(&s->daemon->applied);
    if (daemon_hello(s->daemon, s->ours, e) < 0)
        return -1;
    return daemon_permission(s->daemon, &s->permission, e); /* not before: it may be bound by now */
}

static int
exchange_hello(struct session *s, struct buf *names, struct err *e)
{
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_HELLO;
    int rc = make_hello(s, e);
    msg->hello = *s->ours;
    if (rc >= 0)
        rc = link_io_send(s->io, msg, e);
    if (rc >= 0)
        rc = link_io_flush(s->io, e);
    free(msg);
    if (rc < 0)
        return -1;
    const struct wire_msg *answer;
    uint64_t until = session_now_ms() + HELLO_MS;
    while (!session_stopped(s)) {
        uint64_t now = session_now_ms();
        if (now >= until)
            return err_set(e, ERR_TIMEOUT, "no HELLO within %d s", HELLO_MS / 1000);
        int got = link_io_receive(s->io, (int)(until - now), -1, &answer, e);
        if (got < 0)
            return -1;
        if (got == 0)
            continue;
        if (answer->type != WIRE_HELLO)
            return err_set(e, ERR_PROTOCOL, "%s before HELLO", wire_type_word(answer->type));
        keep_hello(s, &answer->hello, names);
        return 0;
    }
    return err_set(e, ERR_PEER, "told to stop");
}

/* A permission that follows from a salvage does not count for who parted from this node before what
 * was kept, nor when there is more by now: that is refused, and kept as well. */
static void
decide_permitted(const struct session *s, struct wire_hello *ours,
                 struct link_decision *ret_decision)
{
    uint8_t accept = ours->accept_sync;
    if (accept != 0 && !salvage_permits(&s->permission, ours, s->theirs))
        ours->accept_sync = 0;
    link_decide(ours, s->theirs, ret_decision);
    ours->accept_sync = accept;
}

/* What a crash left in the stores beyond the journal counts as well: followed by another epoch's
 * records it would be overwritten, and the journal could not tell. */
static void
decide(const struct session *s, struct wire_hello *ours, uint64_t applied,
       struct link_decision *ret_decision)
{
    decide_permitted(s, ours, ret_decision);
    if (ret_decision->act != LINK_RECEIVE || applied <= ours->tail)
        return;
    struct link_decision whole;
    uint64_t tail = ours->tail;
    ours->tail = applied;
    decide_permitted(s, ours, &whole);
    ours->tail = tail;
    if (whole.act == LINK_REFUSE)
        *ret_decision = whole;
}

static bool
position_moved(const struct session *s, const struct wire_hello *now)
{
    return now->tail != s->ours->tail || now->sync_base != s->ours->sync_base ||
           atomic_load(&s->daemon->applied) != s->applied;
}

int
session_changed(struct session *s, bool position, struct err *e)
{
    _cleanup_free_ struct wire_hello *now = xcalloc(1, sizeof(*now));
    struct link_decision decision;
    if (daemon_hello(s->daemon, now, e) < 0)
        return -1;
    decide(s, now, s->applied, &decision);
    return now->role != s->ours->role || now->epoch != s->ours->epoch ||
           now->accept_sync != s->ours->accept_sync ||
           (now->sync_base == 0) != (s->ours->sync_base == 0) ||
           memcmp(now->history, s->ours->history, sizeof(now->history)) != 0 ||
           decision.row != s->decision.row || (position && position_moved(s, now));
}

/* Epochs count the promotions of one history: those of another say nothing. */
static bool
is_of_our_history(const struct session *s)
{
    return memcmp(s->theirs->history, s->ours->history, WIRE_HISTORY_SIZE) == 0;
}

/* Of a newer promotion that is not followed from here. Until it is noted it is told again. */
static int
tell_epoch(const struct session *s, struct err *e)
{
    uint64_t heard;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (s->theirs->epoch <= s->ours->epoch || !is_of_our_history(s))
        return 0;
    if (state_begin(s->daemon->node->state, false, &txn, e) < 0 ||
        state_epoch_heard(txn, &heard, e) < 0)
        return -1;
    if (heard < s->theirs->epoch)
        daemon_hear_epoch(s->daemon, s->theirs);
    return 0;
}

/* Holds the link without using it, until it ends. What the peer says of its reasons is kept. */
static int
hold(struct session *s, struct err *e)
{
    while (!session_stopped(s)) {
        const struct wire_msg *msg;
        if (tell_epoch(s, e) < 0)
            return -1;
        int got = link_io_receive(s->io, HOLD_MS, s->peer->wake_fd, &msg, e);
        uint64_t count;
        if (got < 0)
            return -1;
        int changed = got == 0 ? session_changed(s, false, e) : 0;
        if (changed != 0)
            return changed < 0 ? -1
                               : err_set(e, ERR_PEER, "this node changed; the two greet again");
        if (got == 0 && read(s->peer->wake_fd, &count, sizeof(count)) < 0)
            ASSERT(errno == EAGAIN || errno == EINTR);
        if (got > 0 && msg->type == WIRE_REFUSE) {
            peer_set_state(s->peer, PEER_REFUSED, "%.*s", (int)msg->refuse.text.len,
                           (const char *)msg->refuse.text.ptr);
            if (is_of_our_history(s) && msg->refuse.epoch > s->ours->epoch &&
                s->daemon->role == WIRE_ROLE_PRIMARY)
                daemon_step_down(s->daemon, s->peer->conf->name, msg->refuse.epoch);
        }
    }
    return 0;
}

void
session_bye(struct session *s, const struct err *why)
{
    struct err e = { 0 };
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_BYE;
    msg->bye.text = span_str(why->text); /* cut by the encoder */
    if (link_io_send(s->io, msg, &e) >= 0 && link_io_flush(s->io, &e) < 0)
        ASSERT(e.code != ERR_NONE); /* the link is down already */
    free(msg);
}

int
session_say_progress(struct session *s, const struct wire_sync_progress *told, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    msg.type = WIRE_SYNC_PROGRESS;
    msg.sync_progress = *told;
    return link_io_send(s->io, &msg, e) < 0 ? -1 : link_io_flush(s->io, e);
}

int
session_say_tail(struct session *s, uint64_t seq, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    msg.type = WIRE_TAIL;
    msg.tail.seq = seq;
    msg.tail.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return link_io_send(s->io, &msg, e) < 0 ? -1 : link_io_flush(s->io, e);
}

int
session_greeting_holds(struct session *s, struct err *e)
{
    int changed = session_changed(s, true, e);
    if (changed <= 0)
        return changed;
    err_set(e, ERR_PEER, "this node is no longer what it told %s; the two greet again",
            s->peer->conf->name);
    session_bye(s, e);
    return -1;
}

static int
send_refusal(struct session *s, struct err *e)
{
    const struct link_decision *d = &s->decision;
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_REFUSE;
    msg->refuse = (struct wire_refuse){ .code = (uint8_t)d->refusal,
                                        .epoch = s->ours->epoch,
                                        .fork = d->fork,
                                        .node = s->ours->node,
                                        .text = span_str(d->because) };
    int rc = link_io_send(s->io, msg, e);
    free(msg);
    return rc < 0 ? -1 : link_io_flush(s->io, e);
}

static int
refuse(struct session *s, struct err *e)
{
    const struct link_decision *d = &s->decision;
    if (d->refusal == WIRE_REFUSE_DIVERGED)
        peer_set_state(s->peer, PEER_REFUSED,
                       "%s; the fork is at seq %llu (ours %llu, theirs %llu)", d->because,
                       (unsigned long long)d->fork,
                       (unsigned long long)MAX(s->ours->tail, s->applied),
                       (unsigned long long)s->theirs->tail);
    else
        peer_set_state(s->peer, PEER_REFUSED, "%s", d->because);
    event(EV_LINK_REFUSED, F_STR("peer", s->peer->conf->name), F_STR("why", d->because),
          F_U64("rule", d->row), F_U64("fork", d->fork), F_U64("our_epoch", s->ours->epoch),
          F_U64("their_epoch", s->theirs->epoch));
    if (send_refusal(s, e) < 0)
        return -1;
    struct err why = { 0 };
    if (tell_epoch(s, e) < 0)
        return -1;
    int kept = salvage_keep(s, &why);
    if (kept > 0)
        return err_set(e, ERR_PEER, "what only this node has is kept; the two greet again");
    if (kept < 0 && !session_stopped(s))
        peer_set_state(s->peer, PEER_REFUSED, "%s", why.text);
    return hold(s, e);
}

static int
receive(struct session *s, struct err *e)
{
    int found = salvage_look(s, e);
    if (found > 0)
        return err_set(e, ERR_PEER, "this node has changes of its own; the two greet again");
    return found < 0 ? -1 : receiver_run(s, e);
}

static int
step_down(struct session *s, struct err *e)
{
    peer_set_state(s->peer, PEER_REFUSED, "%s: %s has epoch %llu, this node %llu",
                   s->decision.because, s->peer->conf->name, (unsigned long long)s->theirs->epoch,
                   (unsigned long long)s->ours->epoch);
    daemon_step_down(s->daemon, s->peer->conf->name, s->theirs->epoch);
    return hold(s, e);
}

/* Only the peer knows what its stores hold beyond its journal: it may refuse where the HELLOs did
 * not. Its reasons stand until one of the two changes. */
static int
send_to(struct session *s, struct err *e)
{
    int rc = sender_run(s, e);
    pthread_mutex_lock(&s->peer->lock);
    s->peer->facts.sending = false;
    bool refused = s->peer->facts.state == PEER_REFUSED;
    pthread_mutex_unlock(&s->peer->lock);
    if (rc < 0 && !refused)
        session_bye(s, e);
    return rc < 0 && refused ? hold(s, e) : rc;
}

uint64_t
session_shared(const struct session *s)
{
    const struct wire_hello *ours = s->ours;
    const struct wire_hello *theirs = s->theirs;
    bool whole = memcmp(theirs->history, ours->history, WIRE_HISTORY_SIZE) == 0 &&
                 theirs->sync_base == 0;
    return whole ? link_fork(ours, theirs) : 0;
}

static void
tell_heard(struct session *s)
{
    if (s->daemon->capture != NULL)
        capture_heard(s->daemon->capture, s->peer->conf->name, session_shared(s));
}

static int
act(struct session *s, struct err *e)
{
    decide(s, s->ours, s->applied, &s->decision);
    tell_heard(s);
    switch (s->decision.act) {
    case LINK_SEND:
    case LINK_SYNC:
        return send_to(s, e);
    case LINK_RECEIVE:
        return receive(s, e);
    case LINK_IDLE:
        peer_set_state(s->peer, PEER_CONNECTED, "%s", s->decision.because);
        return hold(s, e);
    case LINK_REFUSE:
        return refuse(s, e);
    case LINK_STEP_DOWN:
        return step_down(s, e);
    }
    return err_set(e, ERR_PROTOCOL, "no decision");
}

/* The greeting, for the day when this node takes over. */
static void
note_greeting(struct session *s)
{
    struct handover_peer *known = &s->peer->facts.handover;
    const struct wire_hello *theirs = s->theirs;
    pthread_mutex_lock(&s->peer->lock);
    known->told = true;
    known->whole = is_of_our_history(s) && theirs->sync_base == 0;
    known->role = theirs->role;
    known->epoch = theirs->epoch;
    known->tail = theirs->tail;
    pthread_mutex_unlock(&s->peer->lock);
}

void
session_note_served(struct session *s, uint64_t epoch)
{
    bool primary = s->theirs->role == WIRE_ROLE_PRIMARY;
    pthread_mutex_lock(&s->peer->lock);
    if (primary)
        s->peer->facts.handover.served_epoch = epoch;
    pthread_mutex_unlock(&s->peer->lock);
    loss_watch_start(s->daemon->loss, epoch, primary ? s->peer->conf->name : NULL);
}

/* The last word of a primary outlives this daemon. Failing costs a statement its end. */
static void
save_heard(struct session *s)
{
    struct err e = { 0 };
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (s->decision.act != LINK_RECEIVE)
        return;
    if (state_begin(s->daemon->node->state, true, &txn, &e) < 0 ||
        loss_watch_save(s->daemon->loss, txn, &e) < 0 || state_commit(&txn, &e) < 0)
        event(EV_FAILED, F_STR("while", "noting how far the primary was"), F_ERR(&e));
}

static void
note_end(struct session *s)
{
    save_heard(s);
    pthread_mutex_lock(&s->peer->lock);
    s->peer->facts.handover.told = false;
    pthread_mutex_unlock(&s->peer->lock);
}

static void
connected(struct session *s)
{
    pthread_mutex_lock(&s->peer->lock);
    s->peer->facts.connected_ms = session_now_ms();
    s->peer->facts.text[0] = '\0';
    pthread_mutex_unlock(&s->peer->lock);
}

void
session_run(struct peer *peer, int link_fd)
{
    struct err e = { 0 };
    int fd = fcntl(link_fd, F_DUPFD_CLOEXEC, 0); /* the caller ends the session through its own */
    if (fd < 0) {
        err_sys(&e, ERR_IO, "take over the link");
        event(EV_LINK_DOWN, F_STR("peer", peer->conf->name), F_ERR(&e));
        return;
    }
    struct session s = { .daemon = peer->daemon, .peer = peer };
    _cleanup_buf_ struct buf names = { 0 };
    s.io = link_io_new(fd);
    s.ours = xcalloc(1, sizeof(*s.ours));
    s.theirs = xcalloc(1, sizeof(*s.theirs));
    connected(&s);
    int rc = exchange_hello(&s, &names, &e);
    if (rc >= 0) {
        note_greeting(&s);
        rc = act(&s, &e);
    }
    note_end(&s);
    if (rc < 0 && !session_stopped(&s))
        event(EV_LINK_DOWN, F_STR("peer", peer->conf->name), F_ERR(&e));
    peer_set_state(peer, PEER_CONNECTING, "%s", rc < 0 && !session_stopped(&s) ? e.text : "");
    link_io_free(&s.io);
    tally_free(&s.found);
    free(s.ours);
    free(s.theirs);
}
