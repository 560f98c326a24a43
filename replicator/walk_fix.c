#include "replicator/walk_private.h"

#include "replicator/look.h"

#include <sys/stat.h>

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
    walk_join(&f->other, buf_span(&first_dir), first);
    return 1;
}

static int
fix_symlink(struct fixing *f, struct record *r, struct span name, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    int found = listing_symlink(f->place->fd, walk_name_text(name, text), &f->other, e);
    if (found <= 0)
        return found;
    r->op = OP_SYMLINK;
    r->other = buf_span(&f->other);
    reclist_add(f->out, r);
    return 0;
}

/* The first name gets the content anew: the other names of the object there are linked to it again.
 * Their number alone does not tell: the peer may have linked them to another. */
static int
relink(struct fixing *f, struct span name, const struct state_entry *entry, struct err *e)
{
    _cleanup_buf_ struct buf first = { 0 };
    _cleanup_buf_ struct buf dir_path = { 0 };
    _cleanup_buf_ struct buf path = { 0 };
    walk_join(&first, buf_span(&f->place->path), name);
    for (unsigned i = 1;; i++) {
        uint64_t dir;
        struct span other;
        int found = state_name_of(f->txn, f->place->store, entry->ino, i, &dir, &other, e);
        if (found <= 0)
            return found;
        if (state_dir_path(f->txn, dir, &dir_path, e) < 0)
            return -1;
        walk_join(&path, buf_span(&dir_path), other);
        struct record r = { .op = OP_LINK, .store = f->place->store, .attr = entry->attr };
        r.path = buf_span(&path);
        r.other = buf_span(&first);
        reclist_add(f->out, &r);
    }
}

/* Makes the name on the peer what the index says. */
static int
fix_make(struct fixing *f, struct span name, const struct state_entry *entry, struct err *e)
{
    walk_join(&f->path, buf_span(&f->place->path), name);
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
    return r.op == OP_PUT && entry->nlink > 1 ? relink(f, name, entry, e) : 0;
}

static void
fix_remove(struct fixing *f, struct span name, const struct wire_entry *theirs)
{
    walk_join(&f->path, buf_span(&f->place->path), name);
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

static bool
same_owner(const struct wire_entry *a, const struct wire_entry *b)
{
    return a->attr.mode == b->attr.mode && a->attr.uid == b->attr.uid && a->attr.gid == b->attr.gid;
}

static int
fix_entry(struct fixing *f, struct span name, const struct state_entry *entry, struct err *e)
{
    if (ask_touched(f->a, name))
        return 0;
    const struct wire_entry *theirs = ask_find(f->a, name);
    if (theirs == NULL)
        return fix_make(f, name, entry, e);
    struct wire_entry ours;
    walk_entry(name, entry, &ours);
    if (walk_entry_hash(f->place, name, &ours, e) < 0)
        return -1;
    if (listing_entry_equal(&ours, theirs, true))
        return 0;
    f->w->progress.differences++;
    if ((theirs->attr.mode & S_IFMT) != (entry->attr.mode & S_IFMT)) {
        fix_remove(f, name, theirs);
        return fix_make(f, name, entry, e);
    }
    if (S_ISREG(entry->attr.mode) && same_content(&ours, theirs) && ours.nlink == theirs->nlink) {
        walk_join(&f->path, buf_span(&f->place->path), name);
        struct record r = { .op = OP_META, .store = f->place->store, .path = buf_span(&f->path) };
        r.attr = entry->attr;
        r.handle = entry->handle;
        reclist_add(f->out, &r);
        return 0;
    }
    if (same_content(&ours, theirs) && ours.nlink > theirs->nlink && same_owner(&ours, theirs)) {
        int further = is_further_link(f, name, entry, e);
        if (further <= 0)
            return further; /* its other names come to it */
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
fix_extras(struct fixing *f, const struct walk_force *force, struct err *e)
{
    for (size_t i = 0; i < f->a->theirs.count; i++) {
        const struct wire_entry *theirs = &f->a->theirs.entries[i];
        struct state_entry entry;
        if (ask_touched(f->a, theirs->name))
            continue;
        int found = state_entry_get(f->txn, f->a->dir, theirs->name, &entry, e);
        if (found < 0)
            return -1;
        if (found > 0)
            continue;
        f->w->progress.differences++;
        walk_join(&f->path, buf_span(&f->place->path), theirs->name);
        force->call(force->arg, f->a->store, buf_span(&f->path), S_ISDIR(theirs->attr.mode));
    }
    return 0;
}

/* Collects fix-ups of one directory, up to the bound. 1 more of it is left, 0 it is complete. */
static int
fix_collect(struct fixing *f, const struct walk_force *force, struct err *e)
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
            return fix_extras(f, force, e);
        memcpy(f->a->after, name.ptr, name.len);
        f->a->after_len = name.len;
        if (fix_entry(f, span_of(f->a->after, f->a->after_len), &entry, e) < 0)
            return -1;
    }
}

int
walk_fix(struct walk *w, struct ask *a, struct reclist *out, const struct walk_force *force,
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
    return fix_collect(&f, force, e);
}
