#include "replicator/apply_private.h"
#include "replicator/retain.h"

#include <unistd.h>

/* A name where it stands: its directory and its last component as text. */
struct place {
    struct apply_dir *dir;
    char name[PATH_NAME_MAX + 1];
};

static void
set_name(struct place *place, struct span path)
{
    struct span name = path_name(path);
    ASSERT(name.len < sizeof(place->name));
    memcpy(place->name, name.ptr, name.len);
    place->name[name.len] = '\0';
}

/* 1 found, 0 its directory is not there, -1 failed. */
static int
find_place(struct apply *a, const struct apply_op *op, struct span path, struct place *ret_place,
           struct err *e)
{
    set_name(ret_place, path);
    return apply_dir_get(&a->dirs, op->root, path_parent(path), &ret_place->dir, e);
}

/* The same, making missing parents: a name must not be lost because its folder comes later. */
static int
make_place(struct apply *a, const struct apply_op *op, struct place *ret_place, struct err *e)
{
    set_name(ret_place, op->record.path);
    return apply_dir_make(&a->dirs, op->root, path_parent(op->record.path), &ret_place->dir, e);
}

/* 1 exists, 0 not, -1 failed. */
static int
look(const struct place *place, struct stat *ret_st, struct err *e)
{
    if (fstatat(place->dir->fd, place->name, ret_st, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at the name");
}

/* Is it the object that attr speaks of? A directory is known by being one. */
static bool
is_like(const struct stat *st, const struct attr *attr)
{
    if ((st->st_mode & S_IFMT) != (attr->mode & S_IFMT))
        return false;
    if (S_ISDIR(st->st_mode))
        return true;
    bool size = !S_ISREG(st->st_mode) || (uint64_t)st->st_size == attr->size;
    return size && attrs_ns(&st->st_mtim) == attr->mtime_ns;
}

static bool
is_owned_like(const struct stat *st, const struct attr *attr)
{
    return S_ISDIR(st->st_mode) ||
           (st->st_mode == attr->mode && st->st_uid == attr->uid && st->st_gid == attr->gid);
}

/* A record of the journal is carried out exactly once, on the tree it was written for: the name is
 * enough, and the content may be newer than the record, being read when it was shipped. Where the
 * tree is in doubt it must be the object as it was captured. A fix-up may come twice: it must find
 * the object as it was captured or as it was shipped. */
static bool
is_meant(const struct apply *a, const struct stat *st, const struct apply_op *op)
{
    const struct attr *attr = &op->record.attr;
    if (op->record.seq == 0)
        return is_like(st, attr) || is_like(st, &op->now);
    if (a->doubt)
        return is_like(st, attr) && is_owned_like(st, attr);
    return (st->st_mode & S_IFMT) == (attr->mode & S_IFMT);
}

/* Is it the object of a rename, as it was captured or as it was when the record was shipped? */
static bool
is_moved(const struct stat *st, const struct apply_op *op)
{
    bool captured = is_like(st, &op->record.attr) && is_owned_like(st, &op->record.attr);
    return captured || (is_like(st, &op->now) && is_owned_like(st, &op->now));
}

static int
settle(struct apply_op *op, enum apply_result result)
{
    op->result = result;
    return 0;
}

/* Replaces what has the name; a directory is NEED. */
static int
replace(struct apply *a, struct apply_op *op, const struct place *place, struct err *e)
{
    char staged[FOLDER_NUMBER_SIZE];
    struct err why = { 0 };
    if (apply_replaces(a, op, place->dir->fd, place->name, e) < 0 ||
        apply_stage_named(a, op, staged, e) < 0)
        return -1;
    int r = file_rename(op->root->stage_fd, staged, place->dir->fd, place->name, false, &why);
    if (r < 0 && why.sys == EISDIR)
        return settle(op, APPLY_NEED);
    if (r < 0 && e != NULL)
        *e = why;
    if (r < 0)
        return -1;
    apply_stage_published(op);
    return settle(op, APPLY_DONE);
}

/* Gives what is staged its own name. */
static int
publish(struct apply *a, struct apply_op *op, const struct place *place, struct err *e)
{
    struct err why = { 0 };
    if (!op->unnamed)
        return replace(a, op, place, e);
    if (file_link_unnamed(op->fd, place->dir->fd, place->name, &why) == 0) {
        apply_stage_published(op);
        return settle(op, APPLY_DONE);
    }
    if (why.sys == EEXIST)
        return replace(a, op, place, e);
    if (e != NULL)
        *e = why;
    return -1;
}

static int
run_put(struct apply *a, struct apply_op *op, struct err *e)
{
    struct place place;
    int found = make_place(a, op, &place, e);
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_NEED);
    return publish(a, op, &place, e);
}

static int
run_symlink(struct apply *a, struct apply_op *op, struct err *e)
{
    struct place place;
    int found = make_place(a, op, &place, e);
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_NEED);
    char staged[FOLDER_NUMBER_SIZE];
    apply_stage_name(a, op, staged);
    _cleanup_buf_ struct buf target = { 0 };
    buf_add(&target, op->record.other.ptr, op->record.other.len);
    buf_add_u8(&target, '\0');
    int stage_fd = op->root->stage_fd;
    if (fault("symlink") < 0 || symlinkat((const char *)target.ptr, stage_fd, staged) < 0)
        return err_sys(e, ERR_IO, "make the symlink");
    _cleanup_close_ int fd = openat(stage_fd, staged, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open the symlink");
    if (attrs_set_owner(fd, op->now.uid, op->now.gid, e) < 0 ||
        attrs_set_mtime(fd, op->now.mtime_ns, e) < 0)
        return -1;
    return publish(a, op, &place, e);
}

static int
run_mknod(struct apply *a, struct apply_op *op, struct err *e)
{
    if (S_ISSOCK(op->record.attr.mode)) /* only the program that listens on it can make one */
        return settle(op, APPLY_SKIPPED);
    struct place place;
    int found = make_place(a, op, &place, e);
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_NEED);
    char staged[FOLDER_NUMBER_SIZE];
    apply_stage_name(a, op, staged);
    int stage_fd = op->root->stage_fd;
    if (fault("mkfifo") < 0 || mkfifoat(stage_fd, staged, 0600) < 0)
        return err_sys(e, ERR_IO, "make the fifo");
    _cleanup_close_ int fd = openat(stage_fd, staged, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open the fifo");
    if (apply_set_attrs(op, fd, e) < 0)
        return -1;
    return publish(a, op, &place, e);
}

static int
run_link(struct apply *a, struct apply_op *op, struct err *e)
{
    struct place from, to;
    struct stat from_st, to_st;
    int found = find_place(a, op, op->record.other, &from, e);
    if (found == 1)
        found = look(&from, &from_st, e);
    if (found < 0)
        return -1;
    if (found == 0 || !S_ISREG(from_st.st_mode) || !is_meant(a, &from_st, op))
        return settle(op, APPLY_NEED);
    int made = make_place(a, op, &to, e);
    if (made <= 0)
        return made < 0 ? -1 : settle(op, APPLY_NEED);
    found = look(&to, &to_st, e);
    if (found < 0)
        return -1;
    if (found == 1 && to_st.st_ino == from_st.st_ino && to_st.st_dev == from_st.st_dev)
        return settle(op, APPLY_DONE);
    char staged[FOLDER_NUMBER_SIZE];
    apply_stage_name(a, op, staged);
    struct err why = { 0 };
    if (file_link(from.dir->fd, from.name, op->root->stage_fd, staged, &why) == 0)
        return publish(a, op, &to, e);
    if (why.sys != EMLINK) {
        if (e != NULL)
            *e = why;
        return -1;
    }
    /* this filesystem allows a file fewer names: asked for again it would come as a link again */
    return apply_copy(a, op, from.dir->fd, from.name, e) < 0 ? -1 : publish(a, op, &to, e);
}

static int
unlink_name(const struct place *place, struct err *e)
{
    if (fault("unlink") < 0 || unlinkat(place->dir->fd, place->name, 0) < 0)
        return err_sys(e, ERR_IO, "unlink");
    return 0;
}

/* The source is what it must be: moves it, and what is in the way goes first. */
static int
move(struct apply *a, struct apply_op *op, const struct place *from, const struct stat *from_st,
     const struct place *to, struct err *e)
{
    struct stat to_st;
    int found = look(to, &to_st, e);
    if (found < 0)
        return -1;
    if (found == 1 && to_st.st_ino == from_st->st_ino && to_st.st_dev == from_st->st_dev)
        return unlink_name(from, e); /* rename() does nothing with two names of one file */
    bool plain = found == 0 || !(S_ISDIR(to_st.st_mode) || S_ISDIR(from_st->st_mode));
    if (!plain) {
        apply_dirs_drop(&a->dirs, op->root, op->record.path);
        if (apply_clear_way(a, op, to->dir->fd, to->name, &to_st, e) < 0)
            return -1;
    } else if (found == 1 && apply_replaces(a, op, to->dir->fd, to->name, e) < 0) {
        return -1;
    }
    if (op->root->retain != NULL && S_ISDIR(from_st->st_mode) &&
        retain_moves(op->root->retain, &op->record, e) < 0)
        return -1;
    return file_rename(from->dir->fd, from->name, to->dir->fd, to->name, false, e);
}

/* The source is not there, or is another: was it moved already? A name that still stands there says
 * no, and a destination of the same type says nothing: an older file may have it. */
static int
run_rename_lost(struct apply *a, struct apply_op *op, bool source, struct err *e)
{
    struct place to;
    struct stat st;
    int found = find_place(a, op, op->record.path, &to, e);
    if (found == 1)
        found = look(&to, &st, e);
    if (found < 0)
        return -1;
    bool moved = !source && found == 1 && is_moved(&st, op);
    return settle(op, moved ? APPLY_DONE : APPLY_NEED);
}

static int
run_rename(struct apply *a, struct apply_op *op, struct err *e)
{
    struct place from, to;
    struct stat st;
    int found = find_place(a, op, op->record.other, &from, e);
    if (found == 1)
        found = look(&from, &st, e);
    if (found < 0)
        return -1;
    if (found == 0 || !is_meant(a, &st, op))
        return run_rename_lost(a, op, found == 1, e);
    found = make_place(a, op, &to, e);
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_NEED);
    if (move(a, op, &from, &st, &to, e) < 0)
        return -1;
    if (S_ISDIR(st.st_mode)) {
        apply_dirs_drop(&a->dirs, op->root, op->record.other);
        apply_dirs_drop(&a->dirs, op->root, op->record.path);
    }
    return settle(op, APPLY_DONE);
}

static int
run_remove(struct apply *a, struct apply_op *op, struct err *e)
{
    struct place place;
    struct stat st;
    int found = find_place(a, op, op->record.path, &place, e);
    if (found == 1)
        found = look(&place, &st, e);
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_DONE);
    if (S_ISDIR(st.st_mode) != (op->record.op == OP_RMTREE))
        return settle(op, APPLY_NEED);
    op->result = APPLY_DONE;
    if (apply_remove(a, op, place.dir->fd, place.name, &st, e) < 0)
        return -1;
    if (op->record.op == OP_RMTREE)
        apply_dirs_drop(&a->dirs, op->root, op->record.path);
    return 0;
}

/* What has the name and is no directory goes aside: the record replaces it by one. */
static int
run_mkdir(struct apply *a, struct apply_op *op, struct err *e)
{
    struct apply_dir *dir;
    int found = apply_dir_new(&a->dirs, op->root, op->record.path, &dir, &op->made, e);
    if (found == 0)
        found = apply_dir_make(&a->dirs, op->root, op->record.path, &dir, e);
    if (found == 0) {
        struct place place;
        struct stat st;
        found = make_place(a, op, &place, e);
        if (found <= 0)
            return found < 0 ? -1 : settle(op, APPLY_NEED);
        if (look(&place, &st, e) < 0 ||
            apply_clear_way(a, op, place.dir->fd, place.name, &st, e) < 0)
            return -1;
        found = apply_dir_make(&a->dirs, op->root, op->record.path, &dir, e);
    }
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_NEED);
    op->result = APPLY_DONE;
    return apply_set_attrs(op, dir->fd, e);
}

/* A symlink has an owner and a time; it is held without being opened. */
static int
set_symlink(const struct apply_op *op, int fd, struct err *e)
{
    if (attrs_set_owner(fd, op->now.uid, op->now.gid, e) < 0)
        return -1;
    return attrs_set_mtime(fd, op->now.mtime_ns, e);
}

static int
run_meta_dir(struct apply *a, struct apply_op *op, struct err *e)
{
    struct apply_dir *dir;
    int found = apply_dir_get(&a->dirs, op->root, op->record.path, &dir, e);
    if (found <= 0)
        return found < 0 ? -1 : settle(op, APPLY_NEED);
    op->result = APPLY_DONE;
    return apply_set_attrs(op, dir->fd, e);
}

static int
run_meta(struct apply *a, struct apply_op *op, struct err *e)
{
    if (S_ISDIR(op->now.mode))
        return run_meta_dir(a, op, e);
    struct place place;
    struct stat st;
    int found = find_place(a, op, op->record.path, &place, e);
    if (found == 1)
        found = look(&place, &st, e);
    if (found < 0)
        return -1;
    if (found == 0 || (st.st_mode & S_IFMT) != (op->now.mode & S_IFMT))
        return settle(op, APPLY_NEED);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISLNK(st.st_mode))
        return settle(op, APPLY_SKIPPED);
    /* of what has no content it is the time itself that changed */
    bool other = S_ISREG(st.st_mode) && !is_like(&st, &op->record.attr) && !is_like(&st, &op->now);
    if (a->doubt && op->record.seq != 0 && other)
        return settle(op, APPLY_NEED);
    int how = S_ISLNK(st.st_mode) ? O_PATH : O_RDONLY | O_NONBLOCK;
    _cleanup_close_ int fd = openat(place.dir->fd, place.name, how | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open");
    if ((S_ISLNK(st.st_mode) ? set_symlink(op, fd, e) : apply_set_attrs(op, fd, e)) < 0)
        return -1;
    return settle(op, APPLY_DONE);
}

int
apply_op_run(struct apply *a, struct apply_op *op, struct err *e)
{
    switch (op->record.op) {
    case OP_EPOCH:
        return settle(op, APPLY_DONE);
    case OP_MKDIR:
        return run_mkdir(a, op, e);
    case OP_PUT:
        return run_put(a, op, e);
    case OP_META:
        return run_meta(a, op, e);
    case OP_SYMLINK:
        return run_symlink(a, op, e);
    case OP_MKNOD:
        return run_mknod(a, op, e);
    case OP_LINK:
        return run_link(a, op, e);
    case OP_RENAME:
        return run_rename(a, op, e);
    case OP_UNLINK:
    case OP_RMTREE:
        return run_remove(a, op, e);
    }
    return err_set(e, ERR_PROTOCOL, "unknown operation %d", (int)op->record.op);
}

/* Of one that was carried out before a crash only the object itself can tell. */
static bool
is_certain(const struct apply_op *op)
{
    if (op->repeated)
        return op->result != APPLY_NEED &&
               (is_like(&op->st, &op->now) || is_like(&op->st, &op->record.attr));
    return op->result == APPLY_DONE;
}

int
apply_op_look(struct apply *a, struct apply_op *op, struct err *e)
{
    op->exists = op->certain = false;
    if (op->record.op == OP_EPOCH)
        return 0;
    struct place place;
    int found = find_place(a, op, op->record.path, &place, e);
    if (found <= 0)
        return found;
    if (op->record.path.len == 0) { /* the root: it has no name to look up */
        if (fstat(place.dir->fd, &op->st) < 0)
            return err_sys(e, ERR_IO, "look at the store's root");
    } else {
        found = look(&place, &op->st, e);
        if (found <= 0)
            return found;
    }
    op->exists = true;
    op->certain = is_certain(op);
    return attrs_handle_get(place.dir->fd, place.name, &op->handle, e);
}
