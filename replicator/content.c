#include "replicator/content.h"

#include "lib/base/crc.h"
#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/delta.h"
#include "replicator/look.h"

#include <unistd.h>

#define LOAD_TRIES  4
#define XATTRS_ROOM (FRAME_BODY_MAX / 2)

void
content_close(struct content *content)
{
    file_closep(&content->fd);
    attrs_xattrs_free(&content->xattrs);
    buf_free(&content->bytes);
}

static int
open_object(const struct node *node, const struct record *record, struct err *e)
{
    int root = node->stores[record->store].root_fd;
    bool readable = S_ISREG(record->attr.mode) || S_ISDIR(record->attr.mode);
    int flags = (readable ? O_RDONLY | O_NONBLOCK : O_PATH) | O_NOFOLLOW | O_CLOEXEC;
    if (record->handle.len > 0)
        return attrs_handle_open(root, record->handle, flags, e);
    return file_open_beneath(root, record->path, flags, 0, e);
}

static bool
says_gone(const struct err *e)
{
    return e->code == ERR_GONE || e->sys == ENOENT || e->sys == ESTALE || e->sys == ENOTDIR ||
           e->sys == ELOOP || e->sys == ENXIO;
}

/* Without a handle only the name leads to the object, and it may be another one's by now: a later
 * record says so. */
static bool
is_other(const struct record *record, const struct attr *now)
{
    if ((now->mode & S_IFMT) != (record->attr.mode & S_IFMT))
        return true;
    return record->handle.len == 0 && S_ISREG(now->mode) &&
           (now->size != record->attr.size || now->mtime_ns != record->attr.mtime_ns);
}

bool
content_may_be_replaced(const struct node *node, const struct record *record)
{
    const struct store_rules *rules = &node->stores[record->store].rules;
    return record->op == OP_PUT && rules->kind != STORE_QUEUE &&
           store_changes_in_place(rules, path_name(path_parent(record->path)), true);
}

bool
content_name_taken(const struct node *node, const struct record *record)
{
    _cleanup_close_ int there = file_open_beneath(node->stores[record->store].root_fd, record->path,
                                                  O_PATH | O_NOFOLLOW, 0, NULL);
    return there >= 0;
}

static void
set_gone(const struct node *node, const struct record *record, struct content *content)
{
    content->gone = true;
    content->replaced = content_may_be_replaced(node, record) && content_name_taken(node, record);
}

int
content_open(const struct node *node, const struct record *record, struct content *ret_content,
             struct err *e)
{
    *ret_content = (struct content){ .fd = -1 };
    struct err why = { 0 };
    ret_content->fd = open_object(node, record, &why);
    if (ret_content->fd < 0 && says_gone(&why)) {
        set_gone(node, record, ret_content);
        return 0;
    }
    if (ret_content->fd < 0) {
        if (e != NULL)
            *e = why;
        return -1;
    }
    struct stat st;
    if (fstat(ret_content->fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at what is to be shipped");
    ret_content->now = look_attr(&st);
    if (st.st_nlink == 0 || is_other(record, &ret_content->now))
        set_gone(node, record, ret_content);
    bool readable = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
    if (ret_content->gone || !readable)
        return 0;
    if (attrs_xattrs_read(ret_content->fd, &ret_content->xattrs, e) < 0)
        return -1;
    if (ret_content->xattrs.left_out > 0)
        event(EV_SKIPPED, F_STR("why", "it has too many extended attributes"),
              F_SPAN("path", record->path), F_U64("left_out", ret_content->xattrs.left_out));
    return 0;
}

static bool
attr_equal(const struct attr *a, const struct attr *b)
{
    return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->size == b->size &&
           a->mtime_ns == b->mtime_ns;
}

static int
load_once(struct content *content, struct err *e)
{
    buf_reset(&content->bytes);
    buf_reserve(&content->bytes, content->now.size + 1);
    ssize_t got = file_pread_full(content->fd, content->bytes.ptr, content->now.size + 1, 0, e);
    if (got < 0)
        return -1;
    content->bytes.len = (size_t)got;
    return 0;
}

int
content_load(struct content *content, size_t max, struct err *e)
{
    if (content->gone || !S_ISREG(content->now.mode) || content->now.size > max)
        return 0;
    for (int try = 0; try < LOAD_TRIES; try++) {
        if (load_once(content, e) < 0)
            return -1;
        struct stat st;
        if (fstat(content->fd, &st) < 0)
            return err_sys(e, ERR_IO, "look at what is being shipped");
        struct attr after = look_attr(&st);
        bool same = attr_equal(&after, &content->now);
        content->now = after;
        if (same && content->bytes.len == after.size) {
            content->loaded = true;
            return 0;
        }
    }
    return 0; /* written all the time: it is streamed, and its next record follows */
}

static void
rec_fill(struct wire_msg *msg, const struct record *record, enum wire_content kind,
         const struct attr *now)
{
    msg->type = WIRE_REC;
    msg->rec.record = *record;
    msg->rec.record.handle = (struct span){ 0 };
    msg->rec.content = (uint8_t)kind;
    msg->rec.now = *now;
    msg->rec.xattr_count = 0;
}

int
content_send_bare(struct link_io *io, const struct record *record, enum wire_content kind,
                  struct err *e)
{
    static _Thread_local struct wire_msg msg;
    rec_fill(&msg, record, kind, &record->attr);
    return link_io_send(io, &msg, e);
}

uint16_t
content_xattrs(const struct attrs_xattrs *xattrs, struct span path, struct wire_xattr *ret)
{
    uint16_t count = 0;
    size_t room = XATTRS_ROOM;
    for (size_t i = 0; i < xattrs->count && count < WIRE_XATTRS_MAX; i++) {
        const struct attrs_xattr *x = &xattrs->list[i];
        size_t size = x->name.len + x->value.len;
        if (size > room) {
            event(EV_SKIPPED, F_STR("why", "its extended attributes are too large"),
                  F_SPAN("path", path), F_SPAN("attribute", x->name));
            continue;
        }
        room -= size;
        ret[count++] = (struct wire_xattr){ .name = x->name, .value = x->value };
    }
    return count;
}

struct sending {
    struct link_io *io;
    uint32_t crc;
    uint64_t bytes;
};

static int
send_data(struct sending *s, uint64_t offset, struct span bytes, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    while (bytes.len > 0) {
        size_t len = MIN(bytes.len, (size_t)WIRE_DATA_MAX);
        struct span part = span_of(bytes.ptr, len);
        msg.type = WIRE_DATA;
        msg.data = (struct wire_data){ .offset = offset, .bytes = part };
        s->crc = crc32c_more(s->crc, part);
        if (link_io_send(s->io, &msg, e) < 0)
            return -1;
        offset += len;
        s->bytes += len;
        bytes = span_of(bytes.ptr + len, bytes.len - len);
    }
    return 0;
}

static int
send_end(struct sending *s, uint64_t size, bool ok, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    msg.type = WIRE_END;
    msg.end = (struct wire_end){ .size = size, .crc = s->crc, .ok = ok };
    return link_io_send(s->io, &msg, e);
}

/* From `offset` to the end of its data, or to the next hole. */
static int
send_extent(struct sending *s, int fd, uint64_t offset, uint64_t end, struct err *e)
{
    _cleanup_free_ uint8_t *chunk = xmalloc(WIRE_DATA_MAX);
    while (offset < end) {
        size_t want = (size_t)MIN(end - offset, (uint64_t)WIRE_DATA_MAX);
        ssize_t got = file_pread_full(fd, chunk, want, offset, e);
        if (got < 0)
            return -1;
        if (got == 0)
            return 0;
        if (send_data(s, offset, span_of(chunk, (size_t)got), e) < 0)
            return -1;
        offset += (uint64_t)got;
    }
    return 0;
}

static int
stream_file(struct sending *s, const struct content *content, struct err *e)
{
    uint64_t size = content->now.size;
    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(content->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break; /* nothing but a hole is left */
        uint64_t from = data < 0 ? at : (uint64_t)data;
        off_t hole = data < 0 ? -1 : lseek(content->fd, data, SEEK_HOLE);
        uint64_t to = hole < 0 ? size : MIN((uint64_t)hole, size);
        if (send_extent(s, content->fd, from, to, e) < 0)
            return -1;
        at = MAX(to, from + 1);
    }
    struct stat st;
    if (fstat(content->fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at what was shipped");
    /* Shorter than announced: what was sent is of no moment. The change that shortened it has its
     * own record. */
    return send_end(s, size, (uint64_t)st.st_size >= size, e);
}

static int
send_delta_piece(void *arg, struct span bytes, struct err *e)
{
    struct sending *s = arg;
    return send_data(s, s->bytes, bytes, e);
}

static int
send_delta(struct sending *s, const struct content *content, struct span signature, struct err *e)
{
    if (delta_make(signature, content->fd, send_delta_piece, s, e) < 0)
        return -1;
    return send_end(s, content->now.size, true, e);
}

static int
send_loaded(struct sending *s, const struct content *content, struct err *e)
{
    if (send_data(s, 0, buf_span(&content->bytes), e) < 0)
        return -1;
    return send_end(s, content->bytes.len, true, e);
}

static int
send_bytes(struct link_io *io, const struct record *record, struct content *content,
           struct span signature, uint64_t *ret_bytes, struct err *e)
{
    struct sending s = { .io = io };
    struct err why = { 0 };
    int rc = signature.len > 0 ? send_delta(&s, content, signature, &why)
             : content->loaded ? send_loaded(&s, content, &why)
                               : stream_file(&s, content, &why);
    *ret_bytes += s.bytes;
    content->torn = rc < 0 && file_disk_failed(&why);
    if (content->torn) {
        event(EV_UNREADABLE, F_SPAN("path", record->path), F_ERR(&why));
        return send_end(&s, content->now.size, false, e);
    }
    if (rc < 0 && e != NULL)
        *e = why;
    return rc;
}

int
content_send(struct link_io *io, const struct record *record, struct content *content,
             struct span signature, uint64_t *ret_bytes, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    bool has_bytes = (record_op_flags(record->op) & OP_F_CONTENT) != 0;
    if (content->gone) {
        bool is_dir = record->op == OP_MKDIR; /* what came into it has records of its own */
        return content_send_bare(io, record, is_dir ? WIRE_CONTENT_NONE : WIRE_CONTENT_GONE, e);
    }
    enum wire_content kind = !has_bytes          ? WIRE_CONTENT_NONE
                             : signature.len > 0 ? WIRE_CONTENT_DELTA
                                                 : WIRE_CONTENT_DATA;
    rec_fill(&msg, record, kind, &content->now);
    msg.rec.xattr_count = content_xattrs(&content->xattrs, record->path, msg.rec.xattrs);
    if (link_io_send(io, &msg, e) < 0)
        return -1;
    return has_bytes ? send_bytes(io, record, content, signature, ret_bytes, e) : 0;
}
