#include "replicator/delta.h"

#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>

#include <librsync.h>

#define STEP (256 * 1024)

struct delta {
    rs_signature_t *sumset;
    uint8_t *in, *out;
};

static void
delta_free(struct delta *d)
{
    if (d->sumset != NULL)
        rs_free_sumset(d->sumset);
    free(d->in);
    free(d->out);
}

static int
failed(struct err *e, rs_result rc, const char *doing)
{
    return err_set(e, ERR_IO, "%s: %s", doing, rs_strerror(rc));
}

static int
load_signature(struct delta *d, struct span signature, struct err *e)
{
    rs_job_t *job = rs_loadsig_begin(&d->sumset);
    union {
        const uint8_t *in;
        char *out;
    } ptr = { .in = signature.ptr };
    rs_buffers_t io = { .next_in = ptr.out, .avail_in = signature.len, .eof_in = 1 };
    rs_result rc = rs_job_iter(job, &io);
    rs_job_free(job);
    if (rc != RS_DONE)
        return failed(e, rc, "read the peer's signature");
    rc = rs_build_hash_table(d->sumset);
    return rc == RS_DONE ? 0 : failed(e, rc, "index the peer's signature");
}

/* What librsync has not taken yet moves to the front; the rest is filled from the file. */
static int
refill(struct delta *d, rs_buffers_t *io, int fd, uint64_t *offset, struct err *e)
{
    if (io->avail_in > 0)
        memmove(d->in, io->next_in, io->avail_in);
    ssize_t got = 0;
    if (!io->eof_in) {
        got = file_pread_full(fd, d->in + io->avail_in, STEP - io->avail_in, *offset, e);
        if (got < 0)
            return -1;
        io->eof_in = got == 0;
    }
    *offset += (uint64_t)got;
    io->next_in = (char *)d->in;
    io->avail_in += (size_t)got;
    return 0;
}

static int
run(struct delta *d, rs_job_t *job, int fd,
    int (*give)(void *arg, struct span bytes, struct err *e), void *arg, struct err *e)
{
    rs_buffers_t io = { .next_in = (char *)d->in };
    uint64_t offset = 0;
    for (;;) {
        if (refill(d, &io, fd, &offset, e) < 0)
            return -1;
        io.next_out = (char *)d->out;
        io.avail_out = STEP;
        rs_result rc = rs_job_iter(job, &io);
        if (rc != RS_DONE && rc != RS_BLOCKED)
            return failed(e, rc, "compute a delta");
        if (give(arg, span_of(d->out, STEP - io.avail_out), e) < 0)
            return -1;
        if (rc == RS_DONE)
            return 0;
    }
}

int
delta_make(struct span signature, int fd, int (*give)(void *arg, struct span bytes, struct err *e),
           void *arg, struct err *e)
{
    _cleanup_(delta_free) struct delta d = { .in = xmalloc(STEP), .out = xmalloc(STEP) };
    if (load_signature(&d, signature, e) < 0)
        return -1;
    rs_job_t *job = rs_delta_begin(d.sumset);
    int rc = run(&d, job, fd, give, arg, e);
    rs_job_free(job);
    return rc;
}
