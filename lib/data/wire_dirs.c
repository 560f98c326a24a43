/* Comparing and asking back: DIGEST_ASK, DIGEST_ANSWER, SYNC_DONE, SYNC_PROGRESS, SIG_ASK, SIG,
 * NEED, FETCH. */
#include "lib/base/path.h"
#include "lib/data/wire_codec.h"

static void
digest_ask_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_digest_ask *ask = &msg->digest_ask;
    buf_add_le32(out, ask->id);
    buf_add_le16(out, ask->store);
    buf_add_u8(out, ask->flags);
    buf_add_le16(out, ask->count);
    for (size_t i = 0; i < ask->count; i++) {
        buf_add_le64(out, ask->dirs[i].dir);
        buf_add_span16(out, ask->dirs[i].path);
        buf_add(out, ask->dirs[i].digest, WIRE_DIGEST_SIZE);
    }
}

static void
digest_ask_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_digest_ask *ask = &msg->digest_ask;
    ask->id = reader_le32(&in->r);
    ask->store = reader_le16(&in->r);
    ask->flags = reader_u8(&in->r);
    ask->count = reader_le16(&in->r);
    size_t count = MIN(ask->count, WIRE_DIRS_MAX);
    for (size_t i = 0; i < count; i++) {
        ask->dirs[i].dir = reader_le64(&in->r);
        ask->dirs[i].path = reader_span16(&in->r);
        wire_get_copy(&in->r, ask->dirs[i].digest, WIRE_DIGEST_SIZE);
    }
}

static int
digest_ask_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_digest_ask *ask = &msg->digest_ask;
    if (wire_check_range(ask->flags, 0, WIRE_DIGEST_CONTENT, "flags", e) < 0)
        return -1;
    /* A question about nothing would never be answered. */
    if (wire_check_range(ask->count, 1, WIRE_DIRS_MAX, "the number of directories", e) < 0)
        return -1;
    size_t sum = 0;
    for (size_t i = 0; i < ask->count; i++) {
        if (wire_check_place(ask->store, ask->dirs[i].path, e) < 0)
            return -1;
        sum += ask->dirs[i].path.len;
    }
    return wire_check_range(sum, 0, WIRE_BULK_MAX, "the size of all paths", e);
}

const struct wire_codec wire_digest_ask_codec = { digest_ask_put, digest_ask_get,
                                                  digest_ask_check };

static int
check_entry(const struct wire_entry *entry, struct err *e)
{
    if (!path_name_valid(entry->name))
        return err_set(e, ERR_PROTOCOL, "an entry's name is malformed");
    if (wire_check_attr(&entry->attr, "an entry", e) < 0)
        return -1;
    return wire_check_range(entry->has_hash, 0, 1, "has_hash", e);
}

void
wire_entry_add(struct buf *entries, const struct wire_entry *entry)
{
    ASSERT(check_entry(entry, NULL) == 0);
    wire_put_span8(entries, entry->name);
    attr_encode(&entry->attr, entries);
    buf_add_le64(entries, entry->ino);
    buf_add_le32(entries, entry->nlink);
    buf_add_u8(entries, entry->has_hash);
    if (entry->has_hash)
        buf_add(entries, entry->hash, sizeof(entry->hash));
}

int
wire_entry_next(struct reader *entries, struct wire_entry *ret_entry, struct err *e)
{
    if (reader_done(entries))
        return 0;
    struct wire_entry entry = { .name = wire_get_span8(entries) };
    entry.attr = attr_decode(entries);
    entry.ino = reader_le64(entries);
    entry.nlink = reader_le32(entries);
    entry.has_hash = reader_u8(entries);
    if (entry.has_hash == 1)
        wire_get_copy(entries, entry.hash, sizeof(entry.hash));
    if (!reader_ok(entries))
        return err_set(e, ERR_PROTOCOL, "an entry ends too early");
    if (check_entry(&entry, e) < 0)
        return -1;
    *ret_entry = entry;
    return 1;
}

static int
check_entries(const struct wire_digest_answer *answer, struct err *e)
{
    struct reader in = reader_of(answer->entries);
    struct wire_entry entry;
    struct span last = { 0 };
    size_t count = 0;
    int got;
    while ((got = wire_entry_next(&in, &entry, e)) > 0) {
        if (count++ > 0 && span_compare(last, entry.name) >= 0)
            return err_set(e, ERR_PROTOCOL, "the entries are not in the order of their names");
        last = entry.name;
    }
    if (got == 0 && count != answer->entry_count)
        return err_set(e, ERR_PROTOCOL, "%zu entries, announced were %u", count,
                       answer->entry_count);
    return got;
}

static void
digest_answer_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_digest_answer *answer = &msg->digest_answer;
    buf_add_le32(out, answer->id);
    buf_add_le64(out, answer->dir);
    buf_add_u8(out, answer->verdict);
    buf_add_u8(out, answer->more);
    attr_encode(&answer->self, out);
    buf_add_le32(out, answer->entry_count);
    buf_add(out, answer->entries.ptr, answer->entries.len);
}

static void
digest_answer_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_digest_answer *answer = &msg->digest_answer;
    answer->id = reader_le32(&in->r);
    answer->dir = reader_le64(&in->r);
    answer->verdict = reader_u8(&in->r);
    answer->more = reader_u8(&in->r);
    answer->self = attr_decode(&in->r);
    answer->entry_count = reader_le32(&in->r);
    answer->entries = wire_get_rest(&in->r);
}

static int
digest_answer_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_digest_answer *answer = &msg->digest_answer;
    if (wire_check_range(answer->verdict, WIRE_DIR_SAME, WIRE_DIR_FAILED, "verdict", e) < 0)
        return -1;
    if (wire_check_range(answer->more, 0, 1, "more", e) < 0)
        return -1;
    if (wire_check_attr(&answer->self, "self", e) < 0)
        return -1;
    if (answer->verdict != WIRE_DIR_DIFFERENT && (answer->more || answer->entries.len > 0))
        return err_set(e, ERR_PROTOCOL, "entries with verdict %u", (unsigned)answer->verdict);
    if (wire_check_range(answer->entries.len, 0, WIRE_BULK_MAX, "the size of entries", e) < 0)
        return -1;
    return check_entries(answer, e);
}

const struct wire_codec wire_digest_answer_codec = { digest_answer_put, digest_answer_get,
                                                     digest_answer_check };

static void
sync_done_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->sync_done.sync_base);
    buf_add_le64(out, msg->sync_done.differences);
}

static void
sync_done_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->sync_done.sync_base = reader_le64(&in->r);
    msg->sync_done.differences = reader_le64(&in->r);
}

const struct wire_codec wire_sync_done_codec = { sync_done_put, sync_done_get, NULL };

static void
sync_progress_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_sync_progress *progress = &msg->sync_progress;
    buf_add_le64(out, progress->done);
    buf_add_le64(out, progress->total);
    buf_add_le64(out, progress->from);
    buf_add_le64(out, progress->directories);
    buf_add_le64(out, progress->spent_ms);
}

static void
sync_progress_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_sync_progress *progress = &msg->sync_progress;
    progress->done = reader_le64(&in->r);
    progress->total = reader_le64(&in->r);
    progress->from = reader_le64(&in->r);
    progress->directories = reader_le64(&in->r);
    progress->spent_ms = reader_le64(&in->r);
}

static int
sync_progress_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_sync_progress *progress = &msg->sync_progress;
    if (wire_check_range(progress->total, 1, WIRE_COUNT_MAX, "total", e) < 0)
        return -1;
    if (wire_check_range(progress->done, 0, progress->total, "done", e) < 0)
        return -1;
    if (wire_check_range(progress->from, 0, progress->total, "from", e) < 0)
        return -1;
    if (wire_check_range(progress->directories, 0, WIRE_COUNT_MAX, "directories", e) < 0)
        return -1;
    return wire_check_range(progress->spent_ms, 0, WIRE_COUNT_MAX, "spent_ms", e);
}

const struct wire_codec wire_sync_progress_codec = { sync_progress_put, sync_progress_get,
                                                     sync_progress_check };

static void
sig_ask_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le16(out, msg->sig_ask.store);
    buf_add_span16(out, msg->sig_ask.path);
}

static void
sig_ask_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->sig_ask.store = reader_le16(&in->r);
    msg->sig_ask.path = reader_span16(&in->r);
}

/* A store's root is no file: there is nothing to ask of it. */
static int
check_file(uint16_t store, struct span path, struct err *e)
{
    if (path.len == 0)
        return err_set(e, ERR_PROTOCOL, "path is the store's root");
    return wire_check_place(store, path, e);
}

static int
sig_ask_check(const struct wire_msg *msg, struct err *e)
{
    return check_file(msg->sig_ask.store, msg->sig_ask.path, e);
}

const struct wire_codec wire_sig_ask_codec = { sig_ask_put, sig_ask_get, sig_ask_check };

static void
sig_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_u8(out, msg->sig.ok);
    buf_add_u8(out, msg->sig.last);
    buf_add(out, msg->sig.bytes.ptr, msg->sig.bytes.len);
}

static void
sig_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->sig.ok = reader_u8(&in->r);
    msg->sig.last = reader_u8(&in->r);
    msg->sig.bytes = wire_get_rest(&in->r);
}

static int
sig_check(const struct wire_msg *msg, struct err *e)
{
    if (wire_check_range(msg->sig.ok, 0, 1, "ok", e) < 0)
        return -1;
    if (wire_check_range(msg->sig.last, 0, 1, "last", e) < 0)
        return -1;
    size_t max = msg->sig.ok ? WIRE_DATA_MAX : 0;
    return wire_check_range(msg->sig.bytes.len, 0, max, "the number of bytes", e);
}

const struct wire_codec wire_sig_codec = { sig_put, sig_get, sig_check };

static void
need_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le16(out, msg->need.store);
    buf_add_le64(out, msg->need.seq);
    buf_add_u8(out, msg->need.is_dir);
    buf_add_span16(out, msg->need.path);
}

static void
need_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->need.store = reader_le16(&in->r);
    msg->need.seq = reader_le64(&in->r);
    msg->need.is_dir = reader_u8(&in->r);
    msg->need.path = reader_span16(&in->r);
}

static int
need_check(const struct wire_msg *msg, struct err *e)
{
    if (wire_check_range(msg->need.is_dir, 0, 1, "is_dir", e) < 0)
        return -1;
    return wire_check_place(msg->need.store, msg->need.path, e);
}

const struct wire_codec wire_need_codec = { need_put, need_get, need_check };

static void
fetch_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le16(out, msg->fetch.store);
    buf_add_span16(out, msg->fetch.path);
}

static void
fetch_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->fetch.store = reader_le16(&in->r);
    msg->fetch.path = reader_span16(&in->r);
}

static int
fetch_check(const struct wire_msg *msg, struct err *e)
{
    return check_file(msg->fetch.store, msg->fetch.path, e);
}

const struct wire_codec wire_fetch_codec = { fetch_put, fetch_get, fetch_check };
