#include "lib/store/ldif.h"

#include <ctype.h>
#include <stdlib.h>

void
ldif_free(struct ldif_entry *entry)
{
    buf_free(&entry->bytes);
    free(entry->pairs);
    *entry = (struct ldif_entry){ 0 };
}

void
ldif_begin(struct ldif_entry *entry, struct span dn)
{
    buf_reset(&entry->bytes);
    buf_add(&entry->bytes, dn.ptr, dn.len);
    entry->dn_len = (uint32_t)MIN(dn.len, (size_t)UINT32_MAX);
    entry->count = 0;
}

/* Beyond the limits nothing is taken in any more; ldif_end() sees it by the size. */
void
ldif_add(struct ldif_entry *entry, struct span name, struct span value)
{
    struct buf *bytes = &entry->bytes;
    if (bytes->len > LDIF_TEXT_MAX || entry->count > LDIF_VALUES_MAX)
        return;
    if (name.len > LDIF_TEXT_MAX || value.len > LDIF_TEXT_MAX) {
        entry->count = LDIF_VALUES_MAX + 1;
        return;
    }
    if (entry->count == entry->cap) {
        entry->cap = MAX(entry->cap * 2, (size_t)32);
        entry->pairs = xrealloc(entry->pairs, entry->cap * sizeof(entry->pairs[0]));
    }
    struct ldif_pair *pair = &entry->pairs[entry->count++];
    pair->name = (uint32_t)bytes->len;
    pair->name_len = (uint32_t)name.len;
    buf_add(bytes, name.ptr, name.len);
    pair->value = (uint32_t)bytes->len;
    pair->value_len = (uint32_t)value.len;
    buf_add(bytes, value.ptr, value.len);
}

struct span
ldif_dn(const struct ldif_entry *entry)
{
    return span_of(entry->bytes.ptr, entry->dn_len);
}

static struct span
bytes_at(const struct ldif_entry *entry, uint32_t at, uint32_t len)
{
    return len == 0 ? span_of("", 0) : span_of(entry->bytes.ptr + at, len);
}

struct span
ldif_name(const struct ldif_entry *entry, size_t i)
{
    return bytes_at(entry, entry->pairs[i].name, entry->pairs[i].name_len);
}

struct span
ldif_value(const struct ldif_entry *entry, size_t i)
{
    return bytes_at(entry, entry->pairs[i].value, entry->pairs[i].value_len);
}

/* --- names --- */

int
ldif_compare_names(struct span a, struct span b)
{
    for (size_t i = 0; i < MIN(a.len, b.len); i++) {
        int order = tolower(a.ptr[i]) - tolower(b.ptr[i]);
        if (order != 0)
            return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

/* An attribute description: a name or numbers with dots, options behind semicolons. */
static bool
name_valid(struct span name)
{
    if (name.len == 0 || name.len > LDIF_NAME_MAX || !isalnum(name.ptr[0]))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!isalnum(name.ptr[i]) && strchr("-;._", name.ptr[i]) == NULL)
            return false;
    return memchr(name.ptr, '\0', name.len) == NULL;
}

/* --- the order of values --- */

static int
compare_pairs(const void *a, const void *b, void *arg)
{
    const struct ldif_entry *entry = arg;
    const struct ldif_pair *x = a;
    const struct ldif_pair *y = b;
    int order = ldif_compare_names(bytes_at(entry, x->name, x->name_len),
                                   bytes_at(entry, y->name, y->name_len));
    if (order != 0)
        return order;
    return span_compare(bytes_at(entry, x->value, x->value_len),
                        bytes_at(entry, y->value, y->value_len));
}

static void
drop_doubles(struct ldif_entry *entry)
{
    size_t kept = 0;
    for (size_t i = 0; i < entry->count; i++) {
        if (kept > 0 && compare_pairs(&entry->pairs[kept - 1], &entry->pairs[i], entry) == 0)
            continue;
        entry->pairs[kept++] = entry->pairs[i];
    }
    entry->count = kept;
}

/* A server may call an attribute by names that differ in case: the first one counts. */
static void
unify_names(struct ldif_entry *entry)
{
    for (size_t i = 1; i < entry->count; i++) {
        if (!ldif_same_name(ldif_name(entry, i - 1), ldif_name(entry, i)))
            continue;
        entry->pairs[i].name = entry->pairs[i - 1].name;
    }
}

int
ldif_end(struct ldif_entry *entry, struct err *e)
{
    if (entry->dn_len == 0 || entry->dn_len > LDIF_DN_MAX)
        return err_set(e, ERR_CORRUPT, "the DN has %u bytes, at most %u can be", entry->dn_len,
                       LDIF_DN_MAX);
    if (entry->bytes.len > LDIF_TEXT_MAX || entry->count > LDIF_VALUES_MAX)
        return err_set(e, ERR_CORRUPT, "the entry has more than %u bytes or %u values",
                       LDIF_TEXT_MAX, LDIF_VALUES_MAX);
    for (size_t i = 0; i < entry->count; i++) {
        struct span name = ldif_name(entry, i);
        if (!name_valid(name) || ldif_same_name(name, span_str("dn")))
            return err_set(e, ERR_CORRUPT, "\"%.*s\" is not the name of an attribute",
                           (int)MIN(name.len, (size_t)64), name.ptr);
    }
    if (entry->count > 0)
        qsort_r(entry->pairs, entry->count, sizeof(entry->pairs[0]), compare_pairs, entry);
    drop_doubles(entry);
    unify_names(entry);
    return 0;
}

bool
ldif_find(const struct ldif_entry *entry, const char *name, struct span *ret_value)
{
    for (size_t i = 0; i < entry->count; i++) {
        if (!ldif_same_name(ldif_name(entry, i), span_str(name)))
            continue;
        *ret_value = ldif_value(entry, i);
        return true;
    }
    return false;
}

size_t
ldif_run(const struct ldif_entry *entry, size_t i)
{
    size_t count = 0;
    while (i + count < entry->count &&
           ldif_same_name(ldif_name(entry, i), ldif_name(entry, i + count)))
        count++;
    return count;
}
