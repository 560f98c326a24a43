#include "replicator/walk_private.h"

#include "lib/os/file.h"
#include "replicator/look.h"

#include <stdlib.h>
#include <sys/stat.h>

#define ASK_BYTES (WIRE_BULK_MAX / 2) /* of paths in one question */

struct walk *
walk_new(const struct node *node, struct ship *ship, const struct walk_opts *opts)
{
    struct walk *w = xcalloc(1, sizeof(*w));
    w->node = node;
    w->ship = ship;
    w->opts = *opts;
    w->places = places_new(node);
    w->next = MAX(opts->from, (uint64_t)1);
    w->progress.total = opts->limit;
    w->progress.next = w->next;
    return w;
}

static void
ask_clear(struct ask *a)
{
    listing_free(&a->theirs);
    buf_free(&a->path);
    buf_free(&a->touched);
    *a = (struct ask){ .state = ASK_FREE };
}

void
walk_free(struct walk **walk)
{
    if (*walk == NULL)
        return;
    for (size_t i = 0; i < ASKS_MAX; i++)
        ask_clear(&(*walk)->asks[i]);
    places_free(&(*walk)->places);
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
    return w->all_asked && count_asks(w, ASK_FREE) == ASKS_MAX;
}

bool
walk_can_step(const struct walk *w)
{
    if (count_asks(w, ASK_ANSWERED) > 0 || count_asks(w, ASK_WANTED) > 0)
        return true;
    return !w->all_asked && count_asks(w, ASK_FREE) >= ASKS_MAX / 2;
}

void
walk_progress(const struct walk *w, struct walk_progress *ret_progress)
{
    *ret_progress = w->progress;
    ret_progress->done = walk_done(w);
    uint64_t next = w->next;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (w->asks[i].state != ASK_FREE)
            next = MIN(next, w->asks[i].dir);
    }
    ret_progress->next = next;
}

/* --- our side of a directory --- */

const char *
walk_name_text(struct span name, char text[PATH_NAME_MAX + 1])
{
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return text;
}

int
walk_entry_hash(const struct place *place, struct span name, struct wire_entry *entry,
                struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    _cleanup_buf_ struct buf target = { 0 };
    if (!S_ISLNK(entry->attr.mode))
        return 0;
    int found = listing_symlink(place->fd, walk_name_text(name, text), &target, e);
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

int
walk_ours(struct walk *w, struct state_txn *txn, const struct place *place,
          struct listing *ret_listing, struct err *e)
{
    if (w->opts.mode == WALK_SYNC)
        return listing_of_index(txn, place, ret_listing, e);
    const struct store_rules *rules = &w->node->stores[place->store].rules;
    return listing_read(rules, place->fd, buf_span(&place->path), w->opts.content, NULL, NULL,
                        ret_listing, e);
}

/* --- asking --- */

static struct ask *
free_ask(struct walk *w)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (w->asks[i].state == ASK_FREE)
            return &w->asks[i];
    }
    return NULL;
}

/* Takes the next directories into hand. */
static int
choose(struct walk *w, struct state_txn *txn, struct err *e)
{
    struct ask *a;
    while (!w->all_asked && (a = free_ask(w)) != NULL) {
        struct state_dir row;
        int found = state_dir_next(txn, w->next, &row, e);
        if (found < 0)
            return -1;
        if (found == 0 || row.id > w->opts.limit) {
            w->all_asked = true;
            return 0;
        }
        w->next = row.id + 1;
        if (w->opts.store >= 0 && row.store != w->opts.store)
            continue;
        a->dir = row.id;
        a->store = row.store;
        a->state = ASK_WANTED;
        w->progress.directories++;
    }
    return 0;
}

/* 1 the question is in the message, 0 the directory is gone. */
static int
ask_digest(struct walk *w, struct state_txn *txn, struct ask *a, struct err *e)
{
    struct place *place;
    int found = places_get(w->places, txn, a->dir, &place, e);
    if (found <= 0 || place->path.len > PATH_STORE_MAX)
        return found < 0 ? -1 : 0;
    buf_reset(&a->path);
    buf_add(&a->path, place->path.ptr, place->path.len);
    buf_reset(&a->touched);
    listing_free(&a->theirs);
    a->sorted = false;
    a->after_len = 0;
    a->self_done = false;
    if (w->opts.peer_empty) {
        a->verdict = WIRE_DIR_ABSENT;
        a->state = ASK_ANSWERED;
        return 0;
    }
    _cleanup_listing_ struct listing ours = { 0 };
    if (walk_ours(w, txn, place, &ours, e) < 0)
        return -1;
    struct wire_dir *dir = &w->msg.digest_ask.dirs[w->msg.digest_ask.count++];
    dir->dir = a->dir;
    dir->path = buf_span(&a->path);
    listing_sort(&ours);
    listing_digest(&ours, a->digest);
    memcpy(dir->digest, a->digest, sizeof(dir->digest));
    a->state = ASK_SENT;
    return 1;
}

static int
ask_flush(struct walk *w, struct err *e)
{
    if (w->msg.digest_ask.count == 0)
        return 0;
    int rc = link_io_send(w->ship->io, &w->msg, e);
    w->msg.digest_ask.count = 0;
    return rc < 0 ? -1 : link_io_flush(w->ship->io, e);
}

static int
ask_store(struct walk *w, struct state_txn *txn, uint16_t store, struct err *e)
{
    w->msg.type = WIRE_DIGEST_ASK;
    w->msg.digest_ask.id = ++w->id;
    w->msg.digest_ask.store = store;
    w->msg.digest_ask.flags = w->opts.content ? WIRE_DIGEST_CONTENT : 0;
    w->msg.digest_ask.count = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if (a->state != ASK_WANTED || a->store != store)
            continue;
        if (ask_digest(w, txn, a, e) < 0)
            return -1;
        if (a->state == ASK_WANTED)
            ask_clear(a); /* gone meanwhile: a record tells the peer */
        bytes += a->path.len;
        if (bytes >= ASK_BYTES && ask_flush(w, e) < 0)
            return -1;
        bytes = bytes >= ASK_BYTES ? 0 : bytes;
    }
    return ask_flush(w, e);
}

static int
ask_all(struct walk *w, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    places_forget(w->places); /* paths may have changed since the last step */
    if (choose(w, txn, e) < 0)
        return -1;
    for (uint16_t store = 0; store < w->node->store_count; store++) {
        if (ask_store(w, txn, store, e) < 0)
            return -1;
    }
    return 0;
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

int
walk_answer(struct walk *w, const struct wire_digest_answer *answer, struct err *e)
{
    struct ask *a = find_ask(w, answer->dir);
    if (a == NULL)
        return err_set(e, ERR_PROTOCOL, "an answer about directory %llu, which was not asked for",
                       (unsigned long long)answer->dir);
    if (answer->verdict == WIRE_DIR_SAME) {
        ask_clear(a);
        return 0;
    }
    if (answer->verdict == WIRE_DIR_FAILED)
        return err_set(e, ERR_PEER, "the peer could not read directory %.*s", (int)a->path.len,
                       (const char *)a->path.ptr);
    a->verdict = answer->verdict;
    a->self = answer->self;
    if (listing_unpack(answer->entries, &a->theirs, e) < 0)
        return -1;
    if (!answer->more)
        a->state = ASK_ANSWERED;
    return 0;
}

static void
touch_path(struct walk *w, uint16_t store, struct span path, bool is_dir)
{
    struct span parent = path_parent(path);
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if ((a->state != ASK_SENT && a->state != ASK_ANSWERED) || a->store != store)
            continue;
        if (path.len > 0 && span_equal(buf_span(&a->path), parent))
            buf_add_span16(&a->touched, path_name(path));
        else if (is_dir && path_is_below(buf_span(&a->path), path))
            a->tries = 0; /* its path changed: found anew by its id at the fix */
    }
}

void
walk_touch(struct walk *w, const struct record *r)
{
    bool is_dir = S_ISDIR(r->attr.mode);
    touch_path(w, r->store, r->path, is_dir);
    if (r->op == OP_RENAME)
        touch_path(w, r->store, r->other, is_dir);
}

bool
ask_touched(const struct ask *a, struct span name)
{
    struct reader r = reader_of(buf_span(&a->touched));
    while (r.rest.len > 0) {
        if (span_equal(reader_span16(&r), name))
            return true;
    }
    return false;
}

static int
name_compare(struct span a, struct span b)
{
    int rc = memcmp(a.ptr, b.ptr, MIN(a.len, b.len));
    return rc != 0 ? rc : (a.len > b.len) - (a.len < b.len);
}

const struct wire_entry *
ask_find(struct ask *a, struct span name)
{
    if (!a->sorted)
        listing_sort(&a->theirs);
    a->sorted = true;
    size_t low = 0;
    size_t high = a->theirs.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int rc = name_compare(a->theirs.entries[middle].name, name);
        if (rc == 0)
            return &a->theirs.entries[middle];
        if (rc < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void
walk_join(struct buf *out, struct span dir, struct span name)
{
    buf_reset(out);
    buf_add(out, dir.ptr, dir.len);
    if (dir.len > 0)
        buf_add_u8(out, '/');
    buf_add(out, name.ptr, name.len);
}

/* --- steps --- */

static struct ask *
first_answered(struct walk *w)
{
    struct ask *first = NULL;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if (a->state == ASK_ANSWERED && (first == NULL || a->dir < first->dir))
            first = a;
    }
    return first;
}

static int
step_sync(struct walk *w, const struct walk_force *force, struct err *e)
{
    _cleanup_reclist_ struct reclist fixes = { 0 };
    struct ask *a;
    while (reclist_count(&fixes) < FIX_NAMES_MAX && (a = first_answered(w)) != NULL) {
        int more = walk_fix(w, a, &fixes, force, e);
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

static int
step_verify(struct walk *w, const struct walk_force *force, struct err *e)
{
    struct ask *a;
    while ((a = first_answered(w)) != NULL) {
        int again = walk_verify(w, a, force, e);
        if (again < 0)
            return -1;
        if (again > 0)
            a->state = ASK_WANTED;
        else
            ask_clear(a);
    }
    return 0;
}

int
walk_step(struct walk *w, void (*force)(void *arg, uint16_t store, struct span path, bool is_dir),
          void *arg, struct err *e)
{
    struct walk_force f = { .call = force, .arg = arg };
    places_forget(w->places);
    if (first_answered(w) != NULL)
        return w->opts.mode == WALK_SYNC ? step_sync(w, &f, e) : step_verify(w, &f, e);
    return ask_all(w, e);
}
