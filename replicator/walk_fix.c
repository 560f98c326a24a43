#include "replicator/walk_private.h"

#include "lib/base/path.h"
#include "replicator/fixups.h"
#include "replicator/look.h"

#include <sys/stat.h>

struct fixing {
    struct walk *w;
    struct ask *a;
    struct fixups x;
};

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
        return fixups_make(&f->x, name, entry, e);
    struct wire_entry ours;
    walk_entry(name, entry, &ours);
    if (walk_entry_hash(f->x.place, name, &ours, e) < 0)
        return -1;
    if (listing_entry_equal(&ours, theirs, true))
        return 0;
    f->w->progress.differences++;
    if ((theirs->attr.mode & S_IFMT) != (entry->attr.mode & S_IFMT)) {
        fixups_remove(&f->x, name, S_ISDIR(theirs->attr.mode));
        return fixups_make(&f->x, name, entry, e);
    }
    if (S_ISREG(entry->attr.mode) && same_content(&ours, theirs) && ours.nlink == theirs->nlink) {
        path_join(&f->x.path, buf_span(&f->x.place->path), name);
        struct record r = { .op = OP_META,
                            .store = f->x.place->store,
                            .path = buf_span(&f->x.path) };
        r.attr = entry->attr;
        r.handle = entry->handle;
        reclist_add(f->x.out, &r);
        return 0;
    }
    if (same_content(&ours, theirs) && ours.nlink > theirs->nlink && same_owner(&ours, theirs) &&
        listing_hash_equal(&ours, theirs)) {
        int further = fixups_further_link(&f->x, name, entry, e);
        if (further <= 0)
            return further; /* its other names come to it */
    }
    return fixups_make(&f->x, name, entry, e);
}

/* An empty peer is given directories in the order of their numbers: the names of the parent, this
 * one among them, went before. One that was moved there meanwhile is asked for (NEED). */
static bool
made_with_parent(const struct fixing *f, const struct state_dir *row)
{
    return f->w->opts.peer_empty && row->parent != 0 && row->parent < f->a->dir;
}

/* The directory itself, once, before its names. */
static int
fix_self(struct fixing *f, struct err *e)
{
    f->a->self_done = true;
    struct look self;
    struct state_dir row;
    int found = state_dir_get(f->x.txn, f->a->dir, &row, e);
    if (found <= 0 || made_with_parent(f, &row))
        return found < 0 ? -1 : 0; /* a record tells the peer that it is gone */
    if (look_at(f->x.place->fd, "", &self, e) < 0)
        return -1;
    bool is_root = f->x.place->path.len == 0; /* its extended attributes are in the digest alone */
    bool same = f->a->verdict != WIRE_DIR_ABSENT && !is_root && f->a->self.mode == self.attr.mode &&
                f->a->self.uid == self.attr.uid && f->a->self.gid == self.attr.gid;
    if (same || !self.exists)
        return 0;
    struct record r = { .op = is_root ? OP_META : OP_MKDIR,
                        .store = f->x.place->store,
                        .path = buf_span(&f->x.place->path),
                        .attr = self.attr,
                        .handle = attrs_handle_span(&self.handle) };
    reclist_add(f->x.out, &r);
    return 0;
}

/* A name that only the peer has: the primary journals its removal, under the name that the
 * directory has then, so that it is a record's word. A standby that feeds another has no word of
 * its own; what its tree has and its index not yet, a record on its way brings. */
static int
fix_extra(struct fixing *f, const struct wire_entry *theirs, const struct walk_orders *orders,
          struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    struct look look;
    f->w->progress.differences++;
    if (orders->force != NULL) {
        f->w->ordered = true;
        orders->force(orders->arg, f->a->dir, theirs->name, S_ISDIR(theirs->attr.mode));
        return 0;
    }
    if (look_at(f->x.place->fd, path_name_text(theirs->name, text), &look, e) < 0)
        return -1;
    if (!look.exists)
        fixups_remove(&f->x, theirs->name, S_ISDIR(theirs->attr.mode));
    return 0;
}

static int
fix_extras(struct fixing *f, const struct walk_orders *orders, struct err *e)
{
    for (size_t i = 0; i < f->a->theirs.count; i++) {
        const struct wire_entry *theirs = &f->a->theirs.entries[i];
        struct state_entry entry;
        if (ask_touched(f->a, theirs->name))
            continue;
        int found = state_entry_get(f->x.txn, f->a->dir, theirs->name, &entry, e);
        if (found == 0)
            found = fix_extra(f, theirs, orders, e);
        if (found < 0)
            return -1;
    }
    return 0;
}

/* Collects fix-ups of one directory, up to the bound. 1 more of it is left, 0 it is complete. */
static int
fix_collect(struct fixing *f, const struct walk_orders *orders, struct err *e)
{
    if (!f->a->self_done && fix_self(f, e) < 0)
        return -1;
    for (unsigned names = 0;; names++) {
        if (names == FIX_NAMES_MAX || reclist_count(f->x.out) >= FIX_NAMES_MAX)
            return 1;
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(f->x.txn, f->a->dir, span_of(f->a->after, f->a->after_len),
                                     &name, &entry, e);
        if (found < 0)
            return -1;
        if (found == 0)
            return fix_extras(f, orders, e);
        memcpy(f->a->after, name.ptr, name.len);
        f->a->after_len = name.len;
        if (fix_entry(f, span_of(f->a->after, f->a->after_len), &entry, e) < 0)
            return -1;
    }
}

int
walk_fix(struct walk *w, struct ask *a, struct reclist *out, const struct walk_orders *orders,
         struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    if (state_meta(txn)->tail != w->ship->cursor)
        return 1; /* records came in: they are shipped first */
    struct fixing f = { .w = w, .a = a, .x = { .txn = txn, .out = out } };
    int found = places_get(w->places, txn, a->dir, &f.x.place, e);
    if (found > 0)
        found = fix_collect(&f, orders, e);
    fixups_free(&f.x);
    return found;
}
