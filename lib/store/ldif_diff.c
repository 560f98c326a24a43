/* ldif_diff.c - the modifications that lead from one entry to another. */
#include "lib/store/ldif.h"

#include <stdlib.h>

struct diff {
    const struct ldif_entry *from, *to;
    bool whole;
    ldif_change *change;
    void *arg;
    struct span *values; /* room for those of one change */
};

static size_t
collect(struct diff *diff, const struct ldif_entry *entry, size_t at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        diff->values[i] = ldif_value(entry, at + i);
    return count;
}

static bool
same_values(const struct diff *diff, size_t from, size_t from_count, size_t to, size_t to_count)
{
    if (from_count != to_count)
        return false;
    for (size_t i = 0; i < to_count; i++)
        if (!span_equal(ldif_value(diff->from, from + i), ldif_value(diff->to, to + i)))
            return false;
    return true;
}

/* Values of `have` that `other` lacks; both are sorted. */
static size_t
missing(struct diff *diff, const struct ldif_entry *have, size_t at, size_t count,
        const struct ldif_entry *other, size_t other_at, size_t other_count)
{
    size_t found = 0, k = 0;
    for (size_t i = 0; i < count; i++) {
        struct span value = ldif_value(have, at + i);
        int order = -1;
        while (k < other_count &&
               (order = span_compare(ldif_value(other, other_at + k), value)) < 0)
            k++;
        if (k == other_count || order != 0)
            diff->values[found++] = value;
    }
    return found;
}

static void
value_by_value(struct diff *diff, size_t from, size_t from_count, size_t to, size_t to_count)
{
    struct span name = ldif_name(diff->to, to);
    size_t gone = missing(diff, diff->from, from, from_count, diff->to, to, to_count);
    if (gone > 0)
        diff->change(diff->arg, LDIF_DELETE, name, diff->values, gone);
    size_t added = missing(diff, diff->to, to, to_count, diff->from, from, from_count);
    if (added > 0)
        diff->change(diff->arg, LDIF_ADD, name, diff->values, added);
}

static void
changed(struct diff *diff, size_t from, size_t from_count, size_t to, size_t to_count)
{
    if (same_values(diff, from, from_count, to, to_count))
        return;
    if (!diff->whole && MAX(from_count, to_count) > LDIF_REPLACE_MAX) {
        value_by_value(diff, from, from_count, to, to_count);
        return;
    }
    collect(diff, diff->to, to, to_count);
    diff->change(diff->arg, LDIF_REPLACE, ldif_name(diff->to, to), diff->values, to_count);
}

/* Where the next attributes stand to each other: below 0 only in from, above 0 only in to. */
static int
order_of(const struct diff *diff, size_t from, size_t to)
{
    if (from == diff->from->count)
        return to < diff->to->count ? 1 : 0;
    if (to == diff->to->count)
        return -1;
    return ldif_compare_names(ldif_name(diff->from, from), ldif_name(diff->to, to));
}

void
ldif_diff(const struct ldif_entry *from, const struct ldif_entry *to, bool whole,
          ldif_change *change, void *arg)
{
    size_t most = MAX(MAX(from->count, to->count), (size_t)1);
    struct diff diff = { from, to, whole, change, arg, xcalloc(most, sizeof(struct span)) };
    for (size_t i = 0, k = 0; i < from->count || k < to->count;) {
        size_t old = i < from->count ? ldif_run(from, i) : 0;
        size_t now = k < to->count ? ldif_run(to, k) : 0;
        int order = order_of(&diff, i, k);
        if (order < 0)
            change(arg, LDIF_DELETE, ldif_name(from, i), NULL, 0);
        else if (order > 0)
            change(arg, LDIF_ADD, ldif_name(to, k), diff.values, collect(&diff, to, k, now));
        else
            changed(&diff, i, old, k, now);
        i += order <= 0 ? old : 0;
        k += order >= 0 ? now : 0;
    }
    free(diff.values);
}
