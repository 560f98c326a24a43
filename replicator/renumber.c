#include "replicator/renumber_private.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX   8    /* most of it is waiting for the disk, where the caches are cold */
#define CHUNK         256  /* directory ids looked at with one transaction */
#define TOLD_MAX      100  /* folders that are named in events, of those that failed */
#define BUSY_MAX      1024 /* more are a mail server that runs */
#define AGAIN_TRIES   30
#define AGAIN_WAIT_US 100000
#define STRAY_TRIES   10 /* of one: others have to be tried, too */
#define ROW_SIZE      50
#define ROW_BY_INDEX  49 /* without `look` */
#define ROW_FORMER    45 /* without the gap of UIDVALIDITY */

struct row {
    struct renumber_order order;
    uint8_t boot_id[16]; /* the boot in which it was carried out */
    bool carried_out;
};

/* Its lists are tried again when all other folders are done. */
struct busy {
    uint64_t dir;
    unsigned lists;
    bool told; /* something else of it failed */
};

struct work {
    struct node *node;
    const struct renumber_order *order;
    const struct renumber_prepared *prepared; /* NULL: nothing is */
    bool live;
    uint64_t end;              /* of directory ids */
    atomic_uint_fast64_t next; /* the next chunk */
    atomic_uint_fast64_t folders, raised, left, failed;
    pthread_mutex_t lock; /* of e, busy and strays */
    struct busy busy[BUSY_MAX];
    size_t busy_count;
    struct buf strays; /* as of renumber_add_strays() */
    struct err e;      /* the state failed */
    atomic_bool broken;
};

/* --- the row --- */

static void
row_encode(const struct row *row, struct buf *out)
{
    buf_add_le64(out, row->order.epoch);
    buf_add_le64(out, row->order.seq);
    buf_add_le32(out, row->order.gap);
    buf_add_le64(out, row->order.modseq);
    buf_add(out, row->boot_id, sizeof(row->boot_id));
    buf_add_u8(out, row->carried_out);
    buf_add_le32(out, row->order.validity_gap);
    buf_add_u8(out, row->order.look);
}

static int
row_put(struct state_txn *txn, const struct row *row, struct err *e)
{
    _cleanup_buf_ struct buf bytes = { 0 };
    row_encode(row, &bytes);
    return state_put(txn, RENUMBER_KEY, buf_span(&bytes), e);
}

/* 1 found, 0 none, -1. */
static int
row_get(struct state_txn *txn, struct row *ret_row, struct err *e)
{
    struct span bytes;
    int found = state_get(txn, RENUMBER_KEY, &bytes, e);
    if (found <= 0)
        return found;
    if (bytes.len != ROW_SIZE && bytes.len != ROW_BY_INDEX && bytes.len != ROW_FORMER)
        return err_set(e, ERR_CORRUPT, "the row \"%s\" of the state has %zu bytes", RENUMBER_KEY,
                       bytes.len);
    ret_row->order = (struct renumber_order){ .epoch = get_le64(bytes.ptr),
                                              .seq = get_le64(bytes.ptr + 8),
                                              .gap = get_le32(bytes.ptr + 16),
                                              .modseq = get_le64(bytes.ptr + 20) };
    memcpy(ret_row->boot_id, bytes.ptr + 28, sizeof(ret_row->boot_id));
    ret_row->carried_out = bytes.ptr[44] != 0;
    ret_row->order.validity_gap = bytes.len == ROW_FORMER ? IDENTITY_VALIDITY_GAP
                                                          : get_le32(bytes.ptr + 45);
    ret_row->order.look = bytes.len == ROW_SIZE && bytes.ptr[49] != 0;
    return 1;
}

int
renumber_order(struct state_txn *txn, const struct renumber_order *order, struct err *e)
{
    if (order == NULL)
        return state_del(txn, RENUMBER_KEY, e);
    return row_put(txn, &(struct row){ .order = *order }, e);
}

static void
tell_path(struct work *w, uint16_t store, struct span path, const struct err *why)
{
    if (atomic_fetch_add(&w->failed, 1) < TOLD_MAX)
        event(EV_IDENTITY_STUCK, F_STR("store", w->node->stores[store].conf->name),
              F_SPAN("folder", path), F_ERR(why));
}

static void
tell(struct work *w, struct state_txn *txn, const struct state_dir *dir, const struct err *why)
{
    _cleanup_buf_ struct buf path = { 0 };
    struct err e = { 0 };
    if (state_dir_path(txn, dir->id, &path, &e) < 0)
        buf_reset(&path);
    tell_path(w, dir->store, buf_span(&path), why);
}

/* false: there are too many, or it was waited for already. */
static bool
put_off(struct work *w, const struct state_dir *dir, unsigned lists, bool told)
{
    bool room = false;
    if (lists == 0 || w->live)
        return false;
    pthread_mutex_lock(&w->lock);
    if (w->busy_count < BUSY_MAX) {
        w->busy[w->busy_count++] = (struct busy){ .dir = dir->id, .lists = lists, .told = told };
        room = true;
    }
    pthread_mutex_unlock(&w->lock);
    return room;
}

/* true: it is as it was prepared, and open for its path alone, which costs less. */
static bool
open_folder(struct work *w, struct state_txn *txn, const struct state_dir *dir,
            struct renumber_folder *folder, struct err *e)
{
    int flags = w->prepared != NULL ? O_PATH : O_NOATIME;
    folder->fd = renumber_open(w->node, txn, dir, flags, e);
    if (folder->fd < 0 || w->prepared == NULL)
        return false;
    if (renumber_is_prepared(folder, w->prepared))
        return true;
    file_closep(&folder->fd);
    folder->fd = renumber_open(w->node, txn, dir, O_NOATIME, e);
    return false;
}

/* By the disk. 1 the directory has something of a mailbox, or *why says what failed; 0 it has not,
 * or is gone; -1 the state failed. strays: NULL, or what the index lacks below is added. */
static int
look_at(struct work *w, struct state_txn *txn, const struct state_dir *dir,
        struct renumber_folder *folder, struct buf *strays, struct err *why, struct err *e)
{
    _cleanup_buf_ struct buf path = { 0 };
    _cleanup_buf_ struct buf dirs = { 0 };
    int messages = renumber_holds_messages(txn, dir, e);
    if (messages != 0)
        return messages < 0 ? -1 : 0;
    if (state_dir_path(txn, dir->id, &path, e) < 0)
        return -1;
    folder->fd = renumber_open(w->node, txn, dir, O_NOATIME, why);
    if (folder->fd < 0)
        return why->sys != ENOENT;
    if (renumber_look(&w->node->stores[dir->store], buf_span(&path), folder, &dirs, why) < 0)
        return 1;
    pthread_mutex_lock(&w->lock);
    int rc = strays == NULL
                 ? 0
                 : renumber_add_strays(txn, dir, buf_span(&path), buf_span(&dirs), strays, e);
    pthread_mutex_unlock(&w->lock);
    return rc < 0 ? -1 : renumber_is_mailbox(folder);
}

static int
find_folder(struct work *w, struct state_txn *txn, const struct state_dir *dir,
            struct renumber_folder *folder, struct buf *strays, struct err *why, struct err *e)
{
    *folder = (struct renumber_folder){ .fd = -1 };
    if (!renumber_is_maildir(w->node, dir))
        return 0;
    return w->order->look ? look_at(w, txn, dir, folder, strays, why, e)
                          : renumber_names(txn, dir, folder, e);
}

static int
number(struct work *w, struct renumber_folder *folder, bool prepared,
       struct renumber_result *ret_result, struct err *why)
{
    folder->locks_since_ns = w->node->opened_ns;
    int rc = why->code != ERR_NONE
                 ? -1
                 : renumber_folder(folder, w->order, prepared, w->live, ret_result, why);
    atomic_fetch_add(&w->raised, ret_result->raised);
    atomic_fetch_add(&w->left, prepared);
    return rc;
}

static int
do_found(struct work *w, struct state_txn *txn, const struct state_dir *dir,
         struct renumber_folder *folder, struct err *why)
{
    struct renumber_result result = { 0 };
    atomic_fetch_add(&w->folders, 1);
    bool prepared = !w->order->look && open_folder(w, txn, dir, folder, why);
    if (folder->fd < 0 && why->sys == ENOENT)
        return 0; /* the index is ahead of the disk */
    int rc = number(w, folder, prepared, &result, why);
    bool told = rc < 0 && why->code != ERR_BUSY;
    if (rc < 0 && (!put_off(w, dir, result.busy, told) || told))
        tell(w, txn, dir, why);
    return 0;
}

static int
do_dir(struct work *w, struct state_txn *txn, const struct state_dir *dir, struct err *e)
{
    struct renumber_folder folder;
    struct err why = { 0 };
    int found = find_folder(w, txn, dir, &folder, &w->strays, &why, e);
    if (found > 0)
        found = do_found(w, txn, dir, &folder, &why);
    file_closep(&folder.fd);
    return found;
}

static int
do_chunk(struct work *w, uint64_t from, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    for (uint64_t id = from; id < from + CHUNK;) {
        struct state_dir dir;
        int found = state_dir_next(txn, id, &dir, e);
        if (found <= 0 || dir.id >= from + CHUNK)
            return found < 0 ? -1 : 0;
        id = dir.id + 1;
        if (do_dir(w, txn, &dir, e) < 0)
            return -1;
    }
    return 0;
}

static void *
work_run(void *arg)
{
    struct work *w = arg;
    struct err e = { 0 };
    uint64_t from;
    while (!atomic_load(&w->broken) && (from = atomic_fetch_add(&w->next, CHUNK)) < w->end) {
        if (do_chunk(w, from, &e) == 0)
            continue;
        pthread_mutex_lock(&w->lock);
        if (!atomic_exchange(&w->broken, true))
            w->e = e;
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

static void
join(pthread_t thread, void (*alive)(void))
{
    struct timespec until;
    for (;;) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        if (pthread_timedjoin_np(thread, NULL, &until) == 0)
            return;
        alive();
    }
}

static void
run_threads(struct work *w, void (*alive)(void))
{
    pthread_t threads[THREADS_MAX];
    unsigned count = 0;
    unsigned wanted = (unsigned)MIN(w->end / CHUNK + 1, (uint64_t)THREADS_MAX);
    while (count < wanted && pthread_create(&threads[count], NULL, work_run, w) == 0)
        count++;
    if (count == 0) /* it takes longer then */
        work_run(w);
    for (unsigned i = 0; i < count; i++)
        join(threads[i], alive);
}

/* 1 it is done, or gone, 0 not yet, -1. */
static int
try_again(struct work *w, struct state_txn *txn, const struct state_dir *dir, struct busy *busy,
          bool last, struct err *e)
{
    struct renumber_folder folder;
    struct renumber_result result = { 0 };
    struct err why = { 0 };
    int found = find_folder(w, txn, dir, &folder, NULL, &why, e);
    if (found > 0 && !w->order->look)
        folder.fd = renumber_open(w->node, txn, dir, O_NOATIME, &why);
    if (found <= 0 || why.sys == ENOENT) {
        file_closep(&folder.fd);
        return found < 0 ? -1 : 1;
    }
    folder.locks_since_ns = w->node->opened_ns;
    int rc = why.code != ERR_NONE ? -1
                                  : renumber_again(&folder, w->order, busy->lists, &result, &why);
    file_closep(&folder.fd);
    atomic_fetch_add(&w->raised, result.raised);
    busy->lists = result.busy;
    bool over = last || result.busy == 0;
    if (rc < 0 && !busy->told && (over || why.code != ERR_BUSY)) {
        tell(w, txn, dir, &why);
        busy->told = true;
    }
    return over;
}

static int
do_again(struct work *w, struct busy *busy, bool last, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct state_dir dir;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    int found = state_dir_next(txn, busy->dir, &dir, e);
    if (found <= 0 || dir.id != busy->dir)
        return found < 0 ? -1 : 1;
    return try_again(w, txn, &dir, busy, last, e);
}

/* Who had them locked may have been stopped just now. */
static int
run_again(struct work *w, void (*alive)(void), struct err *e)
{
    for (unsigned tries = 1; w->busy_count > 0 && tries <= AGAIN_TRIES; tries++) {
        size_t left = 0;
        usleep(AGAIN_WAIT_US);
        alive();
        for (size_t i = 0; i < w->busy_count; i++) {
            int done = do_again(w, &w->busy[i], tries == AGAIN_TRIES, e);
            if (done < 0)
                return -1;
            if (done == 0)
                w->busy[left++] = w->busy[i];
        }
        w->busy_count = left;
    }
    return 0;
}

/* --- folders that are in no index --- */

/* *tries: how often those that are locked are still tried again, all together. What else failed of
 * one comes first in *why. */
static int
number_stray(struct work *w, struct renumber_folder *folder, void (*alive)(void), unsigned *tries,
             struct err *why)
{
    struct renumber_result result = { 0 };
    atomic_fetch_add(&w->folders, 1);
    int rc = number(w, folder, false, &result, why);
    bool failed = rc < 0 && why->code != ERR_BUSY;
    for (unsigned i = 0; result.busy != 0 && !w->live && i<STRAY_TRIES && * tries> 0; i++) {
        struct err again = { 0 };
        usleep(AGAIN_WAIT_US);
        alive();
        --*tries;
        rc = renumber_again(folder, w->order, result.busy, &result, &again);
        atomic_fetch_add(&w->raised, result.raised);
        if (!failed)
            *why = again;
    }
    return failed ? -1 : rc;
}

static int
do_stray(struct work *w, struct state_txn *txn, uint16_t store, struct span path,
         void (*alive)(void), unsigned *tries, struct err *e)
{
    const struct node_store *s = &w->node->stores[store];
    struct state_dir known = { .store = store };
    _cleanup_buf_ struct buf dirs = { 0 };
    struct renumber_folder folder;
    struct err why = { 0 };
    int rc = renumber_open_stray(s, txn, path, &folder, &known.id, &why);
    if (rc > 0)
        rc = renumber_look(s, path, &folder, &dirs, &why);
    if (rc == 0 && renumber_add_strays(txn, &known, path, buf_span(&dirs), &w->strays, e) < 0)
        rc = 1;                                                   /* the state failed */
    if (rc == 0 && known.id == 0 && renumber_is_mailbox(&folder)) /* else it is done */
        rc = number_stray(w, &folder, alive, tries, &why);
    if (rc < 0)
        tell_path(w, store, path, &why);
    file_closep(&folder.fd);
    return rc > 0 ? -1 : 0;
}

/* When all that the index has is done: what has two names by now is not done twice. */
static int
run_strays(struct work *w, void (*alive)(void), struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    unsigned tries = AGAIN_TRIES;
    if (w->strays.len > 0 && state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    for (size_t at = 0; at < w->strays.len;) { /* it grows meanwhile */
        _cleanup_buf_ struct buf path = { 0 };
        struct reader r = reader_of(span_from(buf_span(&w->strays), at, w->strays.len - at));
        uint16_t store = reader_le16(&r);
        struct span name = reader_span16(&r);
        buf_add(&path, name.ptr, name.len);
        at = w->strays.len - r.rest.len;
        alive();
        if (do_stray(w, txn, store, buf_span(&path), alive, &tries, e) < 0)
            return -1;
    }
    return 0;
}

int
renumber_carry_out(struct node *node, const struct renumber_order *order,
                   const struct renumber_prepared *prepared, bool live, void (*alive)(void),
                   struct renumber_done *ret_done, struct err *e)
{
    struct work w = { .node = node, .order = order, .prepared = prepared, .live = live };
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(node->state, false, &txn, e) < 0)
        return -1;
    w.end = state_meta(txn)->next_dir;
    state_abort(&txn);
    atomic_store(&w.next, 1);
    pthread_mutex_init(&w.lock, NULL);
    run_threads(&w, alive);
    int again = 0;
    if (!atomic_load(&w.broken))
        again = run_again(&w, alive, e) < 0 || run_strays(&w, alive, e) < 0 ? -1 : 0;
    pthread_mutex_destroy(&w.lock);
    buf_free(&w.strays);
    if (again < 0)
        return -1;
    *ret_done = (struct renumber_done){ .folders = atomic_load(&w.folders),
                                        .raised = atomic_load(&w.raised),
                                        .prepared = atomic_load(&w.left),
                                        .failed = atomic_load(&w.failed) };
    if (atomic_load(&w.broken))
        *e = w.e;
    return atomic_load(&w.broken) ? -1 : 0;
}

/* --- when --- */

/* 1 there is something to do, 0 not, -1. *ret_live: a mail server may have been started since. */
static int
is_due(struct node *node, struct row *ret_row, bool *ret_live, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint8_t boot_id[16];
    if (state_begin(node->state, false, &txn, e) < 0)
        return -1;
    int found = row_get(txn, ret_row, e);
    if (found <= 0)
        return found;
    const struct state_meta *meta = state_meta(txn);
    *ret_live = ret_row->carried_out;
    if (!ret_row->carried_out)
        return 1;
    node_boot_id(boot_id);
    bool same_boot = memcmp(boot_id, ret_row->boot_id, sizeof(boot_id)) == 0;
    return !same_boot && meta->checkpoint < ret_row->order.seq;
}

/* From here on a crash of this process alone takes nothing of it away. */
static int
note_done(struct node *node, struct row *row, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    row->carried_out = true;
    node_boot_id(row->boot_id);
    if (state_begin(node->state, true, &txn, e) < 0 || row_put(txn, row, e) < 0)
        return -1;
    return state_commit(&txn, e);
}

/* A mail server gave out sequences from the ordered one on, and UIDs from behind the gap on, and
 * clients know them, also where the power loss took them here. On record before the first folder
 * has it. */
static int
begin_above(struct node *node, struct row *row, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t clock_s;
    if (state_begin(node->state, true, &txn, e) < 0 || renumber_clock(txn, &clock_s, e) < 0)
        return -1;
    row->order.modseq = identity_modseq_again(row->order.modseq, clock_s);
    row->order.gap = identity_gap_again(row->order.gap);
    row->order.validity_gap = identity_gap_again(row->order.validity_gap);
    return row_put(txn, row, e) < 0 ? -1 : state_commit(&txn, e);
}

static double
now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int
renumber_begin(struct node *node, const struct renumber_prepared *prepared, void (*alive)(void),
               struct renumber_done *ret_done, struct err *e)
{
    struct row row;
    struct renumber_done done = { 0 };
    bool live;
    double began = now_s();
    int due = is_due(node, &row, &live, e);
    if (due > 0 && live)
        due = begin_above(node, &row, e) < 0 ? -1 : 1;
    if (due > 0 && (live || row.order.look)) /* what was prepared was found by the index */
        prepared = NULL;
    if (due > 0)
        due = renumber_carry_out(node, &row.order, prepared, live, alive, &done, e) < 0 ? -1 : 1;
    if (due < 0 || (due > 0 && note_done(node, &row, e) < 0))
        return err_wrap(e, "make the mailboxes' numbers safe");
    if (due > 0)
        event(EV_IDENTITY, F_U64("epoch", row.order.epoch), F_U64("gap", row.order.gap),
              F_U64("folders", done.folders), F_U64("raised", done.raised),
              F_U64("prepared", done.prepared), F_U64("failed", done.failed),
              F_SECONDS("seconds", now_s() - began));
    *ret_done = done;
    return 0;
}
