/* A run of operations and its receipt: REC, DATA, END, COMMIT, ACK; and TAIL. */
#include "lib/data/wire_codec.h"

#include <stdlib.h>

static int
xattr_compare(const void *a, const void *b)
{
    const struct wire_xattr *const *left = a;
    const struct wire_xattr *const *right = b;
    return span_compare((*left)->name, (*right)->name);
}

void
wire_put_xattrs(const struct wire_xattr *list, uint16_t count, struct buf *out)
{
    const struct wire_xattr *sorted[WIRE_XATTRS_MAX];
    for (size_t i = 0; i < count; i++)
        sorted[i] = &list[i];
    qsort(sorted, count, sizeof(sorted[0]), xattr_compare);
    buf_add_le16(out, count);
    for (size_t i = 0; i < count; i++) {
        ASSERT(i == 0 || span_compare(sorted[i - 1]->name, sorted[i]->name) < 0);
        wire_put_span8(out, sorted[i]->name);
        buf_add_span32(out, sorted[i]->value);
    }
}

uint16_t
wire_get_xattrs(struct wire_in *in, struct wire_xattr *list)
{
    uint16_t told = reader_le16(&in->r);
    size_t count = MIN(told, WIRE_XATTRS_MAX);
    bool rising = true;
    for (size_t i = 0; i < count; i++) {
        list[i].name = wire_get_span8(&in->r);
        list[i].value = reader_span32(&in->r);
        if (i > 0)
            rising &= span_compare(list[i - 1].name, list[i].name) < 0;
    }
    if (reader_ok(&in->r) && !rising) {
        in->bad = true;
        (void)err_set(in->e, ERR_PROTOCOL, "the xattrs are not in the order of their names");
    }
    return told;
}

int
wire_check_xattrs(const struct wire_xattr *list, uint16_t count, struct err *e)
{
    if (wire_check_range(count, 0, WIRE_XATTRS_MAX, "the number of xattrs", e) < 0)
        return -1;
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        struct span name = list[i].name;
        if (name.len == 0 || name.len > WIRE_XATTR_NAME_MAX || memchr(name.ptr, 0, name.len))
            return err_set(e, ERR_PROTOCOL, "the name of xattr %zu is malformed", i);
        if (wire_check_range(list[i].value.len, 0, WIRE_XATTR_VALUE_MAX, "an xattr's size", e) < 0)
            return -1;
        sum += name.len + list[i].value.len;
    }
    return wire_check_range(sum, 0, WIRE_BULK_MAX, "the size of all xattrs", e);
}

static void
rec_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_rec *rec = &msg->rec;
    size_t mark = out->len;
    buf_add_le16(out, 0);
    record_encode(&rec->record, out);
    size_t len = out->len - mark - 2;
    put_le16(out->ptr + mark, (uint16_t)len);
    buf_add_u8(out, rec->content);
    attr_encode(&rec->now, out);
    wire_put_xattrs(rec->xattrs, rec->xattr_count, out);
}

static void
rec_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_rec *rec = &msg->rec;
    struct span record = reader_span16(&in->r);
    rec->content = reader_u8(&in->r);
    rec->now = attr_decode(&in->r);
    rec->xattr_count = wire_get_xattrs(in, rec->xattrs);
    if (reader_ok(&in->r) && record_decode(record, &rec->record, in->e) < 0)
        in->bad = true;
}

static bool
content_fits(enum record_op op, enum wire_content content)
{
    if (content == WIRE_CONTENT_GONE)
        return op != OP_EPOCH;
    bool ships = (record_op_flags(op) & OP_F_CONTENT) != 0;
    return ships == (content != WIRE_CONTENT_NONE);
}

static int
check_content(const struct wire_rec *rec, struct err *e)
{
    enum record_op op = rec->record.op;
    if (wire_check_range(rec->content, WIRE_CONTENT_NONE, WIRE_CONTENT_GONE, "content", e) < 0)
        return -1;
    if (content_fits(op, (enum wire_content)rec->content))
        return 0;
    return err_set(e, ERR_PROTOCOL, "content %u does not fit %s", (unsigned)rec->content,
                   record_op_word(op));
}

/* What is shipped must fit the operation as what was captured does. */
static int
check_now(const struct wire_rec *rec, struct err *e)
{
    if (rec->content == WIRE_CONTENT_GONE)
        return wire_check_attr(&rec->now, "now", e);
    struct record shipped = rec->record;
    shipped.attr = rec->now;
    return record_check(&shipped, e) < 0 ? err_wrap(e, "now") : 0;
}

static int
rec_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_rec *rec = &msg->rec;
    if (record_check(&rec->record, e) < 0)
        return -1;
    if (rec->record.handle.len > 0)
        return err_set(e, ERR_PROTOCOL, "the record has a handle");
    if (check_content(rec, e) < 0)
        return -1;
    if (check_now(rec, e) < 0)
        return -1;
    return wire_check_xattrs(rec->xattrs, rec->xattr_count, e);
}

const struct wire_codec wire_rec_codec = { rec_put, rec_get, rec_check };

static void
data_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->data.offset);
    buf_add(out, msg->data.bytes.ptr, msg->data.bytes.len);
}

static void
data_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->data.offset = reader_le64(&in->r);
    msg->data.bytes = wire_get_rest(&in->r);
}

static int
data_check(const struct wire_msg *msg, struct err *e)
{
    uint64_t len = msg->data.bytes.len;
    if (wire_check_range(len, 0, WIRE_DATA_MAX, "the number of bytes", e) < 0)
        return -1;
    return wire_check_range(msg->data.offset, 0, INT64_MAX - len, "offset", e);
}

const struct wire_codec wire_data_codec = { data_put, data_get, data_check };

static void
end_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->end.size);
    buf_add_le32(out, msg->end.crc);
    buf_add_u8(out, msg->end.ok);
}

static void
end_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->end.size = reader_le64(&in->r);
    msg->end.crc = reader_le32(&in->r);
    msg->end.ok = reader_u8(&in->r);
}

static int
end_check(const struct wire_msg *msg, struct err *e)
{
    if (wire_check_range(msg->end.size, 0, INT64_MAX, "size", e) < 0)
        return -1;
    return wire_check_range(msg->end.ok, 0, 1, "ok", e);
}

const struct wire_codec wire_end_codec = { end_put, end_get, end_check };

static void
commit_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->commit.run);
    buf_add_le64(out, msg->commit.seq);
    buf_add_le64(out, msg->commit.time_ns);
    buf_add_le64(out, msg->commit.tail);
}

static void
commit_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->commit.run = reader_le64(&in->r);
    msg->commit.seq = reader_le64(&in->r);
    msg->commit.time_ns = reader_le64(&in->r);
    msg->commit.tail = reader_le64(&in->r);
}

const struct wire_codec wire_commit_codec = { commit_put, commit_get, NULL };

static void
tail_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->tail.seq);
    buf_add_le64(out, msg->tail.time_ns);
}

static void
tail_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->tail.seq = reader_le64(&in->r);
    msg->tail.time_ns = reader_le64(&in->r);
}

const struct wire_codec wire_tail_codec = { tail_put, tail_get, NULL };

static void
ack_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->ack.run);
    buf_add_le64(out, msg->ack.received_seq);
    buf_add_le64(out, msg->ack.durable_seq);
}

static void
ack_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->ack.run = reader_le64(&in->r);
    msg->ack.received_seq = reader_le64(&in->r);
    msg->ack.durable_seq = reader_le64(&in->r);
}

const struct wire_codec wire_ack_codec = { ack_put, ack_get, NULL };
