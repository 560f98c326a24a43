#include "replicator/net/squeeze.h"

#include <zstd.h>

/* Pieces are small and the cache is cold: level 3 takes twice as long to save a tenth. */
#define LEVEL 1

struct squeeze {
    ZSTD_CCtx *ctx;
};

struct unsqueeze {
    ZSTD_DCtx *ctx;
    bool more; /* it may hold output that had no room */
};

struct squeeze *
squeeze_new(void)
{
    struct squeeze *squeeze = xcalloc(1, sizeof(*squeeze));
    squeeze->ctx = ZSTD_createCCtx();
    ASSERT(squeeze->ctx != NULL);
    ZSTD_CCtx_setParameter(squeeze->ctx, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(squeeze->ctx, ZSTD_c_windowLog, SQUEEZE_WINDOW_LOG);
    return squeeze;
}

void
squeeze_free(struct squeeze **squeeze)
{
    if (*squeeze != NULL)
        ZSTD_freeCCtx((*squeeze)->ctx);
    freep(squeeze);
}

void
squeeze_write(struct squeeze *squeeze, struct span plain, bool flush, struct buf *out)
{
    ZSTD_inBuffer in = { .src = plain.ptr, .size = plain.len };
    ZSTD_EndDirective how = flush ? ZSTD_e_flush : ZSTD_e_continue;
    size_t left;
    do {
        buf_reserve(out, ZSTD_CStreamOutSize());
        ZSTD_outBuffer to = { .dst = out->ptr + out->len, .size = out->cap - out->len };
        left = ZSTD_compressStream2(squeeze->ctx, &to, &in, how);
        ASSERT(!ZSTD_isError(left)); /* with memory at hand compressing cannot fail */
        out->len += to.pos;
    } while (in.pos < in.size || (flush && left > 0));
}

struct unsqueeze *
unsqueeze_new(void)
{
    struct unsqueeze *unsqueeze = xcalloc(1, sizeof(*unsqueeze));
    unsqueeze->ctx = ZSTD_createDCtx();
    ASSERT(unsqueeze->ctx != NULL);
    ZSTD_DCtx_setParameter(unsqueeze->ctx, ZSTD_d_windowLogMax, SQUEEZE_WINDOW_LOG);
    return unsqueeze;
}

void
unsqueeze_free(struct unsqueeze **unsqueeze)
{
    if (*unsqueeze != NULL)
        ZSTD_freeDCtx((*unsqueeze)->ctx);
    freep(unsqueeze);
}

ssize_t
unsqueeze_read(struct unsqueeze *unsqueeze, struct span *packed, void *ptr, size_t size,
               struct err *e)
{
    ZSTD_inBuffer in = { .src = packed->ptr, .size = packed->len };
    ZSTD_outBuffer out = { .dst = ptr, .size = size };
    size_t before;
    if (in.size == 0 && !unsqueeze->more)
        return 0; /* zstd takes calls without progress for an error */
    do {
        before = in.pos;
        size_t left = ZSTD_decompressStream(unsqueeze->ctx, &out, &in);
        if (ZSTD_isError(left))
            return err_set(e, ERR_PROTOCOL, "the compressed stream is damaged: %s",
                           ZSTD_getErrorName(left));
    } while (out.pos < out.size && in.pos < in.size && in.pos > before);
    unsqueeze->more = out.pos == out.size;
    *packed = span_from(*packed, in.pos, in.size - in.pos);
    return (ssize_t)out.pos;
}
