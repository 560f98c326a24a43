#include "replicator/hints.h"

#include <stdlib.h>

#define SLOTS_MIN 1024

void
hints_init(struct hints *h)
{
    *h = (struct hints){ .count = 1, .cap = 256, .slot_count = SLOTS_MIN };
    h->list = xcalloc(h->cap, sizeof(*h->list));
    h->slots = xcalloc(h->slot_count, sizeof(*h->slots));
}

void
hints_free(struct hints *h)
{
    free(h->list);
    free(h->slots);
    buf_free(&h->names);
    *h = (struct hints){ 0 };
}

void
hints_clear(struct hints *h)
{
    bool was_large = h->slot_count > 64 * SLOTS_MIN;
    if (was_large) { /* a burst must not hold its memory for ever */
        hints_free(h);
        hints_init(h);
        return;
    }
    h->count = 1;
    buf_reset(&h->names);
    memset(h->slots, 0, h->slot_count * sizeof(*h->slots));
}

static size_t
slot_of(const struct hints *h, uint64_t dir, struct span name)
{
    uint64_t hash = dir * 0x9e3779b97f4a7c15ULL + 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ name.ptr[i]) * 0x100000001b3ULL;
    return (size_t)(hash >> 20) & (h->slot_count - 1);
}

static struct span
name_span(const struct hints *h, const struct hint *hint)
{
    return span_of(h->names.ptr + hint->name_at, hint->name_len);
}

static void
grow_slots(struct hints *h)
{
    h->slot_count *= 4;
    h->slots = xrealloc(h->slots, h->slot_count * sizeof(*h->slots));
    memset(h->slots, 0, h->slot_count * sizeof(*h->slots));
    for (size_t i = 1; i < h->count; i++) {
        size_t slot = slot_of(h, h->list[i].dir, name_span(h, &h->list[i]));
        h->list[i].next = h->slots[slot];
        h->slots[slot] = (uint32_t)i;
    }
}

static struct hint *
append(struct hints *h, uint64_t dir, struct span name)
{
    if (h->count == h->cap) {
        h->cap *= 2;
        h->list = xrealloc(h->list, h->cap * sizeof(*h->list));
    }
    struct hint *hint = &h->list[h->count++];
    *hint = (struct hint){ .dir = dir, .name_at = h->names.len, .name_len = (uint16_t)name.len };
    buf_add(&h->names, name.ptr, name.len);
    buf_add_u8(&h->names, 0);
    return hint;
}

/* Its index in the list, 0 for none. */
static uint32_t
find(const struct hints *h, uint64_t dir, struct span name)
{
    uint32_t i = h->slots[slot_of(h, dir, name)];
    while (i != 0 && !(h->list[i].dir == dir && span_equal(name_span(h, &h->list[i]), name)))
        i = h->list[i].next;
    return i;
}

unsigned
hints_what(const struct hints *h, uint64_t dir, struct span name)
{
    uint32_t i = find(h, dir, name);
    return i == 0 ? 0 : h->list[i].what;
}

struct hint *
hints_add(struct hints *h, uint64_t dir, struct span name, unsigned what)
{
    uint32_t known = find(h, dir, name);
    if (known != 0) {
        h->list[known].what |= what;
        return &h->list[known];
    }
    if (h->count >= h->slot_count)
        grow_slots(h);
    size_t slot = slot_of(h, dir, name);
    struct hint *hint = append(h, dir, name);
    hint->what = what;
    hint->next = h->slots[slot];
    h->slots[slot] = (uint32_t)(h->count - 1);
    return hint;
}

void
hints_pop(struct hints *h)
{
    ASSERT(h->count > 1);
    const struct hint *last = &h->list[h->count - 1];
    /* The newest of its chain stands first in it. */
    h->slots[slot_of(h, last->dir, name_span(h, last))] = last->next;
    h->names.len = last->name_at;
    h->count--;
}

size_t
hints_count(const struct hints *h)
{
    return h->count - 1;
}

struct hint *
hints_at(struct hints *h, size_t index)
{
    ASSERT(index + 1 < h->count);
    return &h->list[index + 1];
}

const char *
hints_name(const struct hints *h, const struct hint *hint)
{
    return (const char *)h->names.ptr + hint->name_at;
}
