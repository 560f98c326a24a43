#include "replicator/salvage.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/store/keywords.h"
#include "lib/store/mailbox.h"
#include "lib/store/uidlist.h"
#include "replicator/give.h"
#include "replicator/receiver.h"
#include "replicator/recover.h"
#include "replicator/salvage_core.h"
#include "replicator/salvage_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS      20
#define UIDLIST_HEAD 4096

struct keep {
    struct session *s;
    struct node *node;
    struct turn_claim claim;
    struct salvage_head head; /* but for the store and the count */
    char id[SALVAGE_ID_SIZE];
    struct salvage_part parts[RECORD_STORE_MAX];
    struct salvage_progress progress;
    struct buf folder; /* the one that guid and keywords are of */
    struct buf guid, keywords;
    uint32_t missing; /* messages and files that the journal has and the disk has not */
    struct err err;   /* of the callback */
};

/* --- told to end --- */

/* A role that changes, a link that ends, the end of the daemon: the loop's thread waits for this
 * one. A newer promotion waits for its turn. Neither is a failure: what is copied is found again.
 */
static bool
is_to_end(const struct keep *k)
{
    return session_stopped(k->s) || turn_lost(&k->claim);
}

static int
may_go_on(void *arg, uint64_t bytes, struct err *e)
{
    struct keep *k = arg;
    k->progress.bytes += bytes;
    salvages_progress(k->s->daemon->salvages, &k->progress);
    return is_to_end(k) ? err_set(e, ERR_PEER, "told to stop") : 0;
}

/* --- the journal --- */

static void
pause_ms(long ms)
{
    struct timespec pause = { .tv_nsec = ms * 1000000 };
    nanosleep(&pause, NULL);
}

static int
wait_live(const struct session *s, const struct turn_claim *claim, struct capture *capture,
          struct err *e)
{
    struct capture_status status;
    while (!session_stopped(s) && !turn_lost(claim)) {
        capture_status(capture, &status);
        if (status.phase == CAPTURE_LIVE)
            return 0;
        if (status.phase == CAPTURE_STALLED)
            return err_set(e, ERR_NOSPACE, "the journal cannot be completed: %s", status.text);
        pause_ms(POLL_MS);
    }
    return err_set(e, ERR_PEER, "told to stop");
}

/* Whatever stands where a power loss took a name, or is an object that the index has under such a
 * name, is in no journal while the name is held. The peer, if it parted from this node before it
 * was recorded, has it not: it must be let go before what only this node has is told. Other nodes
 * do not count: what one of them has alone it brings to the peer itself. */
static int
let_go_of_names(const struct session *s, const struct turn_claim *claim, struct capture *capture,
                struct err *e)
{
    capture_yield(capture, s->peer->conf->name, session_shared(s));
    capture_settle(capture, true); /* behind that */
    return wait_live(s, claim, capture, e);
}

static int
is_journal_finished(const struct daemon *d, const struct wire_hello *ours, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    if (recover_pending(txn) > 0)
        return 0;
    return ours->role != WIRE_ROLE_NONE || atomic_load(&d->journal_finished);
}

/* What happened here and is in no journal yet: between the last words of a primary that crashed and
 * the moment at which it was deposed, or demoted. A standby has nothing of the kind, unless names
 * are held. */
static int
finish_journal(const struct session *s, const struct turn_claim *claim, struct err *e)
{
    struct daemon *d = s->daemon;
    struct capture *capture;
    int finished = is_journal_finished(d, s->ours, e);
    if (finished != 0)
        return finished < 0 ? -1 : 0;
    if (capture_start(d->node, -1, NULL, NULL, &capture, e) < 0)
        return -1;
    int rc = let_go_of_names(s, claim, capture, e);
    if (rc >= 0)
        atomic_store(&d->tail, capture_settle(capture, true));
    bool complete = capture_stop(&capture);
    if (rc >= 0 && !complete)
        rc = err_set(e, ERR_NOSPACE, "the journal could not be completed");
    atomic_store(&d->journal_finished, rc >= 0);
    return rc;
}

/* --- items --- */

/* The live object. 1 there it is, 0 it is not. */
static int
open_live(const struct keep *k, uint16_t store, struct span path, int *ret_fd, struct attr *attr,
          struct err *e)
{
    struct stat st;
    *ret_fd = file_open_beneath(k->node->stores[store].root_fd, path, O_RDONLY | O_NONBLOCK, 0, e);
    if (*ret_fd < 0)
        return e->sys == ENOENT || e->sys == ENOTDIR || e->sys == ELOOP ? 0 : -1;
    if (fstat(*ret_fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at what is to be kept");
    *attr = (struct attr){ st.st_mode, st.st_uid, st.st_gid, (uint64_t)st.st_size,
                           attrs_ns(&st.st_mtim) };
    return S_ISREG(st.st_mode);
}

static void
read_small(const struct keep *k, uint16_t store, struct span folder, const char *name, size_t max,
           struct buf *out)
{
    _cleanup_buf_ struct buf path = { 0 };
    path_join(&path, folder, span_str(name));
    buf_reset(out);
    _cleanup_close_ int fd = file_open_beneath(k->node->stores[store].root_fd, buf_span(&path),
                                               O_RDONLY | O_NONBLOCK, 0, NULL);
    if (fd < 0)
        return;
    buf_reserve(out, max);
    ssize_t got = file_pread_full(fd, out->ptr, max, 0, NULL);
    out->len = got < 0 ? 0 : (size_t)got;
}

/* GUID and keywords of the message's folder: what cannot be read is not known. */
static void
know_folder(struct keep *k, uint16_t store, struct span folder)
{
    struct uidlist list;
    _cleanup_buf_ struct buf head = { 0 };
    if (k->folder.len > 0 && span_equal(buf_span(&k->folder), folder))
        return;
    buf_reset(&k->folder);
    buf_add(&k->folder, folder.ptr, folder.len);
    buf_reset(&k->guid);
    read_small(k, store, folder, "dovecot-keywords", KEYWORDS_SIZE, &k->keywords);
    read_small(k, store, folder, "dovecot-uidlist", UIDLIST_HEAD, &head);
    if (head.len > 0 && uidlist_begin(&list, buf_span(&head), NULL) == 0)
        buf_add(&k->guid, list.guid.ptr, list.guid.len);
}

static void
set_keywords(const struct keep *k, struct give_item *scratch, struct salvage_item *item)
{
    buf_add(&scratch->path, item->path.ptr, item->path.len);
    give_item_keywords(scratch, buf_span(&k->keywords), "");
    item->keyword_count = scratch->keyword_count;
    for (size_t i = 0; i < scratch->keyword_count; i++)
        item->keywords[i] = (struct wire_keyword){ scratch->keywords[i].letter,
                                                   span_str(scratch->keywords[i].name) };
}

/* What a message has beside its bytes, and by what a folder is known. */
static void
know_message(struct keep *k, uint16_t store, struct give_item *scratch, struct salvage_item *item)
{
    struct mailbox m;
    const struct conf_store *conf = k->node->stores[store].conf;
    if (conf->kind == STORE_MAILDIR && item->kind == SALVAGE_RENAME && S_ISDIR(item->attr.mode)) {
        know_folder(k, store, item->path);
        item->guid = k->guid.len == WIRE_GUID_SIZE ? buf_span(&k->guid) : (struct span){ 0 };
        return;
    }
    mailbox_of(conf->users == NULL ? "" : conf->users, item->path, &m);
    if (conf->kind != STORE_MAILDIR || m.kind != MAILBOX_MESSAGE)
        return;
    know_folder(k, store, m.dir);
    item->guid = k->guid.len == WIRE_GUID_SIZE ? buf_span(&k->guid) : (struct span){ 0 };
    if (item->kind != SALVAGE_EXPUNGE)
        set_keywords(k, scratch, item);
}

/* fd: what it is called by, where it has bytes or attributes of its own; -1 none. */
static int
add_item(struct keep *k, uint16_t store, struct salvage_item *item, int fd, struct err *e)
{
    _cleanup_give_item_ struct give_item scratch = { .fd = -1 };
    know_message(k, store, &scratch, item);
    return salvage_part_add(&k->parts[store], item, salvage_has_content(item->kind) ? fd : -1, e);
}

/* Its attributes tell the primary what is meant: those of the record may be older. One that a power
 * loss took is listed as the journal has it. */
static int
keep_rename(struct keep *k, uint16_t store, struct salvage_item *item, struct err *e)
{
    struct attr live;
    _cleanup_close_ int fd = -1;
    int found = open_live(k, store, item->path, &fd, &live, e);
    if (found > 0)
        item->attr = live;
    return found < 0 ? -1 : add_item(k, store, item, -1, e);
}

static int
keep_change(struct keep *k, enum salvage_kind kind, const struct salvage_change *change,
            struct err *e)
{
    struct salvage_part *part = &k->parts[change->store];
    struct salvage_item item = { .kind = kind,
                                 .attr = change->attr,
                                 .changed_ns = change->time_ns };
    item.path = change->path.len > 0 ? change->path : change->from;
    item.other = change->path.len > 0 ? change->from : (struct span){ 0 };
    if (part->dirfd < 0 &&
        salvage_part_open(part, &k->node->stores[change->store], k->id, &k->head, e) < 0)
        return -1;
    if (kind == SALVAGE_RENAME && S_ISREG(change->attr.mode))
        return keep_rename(k, change->store, &item, e);
    if (!salvage_has_content(kind) && kind != SALVAGE_FLAGS)
        return add_item(k, change->store, &item, -1, e);
    _cleanup_close_ int fd = -1;
    int found = open_live(k, change->store, item.path, &fd, &item.attr, e);
    if (found <= 0) { /* 0: a power loss took it, or it went this moment */
        k->missing += found == 0;
        return found;
    }
    return add_item(k, change->store, &item, fd, e);
}

/* 0: nothing that is told. */
static enum salvage_kind
kind_of(const struct keep *k, const struct salvage_change *change)
{
    if (change->store >= k->node->store_count)
        return (enum salvage_kind)0;
    const struct node_store *store = &k->node->stores[change->store];
    const char *users = store->conf->users == NULL ? "" : store->conf->users;
    return salvage_kind_of(&store->rules, users, change);
}

static void
count_change(void *arg, const struct salvage_change *change)
{
    struct keep *k = arg;
    enum salvage_kind kind = kind_of(k, change);
    k->progress.items_total += kind != 0;
    if (kind != 0 && salvage_has_content(kind))
        k->progress.bytes_total += change->attr.size;
}

static void
each_change(void *arg, const struct salvage_change *change)
{
    struct keep *k = arg;
    struct err why = { 0 };
    enum salvage_kind kind = k->err.code == ERR_NONE ? kind_of(k, change) : 0;
    if (kind == 0)
        return;
    k->progress.items++;
    if (keep_change(k, kind, change, &why) >= 0)
        return;
    k->err = why;
    struct span path = change->path.len > 0 ? change->path : change->from;
    (void)err_wrap(&k->err, "keep %.*s", (int)MIN(path.len, (size_t)PATH_NAME_MAX),
                   (const char *)path.ptr);
}

/* --- the whole --- */

static int
read_records(struct keep *k, struct salvage_set *set, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct record r;
    if (state_begin(k->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    memcpy(k->head.history, meta->history, sizeof(k->head.history));
    k->head.epoch = meta->epoch;
    k->head.tail = meta->tail;
    if (meta->oldest > k->head.fork + 1)
        return err_set(e, ERR_REFUSED,
                       "the journal begins at %llu and no longer reaches back to the fork at %llu: "
                       "what this node has alone cannot be told from it",
                       (unsigned long long)meta->oldest, (unsigned long long)k->head.fork);
    int found;
    uint64_t from = k->head.fork + 1;
    while ((found = state_record(txn, from, &r, e)) > 0) {
        if (may_go_on(k, 0, e) < 0)
            return -1;
        salvage_set_add(set, &r);
        from = r.seq + 1;
    }
    return found;
}

static int
finish_parts(struct keep *k, struct err *e)
{
    for (size_t i = 0; i < k->node->store_count; i++) {
        if (k->parts[i].dirfd >= 0 && salvage_part_finish(&k->parts[i], e) < 0)
            return err_wrap(e, "store %s", k->node->stores[i].conf->name);
    }
    return 0;
}

/* For the statement of what was lost: a change that is nobody's, like a mail server's own list, is
 * kept in no part. */
static int
note_nothing(const struct keep *k, struct state_txn *txn, struct err *e)
{
    bool kept = false;
    for (size_t i = 0; i < k->node->store_count; i++)
        kept |= k->parts[i].dirfd >= 0;
    if (kept || k->s->ours->role != WIRE_ROLE_NONE) /* a standby was no primary of that epoch */
        return state_del(txn, SALVAGE_NOTHING, e);
    return salvage_put_nothing(k->s, txn, e);
}

/* Nearly an operator's `resync`: whoever shares all up to the fork may overwrite what is here. */
static int
permit(const struct keep *k, struct err *e)
{
    uint8_t row[LEDGER_KEPT_ROW];
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(k->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    meta->sync_base = MAX(meta->tail, (uint64_t)1);
    put_le64(row, k->head.fork);
    put_le64(row + 8, k->head.tail);
    if (state_del(txn, LEDGER_SYNC_FROM, e) < 0 ||
        state_put(txn, LEDGER_ACCEPT_SYNC, span_of(row, sizeof(row)), e) < 0 ||
        note_nothing(k, txn, e) < 0)
        return -1;
    return state_commit(&txn, e);
}

static void
tell(struct keep *k)
{
    for (size_t i = 0; i < k->node->store_count; i++) {
        struct salvage_part *part = &k->parts[i];
        salvage_part_forget(part);
        if (part->dirfd >= 0)
            event(EV_SALVAGE_KEPT, F_STR("store", k->node->stores[i].conf->name),
                  F_STR("salvage", k->id), F_U64("items", part->count),
                  F_U64("messages", part->messages), F_U64("missing", k->missing));
    }
}

static int
keep_all(struct keep *k, struct err *e)
{
    struct salvage_set *set = salvage_set_new();
    int rc = finish_journal(k->s, &k->claim, e);
    if (rc >= 0)
        rc = read_records(k, set, e);
    if (rc >= 0) {
        snprintf(k->id, sizeof(k->id), "%llx-%llx", (unsigned long long)k->head.epoch,
                 (unsigned long long)k->head.fork);
        salvage_set_each(set, count_change, k);
        salvage_set_each(set, each_change, k);
        if (k->err.code != ERR_NONE) {
            *e = k->err;
            rc = -1;
        }
    }
    salvage_set_free(&set);
    if (rc < 0 || finish_parts(k, e) < 0 || permit(k, e) < 0)
        return -1;
    tell(k);
    return 0;
}

static struct turn_claim
claim_of(const struct session *s)
{
    struct turn_claim claim = { .peer = s->peer,
                                .link_fd = link_io_fd(s->io),
                                .epoch = s->theirs->epoch };
    memcpy(claim.history, s->theirs->history, WIRE_HISTORY_SIZE);
    return claim;
}

static struct keep *
keep_new(struct session *s)
{
    struct keep *k = xcalloc(1, sizeof(*k));
    k->s = s;
    k->node = s->daemon->node;
    k->claim = claim_of(s);
    k->head.fork = s->decision.fork;
    k->head.time_s = (uint64_t)time(NULL);
    for (size_t i = 0; i < RECORD_STORE_MAX; i++)
        k->parts[i] = (struct salvage_part){ .dirfd = -1, .log_fd = -1, .watch = { may_go_on, k } };
    return k;
}

static void
keep_free(struct keep *k)
{
    for (size_t i = 0; i < RECORD_STORE_MAX; i++)
        salvage_part_free(&k->parts[i]);
    buf_free(&k->folder);
    buf_free(&k->guid);
    buf_free(&k->keywords);
    free(k);
}

int
salvage_look(struct session *s, struct err *e)
{
    struct daemon *d = s->daemon;
    int finished = is_journal_finished(d, s->ours, e);
    if (finished != 0)
        return finished < 0 ? -1 : 0;
    struct turn_claim claim = claim_of(s);
    if (turn_take(&d->turn, &claim, e) < 0)
        return -1;
    int rc = finish_journal(s, &claim, e);
    turn_give(&d->turn, &claim);
    if (rc < 0)
        return err_wrap(e, "look for what only this node has");
    return atomic_load(&d->tail) > s->ours->tail;
}

int
salvage_keep(struct session *s, struct err *e)
{
    if (!salvage_is_due(s->ours, s->theirs, &s->decision, s->applied))
        return 0;
    struct keep *k = keep_new(s);
    if (turn_take(&s->daemon->turn, &k->claim, e) < 0) { /* one writer of the state */
        keep_free(k);
        return -1;
    }
    event(EV_SALVAGE_BEGIN, F_STR("peer", s->peer->conf->name), F_U64("fork", s->decision.fork),
          F_U64("tail", s->ours->tail));
    salvages_progress(s->daemon->salvages, &k->progress);
    int rc = keep_all(k, e);
    bool ended = is_to_end(k);
    salvages_progress(s->daemon->salvages, NULL);
    turn_give(&s->daemon->turn, &k->claim);
    keep_free(k);
    if (rc >= 0) {
        salvages_changed(s->daemon->salvages);
        return 1;
    }
    if (!ended) /* else the next session goes on with it */
        event(EV_SALVAGE_STUCK, F_STR("peer", s->peer->conf->name), F_ERR(e));
    return err_wrap(e, "keep what only this node has");
}
