/* sender.c - the half of a session that sends: what is next says link_next(), how says ship.c and
 * walk.c. */
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/fetch.h"
#include "replicator/intake.h"
#include "replicator/look.h"
#include "replicator/reach.h"
#include "replicator/relay.h"
#include "replicator/salvage.h"
#include "replicator/session.h"
#include "replicator/signature.h"
#include "replicator/sync_row.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_MAX   (64 * 1024 * 1024)
#define SIGNATURE_MS 60000
#define SAVE_MS      1000
/* What comes while we send: acknowledgements, names that are lacked, listings and gifts that were
 * under way. A peer sends no more of those while it is sent to (link_next(), receiver.c). */
#define EARLY_MAX   (64 * 1024 * 1024)
#define PATIENCE_MS 30000

struct sender {
    struct session *s;
    struct ship ship;
    struct walk *sync, *verify;
    struct verify_order *order;
    struct fetch *fetch;
    struct intake *intake;
    struct reach reach;
    uint64_t sync_base;
    uint64_t sync_from, sync_begun_ms; /* where and when this session began or went on with it */
    uint64_t sync_directories;
    uint64_t sync_last_run; /* the peer is level when it has acknowledged this one; 0 none */
    uint64_t acked_durable;
    uint64_t told_ms;
    struct relay relay; /* needs to be answered from here */
    uint64_t relay_run; /* the last answer: acknowledged, the peer has all it lacked */
    struct signature signature;
};

static int sender_handle(struct sender *x, const struct wire_msg *msg, struct err *e);

static int
receive_one(struct sender *x, int timeout_ms, struct err *e)
{
    const struct wire_msg *msg;
    int got = link_io_receive(x->s->io, timeout_ms, x->s->peer->wake_fd, &msg, e);
    if (got <= 0) {
        uint64_t count;
        if (got == 0 && read(x->s->peer->wake_fd, &count, sizeof(count)) < 0)
            ASSERT(errno == EAGAIN || errno == EINTR);
        return got;
    }
    return sender_handle(x, msg, e) < 0 ? -1 : 1;
}

/* --- what ship.c asks --- */

static uint64_t
ask_settle(void *owner)
{
    struct sender *x = owner;
    struct daemon *d = x->s->daemon;
    if (d->capture == NULL)
        return atomic_load(&d->tail);
    return capture_settle(d->capture, atomic_load(&d->awaited) > 0);
}

static int
ask_signature(void *owner, const struct record *record, struct buf *ret_signature, struct err *e)
{
    struct sender *x = owner;
    if (signature_ask(&x->signature, x->s->io, record, e) < 0)
        return -1;
    uint64_t until = session_now_ms() + SIGNATURE_MS;
    while (x->signature.awaited) {
        uint64_t now = session_now_ms();
        if (now >= until || session_stopped(x->s))
            return err_set(e, ERR_TIMEOUT, "no signature of a large file came");
        if (receive_one(x, (int)MIN(until - now, (uint64_t)1000), e) < 0)
            return -1;
    }
    buf_add(ret_signature, x->signature.bytes.ptr, x->signature.bytes.len);
    return x->signature.ok;
}

static void
tell_touched(void *owner, const struct record *record)
{
    struct sender *x = owner;
    struct walk_progress progress;
    if (x->sync != NULL)
        walk_touch(x->sync, record);
    if (x->sync != NULL && record->op == OP_RENAME) {
        walk_progress(x->sync, &progress);
        x->ship.note = MIN(x->ship.note, progress.next); /* what was level may be so no more */
    }
    if (x->verify != NULL)
        walk_touch(x->verify, record);
}

/* A standby that feeds another has no journal of its own to try again with. */
static void
tell_unreadable(void *owner, const struct record *r)
{
    struct sender *x = owner;
    struct capture *capture = x->s->daemon->capture;
    if (capture != NULL)
        capture_unreadable(capture, r->store, r->path, r->seq != 0 ? r->seq : x->ship.cursor);
}

static void
force(void *arg, uint64_t dir, struct span name, bool is_dir)
{
    struct sender *x = arg;
    capture_force(x->s->daemon->capture, dir, name, is_dir);
}

static void
barrier(void *arg, void (*done)(void *arg, uint64_t seq), void *done_arg)
{
    struct sender *x = arg;
    struct daemon *d = x->s->daemon;
    if (d->capture != NULL)
        capture_barrier(d->capture, done, done_arg);
    else
        done(done_arg, atomic_load(&d->tail));
}

static struct walk_orders
orders_of(struct sender *x)
{
    return (struct walk_orders){ .force = x->s->daemon->capture != NULL ? force : NULL,
                                 .barrier = barrier,
                                 .arg = x };
}

/* --- answers --- */

static void
sync_acknowledged(struct sender *x)
{
    x->sync_last_run = 0;
    peer_set_state(x->s->peer, PEER_CONNECTED, "%s", "");
    event(EV_SYNC_END, F_STR("peer", x->s->peer->conf->name),
          F_U64("directories", x->sync_directories), F_U64("records", x->ship.records),
          F_U64("bytes", x->ship.bytes));
}

static void
relay_acknowledged(struct sender *x)
{
    x->relay_run = 0;
    if (x->sync == NULL)
        peer_set_state(x->s->peer, PEER_CONNECTED, "%s", "");
}

static int
on_ack(struct sender *x, const struct wire_ack *ack, struct err *e)
{
    if (ack->durable_seq > x->ship.cursor || ack->received_seq > x->ship.cursor)
        return err_set(e, ERR_PROTOCOL, "the peer acknowledges %llu, but only %llu was sent",
                       (unsigned long long)MAX(ack->durable_seq, ack->received_seq),
                       (unsigned long long)x->ship.cursor);
    ship_acked(&x->ship, ack);
    if (x->sync_last_run != 0 && x->ship.acked_run >= x->sync_last_run)
        sync_acknowledged(x);
    if (x->relay_run != 0 && !relay_pending(&x->relay) && x->ship.acked_run >= x->relay_run)
        relay_acknowledged(x);
    x->acked_durable = MAX(x->acked_durable, ack->durable_seq);
    struct peer *peer = x->s->peer;
    pthread_mutex_lock(&peer->lock);
    peer->facts.received = MAX(peer->facts.received, ack->received_seq);
    peer->facts.durable = x->acked_durable;
    peer->facts.ack_seconds = x->ship.acked_seconds;
    pthread_mutex_unlock(&peer->lock);
    daemon_peer_moved(x->s->daemon);
    return 0;
}

static int
on_need(struct sender *x, const struct wire_need *need, struct err *e)
{
    if (need->store >= x->s->daemon->node->store_count)
        return err_set(e, ERR_PROTOCOL, "NEED for store %u", need->store);
    event(EV_NEED, F_STR("peer", x->s->peer->conf->name), F_SPAN("path", need->path),
          F_U64("seq", need->seq));
    if (x->s->daemon->capture != NULL)
        return capture_need(x->s->daemon->capture, need, e);
    if (relay_add(&x->relay, need, e) < 0) /* answered between two runs */
        return -1;
    x->relay_run = x->ship.run + 1;
    peer_set_state(x->s->peer, PEER_RESYNC, "%s", "it gets what did not fit there");
    return 0;
}

static int
relay_answer(struct sender *x, struct err *e)
{
    if (relay_step(&x->relay, e) < 0)
        return err_wrap(e, "answer what %s lacks", x->s->peer->conf->name);
    x->relay_run = x->ship.run;
    if (!relay_pending(&x->relay) && x->ship.acked_run >= x->relay_run)
        relay_acknowledged(x);
    return 0;
}

static void
on_stall(struct sender *x, const struct wire_stall *stall)
{
    struct peer *peer = x->s->peer;
    bool syncing = x->sync != NULL || x->sync_last_run != 0;
    enum peer_state state = syncing ? PEER_RESYNC : PEER_CONNECTED;
    pthread_mutex_lock(&peer->lock);
    peer->facts.paused = stall->code == ERR_REFUSED;
    pthread_mutex_unlock(&peer->lock);
    if (stall->code != 0)
        peer_set_state(peer, state, "applying is paused there: %.*s", (int)stall->text.len,
                       (const char *)stall->text.ptr);
    else
        peer_set_state(peer, state, "%s", syncing ? x->s->decision.because : "");
}

static int
on_digest(struct sender *x, const struct wire_digest_answer *answer, struct err *e)
{
    /* Directory ids name the asker's question; only one walk runs at a time. */
    struct walk *walk = x->sync != NULL ? x->sync : x->verify;
    if (walk == NULL)
        return err_set(e, ERR_PROTOCOL, "an answer without a question");
    return walk_answer(walk, answer, e);
}

static int
sender_handle(struct sender *x, const struct wire_msg *msg, struct err *e)
{
    if (intake_wants(x->intake, msg->type))
        return intake_take(x->intake, msg, e);
    switch (msg->type) {
    case WIRE_ACK:
        return on_ack(x, &msg->ack, e);
    case WIRE_DIGEST_ANSWER:
        return on_digest(x, &msg->digest_answer, e);
    case WIRE_SIG:
        return signature_take(&x->signature, &msg->sig, e);
    case WIRE_NEED:
        return on_need(x, &msg->need, e);
    case WIRE_STALL:
        on_stall(x, &msg->stall);
        return 0;
    case WIRE_FOUND_IN:
        return salvages_found_in(x->s, &msg->found_in, e);
    case WIRE_FOUND:
        return salvages_found(x->s, &msg->found, e);
    case WIRE_BARRIER:
        reach_ask(&x->reach, &msg->barrier);
        return 0;
    case WIRE_REC:
    case WIRE_DATA:
    case WIRE_END:
        if (x->fetch != NULL)
            return fetch_take(x->fetch, msg, e);
        return err_set(e, ERR_PROTOCOL, "%s from a receiver", wire_type_word(msg->type));
    case WIRE_BYE:
        return err_set(e, ERR_PEER, "the peer says: %.*s", (int)msg->bye.text.len,
                       (const char *)msg->bye.text.ptr);
    case WIRE_REFUSE:
        peer_set_state(x->s->peer, PEER_REFUSED, "%.*s", (int)msg->refuse.text.len,
                       (const char *)msg->refuse.text.ptr);
        return err_set(e, ERR_REFUSED, "the peer refused us");
    default:
        return err_set(e, ERR_PROTOCOL, "%s at this point", wire_type_word(msg->type));
    }
}

/* --- the sync --- */

static void
save_sync(struct sender *x)
{
    struct sync_row row = { .base = x->sync_base, .place = x->ship.acked_note };
    if (x->sync != NULL)
        sync_row_note(x->s, &row);
}

static int
send_start(struct sender *x, enum wire_mode mode, struct err *e)
{
    const struct wire_hello *ours = x->s->ours;
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_START;
    msg->start.mode = (uint8_t)mode;
    memcpy(msg->start.history, ours->history, WIRE_HISTORY_SIZE);
    msg->start.epoch = ours->epoch;
    msg->start.from = x->ship.cursor;
    msg->start.sync_base = mode == WIRE_MODE_SYNC ? x->sync_base : 0;
    msg->start.epoch_count = ours->epoch_count;
    memcpy(msg->start.epochs, ours->epochs, sizeof(ours->epochs));
    int rc = link_io_send(x->s->io, msg, e);
    free(msg);
    return rc < 0 ? -1 : link_io_flush(x->s->io, e);
}

static int
begin(struct sender *x, struct err *e)
{
    if (x->s->decision.act == LINK_SEND) {
        x->ship.cursor = x->s->decision.from;
        peer_set_state(x->s->peer, PEER_CONNECTED, "%s", "");
        return send_start(x, WIRE_MODE_RESUME, e);
    }
    struct walk_opts opts;
    if (sync_row_opts(x->s, &opts, &x->ship.cursor, e) < 0)
        return -1;
    x->sync_base = opts.base;
    if (send_start(x, WIRE_MODE_SYNC, e) < 0)
        return -1;
    x->sync = walk_new(x->s->daemon->node, &x->ship, &opts);
    x->ship.note = opts.from;
    x->ship.acked_note = opts.from;
    x->sync_from = opts.from;
    x->sync_begun_ms = session_now_ms();
    peer_set_state(x->s->peer, PEER_RESYNC, "%s", x->s->decision.because);
    event(EV_SYNC_BEGIN, F_STR("peer", x->s->peer->conf->name), F_U64("rule", x->s->decision.row),
          F_STR("because", x->s->decision.because), F_U64("from_directory", opts.from));
    return 0;
}

static int
sync_finish(struct sender *x, struct err *e)
{
    struct walk_progress progress;
    walk_progress(x->sync, &progress);
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_SYNC_DONE;
    msg->sync_done = (struct wire_sync_done){ x->sync_base, progress.differences };
    int rc = link_io_send(x->s->io, msg, e);
    free(msg);
    if (rc < 0 || ship_commit(&x->ship, 0, x->ship.cursor, e) < 0)
        return -1;
    walk_free(&x->sync);
    x->sync_last_run = x->ship.run;
    x->sync_directories = progress.directories;
    return 0;
}

static int
sync_step(struct sender *x, struct err *e)
{
    struct walk_progress progress;
    walk_progress(x->sync, &progress);
    x->ship.note = progress.next; /* all before it was shipped with earlier steps */
    struct walk_orders orders = orders_of(x);
    if (walk_step(x->sync, &orders, e) < 0)
        return err_wrap(e, "bring %s level", x->s->peer->conf->name);
    return walk_done(x->sync) ? sync_finish(x, e) : 0;
}

/* --- verify --- */

static void
verify_finish(struct sender *x, const struct err *e)
{
    struct walk_progress progress = { 0 };
    if (x->verify != NULL)
        walk_progress(x->verify, &progress);
    walk_free(&x->verify);
    if (e == NULL)
        event(EV_VERIFY_END, F_STR("peer", x->s->peer->conf->name),
              F_U64("directories", progress.directories),
              F_U64("differences", progress.differences));
    if (x->order != NULL)
        x->order->done(x->order, &progress, e);
    x->order = NULL;
}

static void
take_order(struct sender *x)
{
    struct err e = { 0 };
    if (x->verify != NULL && atomic_load(&x->order->gives_way)) {
        err_set(&e, ERR_BUSY, "another comparison was ordered");
        verify_finish(x, &e);
    }
    if (x->verify != NULL || x->sync != NULL)
        return;
    pthread_mutex_lock(&x->s->peer->lock);
    x->order = x->s->peer->order;
    x->s->peer->order = NULL;
    pthread_mutex_unlock(&x->s->peer->lock);
    if (x->order == NULL)
        return;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(x->s->daemon->node->state, false, &txn, &e) < 0) {
        x->order->done(x->order, &(struct walk_progress){ 0 }, &e);
        x->order = NULL;
        return;
    }
    x->order->opts.limit = state_meta(txn)->next_dir - 1;
    x->order->opts.rate = x->s->daemon->conf->verify_rate;
    x->order->opts.wake_fd = x->s->peer->wake_fd;
    x->verify = walk_new(x->s->daemon->node, &x->ship, &x->order->opts);
    event(EV_VERIFY_BEGIN, F_STR("peer", x->s->peer->conf->name));
}

static int
verify_step(struct sender *x, struct err *e)
{
    struct walk_orders orders = orders_of(x);
    if (walk_step(x->verify, &orders, e) < 0)
        return err_wrap(e, "verify %s", x->s->peer->conf->name);
    if (walk_done(x->verify))
        verify_finish(x, NULL);
    return 0;
}

/* --- the loop --- */

static int
tell(struct sender *x, struct err *e)
{
    uint64_t now = session_now_ms();
    struct walk_progress progress = { 0 };
    struct sync_progress sync = { 0 };
    if (x->sync != NULL) {
        walk_progress(x->sync, &progress);
        sync = sync_progress_of(&progress, x->sync_from, x->sync_begun_ms, now);
        peer_set_resync(x->s->peer, &sync);
    }
    pthread_mutex_lock(&x->s->peer->lock);
    struct peer_facts *facts = &x->s->peer->facts;
    facts->shipped = x->ship.cursor;
    facts->bytes_sent = link_io_bytes_sent(x->s->io);
    pthread_mutex_unlock(&x->s->peer->lock);
    if (now - x->told_ms < SAVE_MS)
        return 0;
    x->told_ms = now;
    save_sync(x);
    if (session_say_tail(x->s, atomic_load(&x->s->daemon->tail), e) < 0)
        return -1;
    if (x->verify != NULL && x->order != NULL) {
        walk_progress(x->verify, &progress);
        x->order->progress(x->order, &progress);
    }
    return sync.told.total == 0 ? 0 : session_say_progress(x->s, &sync.told, e);
}

/* A peer that is asked for a file, or in a sync for directories, answers in one go. */
static bool
answers_due(const struct sender *x)
{
    return (x->fetch != NULL && fetch_asked(x->fetch)) || (x->sync != NULL && walk_asked(x->sync));
}

static void
view_fill(struct sender *x, struct link_view *view)
{
    struct daemon *d = x->s->daemon;
    *view = (struct link_view){
        .durable_tail = atomic_load(&d->tail),
        .cursor = x->ship.cursor,
        .acked_durable = x->acked_durable,
        .window_bytes = x->ship.window_bytes,
        .window_max = WINDOW_MAX,
        .sync_pending = x->sync != NULL,
        .sync_waiting = x->sync != NULL && !walk_can_step(x->sync) && !walk_done(x->sync),
        .verify_pending = x->verify != NULL,
        .verify_waiting = x->verify != NULL && !walk_can_step(x->verify) && !walk_done(x->verify),
        .recover_pending = x->fetch != NULL && fetch_pending(x->fetch),
        .answers_due = answers_due(x),
    };
    if (relay_pending(&x->relay) && !view->answers_due) {
        view->sync_pending = true;
        view->sync_waiting = false;
    }
    if (x->ship.window_bytes >= WINDOW_MAX) /* a walk ships contents as well */
        view->sync_waiting = true;
}

static int
step(struct sender *x, struct err *e)
{
    struct link_view view;
    struct capture *capture = x->s->daemon->capture;
    if (capture != NULL && capture_held_waits(capture, x->s->peer->conf->name))
        return receive_one(x, SAVE_MS, e) < 0 ? -1 : 0;
    view_fill(x, &view);
    switch (link_next(&view)) {
    case LINK_WORK_RECOVER:
        return fetch_step(x->fetch, e);
    case LINK_WORK_RUN:
        return session_say_tail(x->s, view.durable_tail, e) < 0
                   ? -1
                   : ship_run(&x->ship, view.durable_tail, e);
    case LINK_WORK_SYNC:
        return relay_pending(&x->relay) && !view.answers_due ? relay_answer(x, e) : sync_step(x, e);
    case LINK_WORK_VERIFY:
        return verify_step(x, e);
    case LINK_WORK_WAIT:
        break;
    }
    return receive_one(x, SAVE_MS, e) < 0 ? -1 : 0;
}

static int
loop(struct sender *x, struct err *e)
{
    while (!session_stopped(x->s)) {
        int got;
        while ((got = receive_one(x, 0, e)) > 0)
            continue;
        if (got < 0 || intake_settle(x->intake, e) < 0 || reach_answer(&x->reach, e) < 0)
            return -1;
        take_order(x);
        if (step(x, e) < 0 || tell(x, e) < 0)
            return -1;
    }
    return 0;
}

static void
set_sending(struct sender *x)
{
    pthread_mutex_lock(&x->s->peer->lock);
    x->s->peer->facts.sending = true;
    x->s->peer->facts.paused = false; /* it says so again when it is */
    x->s->peer->facts.resync = (struct sync_progress){ 0 };
    x->s->peer->facts.durable = x->acked_durable;
    x->s->peer->facts.received = x->acked_durable;
    pthread_mutex_unlock(&x->s->peer->lock);
    daemon_peer_moved(x->s->daemon);
}

/* Until the first reading of the stores is complete there is nothing exact to send. */
static int
wait_for_index(struct sender *x, struct err *e)
{
    struct capture *capture = x->s->daemon->capture;
    struct capture_status status;
    for (;;) {
        if (capture != NULL)
            capture_status(capture, &status);
        if (capture == NULL || status.phase != CAPTURE_INITIAL || session_stopped(x->s))
            return 0;
        peer_set_state(x->s->peer, PEER_RESYNC, "%s", "waits until the stores have been read once");
        if (receive_one(x, 200, e) < 0)
            return -1;
    }
}

int
sender_run(struct session *s, struct err *e)
{
    struct sender x = { .s = s };
    x.ship = (struct ship){ .node = s->daemon->node,
                            .io = s->io,
                            .owner = &x,
                            .settle = ask_settle,
                            .signature = ask_signature,
                            .touched = tell_touched,
                            .unreadable = tell_unreadable };
    x.ship.start_ns = (uint64_t)look_now_ns();
    link_io_expects(s->io, EARLY_MAX, PATIENCE_MS);
    relay_init(&x.relay, &x.ship);
    x.intake = intake_new(s->daemon->node, s->io, s->daemon->capture != NULL, &s->peer->stop);
    x.reach = (struct reach){ s->daemon->capture, s->io, s->peer->wake_fd, 0, NULL };
    if (s->daemon->capture != NULL)
        x.fetch = fetch_new(s->daemon->node, s->daemon->capture, s->peer->conf->name, s->io);
    int rc = wait_for_index(&x, e);
    if (s->decision.act == LINK_SEND)
        x.acked_durable = s->theirs->tail;
    if (rc >= 0) {
        set_sending(&x); /* before its state says "connected": then it protects */
        rc = begin(&x, e);
    }
    if (rc >= 0)
        rc = loop(&x, e);
    struct err ended = { 0 };
    err_set(&ended, ERR_PEER, "the connection to %s ended", s->peer->conf->name);
    if (x.order != NULL)
        verify_finish(&x, rc < 0 ? e : &ended);
    walk_free(&x.sync);
    walk_free(&x.verify);
    fetch_free(&x.fetch);
    intake_free(&x.intake);
    reach_free(&x.reach);
    ship_free(&x.ship);
    signature_free(&x.signature);
    relay_free(&x.relay);
    return rc;
}
