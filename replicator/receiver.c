/* receiver.c - the half of a session that receives: messages in, operations applied, positions
 * acknowledged. */
#include "replicator/receiver.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/content.h"
#include "replicator/hints.h"
#include "replicator/listing.h"
#include "replicator/look.h"
#include "replicator/session.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYNC_WORKERS  4
#define GROUP_OPS     512 /* runs that wait together are made durable together, up to this */
#define GROUP_BYTES   (8 * 1024 * 1024)
#define LEDGER_MS     50
#define LEDGER_OPS    4000
#define NEEDS_MS      10000 /* a need unmet for so long is left to verify */
#define NEEDS_OPS     50000
#define LISTING_BYTES (FRAME_BODY_MAX / 2)
#define PROBE_SIZE    (1024 * 1024)
#define PROBE_MS      1000

struct receiver {
    struct session *s;
    struct daemon *daemon;
    struct apply *apply;
    struct ledger ledger;
    bool started, syncing, sync_done;
    bool commit_due;
    bool in_run; /* messages of a run have come, its COMMIT has not */
    uint64_t durable_run, durable_seq;
    struct wire_commit commit; /* the newest COMMIT not carried out */
    struct wire_msg out;
    struct hints needs;      /* names asked for and not come yet, by store */
    uint64_t needs_since_ms; /* the first of them; 0 none */
    struct err note_err;     /* of a callback that cannot return one */
};

static int
reply(struct receiver *x, enum wire_type type, struct err *e)
{
    x->out.type = type;
    return link_io_send(x->s->io, &x->out, e);
}

/* --- applying --- */

static void
send_need(struct receiver *x, const struct record *r)
{
    x->out.need = (struct wire_need){ .store = r->store, .seq = r->seq, .path = r->path };
    event(EV_NEED, F_SPAN("path", r->path), F_U64("seq", r->seq),
          F_STR("operation", record_op_word(r->op)));
    if (x->note_err.code == ERR_NONE && reply(x, WIRE_NEED, &x->note_err) < 0)
        ASSERT(x->note_err.code != ERR_NONE);
}

/* Keeps the list of what was asked for: a need is met when any later operation settles its name. */
static void
need_note(struct receiver *x, const struct applied *applied)
{
    const struct record *r = applied->record;
    bool need = applied->result == APPLY_NEED;
    if (!need && hints_what(&x->needs, r->store, r->path) == 0)
        return;
    hints_add(&x->needs, r->store, r->path, 1)->what = need;
    bool open = false;
    for (size_t i = 0; !open && i < hints_count(&x->needs); i++)
        open = hints_at(&x->needs, i)->what != 0;
    if (!open)
        hints_clear(&x->needs);
    x->needs_since_ms = !open ? 0 : x->needs_since_ms != 0 ? x->needs_since_ms : session_now_ms();
}

static void
note(void *arg, const struct applied *applied)
{
    struct receiver *x = arg;
    need_note(x, applied);
    if (applied->result == APPLY_NEED)
        send_need(x, applied->record);
    if (x->note_err.code == ERR_NONE && ledger_note(&x->ledger, applied, &x->note_err) < 0)
        ASSERT(x->note_err.code != ERR_NONE);
}

static int
send_ack(struct receiver *x, struct err *e)
{
    x->durable_run = x->commit.run;
    x->durable_seq = x->commit.seq;
    x->out.ack = (struct wire_ack){ x->commit.run, x->commit.seq, x->commit.seq };
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
    peer->facts.durable = x->commit.seq;
    peer->facts.shipped = x->commit.tail;
    pthread_mutex_unlock(&peer->lock);
}

/* A need that the link's end could lose is found again only if the records are sent again: the
 * state waits for it. */
static bool
waits_for_needs(const struct receiver *x)
{
    return x->needs_since_ms != 0 && x->ledger.unwritten < NEEDS_OPS &&
           session_now_ms() - x->needs_since_ms < NEEDS_MS;
}

static int
ledger_write(struct receiver *x, struct err *e)
{
    if (x->ledger.txn == NULL || waits_for_needs(x))
        return 0;
    if (ledger_commit(&x->ledger, e) < 0)
        return err_wrap(e, "write the journal");
    apply_confirmed(x->apply, x->ledger.tail);
    atomic_store(&x->daemon->tail, x->ledger.tail);
    daemon_wake_sessions(x->daemon);
    return 0;
}

static void
tell_stall(struct receiver *x, const struct err *why)
{
    struct err e = { 0 };
    x->out.stall = (struct wire_stall){ .code = why == NULL ? 0 : (uint16_t)why->code,
                                        .text = span_str(why == NULL ? "" : why->text) };
    if (x->out.stall.text.len > WIRE_TEXT_MAX)
        x->out.stall.text.len = WIRE_TEXT_MAX;
    if (reply(x, WIRE_STALL, &e) < 0 || link_io_flush(x->s->io, &e) < 0)
        return; /* the link is down: the peer's status says that */
}

/* Told once; that it goes on is told with the first run that is durable again. */
static void
apply_stalled(struct receiver *x, const struct err *why)
{
    tell_stall(x, why);
    if (!atomic_exchange(&x->daemon->apply_stalled, true))
        event(EV_APPLY_STALLED, F_ERR(why));
}

static int
finish_sync(struct receiver *x, struct err *e)
{
    x->sync_done = false;
    x->syncing = false;
    if (ledger_sync_done(&x->ledger, e) < 0 || ledger_write(x, e) < 0)
        return -1;
    peer_set_state(x->s->peer, PEER_CONNECTED, "%s", "");
    event(EV_SYNC_END, F_STR("peer", x->s->peer->conf->name), F_U64("seq", x->commit.seq));
    return 0;
}

/* Makes everything received durable and says so. */
static int
carry_out(struct receiver *x, struct err *e)
{
    if (!x->commit_due)
        return 0;
    if (apply_commit(x->apply, note, x, e) < 0)
        return -1;
    if (x->note_err.code != ERR_NONE) {
        *e = x->note_err;
        return -1;
    }
    if (ledger_run_end(&x->ledger, e) < 0)
        return -1;
    x->commit_due = false;
    if (atomic_exchange(&x->daemon->apply_stalled, false)) {
        tell_stall(x, NULL);
        event(EV_APPLY_RESUMED);
    }
    /* The position first: a node that is promoted later must know all that this one ever
     * acknowledged. */
    if (x->ledger.tail != atomic_load(&x->daemon->tail) && ledger_write(x, e) < 0)
        return -1;
    if (send_ack(x, e) < 0)
        return -1;
    tell_facts(x);
    if (x->sync_done && finish_sync(x, e) < 0)
        return -1;
    return x->ledger.unwritten >= LEDGER_OPS ? ledger_write(x, e) : 0;
}

static int
on_commit(struct receiver *x, const struct wire_commit *commit, struct err *e)
{
    x->commit = *commit;
    x->commit_due = true;
    x->in_run = false;
    x->out.ack = (struct wire_ack){ x->durable_run, commit->seq, x->durable_seq };
    return reply(x, WIRE_ACK, e); /* received; goes out with the next flush */
}

/* --- questions --- */

static int
send_listing(struct receiver *x, const struct listing *l, struct err *e)
{
    struct wire_digest_answer *answer = &x->out.digest_answer;
    size_t next = 0;
    do {
        _cleanup_buf_ struct buf packed = { 0 };
        size_t first = next;
        listing_pack(l, first, LISTING_BYTES, &packed, &next);
        answer->entry_count = (uint32_t)(next - first);
        answer->entries = buf_span(&packed);
        answer->more = next < l->count;
        if (reply(x, WIRE_DIGEST_ANSWER, e) < 0)
            return -1;
    } while (next < l->count);
    return 0;
}

static int
answer_dir(struct receiver *x, const struct wire_digest_ask *ask, const struct wire_dir *dir,
           struct err *e)
{
    const struct node_store *store = &x->daemon->node->stores[ask->store];
    struct wire_digest_answer *answer = &x->out.digest_answer;
    *answer = (struct wire_digest_answer){ .id = ask->id, .dir = dir->dir };
    struct err why = { 0 };
    _cleanup_close_ int fd = file_open_beneath(store->root_fd, dir->path, O_RDONLY | O_DIRECTORY, 0,
                                               &why);
    _cleanup_listing_ struct listing ours = { 0 };
    uint8_t digest[WIRE_DIGEST_SIZE];
    if (fd < 0) {
        bool absent = why.sys == ENOENT || why.sys == ENOTDIR || why.sys == ELOOP;
        answer->verdict = absent ? WIRE_DIR_ABSENT : WIRE_DIR_FAILED;
        return reply(x, WIRE_DIGEST_ANSWER, e);
    }
    bool content = (ask->flags & WIRE_DIGEST_CONTENT) != 0;
    if (listing_read(&store->rules, fd, dir->path, content, NULL, NULL, &ours, &why) < 0) {
        event(EV_SKIPPED, F_SPAN("path", dir->path), F_ERR(&why));
        answer->verdict = WIRE_DIR_FAILED;
        return reply(x, WIRE_DIGEST_ANSWER, e);
    }
    listing_sort(&ours);
    listing_digest(&ours, digest);
    answer->self = ours.self;
    bool same = memcmp(digest, dir->digest, sizeof(digest)) == 0;
    answer->verdict = same ? WIRE_DIR_SAME : WIRE_DIR_DIFFERENT;
    if (same)
        return reply(x, WIRE_DIGEST_ANSWER, e);
    return send_listing(x, &ours, e);
}

static int
check_store(const struct receiver *x, uint16_t store, const char *what, struct err *e)
{
    if (store < x->daemon->node->store_count)
        return 0;
    return err_set(e, ERR_PROTOCOL, "%s for store %u, but there are only %zu", what, store,
                   x->daemon->node->store_count);
}

static int
on_digest_ask(struct receiver *x, const struct wire_digest_ask *ask, struct err *e)
{
    if (check_store(x, ask->store, "DIGEST_ASK", e) < 0)
        return -1;
    for (uint16_t i = 0; i < ask->count; i++) {
        if (answer_dir(x, ask, &ask->dirs[i], e) < 0)
            return -1;
    }
    return link_io_flush(x->s->io, e);
}

static int
give_signature(void *arg, struct span bytes, struct err *e)
{
    struct receiver *x = arg;
    while (bytes.len > 0) {
        size_t len = MIN(bytes.len, (size_t)WIRE_DATA_MAX);
        x->out.sig = (struct wire_sig){ .ok = 1, .bytes = span_of(bytes.ptr, len) };
        if (reply(x, WIRE_SIG, e) < 0)
            return -1;
        bytes = span_of(bytes.ptr + len, bytes.len - len);
    }
    return 0;
}

static int
on_sig_ask(struct receiver *x, const struct wire_sig_ask *ask, struct err *e)
{
    if (check_store(x, ask->store, "SIG_ASK", e) < 0)
        return -1;
    int rc = apply_signature(x->apply, ask->store, ask->path, give_signature, x, e);
    if (rc < 0)
        return -1;
    x->out.sig = (struct wire_sig){ .ok = rc == 0, .last = 1 };
    if (reply(x, WIRE_SIG, e) < 0)
        return -1;
    return link_io_flush(x->s->io, e);
}

static enum record_op
op_for(uint32_t mode)
{
    return S_ISDIR(mode)    ? OP_MKDIR
           : S_ISFIFO(mode) ? OP_MKNOD
           : S_ISLNK(mode)  ? OP_SYMLINK
                            : OP_PUT;
}

/* The primary lost it with the power: it is given back as this node has it. */
static int
on_fetch(struct receiver *x, const struct wire_fetch *fetch, struct err *e)
{
    if (check_store(x, fetch->store, "FETCH", e) < 0)
        return -1;
    const struct node_store *store = &x->daemon->node->stores[fetch->store];
    struct record r = { .op = OP_PUT, .store = fetch->store, .path = fetch->path };
    r.attr.mode = S_IFREG;
    const struct record gone = r;
    _cleanup_close_ int parent = file_open_beneath(store->root_fd, path_parent(fetch->path),
                                                   O_RDONLY | O_DIRECTORY, 0, NULL);
    char name[PATH_NAME_MAX + 1] = "";
    struct span last = path_name(fetch->path);
    memcpy(name, last.ptr, last.len);
    struct look look = { 0 };
    _cleanup_buf_ struct buf target = { 0 };
    if (parent < 0 || last.len == 0 || look_at(parent, name, &look, NULL) < 0 || !look.exists)
        return content_send_bare(x->s->io, &r, WIRE_CONTENT_GONE, e);
    if (S_ISSOCK(look.attr.mode) || S_ISCHR(look.attr.mode) || S_ISBLK(look.attr.mode))
        return content_send_bare(x->s->io, &r, WIRE_CONTENT_GONE, e);
    r.op = op_for(look.attr.mode);
    r.attr = look.attr;
    if (r.op == OP_SYMLINK) {
        int found = listing_symlink(parent, name, &target, e);
        if (found <= 0)
            return found < 0 ? -1 : content_send_bare(x->s->io, &gone, WIRE_CONTENT_GONE, e);
        r.other = buf_span(&target);
        return content_send_bare(x->s->io, &r, WIRE_CONTENT_NONE, e);
    }
    _cleanup_content_ struct content content;
    uint64_t bytes = 0;
    if (content_open(x->daemon->node, &r, &content, e) < 0)
        return -1;
    return content_send(x->s->io, &r, &content, (struct span){ 0 }, &bytes, e);
}

static int
on_question(struct receiver *x, const struct wire_msg *msg, struct err *e)
{
    if (msg->type == WIRE_DIGEST_ASK)
        return on_digest_ask(x, &msg->digest_ask, e);
    if (msg->type == WIRE_SIG_ASK)
        return on_sig_ask(x, &msg->sig_ask, e);
    return on_fetch(x, &msg->fetch, e) < 0 ? -1 : link_io_flush(x->s->io, e);
}

/* --- start --- */

static int
on_start(struct receiver *x, const struct wire_start *start, struct err *e)
{
    if (start->epoch < x->s->ours->epoch)
        return err_set(e, ERR_REFUSED, "%s sends in epoch %llu, this node knows epoch %llu",
                       x->s->peer->conf->name, (unsigned long long)start->epoch,
                       (unsigned long long)x->s->ours->epoch);
    x->syncing = start->mode == WIRE_MODE_SYNC;
    bool fresh = x->syncing && x->s->ours->accept_sync == 1 && x->s->ours->tail == 0;
    bool other = memcmp(start->history, x->s->ours->history, WIRE_HISTORY_SIZE) != 0;
    /* The marker speaks of one stream: what an earlier epoch or sync did says nothing of this one's
     * numbers. */
    bool anew = other || start->epoch != x->s->ours->epoch ||
                (x->syncing && start->sync_base != x->s->ours->sync_base);
    if (!x->syncing && start->from != x->ledger.tail)
        return err_set(e, ERR_PROTOCOL, "%s goes on from %llu, this node is at %llu by now",
                       x->s->peer->conf->name, (unsigned long long)start->from,
                       (unsigned long long)x->ledger.tail);
    if (anew && apply_reset(x->apply, start->from, e) < 0)
        return -1;
    if (fresh && daemon_stores_empty(x->daemon, &fresh, e) < 0)
        return -1;
    if (ledger_start(&x->ledger, start, fresh, e) < 0)
        return -1;
    x->started = true;
    daemon_follows(x->daemon);
    x->durable_seq = x->ledger.tail;
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
    return apply_rec(x->apply, rec, e);
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
    case WIRE_SYNC_DONE:
        x->sync_done = true;
        return 0;
    case WIRE_DIGEST_ASK:
    case WIRE_SIG_ASK:
    case WIRE_FETCH:
        if (x->in_run && msg->type != WIRE_SIG_ASK)
            return err_set(e, ERR_PROTOCOL, "%s within a run", wire_type_word(msg->type));
        if (!x->in_run && carry_out(x, e) < 0)
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
    int got = link_io_receive(x->s->io, timeout, x->s->peer->wake_fd, &msg, e);
    if (got < 0)
        return -1;
    if (got > 0)
        return handle(x, msg, e);
    uint64_t count;
    if (read(x->s->peer->wake_fd, &count, sizeof(count)) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
    return may_carry_out ? carry_out(x, e) : ledger_write(x, e);
}

static int
loop(struct receiver *x, struct err *e)
{
    while (!session_stopped(x->s)) {
        if (step(x, e) < 0)
            return -1;
    }
    x->needs_since_ms = 0; /* a change of role reads the state: it must be whole */
    return ledger_write(x, e);
}

static int
open_apply(struct receiver *x, struct err *e)
{
    const struct node *node = x->daemon->node;
    struct apply_store stores[RECORD_STORE_MAX];
    for (size_t i = 0; i < node->store_count; i++)
        stores[i].path = node->stores[i].conf->path;
    return apply_open(stores, node->store_count, SYNC_WORKERS, &x->apply, e);
}

/* --- a disk that is full or read-only --- */

static int
probe_store(const struct node_store *s, struct err *e)
{
    _cleanup_close_ int fd = file_open_beneath(s->root_fd, span_str(STORE_PRIVATE_DIR),
                                               O_TMPFILE | O_RDWR, 0600, e);
    if (fd < 0)
        return -1;
    int rc = posix_fallocate(fd, 0, PROBE_SIZE);
    return rc == 0 ? 0 : err_errnum(e, file_err_code(rc, ERR_IO), rc, "store %s", s->conf->name);
}

/* Waits until every store takes writes again. */
static int
wait_for_space(struct receiver *x, struct err *e)
{
    bool told = false;
    struct err why = { 0 };
    while (!session_stopped(x->s)) {
        bool ok = true;
        for (size_t i = 0; ok && i < x->daemon->node->store_count; i++)
            ok = probe_store(&x->daemon->node->stores[i], &why) >= 0;
        if (ok) {
            if (told)
                peer_set_state(x->s->peer, PEER_CONNECTED, "%s", "");
            return 0;
        }
        if (!told) {
            apply_stalled(x, &why);
            peer_set_state(x->s->peer, PEER_CONNECTED, "applying is paused: %s", why.text);
        }
        told = true;
        struct pollfd wake = { .fd = x->s->peer->wake_fd, .events = POLLIN };
        poll(&wake, 1, PROBE_MS);
    }
    return err_set(e, ERR_PEER, "told to stop");
}

static bool
is_disk_trouble(const struct err *e)
{
    return e->code == ERR_NOSPACE || e->code == ERR_IO;
}

int
receiver_run(struct session *s, struct err *e)
{
    bool expected = false;
    if (!atomic_compare_exchange_strong(&s->daemon->receiving, &expected, true))
        return err_set(e, ERR_BUSY, "another node is sending to this one already");
    struct receiver *x = xcalloc(1, sizeof(*x));
    x->s = s;
    x->daemon = s->daemon;
    hints_init(&x->needs);
    pthread_mutex_lock(&s->peer->lock);
    s->peer->facts.receiving = true;
    pthread_mutex_unlock(&s->peer->lock);
    int rc = open_apply(x, e);
    if (rc >= 0)
        rc = wait_for_space(x, e);
    if (rc >= 0)
        rc = ledger_open(&x->ledger, s->daemon->node, e);
    if (rc >= 0)
        rc = loop(x, e);
    if (rc < 0 &&
        is_disk_trouble(e)) { /* the next session waits until the disk takes writes again */
        apply_stalled(x, e);
    }
    ledger_free(&x->ledger);
    hints_free(&x->needs);
    apply_free(&x->apply);
    atomic_store(&s->daemon->receiving, false);
    free(x);
    return rc;
}
