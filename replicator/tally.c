#include "replicator/tally.h"

#include "lib/base/base.h"
#include "lib/base/crc.h"

#include <stdlib.h>
#include <string.h>

struct tally {
    const char *const *kinds;
    struct tally_row *rows;
    uint8_t **texts; /* of each row: user and folder point into it */
    uint32_t count, max;
    uint32_t *slots; /* by hash: the place in rows + 1, 0 none */
    uint32_t slot_mask;
    bool more; /* `further` counts */
    struct tally_row further;
};

struct tally *
tally_new(uint32_t folders_max, const char *const *kinds)
{
    struct tally *t = xcalloc(1, sizeof(*t));
    uint32_t slots = 2;
    while (slots < 2 * folders_max) /* half of them stay empty, so that a search ends soon */
        slots *= 2;
    *t = (struct tally){ .kinds = kinds, .max = folders_max, .slot_mask = slots - 1 };
    t->rows = xcalloc(folders_max, sizeof(t->rows[0]));
    t->texts = xcalloc(folders_max, sizeof(t->texts[0]));
    t->slots = xcalloc(slots, sizeof(t->slots[0]));
    return t;
}

void
tally_free(struct tally **tally)
{
    struct tally *t = *tally;
    *tally = NULL;
    if (t == NULL)
        return;
    tally_clear(t);
    free(t->rows);
    free(t->texts);
    free(t->slots);
    free(t);
}

void
tally_clear(struct tally *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        free(t->texts[i]);
    if (t->count > 0)
        memset(t->slots, 0, ((size_t)t->slot_mask + 1) * sizeof(t->slots[0]));
    t->count = 0;
    t->more = false;
    t->further = (struct tally_row){ 0 };
}

static bool
is_same(const struct tally_row *a, const struct tally_row *b)
{
    return span_equal(a->folder, b->folder) && span_equal(a->user, b->user) &&
           strcmp(a->store, b->store) == 0;
}

/* Its slot, or the empty one that it would have. */
static uint32_t *
slot_of(const struct tally *t, const struct tally_row *row)
{
    uint32_t hash = crc32c_more(crc32c_more(crc32c(span_str(row->store)), row->user), row->folder);
    uint32_t at = hash & t->slot_mask;
    while (t->slots[at] != 0 && !is_same(&t->rows[t->slots[at] - 1], row))
        at = (at + 1) & t->slot_mask;
    return &t->slots[at];
}

static void
copy(uint8_t *to, struct span from)
{
    if (from.len > 0)
        memcpy(to, from.ptr, from.len);
}

/* The row that counts for it: NULL none yet, and there is room for one more. */
static struct tally_row *
counting(struct tally *t, const struct tally_row *row, uint32_t **ret_slot)
{
    *ret_slot = row->store == NULL ? NULL : slot_of(t, row);
    if (*ret_slot != NULL && **ret_slot != 0)
        return &t->rows[**ret_slot - 1];
    if (*ret_slot != NULL && t->count < t->max)
        return NULL;
    t->more = true;
    return &t->further;
}

static struct tally_row *
add_row(struct tally *t, const struct tally_row *row, uint32_t *slot)
{
    ASSERT(t->rows != NULL && t->count < t->max);
    uint8_t *text = xcalloc(1, row->user.len + row->folder.len + 1);
    struct tally_row *added = &t->rows[t->count];
    t->texts[t->count] = text;
    copy(text, row->user);
    copy(text + row->user.len, row->folder);
    *added = (struct tally_row){ .store = row->store,
                                 .user = span_of(text, row->user.len),
                                 .folder = span_of(text + row->user.len, row->folder.len) };
    *slot = ++t->count;
    return added;
}

void
tally_add(struct tally *t, const struct tally_row *row)
{
    uint32_t *slot;
    struct tally_row *to = counting(t, row, &slot);
    if (to == NULL)
        to = add_row(t, row, slot);
    for (size_t i = 0; i < TALLY_KINDS_MAX; i++)
        to->counts[i] += MIN(row->counts[i], (uint64_t)INT64_MAX - to->counts[i]);
}

bool
tally_row(const struct tally *t, uint32_t at, struct tally_row *ret_row)
{
    if (at > t->count || (at == t->count && !t->more))
        return false;
    *ret_row = at < t->count ? t->rows[at] : t->further;
    return true;
}

static json_t *
text_json(struct span text)
{
    json_t *json = json_stringn((const char *)text.ptr, text.len);
    return json != NULL ? json : json_string("(a name that is not UTF-8)");
}

static json_t *
row_json(const struct tally *t, const struct tally_row *row)
{
    bool named = row->store != NULL;
    json_t *json = json_pack("{s:s?, s:o, s:o}", "store", row->store, "user",
                             named ? text_json(row->user) : json_null(), "folder",
                             named ? text_json(row->folder) : json_null());
    for (size_t i = 0; t->kinds[i] != NULL; i++)
        json_object_set_new(json, t->kinds[i], json_integer((json_int_t)row->counts[i]));
    return json;
}

json_t *
tally_json(const struct tally *t)
{
    json_t *array = json_array();
    struct tally_row row;
    for (uint32_t i = 0; tally_row(t, i, &row); i++)
        json_array_append_new(array, row_json(t, &row));
    return array;
}
