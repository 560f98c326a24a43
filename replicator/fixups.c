#include "replicator/fixups.h"

#include "lib/base/path.h"
#include "replicator/listing.h"

#include <sys/stat.h>

void
fixups_free(struct fixups *f)
{
    buf_free(&f->path);
    buf_free(&f->other);
}

int
fixups_further_link(struct fixups *f, struct span name, const struct state_entry *entry,
                    struct err *e)
{
    uint64_t dir;
    struct span first;
    struct state_entry row;
    unsigned i = 0;
    if (!S_ISREG(entry->attr.mode) || entry->nlink < 2)
        return 0;
    int found = state_object_name(f->txn, f->place->store, entry, &i, &dir, &first, &row, e);
    if (found <= 0 || (dir == f->place->dir && span_equal(first, name)))
        return found < 0 ? -1 : 0;
    _cleanup_buf_ struct buf first_dir = { 0 };
    if (state_dir_path(f->txn, dir, &first_dir, e) < 0)
        return -1;
    path_join(&f->other, buf_span(&first_dir), first);
    return 1;
}

static int
fix_symlink(struct fixups *f, struct record *r, struct span name, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    int found = listing_symlink(f->place->fd, path_name_text(name, text), &f->other, e);
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
relink(struct fixups *f, struct span name, const struct state_entry *entry, struct err *e)
{
    _cleanup_buf_ struct buf first = { 0 };
    _cleanup_buf_ struct buf dir_path = { 0 };
    _cleanup_buf_ struct buf path = { 0 };
    path_join(&first, buf_span(&f->place->path), name);
    for (unsigned i = 0;;) {
        uint64_t dir;
        struct span other;
        struct state_entry row;
        int found = state_object_name(f->txn, f->place->store, entry, &i, &dir, &other, &row, e);
        if (found <= 0)
            return found;
        if (dir == f->place->dir && span_equal(other, name))
            continue;
        if (state_dir_path(f->txn, dir, &dir_path, e) < 0)
            return -1;
        path_join(&path, buf_span(&dir_path), other);
        struct record r = { .op = OP_LINK, .store = f->place->store, .attr = entry->attr };
        r.path = buf_span(&path);
        r.other = buf_span(&first);
        reclist_add(f->out, &r);
    }
}

int
fixups_make(struct fixups *f, struct span name, const struct state_entry *entry, struct err *e)
{
    path_join(&f->path, buf_span(&f->place->path), name);
    struct record r = { .store = f->place->store,
                        .path = buf_span(&f->path),
                        .attr = entry->attr,
                        .handle = entry->handle };
    if (S_ISLNK(entry->attr.mode))
        return fix_symlink(f, &r, name, e);
    int link = fixups_further_link(f, name, entry, e);
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

void
fixups_remove(struct fixups *f, struct span name, bool is_dir)
{
    path_join(&f->path, buf_span(&f->place->path), name);
    struct record r = { .op = is_dir ? OP_RMTREE : OP_UNLINK, .store = f->place->store };
    r.path = buf_span(&f->path);
    r.attr.mode = is_dir ? S_IFDIR : 0;
    reclist_add(f->out, &r);
}
