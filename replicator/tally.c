#include "replicator/tally.h"

#include "lib/base/base.h"
#include "lib/base/crc.h"

#include <stdlib.h>
#include <string.h>

struct count {
    const char *store;
    uint8_t *text; /* of user and folder */
    struct span user, folder;
    uint64_t changes;
};

struct tally {
    struct count *counts;
    uint32_t count, max;
    uint32_t *slots; /* by hash: the place in counts + 1, 0 none */
    uint32_t slot_mask;
    uint64_t unnamed;
};

struct tally *
tally_new(uint32_t folders_max)
{
    struct tally *t = xcalloc(1, sizeof(*t));
    uint32_t slots = 2;
    while (slots < 2 * folders_max) /* half of them stay empty, so that a search ends soon */
        slots *= 2;
    *t = (struct tally){ .max = folders_max, .slot_mask = slots - 1 };
    t->counts = xcalloc(folders_max, sizeof(t->counts[0]));
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
    free(t->counts);
    free(t->slots);
    free(t);
}

void
tally_clear(struct tally *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        free(t->counts[i].text);
    if (t->count > 0)
        memset(t->slots, 0, ((size_t)t->slot_mask + 1) * sizeof(t->slots[0]));
    t->count = 0;
    t->unnamed = 0;
}

static bool
is_of(const struct count *count, const char *store, struct span user, struct span folder)
{
    return span_equal(count->folder, folder) && span_equal(count->user, user) &&
           strcmp(count->store, store) == 0;
}

/* Its slot, or the empty one that it would have. */
static uint32_t *
slot_of(const struct tally *t, const char *store, struct span user, struct span folder)
{
    uint32_t at = crc32c_more(crc32c_more(crc32c(span_str(store)), user), folder) & t->slot_mask;
    while (t->slots[at] != 0 && !is_of(&t->counts[t->slots[at] - 1], store, user, folder))
        at = (at + 1) & t->slot_mask;
    return &t->slots[at];
}

static void
copy(uint8_t *to, struct span from)
{
    if (from.len > 0)
        memcpy(to, from.ptr, from.len);
}

void
tally_add(struct tally *t, const char *store, struct span user, struct span folder)
{
    uint32_t *slot = slot_of(t, store, user, folder);
    if (*slot != 0) {
        t->counts[*slot - 1].changes++;
        return;
    }
    if (t->count == t->max) {
        t->unnamed++;
        return;
    }
    uint8_t *text = xcalloc(1, user.len + folder.len + 1);
    copy(text, user);
    copy(text + user.len, folder);
    t->counts[t->count] = (struct count){ store, text, span_of(text, user.len),
                                          span_of(text + user.len, folder.len), 1 };
    *slot = ++t->count;
}

static json_t *
text_json(struct span text)
{
    json_t *json = json_stringn((const char *)text.ptr, text.len);
    return json != NULL ? json : json_string("(a name that is not UTF-8)");
}

json_t *
tally_json(const struct tally *t)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < t->count; i++) {
        const struct count *count = &t->counts[i];
        json_array_append_new(array,
                              json_pack("{s:s, s:o, s:o, s:I}", "store", count->store, "user",
                                        text_json(count->user), "folder", text_json(count->folder),
                                        "changes", (json_int_t)count->changes));
    }
    if (t->unnamed > 0)
        json_array_append_new(array, json_pack("{s:n, s:n, s:n, s:I}", "store", "user", "folder",
                                               "changes", (json_int_t)t->unnamed));
    return array;
}
