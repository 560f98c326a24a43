#include "replicator/walk_private.h"

#include "lib/base/path.h"
#include "lib/os/file.h"
#include "replicator/look.h"

#include <stdlib.h>
#include <sys/stat.h>

#define ASK_BYTES  (WIRE_BULK_MAX / 2) /* of paths in one question */
#define STEP_NAMES 20000               /* looked at in one step: records wait behind it */
/* What a peer may list of all directories under way, as it comes; three times that in memory. Five
 * million names of a mail server in one directory. */
#define LISTED_MAX (512 * 1024 * 1024)

struct walk *
walk_new(const struct node *node, struct ship *ship, const struct walk_opts *opts)
{
    struct walk *w = xcalloc(1, sizeof(*w));
    w->node = node;
    w->ship = ship;
    w->opts = *opts;
    w->opts.listed_max = opts->listed_max != 0 ? opts->listed_max : LISTED_MAX;
    w->places = places_new(node);
    hints_init(&w->moved);
    w->next = MAX(opts->from, (uint64_t)1);
    w->level = w->next;
    w->progress.total = MAX(opts->limit, opts->newest);
    if (opts->mode == WALK_VERIFY)
        w->scrub = scrub_new(node, opts->rate, opts->wake_fd);
    return w;
}

void
ask_clear(struct ask *a)
{
    listing_free(&a->theirs);
    buf_free(&a->path);
    hints_free(&a->touched);
    hints_free(&a->suspects);
    seq_mark_unref(&a->mark);
    buf_free(&a->differs);
    *a = (struct ask){ .state = ASK_FREE };
}

void
walk_free(struct walk **walk)
{
    if (*walk == NULL)
        return;
    scrub_free(&(*walk)->scrub);
    for (size_t i = 0; i < ASKS_MAX; i++)
        ask_clear(&(*walk)->asks[i]);
    places_free(&(*walk)->places);
    hints_free(&(*walk)->moved);
    buf_free(&(*walk)->recheck);
    free(*walk);
    *walk = NULL;
}

static size_t
count_asks(const struct walk *w, enum ask_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < ASKS_MAX; i++)
        count += w->asks[i].state == state;
    return count;
}

bool
walk_done(const struct walk *w)
{
    return w->complete && w->recheck.len == 0 && hints_count(&w->moved) == 0 &&
           count_asks(w, ASK_FREE) == ASKS_MAX;
}

bool
walk_asked(const struct walk *w)
{
    return count_asks(w, ASK_SENT) > 0;
}

bool
walk_can_step(const struct walk *w)
{
    bool verify = w->opts.mode == WALK_VERIFY;
    if (verify && walk_verify_can_step(w))
        return true;
    if (!verify && count_asks(w, ASK_ANSWERED) > 0) /* fix-ups: the peer must not be talking */
        return !walk_asked(w);
    if (!verify && hints_count(&w->moved) > 0 && !walk_asked(w))
        return true;
    size_t free = count_asks(w, ASK_FREE);
    if (!verify && (count_asks(w, ASK_WANTED) > 0 || (w->recheck.len > 0 && free > 0)))
        return true;
    return free == ASKS_MAX ? !w->complete : !w->all_asked && free >= ASKS_MAX / 2;
}

static void
update_level(struct walk *w)
{
    uint64_t level = w->next;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (w->asks[i].state != ASK_FREE)
            level = MIN(level, w->asks[i].dir);
    }
    if (w->recheck.len == 0) /* else a directory that was level may no longer be */
        w->level = level;
}

void
walk_progress(const struct walk *w, struct walk_progress *ret_progress)
{
    *ret_progress = w->progress;
    ret_progress->done = walk_done(w);
    ret_progress->next = hints_count(&w->moved) > 0 ? w->opts.from : w->level;
}

/* --- our side of a directory --- */

/* A record that moves it is on its way. What the peer has under the name goes along with that, so
 * it has to be what the object is: it differs from whatever the peer says, and is read by its
 * handle. */
static void
check_there(const struct place *place, const char *name, struct wire_entry *entry)
{
    struct stat st;
    if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == entry->ino)
        return;
    listing_hash(span_str("moved on"), entry->hash);
    entry->has_hash = 1;
}

int
walk_entry_hash(const struct place *place, struct span name, struct wire_entry *entry,
                struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    _cleanup_buf_ struct buf target = { 0 };
    path_name_text(name, text);
    if (S_ISREG(entry->attr.mode) || S_ISDIR(entry->attr.mode)) {
        if (listing_xattrs(place->fd, buf_span(&place->path), text, entry, e) < 0)
            return -1;
        check_there(place, text, entry); /* what was read behind the move is not its own */
        return 0;
    }
    if (!S_ISLNK(entry->attr.mode))
        return 0;
    int found = listing_symlink(place->fd, text, &target, e);
    if (found <= 0)
        return found;
    listing_hash(buf_span(&target), entry->hash);
    entry->has_hash = 1;
    return 0;
}

void
walk_entry(struct span name, const struct state_entry *entry, struct wire_entry *ret_entry)
{
    *ret_entry = (struct wire_entry){
        .name = name, .attr = entry->attr, .ino = entry->ino, .nlink = entry->nlink
    };
}

/* From the index: exactly what the peer must have when everything up to the tail was shipped. */
static int
listing_of_index(struct state_txn *txn, const struct place *place, struct listing *ret_listing,
                 struct err *e)
{
    struct look self;
    if (look_at(place->fd, "", &self, e) < 0)
        return -1;
    ret_listing->self = self.attr;
    if (place->path.len == 0 && listing_root(place->fd, ret_listing, e) < 0)
        return -1;
    uint8_t after[PATH_NAME_MAX];
    size_t after_len = 0;
    for (;;) {
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(txn, place->dir, span_of(after, after_len), &name, &entry, e);
        if (found <= 0)
            return found;
        struct wire_entry out;
        walk_entry(name, &entry, &out);
        if (walk_entry_hash(place, name, &out, e) < 0)
            return -1;
        listing_add(ret_listing, &out);
        memcpy(after, name.ptr, name.len);
        after_len = name.len;
    }
}

/* --- asking --- */

struct ask *
walk_free_ask(struct walk *w)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (w->asks[i].state == ASK_FREE)
            return &w->asks[i];
    }
    return NULL;
}

void
walk_want(struct walk *w, struct ask *free, uint64_t dir, uint16_t store)
{
    free->dir = dir;
    free->store = store;
    free->state = ASK_WANTED;
    w->progress.directories++;
    w->progress.total = MAX(w->progress.total, dir);
}

/* A directory that is made before the removal of its name is carried out keeps what the peer has
 * there: it has to be looked at like any other. */
static bool
orders_done(struct walk *w)
{
    bool done = !w->ordered || w->ship->settle(w->ship->owner) == w->ship->cursor;
    w->ordered = false;
    return done;
}

int
walk_choose(struct walk *w, struct state_txn *txn, struct err *e)
{
    struct ask *a;
    while (!w->all_asked && (a = walk_free_ask(w)) != NULL) {
        struct state_dir row;
        int found = state_dir_next(txn, w->next, &row, e);
        if (found < 0)
            return -1;
        if (found == 0 || (w->opts.limit != 0 && row.id > w->opts.limit)) {
            w->all_asked = true;
            w->complete = count_asks(w, ASK_FREE) == ASKS_MAX && orders_done(w);
            return 0;
        }
        w->next = row.id + 1;
        if (w->opts.store < 0 || row.store == w->opts.store)
            walk_want(w, a, row.id, row.store);
    }
    return 0;
}

void
ask_begin(struct ask *a, struct span path)
{
    buf_reset(&a->path);
    buf_add(&a->path, path.ptr, path.len);
    hints_free(&a->touched);
    seq_mark_unref(&a->mark);
    buf_reset(&a->differs);
    listing_free(&a->theirs);
    a->theirs_bytes = 0;
    a->sorted = a->moved = false;
    a->after_len = 0;
    a->self_done = false;
}

int
walk_flush(struct walk *w, struct err *e)
{
    if (w->msg.digest_ask.count == 0)
        return 0;
    int rc = link_io_send(w->ship->io, &w->msg, e);
    w->msg.digest_ask.count = 0;
    w->asked_bytes = 0;
    return rc < 0 ? -1 : link_io_flush(w->ship->io, e);
}

int
walk_question(struct walk *w, struct ask *a, uint8_t flags, struct err *e)
{
    struct wire_digest_ask *ask = &w->msg.digest_ask;
    bool fits = ask->store == a->store && ask->flags == flags &&
                w->asked_bytes + a->path.len <= ASK_BYTES;
    if (!fits && walk_flush(w, e) < 0)
        return -1;
    if (ask->count == 0) {
        w->msg.type = WIRE_DIGEST_ASK;
        ask->id = ++w->id;
        ask->store = a->store;
        ask->flags = flags;
    }
    struct wire_dir *dir = &ask->dirs[ask->count++];
    dir->dir = a->dir;
    dir->path = buf_span(&a->path);
    memcpy(dir->digest, a->digest, sizeof(dir->digest));
    w->asked_bytes += a->path.len;
    a->state = ASK_SENT;
    return 0;
}

int
walk_place(struct walk *w, struct state_txn *txn, struct ask *a, struct place **ret_place,
           struct err *e)
{
    int found = places_get(w->places, txn, a->dir, ret_place, e);
    if (found > 0 && (*ret_place)->path.len <= PATH_STORE_MAX)
        return 1;
    if (found >= 0)
        ask_clear(a);
    return found < 0 ? -1 : 0;
}

static int
ask_one(struct walk *w, struct state_txn *txn, struct ask *a, struct err *e)
{
    struct place *place;
    int found = walk_place(w, txn, a, &place, e);
    if (found <= 0)
        return found;
    ask_begin(a, buf_span(&place->path));
    if (w->opts.peer_empty) {
        a->verdict = WIRE_DIR_ABSENT;
        a->state = ASK_ANSWERED;
        return 0;
    }
    _cleanup_listing_ struct listing ours = { 0 };
    if (listing_of_index(txn, place, &ours, e) < 0)
        return -1;
    w->names_read += ours.count;
    listing_sort(&ours);
    listing_digest(&ours, a->digest);
    return walk_question(w, a, 0, e);
}

static int
ask_all(struct walk *w, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    if (state_meta(txn)->tail != w->ship->cursor)
        return 0;                       /* the peer would be asked about what it was not told yet */
    w->all_asked = w->complete = false; /* there may be newer ones than at the last look */
    if (walk_choose_again(w, txn, e) < 0 || walk_choose(w, txn, e) < 0)
        return -1;
    w->names_read = 0;
    for (size_t i = 0; i < ASKS_MAX && w->names_read < STEP_NAMES; i++) {
        if (w->asks[i].state == ASK_WANTED && ask_one(w, txn, &w->asks[i], e) < 0)
            return -1;
    }
    return walk_flush(w, e);
}

/* --- answers --- */

static struct ask *
find_ask(struct walk *w, uint64_t dir)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (w->asks[i].state == ASK_SENT && w->asks[i].dir == dir)
            return &w->asks[i];
    }
    return NULL;
}

/* Holds what the peer lists. A directory that does not fit beside the others is asked for again,
 * later. */
static int
hold_entries(struct walk *w, struct ask *a, struct span entries, struct err *e)
{
    size_t held = 0;
    for (size_t i = 0; i < ASKS_MAX; i++)
        held += w->asks[i].theirs_bytes;
    if (a->moved)
        return 0;
    if (held + entries.len <= w->opts.listed_max) {
        a->theirs_bytes += entries.len;
        return listing_unpack(entries, &a->theirs, e);
    }
    if (held == a->theirs_bytes)
        return err_set(e, ERR_PROTOCOL, "the peer lists more than %zu bytes of names in %.*s",
                       w->opts.listed_max, (int)a->path.len, (const char *)a->path.ptr);
    listing_free(&a->theirs);
    a->theirs_bytes = 0;
    a->moved = true;
    return 0;
}

/* An answer is complete. */
static void
answered(struct ask *a)
{
    if (a->moved)
        a->state = ASK_WANTED;
    else if (a->verdict == WIRE_DIR_SAME)
        ask_clear(a);
    else
        a->state = ASK_ANSWERED;
}

int
walk_answer(struct walk *w, const struct wire_digest_answer *answer, struct err *e)
{
    struct ask *a = find_ask(w, answer->dir);
    if (a == NULL)
        return err_set(e, ERR_PROTOCOL, "an answer about directory %llu, which was not asked for",
                       (unsigned long long)answer->dir);
    if (answer->verdict == WIRE_DIR_FAILED && w->opts.mode == WALK_VERIFY) {
        walk_verify_failed(w, a);
        update_level(w);
        return 0;
    }
    if (answer->verdict == WIRE_DIR_FAILED)
        return err_set(e, ERR_PEER, "the peer could not read directory %.*s", (int)a->path.len,
                       (const char *)a->path.ptr);
    a->verdict = answer->verdict;
    a->self = answer->self;
    if (hold_entries(w, a, answer->entries, e) < 0)
        return -1;
    if (!answer->more)
        answered(a);
    update_level(w);
    return 0;
}

const struct wire_entry *
ask_find(struct ask *a, struct span name)
{
    if (!a->sorted)
        listing_sort(&a->theirs);
    a->sorted = true;
    return listing_find(&a->theirs, name);
}

/* --- steps --- */

struct ask *
walk_first(struct walk *w, enum ask_state state)
{
    struct ask *first = NULL;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if (a->state == state && (first == NULL || a->dir < first->dir))
            first = a;
    }
    return first;
}

static int
step_sync(struct walk *w, const struct walk_orders *orders, struct err *e)
{
    _cleanup_reclist_ struct reclist fixes = { 0 };
    struct ask *a;
    if (walk_fix_moved(w, &fixes, e) < 0)
        return -1;
    while (reclist_count(&fixes) < FIX_NAMES_MAX && (a = walk_first(w, ASK_ANSWERED)) != NULL) {
        int more = walk_fix(w, a, &fixes, orders, e);
        if (more < 0)
            return -1;
        if (more > 0)
            break;
        ask_clear(a);
    }
    if (reclist_count(&fixes) == 0)
        return 0;
    if (ship_fixups(w->ship, &fixes, e) < 0)
        return -1;
    return ship_commit(w->ship, 0, w->ship->cursor, e);
}

/* Not while the peer is talking: its answer would not know of it. */
static bool
is_to_fix(struct walk *w)
{
    return walk_first(w, ASK_ANSWERED) != NULL || (hints_count(&w->moved) > 0 && !walk_asked(w));
}

int
walk_step(struct walk *w, const struct walk_orders *orders, struct err *e)
{
    places_forget(w->places); /* paths may have changed since the last step */
    int rc = w->opts.mode == WALK_VERIFY ? walk_verify_step(w, orders, e)
             : is_to_fix(w)              ? step_sync(w, orders, e)
                                         : ask_all(w, e);
    update_level(w);
    return rc;
}
