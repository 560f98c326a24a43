/* apply_copy.c - a file of its own where one can have no further name. */
#include "replicator/apply_private.h"

#define COPY_CHUNK (128 * 1024)

static int
copy_bytes(int from, int to, struct err *e)
{
    _cleanup_free_ uint8_t *chunk = xmalloc(COPY_CHUNK);
    for (uint64_t at = 0;;) {
        ssize_t got = file_pread_full(from, chunk, COPY_CHUNK, at, e);
        if (got <= 0)
            return got < 0 ? -1 : 0;
        if (file_pwrite_full(to, span_of(chunk, (size_t)got), at, e) < 0)
            return -1;
        at += (uint64_t)got;
    }
}

static int
copy_attrs(int from, int to, struct err *e)
{
    struct stat st;
    _cleanup_xattrs_ struct attrs_xattrs xattrs = { 0 };
    if (fstat(from, &st) < 0)
        return err_sys(e, ERR_IO, "look at what is copied");
    if (attrs_xattrs_read(from, &xattrs, e) < 0)
        return -1;
    struct attr attr = {
        .mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid, .mtime_ns = attrs_ns(&st.st_mtim)
    };
    return apply_give_attrs(to, &attr, xattrs.list, xattrs.count, e);
}

int
apply_copy(struct apply *a, struct apply_op *op, int dirfd, const char *name, struct err *e)
{
    int how = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int from = fault("open") < 0 ? -1 : openat(dirfd, name, how);
    if (from < 0)
        return err_sys(e, ERR_IO, "open %s", name);
    _cleanup_close_ int to = apply_stage_create(a, op, e);
    if (to < 0 || copy_bytes(from, to, e) < 0 || copy_attrs(from, to, e) < 0)
        return -1;
    return file_sync(to, e); /* the run's contents were made durable before it */
}
