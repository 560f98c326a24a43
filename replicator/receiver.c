/* receiver.c - the half of a session that receives: messages in, operations applied, positions
 * acknowledged. */
#include "replicator/receiver.h"

#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/answer.h"
#include "replicator/give.h"
#include "replicator/mass.h"
#include "replicator/needs.h"
#include "replicator/pause.h"
#include "replicator/salvage.h"
#include "replicator/session.h"

#include <stdlib.h>
#include <unistd.h>

#define SYNC_WORKERS 4
#define GROUP_OPS    512 /* runs that wait together are made durable together, up to this */
#define GROUP_BYTES  (8 * 1024 * 1024)
#define ASKED_MAX    1024 /* directories; a sender asks for 128 at once */
#define LEDGER_MS    50
#define LEDGER_OPS   4000

struct receiver {
    struct session *s;
    struct daemon *daemon;
    struct apply *apply;
    struct ledger ledger;
    bool started, syncing, sync_done, received_counts;
    bool commit_due; /* a run is complete and not carried out */
    bool ack_due;    /* it is carried out, and waits for the journal */
    struct turn_claim claim;
    bool in_run;  /* messages of a run have come, its COMMIT has not */
    bool in_tree; /* of a run that is carried out, or broke, the index may not have all */
    uint64_t durable_run, durable_seq;
    struct wire_commit commit; /* the newest COMMIT */
    struct wire_commit done;   /* the newest that was carried out */
    struct wire_msg out;
    struct needs needs;            /* names asked for and not come yet */
    struct scrub *scrub;           /* reads what a comparison asks for */
    struct answer_reading reading; /* what of that is being told */
    struct give *give;
    struct err note_err; /* of a callback that cannot return one */
};

/* Another session, or a change of role, goes on from what this one leaves: it must be whole. */
static bool
must_end(void *arg)
{
    const struct receiver *x = arg;
    return session_stopped(x->s) || turn_lost(&x->claim);
}

static int
reply(struct receiver *x, enum wire_type type, struct err *e)
{
    x->out.type = type;
    return link_io_send(x->s->io, &x->out, e);
}

/* --- applying --- */

static void
send_need(void *arg, const struct wire_need *need)
{
    struct receiver *x = arg;
    x->out.need = *need;
    event(EV_NEED, F_SPAN("path", need->path), F_U64("seq", need->seq));
    if (x->note_err.code == ERR_NONE && reply(x, WIRE_NEED, &x->note_err) < 0)
        ASSERT(x->note_err.code != ERR_NONE);
}

static bool
is_dir_here(void *arg, uint16_t store, struct span path)
{
    const struct receiver *x = arg;
    if (store >= x->daemon->node->store_count)
        return false;
    _cleanup_close_ int fd = file_open_beneath(x->daemon->node->stores[store].root_fd, path,
                                               O_PATH | O_DIRECTORY, 0, NULL);
    return fd >= 0;
}

static void
note(void *arg, const struct applied *applied)
{
    struct receiver *x = arg;
    needs_note(&x->needs, applied, x->syncing);
    if (x->note_err.code == ERR_NONE && ledger_note(&x->ledger, applied, &x->note_err) < 0)
        ASSERT(x->note_err.code != ERR_NONE);
}

static int
send_ack(struct receiver *x, struct err *e)
{
    x->durable_run = x->done.run;
    x->durable_seq = x->done.seq;
    x->out.ack = (struct wire_ack){ x->done.run, x->commit.seq, x->done.seq };
    if (reply(x, WIRE_ACK, e) < 0)
        return -1;
    return link_io_flush(x->s->io, e);
}

static void
tell_facts(struct receiver *x)
{
    struct peer *peer = x->s->peer;
    pthread_mutex_lock(&peer->lock);
    peer->facts.received = x->commit.seq;
    peer->facts.durable = x->done.seq;
    peer->facts.shipped = x->commit.tail;
    if (x->done.seq >= x->commit.tail)
        mass_level(x->daemon->mass);
    pthread_mutex_unlock(&peer->lock);
}

static int
ledger_write(struct receiver *x, struct err *e)
{
    if (x->needs.changed && ledger_writable(&x->ledger, e) < 0)
        return -1;
    if (x->ledger.txn == NULL)
        return 0;
    if (needs_save(&x->needs, x->ledger.txn, e) < 0 ||
        loss_watch_save(x->daemon->loss, x->ledger.txn, e) < 0)
        return -1;
    if (ledger_commit(&x->ledger, e) < 0)
        return err_wrap(e, "write the journal");
    apply_confirmed(x->apply, x->ledger.tail);
    atomic_store(&x->daemon->tail, x->ledger.tail);
    daemon_wake_sessions(x->daemon);
    return 0;
}

static void
note_applied(struct receiver *x)
{
    atomic_store(&x->daemon->applied, x->ledger.marker_void ? 0 : apply_newest(x->apply));
}

static void
finish_sync(struct receiver *x)
{
    x->sync_done = false;
    x->syncing = false;
    mass_syncing(x->daemon->mass, false);
    peer_set_state(x->s->peer, PEER_CONNECTED, "%s", "");
    event(EV_SYNC_END, F_STR("peer", x->s->peer->conf->name), F_U64("seq", x->commit.seq));
}

/* The position first, and that a sync is complete: a node that is promoted later must know all that
 * this one ever acknowledged. In a sync the index, too: its sender does not come back to what was
 * acknowledged. */
static int
acknowledge(struct receiver *x, struct err *e)
{
    bool position = x->ledger.tail != atomic_load(&x->daemon->tail);
    if ((position || x->syncing || x->ledger.unnumbered || x->ledger.unwritten >= LEDGER_OPS) &&
        ledger_write(x, e) < 0)
        return -1;
    x->ack_due = false;
    if (send_ack(x, e) < 0)
        return -1;
    tell_facts(x);
    if (x->sync_done)
        finish_sync(x);
    return 0;
}

static int
note_run(struct receiver *x)
{
    if (x->note_err.code == ERR_NONE && ledger_run_end(&x->ledger, &x->note_err) >= 0 &&
        x->sync_done && ledger_sync_done(&x->ledger, &x->note_err) < 0)
        ASSERT(x->note_err.code != ERR_NONE);
    return x->note_err.code == ERR_NONE ? 0 : -1;
}

/* Makes everything received durable and says so. */
static int
carry_out(struct receiver *x, struct err *e)
{
    if (!x->commit_due)
        return 0;
    apply_doubt(x->apply, x->syncing || x->needs.count > 0);
    x->in_tree = true;
    int rc = apply_commit(x->apply, note, x, e);
    note_applied(x);
    if (rc < 0)
        return -1;
    if (note_run(x) < 0) {
        *e = x->note_err;
        return -1;
    }
    x->in_tree = false;
    x->commit_due = false;
    loss_watch_carried_out(x->daemon->loss);
    x->done = x->commit;
    x->ack_due = true;
    if (atomic_exchange(&x->daemon->apply_stalled, false)) {
        pause_tell(x->s, NULL);
        event(EV_APPLY_RESUMED);
    }
    return acknowledge(x, e);
}

/* Nothing more has come for a moment. */
static int
write_behind(struct receiver *x, struct err *e)
{
    return x->ack_due ? acknowledge(x, e) : ledger_write(x, e);
}

static int
on_commit(struct receiver *x, const struct wire_commit *commit, struct err *e)
{
    x->commit = *commit;
    x->commit_due = true;
    x->in_run = false;
    loss_watch_hear(x->daemon->loss, commit->tail, 0);
    x->out.ack = (struct wire_ack){ x->durable_run, commit->seq, x->durable_seq };
    if (reply(x, WIRE_ACK, e) < 0) /* received; goes out with the next flush */
        return -1;
    return x->received_counts ? link_io_flush(x->s->io, e) : 0;
}

/* --- questions --- */

static int
check_store(const struct receiver *x, uint16_t store, const char *what, struct err *e)
{
    if (store < x->daemon->node->store_count)
        return 0;
    return err_set(e, ERR_PROTOCOL, "%s for store %u, but there are only %zu", what, store,
                   x->daemon->node->store_count);
}

static struct answers
answers_of(struct receiver *x)
{
    return (struct answers){ x->daemon->node,
                             x->s->io,
                             x->apply,
                             &x->out,
                             x->syncing ? &x->ledger : NULL,
                             x->syncing || x->needs.count > 0 };
}

static int
on_digest_ask(struct receiver *x, const struct wire_digest_ask *ask, struct err *e)
{
    struct answers answers = answers_of(x);
    if (x->syncing)
        return answer_digests(&answers, ask, e);
    if (scrub_open_count(x->scrub) + ask->count > ASKED_MAX)
        return err_set(e, ERR_PROTOCOL, "more than %d directories asked for at once", ASKED_MAX);
    return answer_later(x->scrub, ask, e);
}

static int
on_question(struct receiver *x, const struct wire_msg *msg, struct err *e)
{
    struct answers answers = answers_of(x);
    uint16_t store = msg->type == WIRE_DIGEST_ASK ? msg->digest_ask.store
                     : msg->type == WIRE_SIG_ASK  ? msg->sig_ask.store
                                                  : msg->fetch.store;
    if (check_store(x, store, wire_type_word(msg->type), e) < 0)
        return -1;
    if (msg->type == WIRE_DIGEST_ASK)
        return on_digest_ask(x, &msg->digest_ask, e);
    if (msg->type == WIRE_SIG_ASK)
        return answer_signature(&answers, &msg->sig_ask, e);
    return answer_fetch(&answers, &msg->fetch, e);
}

/* --- start --- */

static int
start_fits(struct receiver *x, const struct wire_start *start, struct err *e)
{
    const struct wire_hello *theirs = x->s->theirs;
    if (start->epoch != theirs->epoch ||
        memcmp(start->history, theirs->history, WIRE_HISTORY_SIZE) != 0)
        return err_set(e, ERR_PROTOCOL, "%s sends in epoch %llu and greeted in epoch %llu",
                       x->s->peer->conf->name, (unsigned long long)start->epoch,
                       (unsigned long long)theirs->epoch);
    if (start->mode != WIRE_MODE_SYNC && start->from != x->ledger.tail)
        return err_set(e, ERR_PROTOCOL, "%s goes on from %llu, this node is at %llu by now",
                       x->s->peer->conf->name, (unsigned long long)start->from,
                       (unsigned long long)x->ledger.tail);
    return session_greeting_holds(x->s, e);
}

/* The marker speaks of one stream: what an earlier epoch or sync did says nothing of this one's
 * numbers. */
static bool
is_other_stream(const struct receiver *x, const struct wire_start *start)
{
    const struct wire_hello *ours = x->s->ours;
    return x->ledger.marker_void || start->epoch != ours->epoch ||
           memcmp(start->history, ours->history, WIRE_HISTORY_SIZE) != 0 ||
           (start->mode == WIRE_MODE_SYNC && start->sync_base != ours->sync_base);
}

/* In this order: after a crash in between the marker counts for neither stream. */
static int
take_over(struct receiver *x, const struct wire_start *start, struct err *e)
{
    const struct wire_hello *ours = x->s->ours;
    bool fresh = x->syncing && ours->accept_sync == 1 && ours->tail == 0;
    x->ledger.marker_void = is_other_stream(x, start);
    if (fresh && daemon_stores_empty(x->daemon, &fresh, e) < 0)
        return -1;
    if (needs_open(&x->needs, x->daemon->node->state, e) < 0 ||
        ledger_start(&x->ledger, start, fresh, apply_newest(x->apply), e) < 0)
        return -1;
    needs_start(&x->needs, start->from, x->ledger.marker_void);
    if (!x->ledger.marker_void)
        return 0;
    if (apply_reset(x->apply, start->from, e) < 0 || ledger_marker_counts(&x->ledger, e) < 0)
        return -1;
    note_applied(x);
    return 0;
}

static int
on_start(struct receiver *x, const struct wire_start *start, struct err *e)
{
    x->syncing = start->mode == WIRE_MODE_SYNC;
    mass_syncing(x->daemon->mass, x->syncing);
    if (start_fits(x, start, e) < 0 || salvages_begin(x->s, e) < 0 || take_over(x, start, e) < 0)
        return -1;
    needs_ask_again(&x->needs, is_dir_here);
    if (salvages_tell(x->s, e) < 0 || link_io_flush(x->s->io, e) < 0)
        return -1;
    x->started = true;
    daemon_follows(x->daemon);
    session_note_served(x->s, start->epoch);
    x->durable_seq = x->ledger.tail;
    if (x->ledger.tail >= x->s->theirs->tail)
        mass_level(x->daemon->mass);
    atomic_store(&x->daemon->tail, x->ledger.tail);
    if (x->syncing)
        event(EV_SYNC_BEGIN, F_STR("peer", x->s->peer->conf->name), F_U64("from", start->from));
    peer_set_state(x->s->peer, x->syncing ? PEER_RESYNC : PEER_CONNECTED, "%s", "");
    return 0;
}

static int
on_rec(struct receiver *x, const struct wire_rec *rec, struct err *e)
{
    if (rec->record.op != OP_EPOCH && check_store(x, rec->record.store, "REC", e) < 0)
        return -1;
    x->in_run = true;
    loss_watch_received(x->daemon->loss, x->daemon->conf, &rec->record);
    return apply_rec(x->apply, rec, e);
}

static int
on_progress(struct receiver *x, const struct wire_sync_progress *told, struct err *e)
{
    if (!x->syncing)
        return err_set(e, ERR_PROTOCOL, "SYNC_PROGRESS without a sync");
    peer_set_resync(x->s->peer, &(struct sync_progress){ *told, session_now_ms() });
    return 0;
}

static int
handle(struct receiver *x, const struct wire_msg *msg, struct err *e)
{
    if (msg->type == WIRE_START)
        return x->started ? err_set(e, ERR_PROTOCOL, "a second START")
                          : on_start(x, &msg->start, e);
    if (msg->type == WIRE_BYE)
        return err_set(e, ERR_PEER, "the peer says: %.*s", (int)msg->bye.text.len,
                       (const char *)msg->bye.text.ptr);
    if (msg->type == WIRE_REFUSE) {
        peer_set_state(x->s->peer, PEER_REFUSED, "%.*s", (int)msg->refuse.text.len,
                       (const char *)msg->refuse.text.ptr);
        return err_set(e, ERR_REFUSED, "the peer refused us");
    }
    if (!x->started)
        return err_set(e, ERR_PROTOCOL, "%s before START", wire_type_word(msg->type));
    switch (msg->type) {
    case WIRE_REC:
        return on_rec(x, &msg->rec, e);
    case WIRE_DATA:
        return apply_data(x->apply, &msg->data, e);
    case WIRE_END:
        return apply_end(x->apply, &msg->end, e);
    case WIRE_COMMIT:
        return on_commit(x, &msg->commit, e);
    case WIRE_TAIL:
        loss_watch_hear(x->daemon->loss, msg->tail.seq, msg->tail.time_ns);
        return 0;
    case WIRE_SYNC_DONE:
        x->sync_done = true;
        return 0;
    case WIRE_SYNC_PROGRESS:
        return on_progress(x, &msg->sync_progress, e);
    case WIRE_GIVEN:
        return give_answer(x->give, &msg->given, e);
    case WIRE_REACHED:
        give_reached(x->give, &msg->reached);
        return 0;
    case WIRE_DIGEST_ASK:
    case WIRE_SIG_ASK:
    case WIRE_FETCH:
        if (x->in_run && msg->type != WIRE_SIG_ASK)
            return err_set(e, ERR_PROTOCOL, "%s within a run", wire_type_word(msg->type));
        if (!x->in_run && (carry_out(x, e) < 0 || give_end_item(x->give, e) < 0))
            return -1;
        return on_question(x, msg, e);
    default:
        return err_set(e, ERR_PROTOCOL, "%s at this point", wire_type_word(msg->type));
    }
}

/* --- the loop --- */

static bool
group_is_full(const struct receiver *x)
{
    return apply_pending(x->apply) >= GROUP_OPS || apply_pending_bytes(x->apply) >= GROUP_BYTES;
}

/* 1 there is more to tell. */
static int
tell_reading(struct receiver *x, struct err *e)
{
    if (x->in_run || (x->reading.item == NULL && scrub_open_count(x->scrub) == 0))
        return 0;
    struct answers answers = answers_of(x);
    return answer_reading(&answers, x->scrub, &x->reading, e);
}

/* Runs that are waiting already are made durable together; nothing waits for a run that is still to
 * come. */
static int
step(struct receiver *x, struct err *e)
{
    const struct wire_msg *msg;
    bool may_carry_out = x->commit_due && !x->in_run;
    int timeout = may_carry_out ? 0 : x->ledger.txn != NULL ? LEDGER_MS : -1;
    if (may_carry_out && group_is_full(x))
        return carry_out(x, e);
    bool may_give = x->started && !x->syncing && !x->in_run;
    uint64_t whole = x->needs.count > 0 ? 0 : x->durable_seq;
    int gives = may_give ? give_work(x->give, x->s->peer, whole, e) : 0;
    int tells = gives < 0 ? -1 : tell_reading(x, e);
    if (tells < 0)
        return -1;
    bool talks = gives > 0 || tells > 0;
    timeout = talks ? 0 : timeout;
    int got = link_io_receive(x->s->io, timeout, x->s->peer->wake_fd, &msg, e);
    if (got < 0)
        return -1;
    if (got > 0)
        return handle(x, msg, e);
    uint64_t count;
    if (read(x->s->peer->wake_fd, &count, sizeof(count)) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
    if (talks && !may_carry_out)
        return 0;
    return may_carry_out ? carry_out(x, e) : write_behind(x, e);
}

static int
loop(struct receiver *x, struct err *e)
{
    int rc = 0;
    while (rc >= 0 && !must_end(x))
        rc = step(x, e);
    struct err why = { 0 };
    bool whole = x->started && !x->in_tree && x->needs.count == 0;
    bool failed = x->note_err.code == ERR_NONE &&
                  (ledger_write(x, &why) < 0 || (whole && ledger_end(&x->ledger, &why) < 0));
    if (rc >= 0 && failed)
        *e = why;
    return failed ? -1 : rc;
}

static int
open_apply(struct receiver *x, struct err *e)
{
    const struct node *node = x->daemon->node;
    struct apply_store stores[RECORD_STORE_MAX];
    for (size_t i = 0; i < node->store_count; i++)
        stores[i] = (struct apply_store){ .path = node->stores[i].conf->path,
                                          .retain = node->stores[i].retain };
    if (apply_open(stores, node->store_count, SYNC_WORKERS, &x->apply, e) < 0)
        return -1;
    apply_guard(x->apply, mass_ask, x->daemon->mass);
    return 0;
}

/* On record before anything else happens: a restart must not forget it. */
static int
keep_mass(struct receiver *x, struct err *e)
{
    struct err why = { 0 };
    if (ledger_writable(&x->ledger, &why) >= 0 &&
        mass_save(x->daemon->mass, x->ledger.txn, &why) >= 0 &&
        ledger_commit(&x->ledger, &why) >= 0)
        return 0;
    *e = why;
    return -1;
}

static bool
is_disk_trouble(const struct err *e)
{
    return e->code == ERR_NOSPACE || e->code == ERR_IO;
}

static int
receive(struct receiver *x, struct err *e)
{
    pthread_mutex_lock(&x->s->peer->lock);
    x->s->peer->facts.receiving = true;
    pthread_mutex_unlock(&x->s->peer->lock);
    if (open_apply(x, e) < 0 || ledger_open(&x->ledger, x->daemon->node, e) < 0)
        return -1;
    note_applied(x);
    struct pause pause = { x->s, must_end, x };
    if (session_greeting_holds(x->s, e) < 0 || pause_until_release(&pause, e) < 0 ||
        pause_until_space(&pause, e) < 0)
        return -1;
    int rc = loop(x, e);
    return rc < 0 && mass_closed(x->daemon->mass, NULL) ? keep_mass(x, e) : rc;
}

static struct receiver *
receiver_new(struct session *s)
{
    struct receiver *x = xcalloc(1, sizeof(*x));
    x->s = s;
    x->daemon = s->daemon;
    x->needs.ask = send_need;
    x->needs.arg = x;
    x->scrub = scrub_new(x->daemon->node, x->daemon->conf->verify_rate, s->peer->wake_fd);
    x->give = give_new(s->io);
    x->received_counts = conf_received_counts(x->daemon->conf);
    x->claim.peer = s->peer;
    x->claim.link_fd = link_io_fd(s->io);
    x->claim.epoch = s->theirs->epoch;
    memcpy(x->claim.history, s->theirs->history, WIRE_HISTORY_SIZE);
    return x;
}

static void
receiver_close(struct receiver *x)
{
    struct err ended = { 0 };
    err_set(&ended, ERR_PEER, "the connection to %s ended", x->s->peer->conf->name);
    give_free(&x->give, &ended);
    scrub_item_free(&x->reading.item);
    scrub_free(&x->scrub);
    ledger_free(&x->ledger);
    needs_free(&x->needs);
    apply_free(&x->apply);
}

/* Who is not welcome any more ends no other session. */
static int
take_turn(struct receiver *x, struct err *e)
{
    int changed = session_changed(x->s, false, e);
    if (changed > 0)
        err_set(e, ERR_PEER, "this node changed; the two greet again");
    if (changed == 0 && turn_take(&x->daemon->turn, &x->claim, e) == 0)
        return 0;
    session_bye(x->s, e);
    return -1;
}

int
receiver_run(struct session *s, struct err *e)
{
    struct receiver *x = receiver_new(s);
    if (take_turn(x, e) < 0) {
        receiver_close(x);
        free(x);
        return -1;
    }
    int rc = receive(x, e);
    bool room = rc < 0 && e->code == ERR_NOSPACE &&
                retain_give_way(x->daemon->retains, x->daemon->node->store_count);
    if (rc < 0 && is_disk_trouble(e) && !room) /* the next session waits until it takes writes */
        pause_stalled(x->s, e);
    if (turn_lost(&x->claim))
        rc = err_set(e, ERR_REFUSED, "a newer session receives instead");
    receiver_close(x);
    turn_give(&s->daemon->turn, &x->claim);
    free(x);
    return rc;
}
