/* ledger_index.c - a standby's index follows its tree, operation by operation. */
#include "replicator/receiver.h"

#include "lib/base/path.h"
#include "lib/os/file.h"
#include "replicator/listing.h"
#include "replicator/look.h"

#include <sys/stat.h>

static int
dir_xattrs(struct ledger *l, const struct record *r, uint64_t *ret_xattrs, struct err *e)
{
    struct err why = { 0 };
    _cleanup_close_ int fd = file_open_beneath(l->node->stores[r->store].root_fd, r->path,
                                               O_RDONLY | O_DIRECTORY, 0, &why);
    *ret_xattrs = 0;
    return fd < 0 ? 0 : listing_dir_xattrs(fd, ret_xattrs, e); /* moved on within its run */
}

static int
index_dir(struct ledger *l, uint64_t parent, struct span name, const struct applied *a,
          uint64_t *ret_id, struct err *e)
{
    uint8_t handle[WATCH_HANDLE_MAX];
    struct state_entry old;
    int found = state_entry_get(l->txn, parent, name, &old, e);
    if (found < 0)
        return -1;
    struct state_dir dir = { .parent = parent, .store = a->record->store, .attr = a->attr };
    dir.mtime_ns = STATE_DIR_UNSEEN;
    if (!a->bare && dir_xattrs(l, a->record, &dir.xattrs, e) < 0)
        return -1;
    dir.id = found > 0 && old.ino == a->ino && !a->bare ? old.dir : 0;
    dir.name = name;
    dir.handle = node_handle(&l->node->stores[a->record->store], a->handle, handle);
    if (state_dir_put(l->txn, &dir, e) < 0)
        return -1;
    *ret_id = dir.id;
    return 0;
}

/* What was seen of an object holds for all of its names. */
static int
others_follow(struct ledger *l, uint16_t store, const struct state_entry *entry, struct err *e)
{
    for (unsigned i = 0;;) {
        uint64_t dir;
        struct span name;
        struct state_entry other;
        int found = state_object_name(l->txn, store, entry, &i, &dir, &name, &other, e);
        if (found <= 0)
            return found;
        if (state_entry_put(l->txn, dir, name, entry, e) < 0)
            return -1;
    }
}

static int
index_present(struct ledger *l, uint64_t parent, struct span name, const struct applied *a,
              struct err *e)
{
    struct state_entry entry = {
        .attr = a->attr, .ctime_ns = a->ctime_ns, .ino = a->ino, .nlink = 1, .handle = a->handle
    };
    if (S_ISDIR(a->attr.mode) && index_dir(l, parent, name, a, &entry.dir, e) < 0)
        return -1;
    if (!S_ISREG(a->attr.mode))
        entry.attr.size = 0;
    if (state_entry_put(l->txn, parent, name, &entry, e) < 0)
        return -1;
    return S_ISREG(a->attr.mode) && a->nlink > 1 ? others_follow(l, a->record->store, &entry, e)
                                                 : 0;
}

/* The index gives the old name up: to the new one, or, when the new one was just found on the disk,
 * altogether. 1 it knew the old name, 0 not. */
static int
index_moved(struct ledger *l, const struct record *r, uint64_t new_parent, struct span new_name,
            bool found_new, struct err *e)
{
    uint64_t dir;
    struct span name;
    struct state_entry entry;
    int found = state_resolve(l->txn, r->store, r->other, &dir, &name, e);
    if (found > 0)
        found = state_entry_get(l->txn, dir, name, &entry, e);
    if (found <= 0)
        return found;
    int rc = found_new ? state_entry_del(l->txn, dir, name, e)
                       : state_entry_move(l->txn, dir, name, new_parent, new_name, e);
    return rc < 0 ? -1 : 1;
}

/* --- what the index does not know and the disk has --- */

static struct applied
applied_of(const struct look *look, const struct record *r)
{
    return (struct applied){ .record = r,
                             .exists = look->exists,
                             .attr = look->attr,
                             .ctime_ns = look->ctime_ns,
                             .ino = look->ino,
                             .nlink = look->nlink,
                             .handle = attrs_handle_span(&look->handle) };
}

static bool
is_known(const struct state_entry *entry, const struct wire_entry *seen)
{
    return entry->ino == seen->ino && entry->attr.mode == seen->attr.mode &&
           entry->attr.uid == seen->attr.uid && entry->attr.gid == seen->attr.gid &&
           (S_ISDIR(seen->attr.mode) || entry->attr.mtime_ns == seen->attr.mtime_ns) &&
           (!S_ISREG(seen->attr.mode) || entry->attr.size == seen->attr.size);
}

/* 1 the index has it as a directory, 0 not. */
static int
dir_known(struct ledger *l, uint16_t store, struct span path, uint64_t *ret_dir, struct err *e)
{
    uint64_t parent;
    struct span name;
    struct state_entry entry;
    *ret_dir = state_root(l->txn, store);
    if (path.len == 0)
        return *ret_dir != 0;
    int found = state_resolve(l->txn, store, path, &parent, &name, e);
    if (found > 0)
        found = state_entry_get(l->txn, parent, name, &entry, e);
    if (found <= 0)
        return found;
    *ret_dir = entry.dir;
    return entry.dir != 0;
}

/* Names of the index that the directory does not have. */
static int
drop_names(struct ledger *l, uint64_t dir, const struct listing *seen, struct err *e)
{
    uint8_t after[PATH_NAME_MAX];
    size_t after_len = 0;
    for (;;) {
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(l->txn, dir, span_of(after, after_len), &name, &entry, e);
        if (found <= 0)
            return found;
        memcpy(after, name.ptr, name.len);
        after_len = name.len;
        if (listing_find(seen, span_of(after, after_len)) == NULL &&
            state_entry_del(l->txn, dir, span_of(after, after_len), e) < 0)
            return -1;
    }
}

/* Brings the row of one name; *ret_new: it is a directory that the index did not know. */
static int
see_name(struct ledger *l, uint16_t store, uint64_t dir, int fd, const struct wire_entry *seen,
         bool *ret_new, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    struct state_entry entry;
    struct look look;
    *ret_new = false;
    int found = state_entry_get(l->txn, dir, seen->name, &entry, e);
    if (found < 0 || (found > 0 && is_known(&entry, seen)))
        return found < 0 ? -1 : 0;
    memcpy(text, seen->name.ptr, seen->name.len);
    text[seen->name.len] = '\0';
    if (look_at(fd, text, &look, e) < 0)
        return -1;
    if (!look.exists)
        return 0;
    *ret_new = S_ISDIR(look.attr.mode);
    struct record r = { .store = store };
    struct applied a = applied_of(&look, &r);
    return index_present(l, dir, seen->name, &a, e);
}

/* todo: paths (span16) of directories to be read. */
static int
see_names(struct ledger *l, uint16_t store, struct span path, int fd, const struct listing *seen,
          struct buf *todo, struct err *e)
{
    uint64_t dir;
    int found = dir_known(l, store, path, &dir, e);
    if (found <= 0)
        return found;
    for (size_t i = 0; i < seen->count; i++) {
        bool is_new;
        if (see_name(l, store, dir, fd, &seen->entries[i], &is_new, e) < 0)
            return -1;
        if (!is_new || todo == NULL)
            continue;
        _cleanup_buf_ struct buf below = { 0 };
        path_join(&below, path, seen->entries[i].name);
        buf_add_span16(todo, buf_span(&below));
    }
    return seen->partial ? 0 : drop_names(l, dir, seen, e);
}

/* A directory and all below it. */
static int
see_tree(struct ledger *l, uint16_t store, struct span path, struct err *e)
{
    const struct node_store *s = &l->node->stores[store];
    _cleanup_buf_ struct buf todo = { 0 };
    buf_add_span16(&todo, path);
    for (size_t at = 0; at < todo.len;) {
        struct reader r = reader_of(span_from(buf_span(&todo), at, todo.len - at));
        _cleanup_buf_ struct buf dir = { 0 };
        struct span name = reader_span16(&r);
        buf_add(&dir, name.ptr, name.len);
        at += 2 + name.len;
        _cleanup_listing_ struct listing seen = { 0 };
        _cleanup_close_ int fd = file_open_beneath(s->root_fd, buf_span(&dir),
                                                   O_RDONLY | O_DIRECTORY, 0, NULL);
        if (fd < 0)
            continue;
        if (listing_read(&s->rules, fd, buf_span(&dir), false, NULL, &seen, e) < 0 ||
            see_names(l, store, buf_span(&dir), fd, &seen, &todo, e) < 0)
            return -1;
    }
    return 0;
}

/* --- one operation --- */

/* A directory that the index did not know, with all that is in it. Its parent is known. */
static int
see_dir(struct ledger *l, uint16_t store, struct span path, struct err *e)
{
    uint64_t parent;
    struct span name;
    struct look look;
    _cleanup_close_ int fd = file_open_beneath(l->node->stores[store].root_fd, path,
                                               O_RDONLY | O_DIRECTORY, 0, NULL);
    if (fd < 0)
        return 0; /* a later record moved it on */
    if (look_at(fd, "", &look, e) < 0)
        return -1;
    int found = state_resolve(l->txn, store, path, &parent, &name, e);
    if (found <= 0 || !look.exists)
        return found < 0 ? -1 : 0;
    struct record r = { .store = store };
    struct applied a = applied_of(&look, &r);
    if (index_present(l, parent, name, &a, e) < 0)
        return -1;
    return see_tree(l, store, path, e);
}

/* Parents that were made on the way have no record of their own, and those of a store that was not
 * empty may never have had one. */
static int
see_parents(struct ledger *l, uint16_t store, struct span path, struct err *e)
{
    for (size_t len = 0; len < path.len; len++) {
        uint64_t dir;
        struct span above = span_of(path.ptr, len);
        int known = len == 0 || path.ptr[len] != '/' ? 1 : dir_known(l, store, above, &dir, e);
        if (known < 0 || (known == 0 && see_dir(l, store, above, e) < 0))
            return -1;
    }
    return 0;
}

static int
note_present(struct ledger *l, uint64_t parent, struct span name, const struct applied *a,
             struct err *e)
{
    struct state_entry old;
    int found = state_entry_get(l->txn, parent, name, &old, e);
    if (found < 0)
        return -1;
    bool is_new = S_ISDIR(a->attr.mode) && !a->bare && (found == 0 || old.ino != a->ino);
    if (index_present(l, parent, name, a, e) < 0)
        return -1;
    return is_new ? see_tree(l, a->record->store, a->record->path, e) : 0;
}

int
ledger_index(struct ledger *l, const struct applied *a, struct err *e)
{
    const struct record *r = a->record;
    uint64_t parent;
    struct span name;
    if (r->op == OP_EPOCH || r->path.len == 0)
        return 0;
    int found = state_resolve(l->txn, r->store, r->path, &parent, &name, e);
    bool found_new = found == 0; /* with its parents */
    if (found_new && see_parents(l, r->store, r->path, e) < 0)
        return -1;
    if (found_new)
        found = state_resolve(l->txn, r->store, r->path, &parent, &name, e);
    if (found <= 0)
        return found;
    /* SKIPPED: moved before a crash that the state did not live to see */
    bool moved = r->op == OP_RENAME && a->result != APPLY_NEED;
    int known = moved ? index_moved(l, r, parent, name, found_new, e) : 0;
    if (known < 0)
        return -1;
    if (known > 0 && !a->exists)
        return 0; /* a later record of the run moved it on, with all that is below it */
    if (a->exists)
        return note_present(l, parent, name, a, e);
    return state_entry_del(l->txn, parent, name, e);
}

int
ledger_see(struct ledger *l, uint16_t store, struct span path, int fd, const struct listing *seen,
           struct err *e)
{
    uint64_t dir;
    if (ledger_writable(l, e) < 0 || see_parents(l, store, path, e) < 0)
        return -1;
    int known = dir_known(l, store, path, &dir, e);
    if (known == 0 && path.len > 0)
        return see_dir(l, store, path, e);
    if (known <= 0)
        return known;
    return see_names(l, store, path, fd, seen, NULL, e);
}
