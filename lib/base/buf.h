/* buf.h - a growing byte buffer to write formats, and a bounded reader to read them.
 *
 * The reader's failure is sticky: read all fields, then ask reader_ok() once. */
#ifndef MAILTWIN_BUF_H
#define MAILTWIN_BUF_H

#include "lib/base/bytes.h"

struct buf {
    uint8_t *ptr; /* owned */
    size_t len;
    size_t cap;
};

void buf_free(struct buf *b); /* leaves an empty buffer behind */
#define _cleanup_buf_ _cleanup_(buf_free)
void buf_reset(struct buf *b);                /* empties it and keeps the memory */
void buf_reserve(struct buf *b, size_t more); /* room for more bytes behind len */
void buf_add(struct buf *b, const void *ptr, size_t len);
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_le16(struct buf *b, uint16_t v);
void buf_add_le32(struct buf *b, uint32_t v);
void buf_add_le64(struct buf *b, uint64_t v);
void buf_add_span16(struct buf *b, struct span s); /* a 16-bit length, then the bytes */
void buf_add_span32(struct buf *b, struct span s); /* a 32-bit length, then the bytes */
/* Drops the first len bytes. */
void buf_consume(struct buf *b, size_t len);

static inline struct span
buf_span(const struct buf *b)
{
    return span_of(b->ptr, b->len);
}

struct reader {
    struct span rest;
    bool failed;
};

static inline struct reader
reader_of(struct span s)
{
    return (struct reader){ .rest = s };
}

uint8_t reader_u8(struct reader *r);
uint16_t reader_le16(struct reader *r);
uint32_t reader_le32(struct reader *r);
uint64_t reader_le64(struct reader *r);
struct span reader_bytes(struct reader *r, size_t len);
struct span reader_span16(struct reader *r); /* what buf_add_span16() wrote */
struct span reader_span32(struct reader *r);

/* True when nothing was read beyond the end. */
static inline bool
reader_ok(const struct reader *r)
{
    return !r->failed;
}

/* True when all was read and nothing is left over. */
static inline bool
reader_done(const struct reader *r)
{
    return !r->failed && r->rest.len == 0;
}

#endif
