/* apply_loss.c - what a record deletes or overwrites is told to the guard, and retained. */
#include "replicator/apply_private.h"
#include "replicator/retain.h"

#include <unistd.h>

static struct retain_loss
retain_loss_of(const struct apply_loss *loss)
{
    return (struct retain_loss){ loss->record, loss->path, loss->dirfd, loss->name, loss->st, -1 };
}

static int
ask_guard(struct apply *a, const struct apply_loss *loss, struct err *e)
{
    return a->guard == NULL ? 0 : a->guard(a->guard_arg, loss, e);
}

/* 1 moved away, 0 it is still there. */
static int
take(struct apply *a, struct apply_op *op, const struct apply_loss *loss, struct err *e)
{
    struct retain_loss kept = retain_loss_of(loss);
    if (ask_guard(a, loss, e) < 0)
        return -1;
    return op->root->retain == NULL ? 0 : retain_take(op->root->retain, &kept, e);
}

static int delete (struct apply *a, struct apply_op *op, int dirfd, const char *name,
                   const struct stat *st, struct err *e)
{
    if (S_ISDIR(st->st_mode))
        return apply_aside_take(a->aside, op->root, dirfd, name, e);
    if (fault("unlink") < 0 || unlinkat(dirfd, name, 0) < 0)
        return err_sys(e, ERR_IO, "unlink");
    return 0;
}

/* Of an empty directory there is nothing to keep. */
static bool
is_removed_empty(int dirfd, const char *name, const struct stat *st)
{
    return S_ISDIR(st->st_mode) && fault("rmdir") == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) == 0;
}

int
apply_remove(struct apply *a, struct apply_op *op, int dirfd, const char *name,
             const struct stat *st, struct err *e)
{
    struct apply_loss loss = { &op->record, op->record.path, dirfd, name, st, false };
    if (is_removed_empty(dirfd, name, st))
        return 0;
    int kept = take(a, op, &loss, e);
    return kept == 0 ? delete (a, op, dirfd, name, st, e) : MIN(kept, 0);
}

int
apply_clear_way(struct apply *a, struct apply_op *op, int dirfd, const char *name,
                const struct stat *st, struct err *e)
{
    struct apply_loss loss = { &op->record, op->record.path, dirfd, name, st, false };
    int kept = take(a, op, &loss, e);
    return kept == 0 ? apply_aside_take(a->aside, op->root, dirfd, name, e) : MIN(kept, 0);
}

/* Shipped once more: after a crash, to mend it, because it was asked for. */
static bool
is_same_content(const struct apply_op *op, const struct stat *st)
{
    return op->record.op == OP_PUT && S_ISREG(st->st_mode) &&
           (uint64_t)st->st_size == op->now.size && attrs_ns(&st->st_mtim) == op->now.mtime_ns;
}

/* The staged content: open, or under its name in stage/. */
static int
open_new(const struct apply_op *op)
{
    char staged[FOLDER_NUMBER_SIZE];
    if (op->fd >= 0 || op->stage == 0)
        return op->fd < 0 ? -1 : fcntl(op->fd, F_DUPFD_CLOEXEC, 0);
    folder_number_name(op->stage, staged);
    return openat(op->root->stage_fd, staged, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

int
apply_replaces(struct apply *a, struct apply_op *op, int dirfd, const char *name, struct err *e)
{
    struct stat st;
    if (op->root->retain == NULL && a->guard == NULL)
        return 0;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at what is replaced");
    if (S_ISDIR(st.st_mode) || is_same_content(op, &st))
        return 0; /* a directory is not: the operation will say so */
    struct apply_loss loss = { &op->record, op->record.path, dirfd, name, &st, true };
    struct retain_loss kept = retain_loss_of(&loss);
    if (ask_guard(a, &loss, e) < 0)
        return -1;
    if (op->root->retain == NULL)
        return 0;
    _cleanup_close_ int fresh = open_new(op);
    kept.new_fd = fresh;
    return MIN(retain_replaced(op->root->retain, &kept, e), 0);
}
