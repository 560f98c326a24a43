#include "replicator/salvage.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"
#include "lib/store/keywords.h"
#include "lib/store/mailbox.h"
#include "lib/store/uidlist.h"
#include "replicator/give.h"
#include "replicator/receiver.h"
#include "replicator/salvage_set.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS      20
#define COPY_BYTES   (256 * 1024)
#define UIDLIST_HEAD 4096

/* One store's part of a salvage, while it is written. */
struct part {
    int dirfd; /* -1: nothing was found in it yet */
    struct buf manifest;
    uint32_t count, messages;
};

struct keep {
    struct session *s;
    struct node *node;
    struct salvage_head head; /* but for the store and the count */
    char id[SALVAGE_ID_SIZE];
    struct part parts[RECORD_STORE_MAX];
    struct buf folder; /* the one that guid and keywords are of */
    struct buf guid, keywords;
    uint32_t missing; /* messages and files that the journal has and the disk has not */
    struct err err;   /* of the callback */
};

/* --- the journal --- */

static void
pause_ms(long ms)
{
    struct timespec pause = { .tv_nsec = ms * 1000000 };
    nanosleep(&pause, NULL);
}

static int
wait_live(struct session *s, struct capture *capture, struct err *e)
{
    struct capture_status status;
    while (!session_stopped(s)) {
        capture_status(capture, &status);
        if (status.phase == CAPTURE_LIVE)
            return 0;
        if (status.phase == CAPTURE_STALLED)
            return err_set(e, ERR_NOSPACE, "the journal cannot be written: %s", status.text);
        pause_ms(POLL_MS);
    }
    return err_set(e, ERR_PEER, "told to stop");
}

/* What happened here and is in no journal yet: between the last words of a primary that crashed and
 * the moment at which it was deposed. A standby has nothing of the kind. */
static int
finish_journal(struct session *s, struct err *e)
{
    struct daemon *d = s->daemon;
    struct capture *capture;
    if (s->ours->role != WIRE_ROLE_NONE || atomic_load(&d->journal_finished))
        return 0;
    if (capture_start(d->node, -1, NULL, NULL, &capture, e) < 0)
        return -1;
    int rc = wait_live(s, capture, e);
    if (rc >= 0)
        atomic_store(&d->tail, capture_settle(capture));
    capture_stop(&capture);
    atomic_store(&d->journal_finished, rc >= 0);
    return rc;
}

/* --- directories --- */

static int
sub_dir(int parent, const char *name, int *ret_fd, struct err *e)
{
    if ((fault("mkdir") < 0 || mkdirat(parent, name, 0700) < 0) && errno != EEXIST)
        return err_sys(e, ERR_IO, "make the directory %s", name);
    *ret_fd = file_open_beneath(parent, span_str(name), O_RDONLY | O_DIRECTORY, 0, e);
    return *ret_fd < 0 ? -1 : 0;
}

static int
wipe(int dirfd, struct err *e)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        file_closep(&fd);
        return err_sys(e, ERR_IO, "read what an earlier attempt left");
    }
    int rc = 0;
    const struct dirent *entry;
    while (rc == 0 && (entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.' &&
            (fault("unlink") < 0 || unlinkat(dirfd, entry->d_name, 0) < 0))
            rc = err_sys(e, ERR_IO, "remove what an earlier attempt left");
    }
    closedir(stream);
    return rc;
}

/* An earlier attempt that did not come to the permission is made anew: nothing was overwritten
 * since, and the journal may have grown. */
static int
open_part(struct keep *k, uint16_t store, struct err *e)
{
    struct part *part = &k->parts[store];
    _cleanup_close_ int private = -1;
    _cleanup_close_ int all = -1;
    if (sub_dir(k->node->stores[store].root_fd, STORE_PRIVATE_DIR, &private, e) < 0 ||
        sub_dir(private, SALVAGE_DIR, &all, e) < 0 || sub_dir(all, k->id, &part->dirfd, e) < 0)
        return -1;
    if ((fault("unlink") < 0 || unlinkat(part->dirfd, "manifest", 0) < 0) &&
        errno != ENOENT) /* first: it speaks of all */
        return err_sys(e, ERR_IO, "remove an earlier manifest");
    if (wipe(part->dirfd, e) < 0)
        return -1;
    k->head.store = span_str(k->node->stores[store].conf->name);
    salvage_begin(&k->head, &part->manifest);
    return 0;
}

/* --- items --- */

static int
copy_bytes(int from, int to, uint64_t size, struct err *e)
{
    _cleanup_free_ uint8_t *chunk = xmalloc(COPY_BYTES);
    for (uint64_t at = 0; at < size;) {
        ssize_t got = file_pread_full(from, chunk, (size_t)MIN(size - at, COPY_BYTES), at, e);
        if (got < 0)
            return -1;
        if (got == 0)
            return err_set(e, ERR_IO, "it became shorter while it was copied");
        if (file_write_full(to, span_of(chunk, (size_t)got), e) < 0)
            return -1;
        at += (uint64_t)got;
    }
    return 0;
}

static int
copy_content(const struct part *part, int from, uint64_t size, struct err *e)
{
    char name[16];
    snprintf(name, sizeof(name), "%08x", part->count);
    _cleanup_close_ int to = file_open_unnamed(part->dirfd, 0600, e);
    if (to < 0 || copy_bytes(from, to, size, e) < 0)
        return -1;
    return file_link_unnamed(to, part->dirfd, name, e);
}

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

static int
write_item(struct keep *k, uint16_t store, struct salvage_item *item, struct err *e)
{
    struct part *part = &k->parts[store];
    _cleanup_give_item_ struct give_item scratch = { .fd = -1 };
    struct mailbox m;
    const struct conf_store *conf = k->node->stores[store].conf;
    mailbox_of(conf->users == NULL ? "" : conf->users, item->path, &m);
    if (conf->kind == STORE_MAILDIR && m.kind == MAILBOX_MESSAGE) {
        know_folder(k, store, m.dir);
        item->guid = k->guid.len == WIRE_GUID_SIZE ? buf_span(&k->guid) : (struct span){ 0 };
        if (item->kind != SALVAGE_EXPUNGE)
            set_keywords(k, &scratch, item);
    }
    item->number = part->count;
    salvage_add(item, &part->manifest);
    part->count++;
    part->messages += item->kind == SALVAGE_MESSAGE || item->kind == SALVAGE_COPY;
    if (part->manifest.len > SALVAGE_MAX)
        return err_set(e, ERR_REFUSED, "there is more than one manifest can hold");
    return 0;
}

static int
keep_change(struct keep *k, enum salvage_kind kind, const struct salvage_change *change,
            struct err *e)
{
    struct part *part = &k->parts[change->store];
    struct salvage_item item = { .kind = kind,
                                 .attr = change->attr,
                                 .changed_ns = change->time_ns };
    item.path = change->path.len > 0 ? change->path : change->from;
    item.other = change->path.len > 0 ? change->from : (struct span){ 0 };
    if (part->dirfd < 0 && open_part(k, change->store, e) < 0)
        return -1;
    if (!salvage_has_content(kind) && kind != SALVAGE_FLAGS)
        return write_item(k, change->store, &item, e);
    _cleanup_close_ int fd = -1;
    int found = open_live(k, change->store, item.path, &fd, &item.attr, e);
    if (found <= 0) { /* 0: a power loss took it, or it went this moment */
        k->missing += found == 0;
        return found;
    }
    if (salvage_has_content(kind) && copy_content(part, fd, item.attr.size, e) < 0)
        return -1;
    return write_item(k, change->store, &item, e);
}

static void
each_change(void *arg, const struct salvage_change *change)
{
    struct keep *k = arg;
    if (k->err.code != ERR_NONE || change->store >= k->node->store_count)
        return;
    const struct node_store *store = &k->node->stores[change->store];
    const char *users = store->conf->users == NULL ? "" : store->conf->users;
    struct err why = { 0 };
    enum salvage_kind kind = salvage_kind_of(&store->rules, users, change);
    if (kind == 0 || keep_change(k, kind, change, &why) >= 0)
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
        salvage_set_add(set, &r);
        from = r.seq + 1;
    }
    return found;
}

/* Contents and their names first: a manifest speaks of nothing that could be missing. */
static int
finish_parts(struct keep *k, struct err *e)
{
    for (size_t i = 0; i < k->node->store_count; i++) {
        struct part *part = &k->parts[i];
        if (part->dirfd < 0)
            continue;
        salvage_end(&part->manifest, part->count);
        if (file_sync_fs(part->dirfd, e) < 0 ||
            file_replace(part->dirfd, "manifest", buf_span(&part->manifest), 0600, e) < 0)
            return err_wrap(e, "store %s", k->node->stores[i].conf->name);
    }
    return 0;
}

/* The same as an operator's `resync --from`: this peer, and no other, may overwrite what is here.
 */
static int
permit(struct session *s, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(s->daemon->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    meta->sync_base = MAX(meta->tail, (uint64_t)1);
    if (state_put(txn, LEDGER_SYNC_FROM, span_str(s->peer->conf->name), e) < 0 ||
        state_put(txn, LEDGER_ACCEPT_SYNC, span_str("1"), e) < 0)
        return -1;
    return state_commit(&txn, e);
}

static void
tell(const struct keep *k)
{
    for (size_t i = 0; i < k->node->store_count; i++) {
        const struct part *part = &k->parts[i];
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
    int rc = finish_journal(k->s, e);
    if (rc >= 0)
        rc = read_records(k, set, e);
    if (rc >= 0) {
        snprintf(k->id, sizeof(k->id), "%llx-%llx", (unsigned long long)k->head.epoch,
                 (unsigned long long)k->head.fork);
        salvage_set_each(set, each_change, k);
        if (k->err.code != ERR_NONE) {
            *e = k->err;
            rc = -1;
        }
    }
    salvage_set_free(&set);
    if (rc < 0 || finish_parts(k, e) < 0 || permit(k->s, e) < 0)
        return -1;
    tell(k);
    return 0;
}

static struct keep *
keep_new(struct session *s)
{
    struct keep *k = xcalloc(1, sizeof(*k));
    k->s = s;
    k->node = s->daemon->node;
    k->head.fork = s->decision.fork;
    k->head.time_s = (uint64_t)time(NULL);
    for (size_t i = 0; i < RECORD_STORE_MAX; i++)
        k->parts[i].dirfd = -1;
    return k;
}

static void
keep_free(struct keep *k)
{
    for (size_t i = 0; i < RECORD_STORE_MAX; i++) {
        file_closep(&k->parts[i].dirfd);
        buf_free(&k->parts[i].manifest);
    }
    buf_free(&k->folder);
    buf_free(&k->guid);
    buf_free(&k->keywords);
    free(k);
}

/* A standby whose stores are ahead of its journal cannot name what it has: it stays held. */
static bool
is_ours(const struct session *s)
{
    const struct wire_hello *ours = s->ours, *theirs = s->theirs;
    bool nameable = ours->role == WIRE_ROLE_NONE || s->applied <= ours->tail;
    return s->decision.refusal == WIRE_REFUSE_DIVERGED && ours->role != WIRE_ROLE_PRIMARY &&
           theirs->role == WIRE_ROLE_PRIMARY && theirs->epoch > ours->epoch &&
           ours->tail > s->decision.fork && nameable;
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

int
salvage_look(struct session *s, struct err *e)
{
    struct daemon *d = s->daemon;
    if (s->ours->role != WIRE_ROLE_NONE || atomic_load(&d->journal_finished))
        return 0;
    struct turn_claim claim = claim_of(s);
    if (turn_take(&d->turn, &claim, e) < 0)
        return -1;
    int rc = finish_journal(s, e);
    turn_give(&d->turn, &claim);
    if (rc < 0)
        return err_wrap(e, "look for what only this node has");
    return atomic_load(&d->tail) > s->ours->tail;
}

int
salvage_keep(struct session *s, struct err *e)
{
    if (!is_ours(s))
        return 0;
    struct turn_claim claim = claim_of(s);
    if (turn_take(&s->daemon->turn, &claim, e) < 0) /* one writer of the state */
        return -1;
    event(EV_SALVAGE_BEGIN, F_STR("peer", s->peer->conf->name), F_U64("fork", s->decision.fork),
          F_U64("tail", s->ours->tail));
    struct keep *k = keep_new(s);
    int rc = keep_all(k, e);
    keep_free(k);
    turn_give(&s->daemon->turn, &claim);
    if (rc < 0) {
        event(EV_SALVAGE_STUCK, F_STR("peer", s->peer->conf->name), F_ERR(e));
        return err_wrap(e, "keep what only this node has");
    }
    salvages_changed(s->daemon->salvages);
    return 1;
}
