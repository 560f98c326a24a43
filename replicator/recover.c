#include "replicator/recover.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <unistd.h>

struct recovery {
    struct compare *c;
    uint64_t redone;
};

/* Opens the directory that holds the path's last component. -1: it is not there (the disk may have
 * lost it too). */
static int
open_parent(const struct recovery *r, uint16_t store, struct span path,
            char name[PATH_NAME_MAX + 1])
{
    struct span last = path_name(path);
    memcpy(name, last.ptr, last.len);
    name[last.len] = '\0';
    return file_open_beneath(r->c->node->stores[store].root_fd, path_parent(path),
                             O_RDONLY | O_DIRECTORY, 0, NULL);
}

static bool
is_object(const struct look *look, const struct record *record)
{
    return look->exists && record->handle.len > 0 &&
           span_equal(attrs_handle_span(&look->handle), record->handle);
}

/* The disk still has the old name: the rename is done again. */
static int
redo_rename(struct recovery *r, const struct record *record, struct err *e)
{
    char old_name[PATH_NAME_MAX + 1];
    char new_name[PATH_NAME_MAX + 1];
    _cleanup_close_ int old_fd = open_parent(r, record->store, record->other, old_name);
    _cleanup_close_ int new_fd = open_parent(r, record->store, record->path, new_name);
    struct look old;
    struct look new;
    if (old_fd < 0 || new_fd < 0)
        return 0;
    if (look_at(old_fd, old_name, &old, e) < 0 || look_at(new_fd, new_name, &new, e) < 0)
        return -1;
    if (new.exists || !is_object(&old, record))
        return 0;
    r->redone++;
    return file_rename(old_fd, old_name, new_fd, new_name, true, e);
}

/* Did a later record give the object that name again? */
static int
is_back(const struct recovery *r, const struct record *record, struct err *e)
{
    struct state_txn *txn = r->c->txn;
    uint64_t dir;
    struct span name;
    struct known now;
    int found = state_resolve(txn, record->store, record->path, &dir, &name, e);
    if (found > 0)
        found = known_get(txn, dir, name, &now, e);
    return found > 0 ? span_equal(now.entry.handle, record->handle) : found;
}

/* The disk still has what was deleted. */
static int
redo_unlink(struct recovery *r, const struct record *record, struct err *e)
{
    char name[PATH_NAME_MAX + 1];
    struct look look;
    _cleanup_close_ int fd = open_parent(r, record->store, record->path, name);
    if (fd < 0)
        return 0;
    if (look_at(fd, name, &look, e) < 0)
        return -1;
    if (!is_object(&look, record) || S_ISDIR(look.attr.mode))
        return 0;
    int back = is_back(r, record, e);
    if (back != 0)
        return back < 0 ? -1 : 0;
    r->redone++;
    return unlinkat(fd, name, 0) == 0 ? 0 : err_sys(e, ERR_IO, "unlink %s again", name);
}

static int
hold_if_lost(struct recovery *r, const struct record *record, struct err *e)
{
    struct compare *c = r->c;
    char name[PATH_NAME_MAX + 1];
    uint64_t dir;
    struct span last;
    struct known known;
    int found = state_resolve(c->txn, record->store, record->path, &dir, &last, e);
    if (found > 0)
        found = known_get(c->txn, dir, last, &known, e);
    if (found <= 0)
        return found;
    struct look look = { 0 };
    _cleanup_close_ int fd = open_parent(r, record->store, record->path, name);
    if (fd >= 0 && look_at(fd, name, &look, e) < 0)
        return -1;
    if (look_is_less(&look, &known.entry))
        hints_add(&c->held, dir, span_str(name), 1);
    return 0;
}

static int
redo(struct recovery *r, const struct record *record, struct err *e)
{
    if (record->op == OP_RENAME)
        return redo_rename(r, record, e);
    if (record->op == OP_UNLINK)
        return redo_unlink(r, record, e);
    return 0;
}

static int
hold(struct recovery *r, const struct record *record, struct err *e)
{
    bool names = record->op != OP_EPOCH && record->op != OP_UNLINK && record->op != OP_RMTREE;
    return names && record->path.len > 0 ? hold_if_lost(r, record, e) : 0;
}

static int
for_records(struct recovery *r,
            int (*each)(struct recovery *r, const struct record *record, struct err *e),
            struct err *e)
{
    struct state_txn *txn = r->c->txn;
    for (uint64_t seq = state_meta(txn)->checkpoint + 1;;) {
        struct record record;
        int found = state_record(txn, seq, &record, e);
        if (found <= 0)
            return found;
        if (record.store < r->c->node->store_count && each(r, &record, e) < 0)
            return -1;
        seq = record.seq + 1;
    }
}

int
recover_begin(struct compare *c, struct err *e)
{
    uint8_t boot[16];
    node_boot_id(boot);
    struct state_meta *meta = state_meta(c->txn);
    /* Called before the new run marks itself: both still tell of the last one. In the same boot
     * only the daemon died, and what is gone was deleted by somebody. */
    if (meta->clean || memcmp(boot, meta->boot_id, sizeof(boot)) == 0)
        return 0;
    struct recovery r = { .c = c };
    if (for_records(&r, redo, e) < 0 || for_records(&r, hold, e) < 0)
        return err_wrap(e, "recover from a power loss");
    if (r.redone > 0 || recover_pending(c) > 0)
        event(EV_SUSPECT, F_U64("held", recover_pending(c)), F_U64("redone", r.redone));
    return 0;
}

size_t
recover_pending(const struct compare *c)
{
    size_t pending = 0;
    for (size_t i = 1; i < c->held.count; i++)
        pending += c->held.list[i].what != 0;
    return pending;
}
