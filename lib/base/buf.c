#include "lib/base/buf.h"

#include <stdlib.h>

void
buf_free(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){ 0 };
}

void
buf_reset(struct buf *b)
{
    b->len = 0;
}

void
buf_reserve(struct buf *b, size_t more)
{
    ASSERT(more <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
    if (b->cap - b->len >= more)
        return;
    size_t cap = MAX(b->cap * 2, (size_t)256);
    b->cap = MAX(cap, b->len + more);
    b->ptr = xrealloc(b->ptr, b->cap);
}

void
buf_add(struct buf *b, const void *ptr, size_t len)
{
    if (len == 0)
        return;
    buf_reserve(b, len);
    memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
}

void
buf_add_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, 1);
}

void
buf_add_le16(struct buf *b, uint16_t v)
{
    uint8_t raw[2];
    put_le16(raw, v);
    buf_add(b, raw, sizeof(raw));
}

void
buf_add_le32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    put_le32(raw, v);
    buf_add(b, raw, sizeof(raw));
}

void
buf_add_le64(struct buf *b, uint64_t v)
{
    uint8_t raw[8];
    put_le64(raw, v);
    buf_add(b, raw, sizeof(raw));
}

void
buf_add_span16(struct buf *b, struct span s)
{
    ASSERT(s.len <= UINT16_MAX);
    buf_add_le16(b, (uint16_t)s.len);
    buf_add(b, s.ptr, s.len);
}

void
buf_add_span32(struct buf *b, struct span s)
{
    ASSERT(s.len <= UINT32_MAX);
    buf_add_le32(b, (uint32_t)s.len);
    buf_add(b, s.ptr, s.len);
}

void
buf_consume(struct buf *b, size_t len)
{
    ASSERT(len <= b->len);
    b->len -= len;
    if (b->len > 0 && len > 0)
        memmove(b->ptr, b->ptr + len, b->len);
}

struct span
reader_bytes(struct reader *r, size_t len)
{
    if (r->failed || r->rest.len < len) {
        r->failed = true;
        return (struct span){ 0 };
    }
    struct span got = span_of(r->rest.ptr, len);
    r->rest = span_of(r->rest.ptr + len, r->rest.len - len);
    return got;
}

uint8_t
reader_u8(struct reader *r)
{
    struct span s = reader_bytes(r, 1);
    return r->failed ? 0 : s.ptr[0];
}

uint16_t
reader_le16(struct reader *r)
{
    struct span s = reader_bytes(r, 2);
    return r->failed ? 0 : get_le16(s.ptr);
}

uint32_t
reader_le32(struct reader *r)
{
    struct span s = reader_bytes(r, 4);
    return r->failed ? 0 : get_le32(s.ptr);
}

uint64_t
reader_le64(struct reader *r)
{
    struct span s = reader_bytes(r, 8);
    return r->failed ? 0 : get_le64(s.ptr);
}

struct span
reader_span16(struct reader *r)
{
    return reader_bytes(r, reader_le16(r));
}

struct span
reader_span32(struct reader *r)
{
    return reader_bytes(r, reader_le32(r));
}
