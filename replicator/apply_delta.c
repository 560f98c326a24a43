#include "replicator/apply_private.h"

#include "lib/os/event.h"

#include <librsync.h>
#include <stdlib.h>

#define CHUNK ((size_t)64 * 1024)

struct apply_delta {
    rs_job_t *job;
    int base_fd;
    uint64_t received, made, max;
    bool complete;
    bool failed; /* reading the base failed: `why` */
    struct err why;
    uint8_t out[CHUNK];
};

/* librsync forgets a const. */
static char *
rs_in(struct span in)
{
    union {
        const uint8_t *in;
        char *out;
    } ptr = { .in = in.ptr };
    return ptr.out;
}

/* Opens a regular file below the store. 1 open, 0 there is none, -1 failed. */
static int
open_regular(struct apply_root *root, struct span path, int *ret_fd, struct stat *ret_st,
             struct err *e)
{
    struct err why = { 0 };
    int flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW; /* a fifo must not hold us up */
    _cleanup_close_ int fd = file_open_beneath(root->fd, path, flags, 0, &why);
    if (fd < 0) {
        if (why.sys == ENOENT || why.sys == ENOTDIR || why.sys == ELOOP || why.sys == ENXIO)
            return 0;
        if (e != NULL)
            *e = why;
        return -1;
    }
    if (fstat(fd, ret_st) < 0)
        return err_sys(e, ERR_IO, "look at %.*s", PATH_ARGS(path));
    if (!S_ISREG(ret_st->st_mode))
        return 0;
    *ret_fd = fd;
    fd = -1;
    return 1;
}

/* --- signatures --- */

/* A delta is taken only against the very file whose signature was given. */
static void
remember(struct apply *a, struct apply_root *root, struct span path, const struct stat *st)
{
    struct apply_signed *sig = &a->sigs[a->sig_next++ % APPLY_SIGNATURES];
    sig->root = root;
    sig->st = *st;
    buf_reset(&sig->path);
    buf_add(&sig->path, path.ptr, path.len);
}

static bool
same_file(const struct stat *x, const struct stat *y)
{
    return x->st_dev == y->st_dev && x->st_ino == y->st_ino && x->st_size == y->st_size &&
           attrs_ns(&x->st_mtim) == attrs_ns(&y->st_mtim) &&
           attrs_ns(&x->st_ctim) == attrs_ns(&y->st_ctim);
}

static bool
is_signed(const struct apply *a, const struct apply_root *root, struct span path,
          const struct stat *st)
{
    for (const struct apply_signed *sig = a->sigs; sig < a->sigs + APPLY_SIGNATURES; sig++) {
        if (sig->root == root && span_equal(buf_span(&sig->path), path) && same_file(&sig->st, st))
            return true;
    }
    return false;
}

static int
sign(rs_job_t *job, int fd, int (*give)(void *arg, struct span bytes, struct err *e), void *arg,
     struct err *e)
{
    _cleanup_free_ uint8_t *in = xmalloc(CHUNK);
    _cleanup_free_ uint8_t *out = xmalloc(CHUNK);
    uint64_t offset = 0;
    rs_buffers_t b = { 0 };
    for (rs_result r = RS_BLOCKED; r != RS_DONE;) {
        if (b.avail_in == 0 && !b.eof_in) {
            ssize_t got = file_pread_full(fd, in, CHUNK, offset, e);
            if (got < 0)
                return -1;
            offset += (uint64_t)got;
            b.next_in = (char *)in;
            b.avail_in = (size_t)got;
            b.eof_in = (size_t)got < CHUNK;
        }
        b.next_out = (char *)out;
        b.avail_out = CHUNK;
        r = rs_job_iter(job, &b);
        if (r != RS_DONE && r != RS_BLOCKED)
            return err_set(e, ERR_IO, "make a signature: %s", rs_strerror(r));
        struct span bytes = span_of(out, CHUNK - b.avail_out);
        if (bytes.len > 0 && give(arg, bytes, e) < 0)
            return -1;
    }
    return 0;
}

int
apply_signature(struct apply *apply, uint16_t store, struct span path,
                int (*give)(void *arg, struct span bytes, struct err *e), void *arg, struct err *e)
{
    if (store >= apply->root_count || !path_valid(path))
        return err_set(e, ERR_PROTOCOL, "signature of a path that cannot be in a store");
    struct apply_root *root = &apply->roots[store];
    _cleanup_close_ int fd = -1;
    struct stat st;
    int found = open_regular(root, path, &fd, &st, e);
    if (found <= 0)
        return found < 0 ? err_wrap(e, "store %s: signature", root->path) : 1;
    rs_magic_number magic = 0;
    size_t block_len = 0, strong_len = 0;
    rs_result r = rs_sig_args(st.st_size, &magic, &block_len, &strong_len);
    if (r != RS_DONE)
        return err_set(e, ERR_IO, "make a signature: %s", rs_strerror(r));
    rs_job_t *job = rs_sig_begin(block_len, strong_len, magic);
    ASSERT(job != NULL);
    struct err why = { 0 };
    int done = sign(job, fd, give, arg, &why);
    rs_job_free(job);
    if (done < 0 && file_disk_failed(&why)) { /* the whole of it is sent, and replaces this copy */
        event(EV_UNREADABLE, F_SPAN("path", path), F_ERR(&why));
        return 1;
    }
    if (done < 0) {
        if (e != NULL)
            *e = why;
        return err_wrap(e, "store %s: signature of %.*s", root->path, PATH_ARGS(path));
    }
    remember(apply, root, path, &st);
    return 0;
}

/* --- patching --- */

static rs_result
read_base(void *arg, rs_long_t pos, size_t *len, void **buf)
{
    struct apply_delta *delta = arg;
    ssize_t got = pos < 0 ? 0
                          : file_pread_full(delta->base_fd, *buf, *len, (uint64_t)pos, &delta->why);
    delta->failed = got < 0;
    *len = got < 0 ? 0 : (size_t)got;
    if (got < 0)
        return RS_IO_ERROR;
    return got == 0 ? RS_INPUT_ENDED : RS_DONE;
}

int
apply_delta_begin(struct apply *a, struct apply_op *op, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct stat st;
    int found = open_regular(op->root, op->record.path, &fd, &st, e);
    if (found <= 0)
        return found;
    if (!is_signed(a, op->root, op->record.path, &st))
        return 0;
    op->delta = xcalloc(1, sizeof(*op->delta));
    op->delta->job = rs_patch_begin(read_base, op->delta);
    ASSERT(op->delta->job != NULL);
    op->delta->base_fd = fd;
    op->delta->max = op->now.size;
    fd = -1;
    return 1;
}

void
apply_delta_free(struct apply_delta **delta)
{
    if (*delta == NULL)
        return;
    rs_job_free((*delta)->job);
    file_closep(&(*delta)->base_fd);
    free(*delta);
    *delta = NULL;
}

uint64_t
apply_delta_received(const struct apply_delta *delta)
{
    return delta->received;
}

uint64_t
apply_delta_size(const struct apply_delta *delta)
{
    return delta->made;
}

static int
write_out(struct apply_delta *delta, int out_fd, size_t len, struct err *e)
{
    struct span bytes = span_of(delta->out, len);
    if (!span_is_zero(bytes) && file_pwrite_full(out_fd, bytes, delta->made, e) < 0)
        return -1; /* zeros stay a hole; the file gets its size in the end */
    delta->made += len;
    return 0;
}

int
apply_delta_feed(struct apply_delta *delta, int out_fd, struct span bytes, bool last, struct err *e)
{
    delta->received += bytes.len;
    if (delta->complete)
        return bytes.len == 0;
    rs_buffers_t b = { .next_in = rs_in(bytes), .avail_in = bytes.len, .eof_in = last };
    for (;;) {
        b.next_out = (char *)delta->out;
        b.avail_out = CHUNK;
        rs_result r = rs_job_iter(delta->job, &b);
        if (write_out(delta, out_fd, CHUNK - b.avail_out, e) < 0)
            return -1;
        if (delta->failed) {
            if (e != NULL)
                *e = delta->why;
            return err_wrap(e, "read the base of a delta");
        }
        if (delta->made > delta->max) /* a few bytes can stand for a disk full */
            return 0;
        delta->complete = r == RS_DONE;
        if (delta->complete)
            return b.avail_in == 0;
        if (r != RS_BLOCKED)
            return 0;
        if (b.avail_out > 0 && b.avail_in == 0)
            return !last; /* it wants more */
    }
}
