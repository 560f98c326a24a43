#include "replicator/recover_private.h"

#include "lib/base/path.h"
#include "lib/os/dir.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"
#include "replicator/compare_private.h"

#include <stdlib.h>
#include <unistd.h>

/* A name in its directory. fd is -1 where the directory is not there: the disk may have lost it. */
struct spot {
    int fd;
    char name[PATH_NAME_MAX + 1];
    struct look look;
};

static void
spot_close(struct spot *spot)
{
    file_closep(&spot->fd);
}
#define _cleanup_spot_ _cleanup_(spot_close)

static int
spot_open(const struct recovery *r, uint16_t store, struct span path, struct spot *ret_spot,
          struct err *e)
{
    struct span last = path_name(path);
    *ret_spot = (struct spot){ .fd = -1 };
    memcpy(ret_spot->name, last.ptr, last.len);
    struct err why = { 0 };
    ret_spot->fd = file_open_beneath(r->c->node->stores[store].root_fd, path_parent(path),
                                     O_RDONLY | O_DIRECTORY, 0, &why);
    if (ret_spot->fd >= 0)
        return look_at(ret_spot->fd, ret_spot->name, &ret_spot->look, e);
    if (why.sys == ENOENT || why.sys == ENOTDIR || why.sys == ELOOP)
        return 0;
    *e = why;
    return -1;
}

/* --- which object is meant --- */

/* The directory that was made in the place of the lost one, else the object itself. */
static struct span
handle_now(const struct recovery *r, struct span handle)
{
    struct reader made = reader_of(buf_span(&r->made));
    while (made.rest.len > 0) {
        struct span lost = reader_span16(&made);
        struct span now = reader_span16(&made);
        if (span_equal(lost, handle))
            return now;
    }
    return handle;
}

bool
recover_was_made(const struct recovery *r, const struct look *look)
{
    struct reader made = reader_of(buf_span(&r->made));
    while (made.rest.len > 0) {
        reader_span16(&made);
        if (span_equal(reader_span16(&made), attrs_handle_span(&look->handle)))
            return true;
    }
    return false;
}

static bool
is_object(const struct recovery *r, const struct look *look, const struct record *record)
{
    return look->exists && record->handle.len > 0 &&
           span_equal(attrs_handle_span(&look->handle), handle_now(r, record->handle));
}

/* Has the object that name at the journal's end? */
static int
has_name(const struct recovery *r, const struct record *record, struct span path, struct err *e)
{
    struct state_txn *txn = r->c->txn;
    uint64_t dir;
    struct span name;
    struct known now;
    int found = state_resolve(txn, record->store, path, &dir, &name, e);
    if (found > 0)
        found = known_get(txn, dir, name, &now, e);
    return found > 0 ? span_equal(now.entry.handle, record->handle) : found;
}

/* Has it any name at the journal's end? */
static int
is_known(const struct recovery *r, uint16_t store, const struct look *look, struct err *e)
{
    struct state_txn *txn = r->c->txn;
    for (unsigned i = 0;; i++) {
        uint64_t dir;
        struct span name;
        struct known known;
        int found = state_name_of(txn, store, look->ino, i, &dir, &name, e);
        if (found > 0)
            found = known_get(txn, dir, name, &known, e);
        if (found <= 0)
            return found;
        if (look_same_object(look, &known.entry))
            return 1;
    }
}

/* --- names are given --- */

static int
redo_mkdir(struct recovery *r, const struct record *record, struct err *e)
{
    _cleanup_spot_ struct spot at = { .fd = -1 };
    int lives = compare_object_lives(r->c, record->store, record->handle, e);
    if (lives != 0)
        return lives < 0 ? -1 : 0; /* under another name by now */
    if (spot_open(r, record->store, record->path, &at, e) < 0)
        return -1;
    if (at.fd < 0 || at.look.exists)
        return 0;
    if (fault("mkdir") < 0 || mkdirat(at.fd, at.name, 0700) < 0)
        return err_sys(e, ERR_IO, "make %s again", at.name);
    _cleanup_close_ int fd = openat(at.fd, at.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", at.name);
    if (attrs_set_owner(fd, record->attr.uid, record->attr.gid, e) < 0 ||
        attrs_set_mode(fd, record->attr.mode & 07777, e) < 0 ||
        look_at(at.fd, at.name, &at.look, e) < 0)
        return -1;
    buf_add_span16(&r->made, record->handle);
    buf_add_span16(&r->made, attrs_handle_span(&at.look.handle));
    r->redone++;
    return 0;
}

static int
redo_rename(struct recovery *r, const struct record *record, struct err *e)
{
    _cleanup_spot_ struct spot old = { .fd = -1 };
    _cleanup_spot_ struct spot new = { .fd = -1 };
    if (spot_open(r, record->store, record->other, &old, e) < 0 ||
        spot_open(r, record->store, record->path, &new, e) < 0)
        return -1;
    if (old.fd < 0 || new.fd < 0 || new.look.exists || !is_object(r, &old.look, record))
        return 0;
    int back = has_name(r, record, record->other, e);
    if (back != 0)
        return back < 0 ? -1 : 0;
    r->redone++;
    return file_rename(old.fd, old.name, new.fd, new.name, true, e);
}

/* Only a name that it still has at the end: one that went on would be left behind. */
static int
redo_link(struct recovery *r, const struct record *record, struct err *e)
{
    int stays = has_name(r, record, record->path, e);
    if (stays <= 0)
        return stays;
    _cleanup_spot_ struct spot old = { .fd = -1 };
    _cleanup_spot_ struct spot new = { .fd = -1 };
    if (spot_open(r, record->store, record->other, &old, e) < 0 ||
        spot_open(r, record->store, record->path, &new, e) < 0)
        return -1;
    if (old.fd < 0 || new.fd < 0 || new.look.exists || !is_object(r, &old.look, record))
        return 0;
    r->redone++;
    return file_link(old.fd, old.name, new.fd, new.name, e);
}

/* --- names are taken --- */

/* A directory that something was kept in stays. */
static int
unlink_again(int dirfd, const char *name, int flags, struct err *e)
{
    if (fault("unlink") < 0 || unlinkat(dirfd, name, flags) < 0)
        return errno == ENOTEMPTY ? 0 : err_sys(e, ERR_IO, "remove %s again", name);
    return 0;
}

static int
redo_unlink(struct recovery *r, const struct record *record, struct err *e)
{
    _cleanup_spot_ struct spot at = { .fd = -1 };
    if (spot_open(r, record->store, record->path, &at, e) < 0)
        return -1;
    if (at.fd < 0 || !is_object(r, &at.look, record) || S_ISDIR(at.look.attr.mode))
        return 0;
    int stays = has_name(r, record, record->path, e);
    if (stays == 0 && at.look.nlink < 2) /* a later record moves it */
        stays = is_known(r, record->store, &at.look, e);
    if (stays != 0)
        return stays < 0 ? -1 : 0;
    r->redone++;
    return unlink_again(at.fd, at.name, 0, e);
}

static int remove_below(struct recovery *r, uint16_t store, int own_fd, struct err *e);

static int
remove_dir(struct recovery *r, uint16_t store, int dirfd, const char *name, struct err *e)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", name);
    if (remove_below(r, store, fd, e) < 0) /* takes fd over */
        return -1;
    return unlink_again(dirfd, name, AT_REMOVEDIR, e);
}

/* What the index knows elsewhere stays, and what is above it: the next sweep tells of it. */
static int
remove_one(struct recovery *r, uint16_t store, int dirfd, const char *name, struct err *e)
{
    struct look look;
    if (look_at(dirfd, name, &look, e) < 0)
        return -1;
    if (!look.exists || look.device != r->c->node->stores[store].device)
        return 0;
    int known = is_known(r, store, &look, e);
    if (known != 0)
        return known < 0 ? -1 : 0;
    r->redone++;
    if (S_ISDIR(look.attr.mode))
        return remove_dir(r, store, dirfd, name, e);
    return unlink_again(dirfd, name, 0, e);
}

/* Takes fd over. */
static int
remove_below(struct recovery *r, uint16_t store, int own_fd, struct err *e)
{
    _cleanup_close_ int fd = own_fd;
    _cleanup_dir_ DIR *dir = dir_open(fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        if (remove_one(r, store, fd, item->d_name, e) < 0)
            return -1;
    }
    return more < 0 ? err_wrap(e, "read a directory that was removed") : 0;
}

/* The disk still has the very directory that was removed: it is older than the record, and so is
 * everything in it. */
static int
redo_rmtree(struct recovery *r, const struct record *record, struct err *e)
{
    _cleanup_spot_ struct spot at = { .fd = -1 };
    if (spot_open(r, record->store, record->path, &at, e) < 0)
        return -1;
    if (at.fd < 0 || !is_object(r, &at.look, record) || !S_ISDIR(at.look.attr.mode))
        return 0;
    return remove_one(r, record->store, at.fd, at.name, e);
}

int
recover_redo(struct recovery *r, const struct record *record, struct err *e)
{
    switch (record->op) {
    case OP_MKDIR:
        return record->handle.len > 0 && record->path.len > 0 ? redo_mkdir(r, record, e) : 0;
    case OP_RENAME:
        return redo_rename(r, record, e);
    case OP_LINK:
        return redo_link(r, record, e);
    case OP_UNLINK:
        return redo_unlink(r, record, e);
    case OP_RMTREE:
        return redo_rmtree(r, record, e);
    default: /* contents and attributes: see recover.c */
        return 0;
    }
}
