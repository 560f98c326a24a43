/* What a node that is not the primary hands over to it, or tells it: GIVE, GIVEN, FOUND,
 * FOUND_IN, BARRIER, REACHED. */
#include "lib/base/path.h"
#include "lib/data/wire_codec.h"

#include <sys/stat.h>

static bool
has_since(const struct wire_give *give)
{
    return give->kind == WIRE_GIVE_DIR && give->mode == WIRE_GIVE_REMOVE;
}

static void
give_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_give *give = &msg->give;
    buf_add_le64(out, give->id);
    buf_add_le16(out, give->store);
    buf_add_u8(out, give->kind);
    buf_add_u8(out, give->mode);
    attr_encode(&give->attr, out);
    buf_add_span16(out, give->path);
    wire_put_span8(out, give->guid);
    buf_add_le16(out, give->keyword_count);
    for (size_t i = 0; i < give->keyword_count; i++) {
        buf_add_u8(out, give->keywords[i].letter);
        wire_put_span8(out, give->keywords[i].name);
    }
    if (give->kind == WIRE_GIVE_FILE)
        wire_put_xattrs(give->xattrs, give->xattr_count, out);
    if (give->mode == WIRE_GIVE_MOVE)
        buf_add_span16(out, give->from);
    if (has_since(give))
        buf_add_le64(out, give->since);
}

static void
give_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_give *give = &msg->give;
    give->id = reader_le64(&in->r);
    give->store = reader_le16(&in->r);
    give->kind = reader_u8(&in->r);
    give->mode = reader_u8(&in->r);
    give->attr = attr_decode(&in->r);
    give->path = reader_span16(&in->r);
    give->guid = wire_get_span8(&in->r);
    give->keyword_count = reader_le16(&in->r);
    size_t count = MIN(give->keyword_count, WIRE_KEYWORDS_MAX);
    for (size_t i = 0; i < count; i++) {
        give->keywords[i].letter = reader_u8(&in->r);
        give->keywords[i].name = wire_get_span8(&in->r);
    }
    give->xattr_count = 0;
    if (give->kind == WIRE_GIVE_FILE)
        give->xattr_count = wire_get_xattrs(in, give->xattrs);
    give->from = give->mode == WIRE_GIVE_MOVE ? reader_span16(&in->r) : (struct span){ 0 };
    give->since = has_since(give) ? reader_le64(&in->r) : 0;
}

static bool
is_keyword_name(struct span name)
{
    bool good = name.len >= 1 && name.len <= WIRE_KEYWORD_SIZE;
    for (size_t i = 0; good && i < name.len; i++)
        good = name.ptr[i] > 0x20 && name.ptr[i] != 0x7f;
    return good;
}

static int
check_keywords(const struct wire_give *give, struct err *e)
{
    if (wire_check_range(give->keyword_count, 0, WIRE_KEYWORDS_MAX, "the number of keywords", e) <
        0)
        return -1;
    for (size_t i = 0; i < give->keyword_count; i++) {
        const struct wire_keyword *k = &give->keywords[i];
        bool letter = k->letter == 0 || (k->letter >= 'a' && k->letter <= 'z');
        if (!letter || !is_keyword_name(k->name))
            return err_set(e, ERR_PROTOCOL, "keyword %zu is malformed", i);
        const struct wire_keyword *before = i > 0 ? &give->keywords[i - 1] : NULL;
        if (before != NULL && k->letter <= before->letter && k->letter + before->letter > 0)
            return err_set(e, ERR_PROTOCOL, "the keywords are not in the order of their letters");
    }
    return 0;
}

static int
check_guid(struct span guid, struct err *e)
{
    static const char digits[] = "0123456789abcdef";
    bool good = guid.len == 0 || guid.len == WIRE_GUID_SIZE;
    for (size_t i = 0; good && i < guid.len; i++)
        good = memchr(digits, guid.ptr[i], sizeof(digits) - 1) != NULL;
    return good ? 0 : err_set(e, ERR_PROTOCOL, "guid is not 32 hex digits");
}

static bool
mode_fits(enum wire_give_kind kind, enum wire_give_mode mode)
{
    switch (kind) {
    case WIRE_GIVE_MESSAGE:
        return true;
    case WIRE_GIVE_FILE:
        return mode != WIRE_GIVE_DELIVER && mode != WIRE_GIVE_FLAGS;
    case WIRE_GIVE_DIR:
        return mode == WIRE_GIVE_PUT || mode == WIRE_GIVE_REMOVE || mode == WIRE_GIVE_MOVE;
    }
    return false;
}

static int
check_kind(const struct wire_give *give, struct err *e)
{
    if (wire_check_range(give->kind, WIRE_GIVE_MESSAGE, WIRE_GIVE_DIR, "kind", e) < 0 ||
        wire_check_range(give->mode, WIRE_GIVE_DELIVER, WIRE_GIVE_MOVE, "mode", e) < 0)
        return -1;
    if (!mode_fits((enum wire_give_kind)give->kind, (enum wire_give_mode)give->mode))
        return err_set(e, ERR_PROTOCOL, "mode %u does not fit kind %u", give->mode, give->kind);
    uint32_t type = give->kind == WIRE_GIVE_DIR ? S_IFDIR : S_IFREG;
    if ((give->attr.mode & S_IFMT) != type || wire_check_attr(&give->attr, "attr", e) < 0)
        return err_set(e, ERR_PROTOCOL, "attr is not that of a %s",
                       type == S_IFDIR ? "directory" : "file");
    return wire_check_range(give->attr.size, 0, INT64_MAX, "size", e);
}

/* What is moved below itself, or over what it lies in, is nowhere. */
static int
check_from(const struct wire_give *give, struct err *e)
{
    if (give->mode != WIRE_GIVE_MOVE)
        return 0;
    if (give->from.len == 0)
        return err_set(e, ERR_PROTOCOL, "from is the store's root");
    if (wire_check_place(give->store, give->from, e) < 0)
        return -1;
    if (path_is_below(give->path, give->from) || path_is_below(give->from, give->path))
        return err_set(e, ERR_PROTOCOL, "from and path lie within each other");
    return 0;
}

/* Of a directory it tells which one is meant. */
static int
check_belongings(const struct wire_give *give, struct err *e)
{
    bool message = give->kind == WIRE_GIVE_MESSAGE;
    bool folder = give->kind == WIRE_GIVE_DIR && give->mode == WIRE_GIVE_MOVE;
    if ((give->keyword_count > 0 && !message) || (give->guid.len > 0 && !message && !folder))
        return err_set(e, ERR_PROTOCOL, "keywords or guid with what is no message");
    if (wire_check_range(give->since, 0, INT64_MAX, "since", e) < 0)
        return -1;
    if (give->xattr_count > 0 && (give->mode == WIRE_GIVE_REMOVE || give->mode == WIRE_GIVE_MOVE))
        return err_set(e, ERR_PROTOCOL, "xattrs with what is to be %s",
                       give->mode == WIRE_GIVE_MOVE ? "moved" : "removed");
    return 0;
}

static int
give_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_give *give = &msg->give;
    if (give->path.len == 0)
        return err_set(e, ERR_PROTOCOL, "path is the store's root");
    if (wire_check_place(give->store, give->path, e) < 0 || check_kind(give, e) < 0 ||
        check_guid(give->guid, e) < 0 || check_from(give, e) < 0 || check_belongings(give, e) < 0)
        return -1;
    if (wire_check_xattrs(give->xattrs, give->xattr_count, e) < 0)
        return -1;
    return check_keywords(give, e);
}

const struct wire_codec wire_give_codec = { give_put, give_get, give_check };

static void
given_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->given.id);
    buf_add_u8(out, msg->given.result);
    buf_add_span16(out, msg->given.path);
    wire_put_text(out, msg->given.text);
}

static void
given_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->given.id = reader_le64(&in->r);
    msg->given.result = reader_u8(&in->r);
    msg->given.path = reader_span16(&in->r);
    msg->given.text = wire_get_text(in);
}

static int
given_check(const struct wire_msg *msg, struct err *e)
{
    if (wire_check_range(msg->given.result, WIRE_GIVEN_CREATED, WIRE_GIVEN_REFUSED, "result", e) <
        0)
        return -1;
    return wire_check_place(0, msg->given.path, e);
}

const struct wire_codec wire_given_codec = { given_put, given_get, given_check };

static void
found_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->found.epoch);
    buf_add_le64(out, msg->found.time_s);
    buf_add_le64(out, msg->found.messages);
    buf_add_le64(out, msg->found.flag_changes);
    buf_add_le64(out, msg->found.expunges);
    buf_add_le64(out, msg->found.others);
}

static void
found_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->found.epoch = reader_le64(&in->r);
    msg->found.time_s = reader_le64(&in->r);
    msg->found.messages = reader_le64(&in->r);
    msg->found.flag_changes = reader_le64(&in->r);
    msg->found.expunges = reader_le64(&in->r);
    msg->found.others = reader_le64(&in->r);
}

static int
check_counts(const uint64_t *counts, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        if (wire_check_range(counts[i], 0, WIRE_COUNT_MAX, "a count", e) < 0)
            return -1;
    }
    return 0;
}

static int
found_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_found *f = &msg->found;
    const uint64_t counts[] = { f->time_s, f->messages, f->flag_changes, f->expunges, f->others };
    return check_counts(counts, ARRAY_LEN(counts), e);
}

const struct wire_codec wire_found_codec = { found_put, found_get, found_check };

static void
found_in_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_found_in *in = &msg->found_in;
    buf_add_le16(out, in->store);
    buf_add_u8(out, in->further);
    buf_add_span16(out, in->user);
    buf_add_span16(out, in->folder);
    buf_add_le64(out, in->messages);
    buf_add_le64(out, in->flag_changes);
    buf_add_le64(out, in->expunges);
    buf_add_le64(out, in->others);
}

static void
found_in_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_found_in *found = &msg->found_in;
    found->store = reader_le16(&in->r);
    found->further = reader_u8(&in->r);
    found->user = reader_span16(&in->r);
    found->folder = reader_span16(&in->r);
    found->messages = reader_le64(&in->r);
    found->flag_changes = reader_le64(&in->r);
    found->expunges = reader_le64(&in->r);
    found->others = reader_le64(&in->r);
}

/* It is no path: three dots are a folder of Maildir++. */
static int
check_person(struct span name, const char *field, struct err *e)
{
    if (name.len > PATH_STORE_MAX || (name.len > 0 && memchr(name.ptr, '\0', name.len) != NULL))
        return err_set(e, ERR_PROTOCOL, "%s is too long, or has a NUL", field);
    return 0;
}

static int
found_in_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_found_in *in = &msg->found_in;
    const uint64_t counts[] = { in->messages, in->flag_changes, in->expunges, in->others };
    if (wire_check_range(in->store, 0, WIRE_STORES_MAX - 1, "store", e) < 0 ||
        wire_check_range(in->further, 0, 1, "further", e) < 0 ||
        check_person(in->user, "user", e) < 0 || check_person(in->folder, "folder", e) < 0)
        return -1;
    if (in->further && (in->store != 0 || in->user.len > 0 || in->folder.len > 0))
        return err_set(e, ERR_PROTOCOL, "further folders have a name");
    return check_counts(counts, ARRAY_LEN(counts), e);
}

const struct wire_codec wire_found_in_codec = { found_in_put, found_in_get, found_in_check };

static void
barrier_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->barrier.id);
}

static void
barrier_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->barrier.id = reader_le64(&in->r);
}

const struct wire_codec wire_barrier_codec = { barrier_put, barrier_get, NULL };

static void
reached_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->reached.id);
    buf_add_le64(out, msg->reached.seq);
}

static void
reached_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->reached.id = reader_le64(&in->r);
    msg->reached.seq = reader_le64(&in->r);
}

const struct wire_codec wire_reached_codec = { reached_put, reached_get, NULL };
