#include "replicator/apply_private.h"

#include "lib/store/store.h"

#include <librsync.h>
#include <limits.h>
#include <stdlib.h>

/* --- opening --- */

static int
open_roots(struct apply *a, const struct apply_store *stores, size_t count, struct err *e)
{
    a->roots = xcalloc(count, sizeof(a->roots[0]));
    for (; a->root_count < count; a->root_count++) {
        struct apply_root *root = &a->roots[a->root_count];
        if (apply_root_open(root, stores[a->root_count].path, e) < 0) {
            apply_root_close(root);
            return -1;
        }
        root->retain = stores[a->root_count].retain;
    }
    return 0;
}

int
apply_open(const struct apply_store *stores, size_t store_count, unsigned workers,
           struct apply **ret_apply, struct err *e)
{
    rs_trace_set_level(RS_LOG_ALERT); /* its failures are told by us, not on stderr */
    struct apply *a = xcalloc(1, sizeof(*a));
    apply_dirs_init(&a->dirs);
    if (open_roots(a, stores, store_count, e) < 0 || apply_pool_new(workers, &a->pool, e) < 0 ||
        apply_aside_new(a->roots, a->root_count, &a->aside, e) < 0) {
        apply_free(&a);
        return -1;
    }
    for (size_t i = 0; i < store_count; i++)
        a->roots[i].unnamed_max /= (unsigned)store_count;
    *ret_apply = a;
    return 0;
}

void
apply_free(struct apply **apply)
{
    struct apply *a = *apply;
    *apply = NULL;
    if (a == NULL)
        return;
    apply_abort(a);
    apply_pool_free(&a->pool);
    apply_aside_free(&a->aside);
    for (size_t i = 0; i < a->root_count; i++)
        apply_root_close(&a->roots[i]);
    for (size_t i = 0; i < APPLY_SIGNATURES; i++)
        buf_free(&a->sigs[i].path);
    free(a->roots);
    free(a->ops);
    free(a);
}

uint64_t
apply_marker(const struct apply *apply, uint16_t store)
{
    ASSERT(store < apply->root_count);
    return apply->roots[store].marker;
}

uint64_t
apply_newest(const struct apply *apply)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < apply->root_count; i++)
        newest = MAX(newest, apply->roots[i].marker);
    return newest;
}

void
apply_doubt(struct apply *apply, bool doubt)
{
    apply->doubt = doubt;
}

void
apply_guard(struct apply *apply,
            int (*ask)(void *arg, const struct apply_loss *loss, struct err *e), void *arg)
{
    apply->guard = ask;
    apply->guard_arg = arg;
}

void
apply_confirmed(struct apply *apply, uint64_t seq)
{
    apply->confirmed = MAX(apply->confirmed, seq);
}

int
apply_reset(struct apply *apply, uint64_t seq, struct err *e)
{
    apply_abort(apply); /* what was received belongs to the other history */
    apply->confirmed = seq;
    for (size_t i = 0; i < apply->root_count; i++) {
        if (apply_root_reset(&apply->roots[i], seq, e) < 0)
            return -1;
    }
    return 0;
}

/* --- records --- */

static bool
is_private(struct span path)
{
    return path_is_below(path, span_str(STORE_PRIVATE_DIR));
}

/* Does the operation make such an object? */
static bool
is_type(enum record_op op, uint32_t mode)
{
    switch (op) {
    case OP_MKDIR:
        return S_ISDIR(mode);
    case OP_PUT:
        return S_ISREG(mode);
    case OP_SYMLINK:
        return S_ISLNK(mode);
    case OP_MKNOD:
        return S_ISFIFO(mode) || S_ISSOCK(mode);
    case OP_META:
        return (mode & S_IFMT) != 0;
    case OP_EPOCH:
    case OP_LINK:
    case OP_RENAME:
    case OP_UNLINK:
    case OP_RMTREE:
        return true;
    }
    return false;
}

/* What decoding cannot know: where our own folder is, and which parts fit each other. */
static int
check_paths(const struct record *r, struct err *e)
{
    if (r->op == OP_EPOCH)
        return 0;
    bool root_allowed = r->op == OP_MKDIR || r->op == OP_META;
    if (!path_valid(r->path) || (r->path.len == 0 && !root_allowed))
        return err_set(e, ERR_PROTOCOL, "not a path in a store");
    bool two = r->op == OP_LINK || r->op == OP_RENAME;
    if (two && (!path_valid(r->other) || r->other.len == 0))
        return err_set(e, ERR_PROTOCOL, "not a path in a store");
    if (is_private(r->path) || (two && is_private(r->other)))
        return err_set(e, ERR_PROTOCOL, "a path into " STORE_PRIVATE_DIR);
    if (two && (path_is_below(r->path, r->other) || path_is_below(r->other, r->path)))
        return err_set(e, ERR_PROTOCOL, "a path into itself");
    bool target = r->other.len > 0 && r->other.len < PATH_MAX &&
                  memchr(r->other.ptr, '\0', r->other.len) == NULL;
    if (r->op == OP_SYMLINK && !target)
        return err_set(e, ERR_PROTOCOL, "not a symlink's target");
    return 0;
}

static int
check_rec(const struct apply *a, const struct wire_rec *rec, struct err *e)
{
    const struct record *r = &rec->record;
    if (a->open != NULL)
        return err_set(e, ERR_PROTOCOL, "the content before it has no end");
    if (r->store >= a->root_count)
        return err_set(e, ERR_PROTOCOL, "store number %u, there are %zu", r->store, a->root_count);
    if (check_paths(r, e) < 0)
        return -1;
    bool carries = rec->content == WIRE_CONTENT_DATA || rec->content == WIRE_CONTENT_DELTA;
    bool gone = rec->content == WIRE_CONTENT_GONE;
    if (rec->content > WIRE_CONTENT_GONE || (!gone && carries != (r->op == OP_PUT)))
        return err_set(e, ERR_PROTOCOL, "content of kind %u does not fit the operation",
                       rec->content);
    bool is_root = r->path.len == 0 && r->op != OP_EPOCH;
    if (!gone && (!is_type(r->op, rec->now.mode) || (is_root && !S_ISDIR(rec->now.mode))))
        return err_set(e, ERR_PROTOCOL, "an object of mode %o does not fit the operation",
                       rec->now.mode);
    /* the marker is one number because the records it counts come in order */
    if (r->seq != 0 && !r->late && r->seq <= a->roots[r->store].normal_seq)
        return err_set(e, ERR_PROTOCOL, "record %ju comes after %ju", (uintmax_t)r->seq,
                       (uintmax_t)a->roots[r->store].normal_seq);
    return 0;
}

static struct span
keep(struct buf *bytes, struct span s)
{
    ASSERT(bytes->cap - bytes->len >= s.len); /* what is there must not move */
    size_t start = bytes->len;
    buf_add(bytes, s.ptr, s.len);
    return span_from(buf_span(bytes), start, s.len);
}

static struct apply_op *
copy_rec(struct apply *a, const struct wire_rec *rec)
{
    struct apply_op *op = xcalloc(1, sizeof(*op));
    op->record = rec->record;
    op->root = &a->roots[rec->record.store];
    op->content = rec->content;
    op->now = rec->now;
    op->fd = -1;
    size_t size = rec->record.path.len + rec->record.other.len + rec->record.handle.len;
    for (size_t i = 0; i < rec->xattr_count; i++)
        size += rec->xattrs[i].name.len + rec->xattrs[i].value.len;
    buf_reserve(&op->bytes, size + 1);
    op->record.path = keep(&op->bytes, rec->record.path);
    op->record.other = keep(&op->bytes, rec->record.other);
    op->record.handle = keep(&op->bytes, rec->record.handle);
    op->xattr_count = rec->xattr_count;
    op->xattrs = xcalloc(rec->xattr_count, sizeof(op->xattrs[0]));
    for (size_t i = 0; i < rec->xattr_count; i++) {
        op->xattrs[i].name = keep(&op->bytes, rec->xattrs[i].name);
        op->xattrs[i].value = keep(&op->bytes, rec->xattrs[i].value);
    }
    return op;
}

void
apply_op_free(struct apply_op **op)
{
    if (*op == NULL)
        return;
    apply_stage_drop(*op);
    buf_free(&(*op)->bytes);
    free((*op)->xattrs);
    free(*op);
    *op = NULL;
}

static bool
is_repeated(const struct apply_root *root, const struct record *r)
{
    if (r->seq == 0)
        return false;
    if (!r->late)
        return r->seq <= root->marker;
    return r->seq <= root->complete || apply_root_noted(root, r->seq, NOTE_LATE);
}

/* What is known before anything is done: it was done already, or its content is gone. */
static void
judge(struct apply_op *op)
{
    op->repeated = is_repeated(op->root, &op->record);
    op->settled = op->repeated || op->content == WIRE_CONTENT_GONE;
    bool need = op->repeated && apply_root_noted(op->root, op->record.seq, NOTE_NEED);
    op->result = need ? APPLY_NEED : APPLY_SKIPPED;
}

static void
append(struct apply *a, struct apply_op *op)
{
    if (a->count == a->cap) {
        a->cap = MAX(a->cap * 2, (size_t)64);
        a->ops = xrealloc(a->ops, a->cap * sizeof(struct apply_op *));
    }
    a->ops[a->count++] = op;
    struct apply_root *root = op->root;
    root->in_run = true;
    root->newest_seq = MAX(root->newest_seq, op->record.seq);
    if (op->record.seq != 0 && !op->record.late)
        root->normal_seq = op->record.seq;
}

static int
spoil(struct apply *a, const struct record *r, struct err *e)
{
    a->spoiled = true;
    if (r->store >= a->root_count)
        return err_wrap(e, "%s %.*s", record_op_word(r->op), PATH_ARGS(r->path));
    return err_wrap(e, "store %s: %s %.*s", a->roots[r->store].path, record_op_word(r->op),
                    PATH_ARGS(r->path));
}

static int
check_run(const struct apply *a, bool content, struct err *e)
{
    if (a->spoiled)
        return err_set(e, ERR_IO, "this run has failed already and was not given up");
    if (content && a->open == NULL)
        return err_set(e, ERR_PROTOCOL, "content that belongs to no record");
    return 0;
}

int
apply_rec(struct apply *apply, const struct wire_rec *rec, struct err *e)
{
    if (check_run(apply, false, e) < 0)
        return -1;
    if (check_rec(apply, rec, e) < 0)
        return spoil(apply, &rec->record, e);
    struct apply_op *op = copy_rec(apply, rec);
    judge(op);
    append(apply, op);
    if (rec->content != WIRE_CONTENT_DATA && rec->content != WIRE_CONTENT_DELTA)
        return 0;
    apply->open = op;
    if (!op->settled && apply_stage_begin(apply, op, e) < 0)
        return spoil(apply, &rec->record, e);
    return 0;
}

int
apply_data(struct apply *apply, const struct wire_data *data, struct err *e)
{
    if (check_run(apply, true, e) < 0)
        return -1;
    if (apply_stage_data(apply, apply->open, data, e) < 0)
        return spoil(apply, &apply->open->record, e);
    return 0;
}

int
apply_end(struct apply *apply, const struct wire_end *end, struct err *e)
{
    if (check_run(apply, true, e) < 0)
        return -1;
    struct apply_op *op = apply->open;
    apply->open = NULL;
    if (apply_stage_end(apply, op, end, e) < 0)
        return spoil(apply, &op->record, e);
    return 0;
}

void
apply_abort(struct apply *apply)
{
    if (apply->pool != NULL && apply_pool_wait(apply->pool, NULL) < 0)
        apply->spoiled = true; /* and that is over now too */
    for (size_t i = 0; i < apply->count; i++)
        apply_op_free(&apply->ops[i]);
    for (size_t i = 0; i < apply->root_count; i++) {
        struct apply_root *root = &apply->roots[i];
        root->in_run = false;
        root->kept = 0;
        root->left = false;
        root->left_bytes = 0;
        root->normal_seq = root->newest_seq = 0;
    }
    apply_dirs_clear(&apply->dirs);
    apply->count = 0;
    apply->bytes = 0;
    apply->open = NULL;
    apply->spoiled = false;
}

size_t
apply_pending(const struct apply *apply)
{
    return apply->count;
}

uint64_t
apply_pending_bytes(const struct apply *apply)
{
    return apply->bytes;
}
