#include "replicator/apply_private.h"

/* The first run after opening begins behind what its sender knows to be acknowledged. */
static void
confirm_first_run(struct apply *a)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < a->count && !a->begun; i++) {
        if (a->ops[i]->record.seq != 0)
            oldest = MIN(oldest, a->ops[i]->record.seq);
    }
    if (oldest == UINT64_MAX)
        return;
    a->begun = true;
    apply_confirmed(a, oldest - 1);
}

static int
forget_notes(struct apply *a, struct err *e)
{
    confirm_first_run(a);
    for (struct apply_root *root = a->roots; root < a->roots + a->root_count; root++) {
        if (apply_root_forget(root, a->confirmed, e) < 0)
            return err_wrap(e, "store %s", root->path);
    }
    return 0;
}

/* Contents first: a name must never reach the disk before what it names. Where the log keeps order
 * it is enough that the bytes are there; see docs/decisions/0007-one-sync-a-run.md. */
static int
sync_contents(struct apply *a, struct err *e)
{
    if (apply_pool_wait(a->pool, e) < 0)
        return -1;
    for (size_t i = 0; i < a->count; i++) {
        if (apply_stage_wait(a->ops[i], e) < 0)
            return -1;
    }
    for (struct apply_root *root = a->roots; root < a->roots + a->root_count; root++) {
        if (root->left && file_sync_fs(root->fd, e) < 0)
            return err_wrap(e, "store %s: contents of a run", root->path);
    }
    return 0;
}

/* The record is done with, whatever came of it: it must not be carried out again. */
static int
mark(struct apply_op *op, struct err *e)
{
    uint64_t seq = op->record.seq;
    if (seq == 0 || op->repeated)
        return 0;
    if (op->result == APPLY_NEED && apply_root_note(op->root, seq, NOTE_NEED, e) < 0)
        return -1;
    if (op->record.late)
        return apply_root_note(op->root, seq, NOTE_LATE, e);
    return apply_root_mark(op->root, seq, op->root->complete, e);
}

struct listener {
    void (*done)(void *arg, const struct applied *applied);
    void *arg;
};

static void
report(const struct apply_op *op, const struct listener *to)
{
    struct applied applied = {
        .record = &op->record,
        .result = op->result,
        .exists = op->exists,
        .bare = op->made && op->xattr_count == 0,
        .certain = op->certain,
        .needs = op->needs,
        .need_count = op->need_count,
    };
    if (op->exists) {
        applied.attr = (struct attr){ .mode = op->st.st_mode,
                                      .uid = op->st.st_uid,
                                      .gid = op->st.st_gid,
                                      .size = (uint64_t)op->st.st_size,
                                      .mtime_ns = attrs_ns(&op->st.st_mtim) };
        applied.ctime_ns = attrs_ns(&op->st.st_ctim);
        applied.ino = op->st.st_ino;
        applied.nlink = (uint32_t)op->st.st_nlink;
        applied.handle = attrs_handle_span(&op->handle);
    }
    to->done(to->arg, &applied);
}

static int
run_ops(struct apply *a, const struct listener *to, struct err *e)
{
    for (size_t i = 0; i < a->count; i++) {
        struct apply_op *op = a->ops[i];
        if ((!op->settled && apply_op_run(a, op, e) < 0) || apply_op_look(a, op, e) < 0 ||
            mark(op, e) < 0)
            return err_wrap(e, "store %s: %s %.*s", op->root->path, record_op_word(op->record.op),
                            PATH_ARGS(op->record.path));
        apply_op_lacks(op);
        a->doubt = a->doubt || op->result == APPLY_NEED;
        report(op, to);
    }
    for (struct apply_root *root = a->roots; root < a->roots + a->root_count; root++) {
        uint64_t newest = root->newest_seq; /* the run is whole: late ones count now too */
        if (apply_root_mark(root, MAX(root->marker, newest), MAX(root->complete, newest), e) < 0)
            return err_wrap(e, "store %s", root->path);
    }
    return 0;
}

/* The folder of the marker is the last thing that a run changes: a log that keeps order and has
 * this has all that came before. */
static int
sync_names(void *arg, struct err *e)
{
    const struct apply_root *root = arg;
    bool whole = root->unsynced || !root->ordered;
    if (!whole && futimens(root->applied_fd, NULL) < 0) /* a run of fix-ups moved no marker */
        return err_sys(e, ERR_IO, "store %s: touch the marker's folder", root->path);
    if ((whole ? file_sync_fs(root->fd, e) : file_sync(root->applied_fd, e)) < 0)
        return err_wrap(e, "store %s: names of a run", root->path);
    return 0;
}

static int
sync_all_names(struct apply *a, struct err *e)
{
    for (struct apply_root *root = a->roots; root < a->roots + a->root_count; root++) {
        if (root->in_run)
            apply_pool_add(a->pool, sync_names, root, true);
    }
    return apply_pool_wait(a->pool, e);
}

static int
carry_out(struct apply *a, const struct listener *to, struct err *e)
{
    if (sync_contents(a, e) < 0 || forget_notes(a, e) < 0)
        return -1;
    int r = run_ops(a, to, e);
    if (r == 0)
        r = sync_all_names(a, e);
    for (struct apply_root *root = a->roots; root < a->roots + a->root_count; root++) {
        if (root->in_run)
            root->unsynced = r < 0;
    }
    return r;
}

int
apply_commit(struct apply *apply, void (*done)(void *arg, const struct applied *applied), void *arg,
             struct err *e)
{
    int r = 0;
    if (apply->spoiled)
        r = err_set(e, ERR_IO, "this run has failed already and was not given up");
    else if (apply->open != NULL)
        r = err_set(e, ERR_PROTOCOL, "a run ends within a content");
    else
        r = carry_out(apply, &(struct listener){ done, arg }, e);
    apply_abort(apply); /* the run is over, carried out or not */
    return r;
}
