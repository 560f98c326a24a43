#include "replicator/reclist.h"

void
reclist_free(struct reclist *l)
{
    buf_free(&l->bytes);
    buf_free(&l->starts);
}

void
reclist_clear(struct reclist *l)
{
    buf_reset(&l->bytes);
    buf_reset(&l->starts);
}

void
reclist_add(struct reclist *l, const struct record *r)
{
    buf_add_le64(&l->starts, l->bytes.len);
    size_t start = l->bytes.len;
    buf_add_le32(&l->bytes, 0);
    record_encode(r, &l->bytes);
    put_le32(l->bytes.ptr + start, (uint32_t)(l->bytes.len - start - 4));
}

size_t
reclist_count(const struct reclist *l)
{
    return l->starts.len / 8;
}

void
reclist_get(const struct reclist *l, size_t index, struct record *ret_record)
{
    ASSERT(index < reclist_count(l));
    uint64_t start = get_le64(l->starts.ptr + index * 8);
    uint32_t len = get_le32(l->bytes.ptr + start);
    int rc = record_decode(span_from(buf_span(&l->bytes), (size_t)start + 4, len), ret_record,
                           NULL);
    ASSERT(rc == 0);
}
