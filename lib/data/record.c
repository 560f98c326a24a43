#include "lib/data/record.h"

#include "lib/base/crc.h"
#include "lib/base/path.h"

#include <sys/stat.h>

#define RECORD_CRC_SIZE  4
#define RECORD_FLAG_LATE 1

static const struct {
    const char *word;
    unsigned flags;
} ops[] = {
#define OP(name, number, word, flags) [number] = { word, flags },
#include "lib/data/ops.def"
#undef OP
};

static bool
op_known(enum record_op op)
{
    return (size_t)op < ARRAY_LEN(ops) && ops[op].word != NULL;
}

const char *
record_op_word(enum record_op op)
{
    return op_known(op) ? ops[op].word : "?";
}

unsigned
record_op_flags(enum record_op op)
{
    return op_known(op) ? ops[op].flags : 0;
}

void
attr_encode(const struct attr *attr, struct buf *out)
{
    buf_add_le32(out, attr->mode);
    buf_add_le32(out, attr->uid);
    buf_add_le32(out, attr->gid);
    buf_add_le64(out, attr->size);
    buf_add_le64(out, (uint64_t)attr->mtime_ns);
}

struct attr
attr_decode(struct reader *in)
{
    struct attr attr = { 0 };
    attr.mode = reader_le32(in);
    attr.uid = reader_le32(in);
    attr.gid = reader_le32(in);
    attr.size = reader_le64(in);
    attr.mtime_ns = (int64_t)reader_le64(in);
    return attr;
}

bool
attr_valid(const struct attr *attr)
{
    if ((attr->mode & ~(uint32_t)(S_IFMT | 07777)) != 0)
        return false;
    switch (attr->mode & S_IFMT) {
    case 0:
    case S_IFDIR:
    case S_IFREG:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
        return true;
    default:
        return false;
    }
}

/* Type 0 fits everything but MKNOD, which could not be carried out without it. */
static bool
type_fits(enum record_op op, uint32_t type)
{
    switch (op) {
    case OP_MKNOD:
        return type == S_IFIFO || type == S_IFSOCK;
    case OP_MKDIR:
    case OP_RMTREE:
        return type == 0 || type == S_IFDIR;
    case OP_PUT:
        return type == 0 || type == S_IFREG;
    case OP_SYMLINK:
        return type == 0 || type == S_IFLNK;
    case OP_LINK:
    case OP_UNLINK:
        return type != S_IFDIR;
    default: /* EPOCH, META, RENAME: of anything */
        return true;
    }
}

static int
bad(struct err *e, const struct record *r, const char *what)
{
    return err_set(e, ERR_CORRUPT, "record %llu (%s): %s", (unsigned long long)r->seq,
                   record_op_word(r->op), what);
}

static int
check_other(const struct record *r, struct err *e)
{
    if ((record_op_flags(r->op) & OP_F_TWO) == 0)
        return r->other.len == 0 ? 0 : bad(e, r, "has a second path");
    if (r->other.len == 0)
        return bad(e, r, "the second path is missing");
    if (r->op != OP_SYMLINK)
        return path_valid(r->other) ? 0 : bad(e, r, "the second path is not a store path");
    if (r->other.len > RECORD_TARGET_MAX || memchr(r->other.ptr, '\0', r->other.len) != NULL)
        return bad(e, r, "the target is too long or has a NUL in it");
    return 0;
}

static bool
attr_empty(const struct attr *attr)
{
    return attr->mode == 0 && attr->uid == 0 && attr->gid == 0 && attr->size == 0 &&
           attr->mtime_ns == 0;
}

static int
check_epoch(const struct record *r, struct err *e)
{
    bool placed = r->store != 0 || r->path.len > 0 || r->handle.len > 0;
    if (placed || r->late || !attr_empty(&r->attr))
        return bad(e, r, "has a store, a path or attributes");
    return check_other(r, e);
}

int
record_check(const struct record *r, struct err *e)
{
    if (!op_known(r->op))
        return err_set(e, ERR_CORRUPT, "record %llu: operation %d is not known",
                       (unsigned long long)r->seq, (int)r->op);
    if (r->op == OP_EPOCH)
        return check_epoch(r, e);
    if (r->store >= RECORD_STORE_MAX)
        return bad(e, r, "the store's number is too large");
    if (!path_valid(r->path))
        return bad(e, r, "the path is not a store path");
    if (r->path.len == 0 && r->op != OP_META) /* a store's root can only be given a new owner */
        return bad(e, r, "the path is the store's root");
    if (r->handle.len > RECORD_HANDLE_MAX)
        return bad(e, r, "the handle is too long");
    if (!attr_valid(&r->attr) || !type_fits(r->op, r->attr.mode & S_IFMT))
        return bad(e, r, "the mode does not fit the operation");
    return check_other(r, e);
}

static uint32_t
record_magic(enum record_op op)
{
    return (record_op_flags(op) & OP_F_DESTROY) != 0 ? RECORD_DESTROY_MAGIC : 0;
}

void
record_encode(const struct record *r, struct buf *out)
{
    struct err e;
    if (record_check(r, &e) < 0)
        assert_failed(e.text, __FILE__, __LINE__);
    size_t start = out->len;
    buf_add_u8(out, RECORD_VERSION);
    buf_add_u8(out, (uint8_t)r->op);
    buf_add_u8(out, r->late ? RECORD_FLAG_LATE : 0);
    buf_add_u8(out, 0);
    buf_add_le32(out, record_magic(r->op));
    buf_add_le64(out, r->seq);
    buf_add_le64(out, r->epoch);
    buf_add_le64(out, r->time_ns);
    buf_add_le16(out, r->store);
    attr_encode(&r->attr, out);
    buf_add_span16(out, r->path);
    buf_add_span16(out, r->other);
    buf_add_u8(out, (uint8_t)r->handle.len);
    buf_add(out, r->handle.ptr, r->handle.len);
    buf_add_le32(out, crc32c(span_from(buf_span(out), start, out->len - start)));
}

/* The fixed bytes in front: what they must be follows from the operation. */
static int
read_head(struct reader *in, struct record *ret_record, struct err *e)
{
    uint8_t version = reader_u8(in);
    if (version != RECORD_VERSION)
        return err_set(e, ERR_CORRUPT, "record of version %u, this program reads version %d",
                       (unsigned)version, RECORD_VERSION);
    ret_record->op = (enum record_op)reader_u8(in);
    uint8_t flags = reader_u8(in);
    uint8_t spare = reader_u8(in);
    uint32_t magic = reader_le32(in);
    ret_record->seq = reader_le64(in);
    ret_record->late = (flags & RECORD_FLAG_LATE) != 0;
    if ((flags & ~RECORD_FLAG_LATE) != 0 || spare != 0)
        return bad(e, ret_record, "flags that are not known");
    if (magic != record_magic(ret_record->op))
        return bad(e, ret_record, "the magic of the operation is wrong");
    return 0;
}

static void
read_rest(struct reader *in, struct record *ret_record)
{
    ret_record->epoch = reader_le64(in);
    ret_record->time_ns = reader_le64(in);
    ret_record->store = reader_le16(in);
    ret_record->attr = attr_decode(in);
    ret_record->path = reader_span16(in);
    ret_record->other = reader_span16(in);
    ret_record->handle = reader_bytes(in, reader_u8(in));
}

int
record_decode(struct span in, struct record *ret_record, struct err *e)
{
    if (in.len < RECORD_CRC_SIZE)
        return err_set(e, ERR_CORRUPT, "record of %zu bytes", in.len);
    struct span body = span_from(in, 0, in.len - RECORD_CRC_SIZE);
    if (crc32c(body) != get_le32(body.ptr + body.len))
        return err_set(e, ERR_CORRUPT, "record checksum mismatch");
    struct reader reader = reader_of(body);
    struct record record = { 0 };
    if (read_head(&reader, &record, e) < 0)
        return -1;
    read_rest(&reader, &record);
    if (!reader_done(&reader))
        return bad(e, &record, "its lengths do not add up");
    if (record_check(&record, e) < 0)
        return -1;
    *ret_record = record;
    return 0;
}
