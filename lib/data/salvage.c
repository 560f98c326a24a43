#include "lib/data/salvage.h"

#include "lib/base/crc.h"
#include "lib/base/path.h"

#include <string.h>

#define MAGIC       "MTSALVG1"
#define MAGIC_SIZE  8
#define HEAD_FIXED  68 /* up to the name of the store */
#define HEAD_COUNT  64 /* where the number of items stands */
#define FRAME_FIXED 8

static const char *const kinds[] = {
    [SALVAGE_MESSAGE] = "message", [SALVAGE_FOLDER] = "folder",   [SALVAGE_FILE] = "file",
    [SALVAGE_FLAGS] = "flags",     [SALVAGE_EXPUNGE] = "expunge", [SALVAGE_RENAME] = "rename",
    [SALVAGE_REMOVAL] = "removal", [SALVAGE_OTHER] = "other",     [SALVAGE_COPY] = "copy",
};

static const char *const states[] = {
    [SALVAGE_OPEN] = "open",       [SALVAGE_DELIVERED] = "delivered", [SALVAGE_EXISTS] = "exists",
    [SALVAGE_REFUSED] = "refused", [SALVAGE_DROPPED] = "dropped",     [SALVAGE_UNSURE] = "unsure",
};

const char *
salvage_kind_word(enum salvage_kind kind)
{
    return kinds[kind];
}

const char *
salvage_state_word(enum salvage_state state)
{
    return states[state];
}

bool
salvage_has_content(enum salvage_kind kind)
{
    return kind == SALVAGE_MESSAGE || kind == SALVAGE_COPY || kind == SALVAGE_FILE;
}

/* --- writing --- */

static void
add_span8(struct buf *out, struct span s)
{
    ASSERT(s.len <= UINT8_MAX);
    buf_add_u8(out, (uint8_t)s.len);
    buf_add(out, s.ptr, s.len);
}

void
salvage_begin(const struct salvage_head *head, struct buf *out)
{
    buf_reset(out);
    buf_add(out, MAGIC, MAGIC_SIZE);
    buf_add(out, head->history, sizeof(head->history));
    buf_add_le64(out, head->epoch);
    buf_add_le64(out, head->fork);
    buf_add_le64(out, head->tail);
    buf_add_le64(out, head->time_s);
    buf_add_le64(out, 0); /* spare */
    buf_add_le32(out, 0); /* the count: known at the end */
    add_span8(out, head->store);
    buf_add_le32(out, 0); /* the checksum: likewise */
}

void
salvage_add(const struct salvage_item *item, struct buf *out)
{
    size_t mark = out->len;
    buf_add_le64(out, 0);
    buf_add_le32(out, item->number);
    buf_add_u8(out, (uint8_t)item->kind);
    attr_encode(&item->attr, out);
    buf_add_le64(out, (uint64_t)item->changed_ns);
    buf_add_span16(out, item->path);
    buf_add_span16(out, item->other);
    add_span8(out, item->guid);
    buf_add_u8(out, (uint8_t)item->keyword_count);
    for (size_t i = 0; i < item->keyword_count; i++) {
        buf_add_u8(out, item->keywords[i].letter);
        add_span8(out, item->keywords[i].name);
    }
    size_t len = out->len - mark - FRAME_FIXED;
    put_le32(out->ptr + mark, (uint32_t)len);
    put_le32(out->ptr + mark + 4, crc32c(span_of(out->ptr + mark + FRAME_FIXED, len)));
}

static size_t
head_size(struct span manifest)
{
    return HEAD_FIXED + 1 + (manifest.len > HEAD_FIXED ? manifest.ptr[HEAD_FIXED] : 0) + 4;
}

void
salvage_end(struct buf *out, uint32_t count)
{
    size_t size = head_size(buf_span(out));
    put_le32(out->ptr + HEAD_COUNT, count);
    put_le32(out->ptr + size - 4, crc32c(span_of(out->ptr, size - 4)));
}

/* --- reading --- */

int
salvage_read(struct span manifest, struct salvage_head *ret_head, struct reader *ret_items,
             struct err *e)
{
    if (manifest.len < MAGIC_SIZE || memcmp(manifest.ptr, MAGIC, MAGIC_SIZE) != 0)
        return err_set(e, ERR_CORRUPT, "it is no manifest of a salvage");
    size_t size = head_size(manifest);
    if (manifest.len < size)
        return err_set(e, ERR_CORRUPT, "the manifest ends within its head");
    if (crc32c(span_of(manifest.ptr, size - 4)) != get_le32(manifest.ptr + size - 4))
        return err_set(e, ERR_CORRUPT, "the checksum of the manifest's head is wrong");
    struct reader r = reader_of(span_from(manifest, MAGIC_SIZE, manifest.len - MAGIC_SIZE));
    memcpy(ret_head->history, reader_bytes(&r, WIRE_HISTORY_SIZE).ptr, WIRE_HISTORY_SIZE);
    ret_head->epoch = reader_le64(&r);
    ret_head->fork = reader_le64(&r);
    ret_head->tail = reader_le64(&r);
    ret_head->time_s = reader_le64(&r);
    uint64_t spare = reader_le64(&r);
    ret_head->count = reader_le32(&r);
    ret_head->store = reader_bytes(&r, reader_u8(&r));
    reader_le32(&r);
    if (spare != 0 || ret_head->fork > ret_head->tail)
        return err_set(e, ERR_CORRUPT, "the manifest's head has values that cannot be");
    *ret_items = r;
    return 0;
}

static void
read_fields(struct reader *r, struct salvage_item *item)
{
    *item = (struct salvage_item){ .number = reader_le32(r) };
    item->kind = (enum salvage_kind)reader_u8(r);
    item->attr = attr_decode(r);
    item->changed_ns = (int64_t)reader_le64(r);
    item->path = reader_span16(r);
    item->other = reader_span16(r);
    item->guid = reader_bytes(r, reader_u8(r));
    item->keyword_count = reader_u8(r);
    for (size_t i = 0; i < MIN(item->keyword_count, WIRE_KEYWORDS_MAX); i++) {
        item->keywords[i].letter = reader_u8(r);
        item->keywords[i].name = reader_bytes(r, reader_u8(r));
    }
}

static bool
keywords_fit(const struct salvage_item *item)
{
    bool good = item->keyword_count <= WIRE_KEYWORDS_MAX;
    for (size_t i = 0; good && i < item->keyword_count; i++) {
        const struct wire_keyword *k = &item->keywords[i];
        good = k->name.len >= 1 && k->name.len <= WIRE_KEYWORD_SIZE &&
               (k->letter == 0 || (k->letter >= 'a' && k->letter <= 'z'));
    }
    return good;
}

static bool
item_fits(const struct salvage_item *item, uint32_t number)
{
    return item->number == number && item->kind >= SALVAGE_MESSAGE && item->kind <= SALVAGE_COPY &&
           attr_valid(&item->attr) && item->path.len > 0 && path_valid(item->path) &&
           path_valid(item->other) && (item->guid.len == 0 || item->guid.len == WIRE_GUID_SIZE) &&
           keywords_fit(item);
}

int
salvage_next(struct reader *items, uint32_t number, struct salvage_item *ret_item, struct err *e)
{
    if (items->rest.len == 0)
        return 0;
    uint32_t len = reader_le32(items);
    uint32_t crc = reader_le32(items);
    struct span body = reader_bytes(items, len);
    if (!reader_ok(items) || crc32c(body) != crc)
        return err_set(e, ERR_CORRUPT, "item %u of the manifest is cut off or damaged", number);
    struct reader r = reader_of(body);
    read_fields(&r, ret_item);
    if (!reader_done(&r) || !item_fits(ret_item, number))
        return err_set(e, ERR_CORRUPT, "item %u of the manifest has values that cannot be", number);
    return 1;
}

/* --- marks --- */

void
salvage_mark(uint32_t number, enum salvage_state state, struct buf *out)
{
    uint8_t mark[SALVAGE_MARK_SIZE] = { 0 };
    put_le32(mark, number);
    mark[4] = (uint8_t)state;
    put_le32(mark + 8, crc32c(span_of(mark, 8)));
    buf_add(out, mark, sizeof(mark));
}

size_t
salvage_marks(struct span marks, uint8_t *ret_states, uint32_t count)
{
    size_t at = 0;
    for (; marks.len - at >= SALVAGE_MARK_SIZE; at += SALVAGE_MARK_SIZE) {
        const uint8_t *mark = marks.ptr + at;
        uint32_t number = get_le32(mark);
        if (crc32c(span_of(mark, 8)) != get_le32(mark + 8) || number >= count ||
            mark[4] > SALVAGE_UNSURE)
            break;
        ret_states[number] = mark[4];
    }
    return at;
}

/* --- the taker --- */

void
salvage_taker_put(const struct salvage_taker *taker, struct buf *out)
{
    uint8_t bytes[SALVAGE_TAKER_SIZE];
    memcpy(bytes, taker->history, WIRE_HISTORY_SIZE);
    put_le64(bytes + WIRE_HISTORY_SIZE, taker->epoch);
    put_le32(bytes + SALVAGE_TAKER_SIZE - 4, crc32c(span_of(bytes, SALVAGE_TAKER_SIZE - 4)));
    buf_add(out, bytes, sizeof(bytes));
}

void
salvage_taker_read(struct span bytes, struct salvage_taker *ret_taker)
{
    *ret_taker = (struct salvage_taker){ 0 };
    if (bytes.len != SALVAGE_TAKER_SIZE || crc32c(span_of(bytes.ptr, SALVAGE_TAKER_SIZE - 4)) !=
                                               get_le32(bytes.ptr + SALVAGE_TAKER_SIZE - 4))
        return;
    memcpy(ret_taker->history, bytes.ptr, WIRE_HISTORY_SIZE);
    ret_taker->epoch = get_le64(bytes.ptr + WIRE_HISTORY_SIZE);
}

bool
salvage_taker_same(const struct salvage_taker *a, const struct salvage_taker *b)
{
    return a->epoch == b->epoch && memcmp(a->history, b->history, WIRE_HISTORY_SIZE) == 0;
}
