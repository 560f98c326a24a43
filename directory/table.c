#include "directory/table.h"

#include <stdio.h>
#include <stdlib.h>

#define SLOTS_MIN 256 /* a power of two */

/* An id's last bytes may be a host's, its first are a clock's: all of them count. */
static size_t
slot_of(const struct table *table, const uint8_t uuid[LDAPSYNC_UUID_SIZE])
{
    uint64_t hash = get_le64(uuid) * UINT64_C(0x9e3779b97f4a7c15) ^ get_le64(uuid + 8);
    hash ^= hash >> 29;
    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    return (size_t)(hash >> 32) & (table->slot_count - 1);
}

static struct row **
place_of(const struct table *table, const uint8_t uuid[LDAPSYNC_UUID_SIZE])
{
    size_t at = slot_of(table, uuid);
    while (table->slots[at] != NULL &&
           memcmp(table->slots[at]->uuid, uuid, LDAPSYNC_UUID_SIZE) != 0)
        at = (at + 1) & (table->slot_count - 1);
    return &table->slots[at];
}

static void
problem_free(struct problem *problem)
{
    if (problem == NULL)
        return;
    free(problem->dn);
    free(problem->why);
    free(problem);
}

static void
row_free(struct row *row)
{
    free(row->dn);
    problem_free(row->problem);
    free(row);
}

void
rows_free(struct table *table)
{
    for (size_t i = 0; i < table->slot_count; i++)
        if (table->slots[i] != NULL)
            row_free(table->slots[i]);
    free(table->slots);
    *table = (struct table){ 0 };
}

struct row *
rows_find(const struct table *table, const uint8_t uuid[LDAPSYNC_UUID_SIZE])
{
    return table->slot_count == 0 ? NULL : *place_of(table, uuid);
}

/* At most half of the slots are used. */
static void
grow(struct table *table)
{
    if (table->count * 2 < table->slot_count)
        return;
    struct table larger = { .slot_count = MAX(table->slot_count * 2, (size_t)SLOTS_MIN),
                            .count = table->count,
                            .problems = table->problems,
                            .pending = table->pending };
    larger.slots = xcalloc(larger.slot_count, sizeof(struct row *));
    for (size_t i = 0; i < table->slot_count; i++)
        if (table->slots[i] != NULL)
            *place_of(&larger, table->slots[i]->uuid) = table->slots[i];
    free(table->slots);
    *table = larger;
}

struct row *
rows_get(struct table *table, const uint8_t uuid[LDAPSYNC_UUID_SIZE])
{
    grow(table);
    struct row **place = place_of(table, uuid);
    if (*place == NULL) {
        *place = xcalloc(1, sizeof(**place));
        memcpy((*place)->uuid, uuid, LDAPSYNC_UUID_SIZE);
        table->count++;
    }
    return *place;
}

void
rows_forget(struct table *table, struct row *row)
{
    struct row **place = place_of(table, row->uuid);
    ASSERT(*place == row);
    rows_clear_problem(table, row);
    rows_set_pending(table, row, false);
    row_free(row);
    *place = NULL;
    table->count--;
    /* those behind it, up to the next gap, may belong further to the front now */
    size_t at = (size_t)(place - table->slots);
    for (;;) {
        at = (at + 1) & (table->slot_count - 1);
        struct row *next = table->slots[at];
        if (next == NULL)
            return;
        table->slots[at] = NULL;
        *place_of(table, next->uuid) = next;
    }
}

struct row *
rows_next(const struct table *table, size_t *at)
{
    while (*at < table->slot_count) {
        struct row *row = table->slots[(*at)++];
        if (row != NULL)
            return row;
    }
    return NULL;
}

void
rows_set_pending(struct table *table, struct row *row, bool pending)
{
    if (row->pending == pending)
        return;
    row->pending = pending;
    if (pending) {
        row->previous = NULL;
        row->next = table->pending;
        table->pending = row;
        if (row->next != NULL)
            row->next->previous = row;
        return;
    }
    if (row->next != NULL)
        row->next->previous = row->previous;
    if (row->previous != NULL)
        row->previous->next = row->next;
    else
        table->pending = row->next;
}

static char *
copy_of(struct span text)
{
    char *copy = xmalloc(text.len + 1);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return copy;
}

void
row_set_dn(struct row *row, struct span dn)
{
    char *copy = dn.len == 0 ? NULL : copy_of(dn); /* it may lie in the old one */
    free(row->dn);
    row->dn = copy;
}

bool
rows_set_problem(struct table *table, struct row *row, struct span dn, int code, const char *why,
                 uint64_t now_ms)
{
    struct problem *old = row->problem;
    bool same = old != NULL && old->code == code && strcmp(old->why, why) == 0;
    struct problem *problem = xcalloc(1, sizeof(*problem));
    *problem = (struct problem){ .dn = copy_of(dn),
                                 .why = xstrdup(why),
                                 .code = code,
                                 .since_ms = same ? old->since_ms : now_ms,
                                 .told = same && old->told };
    table->problems += old == NULL;
    problem_free(old);
    row->problem = problem;
    return !same;
}

void
rows_clear_problem(struct table *table, struct row *row)
{
    table->problems -= row->problem != NULL;
    problem_free(row->problem);
    row->problem = NULL;
}
