/* bytes.h - spans of bytes and little-endian numbers at unaligned places. */
#ifndef MAILTWIN_BYTES_H
#define MAILTWIN_BYTES_H

#include "lib/base/base.h"

#include <string.h>

/* Bytes that belong to somebody else and outlive the use. */
struct span {
    const uint8_t *ptr;
    size_t len;
};

static inline struct span
span_of(const void *ptr, size_t len)
{
    return (struct span){ .ptr = ptr, .len = len };
}

static inline struct span
span_str(const char *text)
{
    return span_of(text, strlen(text));
}

static inline struct span
span_from(struct span s, size_t offset, size_t len)
{
    ASSERT(offset <= s.len && len <= s.len - offset);
    return offset == 0 ? span_of(s.ptr, len)
                       : span_of(s.ptr + offset, len); /* NULL has no offsets */
}

static inline bool
span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool
span_is_zero(struct span s)
{
    return s.len == 0 || (s.ptr[0] == 0 && memcmp(s.ptr, s.ptr + 1, s.len - 1) == 0);
}

/* The order of names everywhere: as bytes, a prefix before what is longer. */
static inline int
span_compare(struct span a, struct span b)
{
    size_t len = MIN(a.len, b.len);
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline uint16_t
get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t
get_le64(const uint8_t *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

static inline void
put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void
put_le32(uint8_t *p, uint32_t v)
{
    put_le16(p, (uint16_t)v);
    put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void
put_le64(uint8_t *p, uint64_t v)
{
    put_le32(p, (uint32_t)v);
    put_le32(p + 4, (uint32_t)(v >> 32));
}

/* Big-endian, where byte order must be number order (database keys). */
static inline uint64_t
get_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static inline void
put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

#endif
