#include "replicator/walk.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ASKS_MAX      128                 /* directories under way */
#define FIX_NAMES_MAX 500                 /* fixed in one step */
#define ASK_BYTES     (WIRE_BULK_MAX / 2) /* of paths in one question */
#define VERIFY_TRIES  5                   /* a difference is one when it stays */

enum ask_state {
    ASK_FREE,
    ASK_WANTED,
    ASK_SENT,
    ASK_ANSWERED
};

struct ask {
    enum ask_state state;
    uint64_t dir;
    uint16_t store;
    unsigned tries;
    uint8_t verdict;
    struct attr self;
    struct listing theirs;
    bool sorted;
    struct buf path;    /* as asked */
    struct buf touched; /* names (span16) that records went out for since */
    uint8_t after[PATH_NAME_MAX];
    size_t after_len; /* fixed up to this name */
    bool self_done;
};

struct walk {
    const struct node *node;
    struct ship *ship;
    struct places *places;
    struct walk_opts opts;
    struct ask asks[ASKS_MAX];
    uint64_t next;
    bool all_asked;
    uint32_t id;
    struct walk_progress progress;
    struct wire_msg msg;
};

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

/* A name of the index or of a listing, for a system call. */
static const char *
name_text(struct span name, char text[PATH_NAME_MAX + 1])
{
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return text;
}

static int
entry_hash(const struct place *place, struct span name, struct wire_entry *entry, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    _cleanup_buf_ struct buf target = { 0 };
    if (!S_ISLNK(entry->attr.mode))
        return 0;
    int found = listing_symlink(place->fd, name_text(name, text), &target, e);
    if (found <= 0)
        return found;
    listing_hash(buf_span(&target), entry->hash);
    entry->has_hash = 1;
    return 0;
}

static void
entry_to_wire(struct span name, const struct state_entry *entry, struct wire_entry *ret_entry)
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
        entry_to_wire(name, &entry, &out);
        if (entry_hash(place, name, &out, e) < 0)
            return -1;
        listing_add(ret_listing, &out);
        memcpy(after, name.ptr, name.len);
        after_len = name.len;
    }
}

static int
listing_of_ours(struct walk *w, struct state_txn *txn, const struct place *place,
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

/* 1 the question is in the message, 0 the directory is gone or does not count. */
static int
ask_digest(struct walk *w, struct state_txn *txn, struct ask *a, struct err *e)
{
    struct place *place;
    int found = places_get(w->places, txn, a->dir, &place, e);
    if (found <= 0 || place->is_tmp || place->path.len > PATH_STORE_MAX)
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
    if (listing_of_ours(w, txn, place, &ours, e) < 0)
        return -1;
    struct wire_dir *dir = &w->msg.digest_ask.dirs[w->msg.digest_ask.count++];
    dir->dir = a->dir;
    dir->path = buf_span(&a->path);
    listing_sort(&ours);
    listing_digest(&ours, dir->digest);
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

static bool
is_touched(const struct ask *a, struct span name)
{
    struct reader r = reader_of(buf_span(&a->touched));
    while (r.rest.len > 0) {
        if (span_equal(reader_span16(&r), name))
            return true;
    }
    return false;
}

/* --- differences --- */

static int
name_compare(struct span a, struct span b)
{
    int rc = memcmp(a.ptr, b.ptr, MIN(a.len, b.len));
    return rc != 0 ? rc : (a.len > b.len) - (a.len < b.len);
}

static const struct wire_entry *
find_theirs(struct ask *a, struct span name)
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

static void
join(struct buf *out, struct span dir, struct span name)
{
    buf_reset(out);
    buf_add(out, dir.ptr, dir.len);
    if (dir.len > 0)
        buf_add_u8(out, '/');
    buf_add(out, name.ptr, name.len);
}

struct fixing {
    struct walk *w;
    struct state_txn *txn;
    struct ask *a;
    struct place *place;
    struct reclist *out;
    struct buf path, other;
};

static void
fixing_free(struct fixing *f)
{
    buf_free(&f->path);
    buf_free(&f->other);
}

/* The first name of an object carries its content; the others are links to it. 1: other holds the
 * first. */
static int
is_further_link(struct fixing *f, struct span name, const struct state_entry *entry, struct err *e)
{
    uint64_t dir;
    struct span first;
    if (!S_ISREG(entry->attr.mode) || entry->nlink < 2)
        return 0;
    int found = state_name_of(f->txn, f->place->store, entry->ino, 0, &dir, &first, e);
    if (found <= 0 || (dir == f->place->dir && span_equal(first, name)))
        return found < 0 ? -1 : 0;
    _cleanup_buf_ struct buf first_dir = { 0 };
    if (state_dir_path(f->txn, dir, &first_dir, e) < 0)
        return -1;
    join(&f->other, buf_span(&first_dir), first);
    return 1;
}

static int
fix_symlink(struct fixing *f, struct record *r, struct span name, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    int found = listing_symlink(f->place->fd, name_text(name, text), &f->other, e);
    if (found <= 0)
        return found;
    r->op = OP_SYMLINK;
    r->other = buf_span(&f->other);
    reclist_add(f->out, r);
    return 0;
}

/* Makes the name on the peer what the index says. */
static int
fix_make(struct fixing *f, struct span name, const struct state_entry *entry, struct err *e)
{
    join(&f->path, buf_span(&f->place->path), name);
    struct record r = { .store = f->place->store,
                        .path = buf_span(&f->path),
                        .attr = entry->attr,
                        .handle = entry->handle };
    if (S_ISLNK(entry->attr.mode))
        return fix_symlink(f, &r, name, e);
    int link = is_further_link(f, name, entry, e);
    if (link < 0)
        return -1;
    r.op = S_ISDIR(entry->attr.mode) ? OP_MKDIR : S_ISFIFO(entry->attr.mode) ? OP_MKNOD : OP_PUT;
    if (link > 0) {
        r.op = OP_LINK;
        r.other = buf_span(&f->other);
    }
    reclist_add(f->out, &r);
    return 0;
}

static void
fix_remove(struct fixing *f, struct span name, const struct wire_entry *theirs)
{
    join(&f->path, buf_span(&f->place->path), name);
    struct record r = { .op = S_ISDIR(theirs->attr.mode) ? OP_RMTREE : OP_UNLINK,
                        .store = f->place->store,
                        .path = buf_span(&f->path),
                        .attr = theirs->attr };
    reclist_add(f->out, &r);
}

static bool
same_content(const struct wire_entry *a, const struct wire_entry *b)
{
    return (a->attr.mode & S_IFMT) == (b->attr.mode & S_IFMT) && a->attr.size == b->attr.size &&
           a->attr.mtime_ns == b->attr.mtime_ns;
}

static int
fix_entry(struct fixing *f, struct span name, const struct state_entry *entry, struct err *e)
{
    if (is_touched(f->a, name))
        return 0;
    const struct wire_entry *theirs = find_theirs(f->a, name);
    if (theirs == NULL)
        return fix_make(f, name, entry, e);
    struct wire_entry ours;
    entry_to_wire(name, entry, &ours);
    if (entry_hash(f->place, name, &ours, e) < 0)
        return -1;
    if (listing_entry_equal(&ours, theirs, true))
        return 0;
    f->w->progress.differences++;
    if ((theirs->attr.mode & S_IFMT) != (entry->attr.mode & S_IFMT)) {
        fix_remove(f, name, theirs);
        return fix_make(f, name, entry, e);
    }
    if (S_ISREG(entry->attr.mode) && same_content(&ours, theirs) && ours.nlink == theirs->nlink) {
        join(&f->path, buf_span(&f->place->path), name);
        struct record r = { .op = OP_META, .store = f->place->store, .path = buf_span(&f->path) };
        r.attr = entry->attr;
        r.handle = entry->handle;
        reclist_add(f->out, &r);
        return 0;
    }
    return fix_make(f, name, entry, e);
}

/* The directory itself, once, before its names. */
static int
fix_self(struct fixing *f, struct err *e)
{
    f->a->self_done = true;
    struct look self;
    struct state_dir row;
    if (look_at(f->place->fd, "", &self, e) < 0 || state_dir_get(f->txn, f->a->dir, &row, e) < 0)
        return -1;
    bool same = f->a->verdict != WIRE_DIR_ABSENT && f->a->self.mode == self.attr.mode &&
                f->a->self.uid == self.attr.uid && f->a->self.gid == self.attr.gid;
    if (same || !self.exists)
        return 0;
    struct record r = { .op = f->place->path.len == 0 ? OP_META : OP_MKDIR,
                        .store = f->place->store,
                        .path = buf_span(&f->place->path),
                        .attr = self.attr,
                        .handle = attrs_handle_span(&self.handle) };
    reclist_add(f->out, &r);
    return 0;
}

/* Names that only the peer has: the primary journals their removal, so that it is a record's word.
 */
static int
fix_extras(struct fixing *f,
           void (*force)(void *arg, uint16_t store, struct span path, bool is_dir), void *arg,
           struct err *e)
{
    for (size_t i = 0; i < f->a->theirs.count; i++) {
        const struct wire_entry *theirs = &f->a->theirs.entries[i];
        struct state_entry entry;
        if (is_touched(f->a, theirs->name))
            continue;
        int found = state_entry_get(f->txn, f->a->dir, theirs->name, &entry, e);
        if (found < 0)
            return -1;
        if (found > 0)
            continue;
        f->w->progress.differences++;
        join(&f->path, buf_span(&f->place->path), theirs->name);
        force(arg, f->a->store, buf_span(&f->path), S_ISDIR(theirs->attr.mode));
    }
    return 0;
}

/* Collects fix-ups of one directory, up to the bound. 1 more of it is left, 0 it is complete. */
static int
fix_collect(struct fixing *f,
            void (*force)(void *arg, uint16_t store, struct span path, bool is_dir), void *arg,
            struct err *e)
{
    if (!f->a->self_done && fix_self(f, e) < 0)
        return -1;
    for (unsigned names = 0;; names++) {
        if (names == FIX_NAMES_MAX || reclist_count(f->out) >= FIX_NAMES_MAX)
            return 1;
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(f->txn, f->a->dir, span_of(f->a->after, f->a->after_len),
                                     &name, &entry, e);
        if (found < 0)
            return -1;
        if (found == 0)
            return fix_extras(f, force, arg, e);
        memcpy(f->a->after, name.ptr, name.len);
        f->a->after_len = name.len;
        if (fix_entry(f, span_of(f->a->after, f->a->after_len), &entry, e) < 0)
            return -1;
    }
}

static int
fix_step(struct walk *w, struct ask *a, struct reclist *out,
         void (*force)(void *arg, uint16_t store, struct span path, bool is_dir), void *arg,
         struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    if (state_meta(txn)->tail != w->ship->cursor)
        return 1; /* records came in: they are shipped first */
    _cleanup_(fixing_free) struct fixing f = { .w = w, .txn = txn, .a = a, .out = out };
    int found = places_get(w->places, txn, a->dir, &f.place, e);
    if (found < 0)
        return -1;
    if (found == 0)
        return 0;
    return fix_collect(&f, force, arg, e);
}

/* --- verify --- */

static void
tell_difference(struct walk *w, const struct ask *a, struct span name, const char *what)
{
    w->progress.differences++;
    _cleanup_buf_ struct buf path = { 0 };
    join(&path, buf_span(&a->path), name);
    event(EV_VERIFY_DIFFERS, F_STR("store", w->node->stores[a->store].conf->name),
          F_SPAN("path", buf_span(&path)), F_STR("what", what));
    if (w->progress.example_count == WALK_EXAMPLES_MAX)
        return;
    char *example = w->progress.examples[w->progress.example_count++];
    snprintf(example, sizeof(w->progress.examples[0]), "%.60s: %.*s: %.60s",
             w->node->stores[a->store].conf->name, (int)MIN(path.len, (size_t)120),
             path.ptr == NULL ? "" : (const char *)path.ptr, what);
}

struct verifying {
    struct walk *w;
    struct ask *a;
    bool count; /* else only find out whether there is any */
    bool any;
    void (*force)(void *arg, uint16_t store, struct span path, bool is_dir);
    void *arg;
};

static void
differs(struct verifying *v, struct span name, bool is_dir, const char *what)
{
    if (is_touched(v->a, name))
        return;
    v->any = true;
    if (!v->count)
        return;
    tell_difference(v->w, v->a, name, what);
    if (!v->w->opts.repair)
        return;
    _cleanup_buf_ struct buf path = { 0 };
    join(&path, buf_span(&v->a->path), name);
    v->force(v->arg, v->a->store, buf_span(&path), is_dir);
    v->w->progress.repaired++;
}

static const char *
what_differs(const struct wire_entry *ours, const struct wire_entry *theirs)
{
    if ((ours->attr.mode & S_IFMT) != (theirs->attr.mode & S_IFMT))
        return "another type of object";
    if (ours->attr.size != theirs->attr.size)
        return "another size";
    if (ours->has_hash && theirs->has_hash &&
        memcmp(ours->hash, theirs->hash, sizeof(ours->hash)) != 0)
        return "another content";
    if (ours->attr.mode != theirs->attr.mode || ours->attr.uid != theirs->attr.uid ||
        ours->attr.gid != theirs->attr.gid)
        return "another owner or mode";
    if (ours->nlink != theirs->nlink)
        return "other hard links";
    return "another modification time";
}

static void
verify_listings(struct verifying *v, const struct listing *ours)
{
    struct ask *a = v->a;
    if (a->verdict == WIRE_DIR_ABSENT) {
        differs(v, span_str(""), true, "the directory is missing on the peer");
        return;
    }
    if (ours->self.mode != a->self.mode || ours->self.uid != a->self.uid ||
        ours->self.gid != a->self.gid)
        differs(v, span_str(""), true, "another owner or mode of the directory");
    size_t matched = 0;
    for (size_t i = 0; i < ours->count; i++) {
        const struct wire_entry *entry = &ours->entries[i];
        const struct wire_entry *theirs = find_theirs(a, entry->name);
        matched += theirs != NULL;
        if (theirs == NULL)
            differs(v, entry->name, false, "missing on the peer");
        else if (!listing_entry_equal(entry, theirs, true))
            differs(v, entry->name, false, what_differs(entry, theirs));
    }
    if (matched == a->theirs.count)
        return;
    struct ask mine = { .theirs = *ours, .sorted = true };
    for (size_t i = 0; i < a->theirs.count; i++) {
        const struct wire_entry *theirs = &a->theirs.entries[i];
        if (find_theirs(&mine, theirs->name) == NULL)
            differs(v, theirs->name, S_ISDIR(theirs->attr.mode), "only on the peer");
    }
}

/* 1 ask once more, 0 settled. */
static int
verify_step(struct walk *w, struct ask *a,
            void (*force)(void *arg, uint16_t store, struct span path, bool is_dir), void *arg,
            struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct place *place;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    int found = places_get(w->places, txn, a->dir, &place, e);
    if (found <= 0)
        return found;
    _cleanup_listing_ struct listing ours = { 0 };
    if (listing_of_ours(w, txn, place, &ours, e) < 0)
        return -1;
    listing_sort(&ours);
    struct verifying v = { .w = w, .a = a, .force = force, .arg = arg };
    v.count = ++a->tries >= VERIFY_TRIES;
    verify_listings(&v, &ours);
    return v.any && !v.count;
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
step_sync(struct walk *w, void (*force)(void *arg, uint16_t store, struct span path, bool is_dir),
          void *arg, struct err *e)
{
    _cleanup_reclist_ struct reclist fixes = { 0 };
    struct ask *a;
    while (reclist_count(&fixes) < FIX_NAMES_MAX && (a = first_answered(w)) != NULL) {
        int more = fix_step(w, a, &fixes, force, arg, e);
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
step_verify(struct walk *w, void (*force)(void *arg, uint16_t store, struct span path, bool is_dir),
            void *arg, struct err *e)
{
    struct ask *a;
    while ((a = first_answered(w)) != NULL) {
        int again = verify_step(w, a, force, arg, e);
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
    places_forget(w->places);
    if (first_answered(w) != NULL)
        return w->opts.mode == WALK_SYNC ? step_sync(w, force, arg, e)
                                         : step_verify(w, force, arg, e);
    return ask_all(w, e);
}
