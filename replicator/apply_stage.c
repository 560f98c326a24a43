#include "lib/base/crc.h"
#include "replicator/apply_private.h"

#include <unistd.h>

void
apply_stage_name(struct apply *a, struct apply_op *op, char ret_name[FOLDER_NUMBER_SIZE])
{
    op->stage = ++a->stage;
    folder_number_name(op->stage, ret_name);
}

static void
no_longer_unnamed(struct apply_op *op)
{
    file_closep(&op->fd);
    op->root->unnamed -= op->unnamed;
    op->unnamed = false;
}

void
apply_stage_published(struct apply_op *op)
{
    no_longer_unnamed(op);
    op->stage = 0;
}

int
apply_stage_named(struct apply *a, struct apply_op *op, char ret_name[FOLDER_NUMBER_SIZE],
                  struct err *e)
{
    if (!op->unnamed) {
        folder_number_name(op->stage, ret_name);
        return 0;
    }
    apply_stage_name(a, op, ret_name);
    if (file_link_unnamed(op->fd, op->root->stage_fd, ret_name, e) < 0) {
        op->stage = 0;
        return -1;
    }
    no_longer_unnamed(op);
    return 0;
}

void
apply_stage_drop(struct apply_op *op)
{
    no_longer_unnamed(op);
    apply_delta_free(&op->delta);
    if (op->stage == 0)
        return;
    char name[FOLDER_NUMBER_SIZE];
    folder_number_name(op->stage, name);
    unlinkat(op->root->stage_fd, name, 0); /* if it stays, the next apply_open() clears it */
    op->stage = 0;
}

int
apply_give_attrs(int fd, const struct attr *attr, const struct attrs_xattr *xattrs,
                 size_t xattr_count, struct err *e)
{
    if (attrs_set_owner(fd, attr->uid, attr->gid, e) < 0 ||
        attrs_xattrs_prune(fd, xattrs, xattr_count, e) < 0 ||
        attrs_set_mode(fd, attr->mode, e) < 0 || attrs_xattrs_write(fd, xattrs, xattr_count, e) < 0)
        return -1;
    return S_ISDIR(attr->mode) ? 0 : attrs_set_mtime(fd, attr->mtime_ns, e);
}

int
apply_set_attrs(const struct apply_op *op, int fd, struct err *e)
{
    return apply_give_attrs(fd, &op->now, op->xattrs, op->xattr_count, e);
}

int
apply_stage_create(struct apply *a, struct apply_op *op, struct err *e)
{
    char name[FOLDER_NUMBER_SIZE];
    apply_stage_name(a, op, name);
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = fault("open") < 0 ? -1 : openat(op->root->stage_fd, name, flags, 0600);
    return fd < 0 ? err_sys(e, ERR_IO, "make stage/%s", name) : fd;
}

/* A file without a name costs two changes of directories less; and nothing is left of it by a
 * crash.
 */
static int
open_staged(struct apply *a, struct apply_op *op, struct err *e)
{
    struct apply_root *root = op->root;
    struct err why = { 0 };
    if (root->unnamed >= root->unnamed_max)
        return apply_stage_create(a, op, e);
    int fd = file_open_unnamed(root->stage_fd, 0600, &why);
    if (fd >= 0) {
        op->unnamed = true;
        root->unnamed++;
        return fd;
    }
    if (why.sys == EOPNOTSUPP) {
        root->unnamed_max = 0;
        return apply_stage_create(a, op, e);
    }
    if (e != NULL)
        *e = why;
    return err_wrap(e, "stage");
}

int
apply_stage_begin(struct apply *a, struct apply_op *op, struct err *e)
{
    if (op->content == WIRE_CONTENT_DELTA) {
        int fits = apply_delta_begin(a, op, e);
        if (fits < 0)
            return -1;
        op->settled = fits == 0;
        op->result = fits == 0 ? APPLY_NEED : op->result;
        if (op->settled)
            return 0;
    }
    op->fd = open_staged(a, op, e);
    return op->fd < 0 ? -1 : 0;
}

static void
settle(struct apply_op *op, enum apply_result result)
{
    apply_stage_drop(op);
    op->settled = true;
    op->result = result;
}

static int
take_delta(struct apply_op *op, const struct wire_data *data, struct err *e)
{
    if (data->offset != apply_delta_received(op->delta))
        return err_set(e, ERR_PROTOCOL, "a piece of a delta is missing");
    int fits = apply_delta_feed(op->delta, op->fd, data->bytes, false, e);
    if (fits == 0)
        settle(op, APPLY_NEED);
    return fits < 0 ? -1 : 0;
}

/* What is sent never exceeds what was announced with it: a peer that lies fills no disk. */
static int
check_range(const struct apply_op *op, const struct wire_data *data, struct err *e)
{
    uint64_t room = op->now.size - MIN(data->offset, op->now.size);
    if (data->bytes.len <= room)
        return 0;
    return err_set(e, ERR_PROTOCOL, "bytes behind the announced %ju of %.*s",
                   (uintmax_t)op->now.size, PATH_ARGS(op->record.path));
}

int
apply_stage_data(struct apply *a, struct apply_op *op, const struct wire_data *data, struct err *e)
{
    a->bytes += data->bytes.len;
    op->crc = crc32c_more(op->crc, data->bytes);
    if (op->settled)
        return 0; /* it comes nevertheless, and is not wanted */
    if (op->delta != NULL)
        return take_delta(op, data, e);
    if (check_range(op, data, e) < 0)
        return -1;
    return file_pwrite_full(op->fd, data->bytes, data->offset, e);
}

/* Attributes, and its bytes on their way to the disk: by a worker. */
static int
finish(void *arg, struct err *e)
{
    struct apply_op *op = arg;
    struct stat st;
    int r = fstat(op->fd, &st) < 0 ? err_sys(e, ERR_IO, "look at the staged file") : 0;
    if (r == 0 && (uint64_t)st.st_size != op->size &&
        (fault("ftruncate") < 0 || ftruncate(op->fd, (off_t)op->size) < 0))
        r = err_sys(e, ERR_IO, "set the size to %ju", (uintmax_t)op->size);
    if (r == 0)
        r = apply_set_attrs(op, op->fd, e);
    if (r == 0 && op->kept)
        r = file_write_out_begin(op->fd, e);
    if (!op->kept && !op->unnamed)
        file_closep(&op->fd);
    if (r < 0)
        err_wrap(e, "store %s: stage %.*s", op->root->path, PATH_ARGS(op->record.path));
    return r;
}

/* How its bytes come to the disk: by themselves, which is soonest for a few; or with a sync of the
 * filesystem, which costs less for each of many, as the kernel writes them side by side. */
static void
choose_way(struct apply_op *op)
{
    struct apply_root *root = op->root;
    unsigned max = op->record.seq == 0 ? APPLY_KEPT_FIXUPS : APPLY_OPEN_MAX;
    op->kept = root->ordered && root->kept < max;
    root->kept += op->kept;
    root->left |= !op->kept;
    root->left_bytes += op->kept || !root->ordered ? 0 : op->size;
}

/* Gives the sync at COMMIT less to do. */
static int
flush(void *arg, struct err *e)
{
    struct apply_root *root = arg;
    if (atomic_exchange(&root->flushing, true))
        return 0;
    int r = file_sync_fs(root->fd, e);
    atomic_store(&root->flushing, false);
    return r < 0 ? err_wrap(e, "store %s: contents of a run", root->path) : 0;
}

/* The last piece of a delta. 1 the file is complete, 0 it is not what the sender meant. */
static int
end_delta(struct apply_op *op, const struct wire_end *end, struct err *e)
{
    if (op->delta == NULL)
        return 1;
    int fits = apply_delta_feed(op->delta, op->fd, (struct span){ 0 }, true, e);
    if (fits == 1)
        fits = apply_delta_size(op->delta) == end->size;
    apply_delta_free(&op->delta);
    return fits;
}

int
apply_stage_end(struct apply *a, struct apply_op *op, const struct wire_end *end, struct err *e)
{
    if (!end->ok && !op->settled)
        settle(op, APPLY_SKIPPED);
    if (op->settled)
        return 0;
    if (end->crc != op->crc)
        return err_set(e, ERR_CORRUPT, "checksum mismatch of the content");
    if (end->size > INT64_MAX || end->size != op->now.size)
        return err_set(e, ERR_PROTOCOL, "a file of %ju bytes, %ju were announced: %.*s",
                       (uintmax_t)end->size, (uintmax_t)op->now.size, PATH_ARGS(op->record.path));
    int fits = end_delta(op, end, e);
    if (fits < 0)
        return -1;
    if (fits == 0) {
        settle(op, APPLY_NEED);
        return 0;
    }
    op->size = end->size;
    choose_way(op);
    apply_pool_add(a->pool, finish, op, op->kept);
    if (op->root->left_bytes >= APPLY_FLUSH_BYTES) {
        op->root->left_bytes = 0;
        apply_pool_add(a->pool, flush, op->root, true);
    }
    return 0;
}

int
apply_stage_wait(struct apply_op *op, struct err *e)
{
    if (op->fd < 0 || !op->kept)
        return 0;
    int r = file_write_out(op->fd, e);
    if (!op->unnamed)
        file_closep(&op->fd);
    if (r < 0)
        return err_wrap(e, "store %s: stage %.*s", op->root->path, PATH_ARGS(op->record.path));
    return 0;
}
