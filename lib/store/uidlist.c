#include "lib/store/uidlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
corrupt(const struct uidlist *list, struct err *e, const char *what)
{
    return err_set(e, ERR_CORRUPT, "line %u of the UID list: %s", list->line, what);
}

/* Takes a line that has its end; false: there is none. */
static bool
take_line(struct span *rest, struct span *ret_line)
{
    const uint8_t *end = rest->len == 0 ? NULL : memchr(rest->ptr, '\n', rest->len);
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - rest->ptr);
    *ret_line = span_from(*rest, 0, len);
    *rest = span_from(*rest, len + 1, rest->len - len - 1);
    return true;
}

/* Takes what stands before the next space, and the spaces behind it. */
static struct span
take_word(struct span *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->ptr[len] != ' ')
        len++;
    struct span word = span_from(*rest, 0, len);
    while (len < rest->len && rest->ptr[len] == ' ')
        len++;
    *rest = span_from(*rest, len, rest->len - len);
    return word;
}

/* A UID or UIDVALIDITY: digits alone, not 0. */
static bool
read_number(struct span text, uint32_t max, uint32_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len && number <= max; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        number = number * 10 + (text.ptr[i] - '0');
    }
    *ret_number = (uint32_t)number;
    return number != 0 && number <= max;
}

static bool
is_guid(struct span text)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\0' || strchr(digits, text.ptr[i]) == NULL)
            return false;
    }
    return text.len == UIDLIST_GUID_SIZE;
}

static int
read_header_key(struct uidlist *list, struct span word, struct err *e)
{
    struct span value = span_from(word, 1, word.len - 1);
    switch (word.ptr[0]) {
    case 'V':
        if (!read_number(value, UINT32_MAX, &list->uidvalidity))
            return corrupt(list, e, "its UIDVALIDITY is no number");
        return 0;
    case 'N':
        list->number = value;
        if (!read_number(value, UIDLIST_UID_MAX, &list->next))
            return corrupt(list, e, "its next UID is no number");
        return 0;
    case 'G':
        list->guid = value;
        return is_guid(value) ? 0 : corrupt(list, e, "its mailbox GUID is not 32 hex digits");
    default:
        return 0; /* kept as it is */
    }
}

static int
read_header_v3(struct uidlist *list, struct span rest, struct err *e)
{
    while (rest.len > 0) {
        struct span word = take_word(&rest);
        if (word.len > 0 && read_header_key(list, word, e) < 0)
            return -1;
    }
    if (list->uidvalidity == 0 || list->next == 0)
        return corrupt(list, e, "there is no UIDVALIDITY, or no next UID");
    return 0;
}

static int
read_header_v1(struct uidlist *list, struct span rest, struct err *e)
{
    struct span validity = take_word(&rest);
    list->number = take_word(&rest);
    if (!read_number(validity, UINT32_MAX, &list->uidvalidity) ||
        !read_number(list->number, UIDLIST_UID_MAX, &list->next))
        return corrupt(list, e, "it is not \"1 UIDVALIDITY NEXT\"");
    return 0;
}

int
uidlist_begin(struct uidlist *list, struct span text, struct err *e)
{
    *list = (struct uidlist){ .rest = text, .line = 1 };
    struct span rest;
    if (!take_line(&list->rest, &rest))
        return corrupt(list, e, "there is no header");
    struct span version = take_word(&rest);
    if (span_equal(version, span_str("3"))) {
        list->version = 3;
        return read_header_v3(list, rest, e);
    }
    list->version = 1;
    return span_equal(version, span_str("1")) ? read_header_v1(list, rest, e)
                                              : corrupt(list, e, "its version is neither 1 nor 3");
}

/* In version 3 behind the keys, marked by a colon; a value never begins with one. */
static bool
take_keys(struct span *rest, struct span *ret_keys)
{
    struct span all = *rest;
    while (rest->len > 0 && rest->ptr[0] != ':')
        take_word(rest);
    size_t len = all.len - rest->len;
    while (len > 0 && all.ptr[len - 1] == ' ')
        len--;
    *ret_keys = span_from(all, 0, len);
    if (rest->len == 0)
        return false;
    *rest = span_from(*rest, 1, rest->len - 1);
    return true;
}

int
uidlist_next(struct uidlist *list, struct uidlist_record *ret_record, struct err *e)
{
    struct span line;
    if (!take_line(&list->rest, &line))
        return 0;
    list->line++;
    *ret_record = (struct uidlist_record){ 0 };
    if (!read_number(take_word(&line), UIDLIST_UID_MAX, &ret_record->uid))
        return corrupt(list, e, "it does not begin with a UID");
    if (ret_record->uid <= list->last)
        return corrupt(list, e, "its UID is not above the one before");
    if (list->version == 3 && !take_keys(&line, &ret_record->keys))
        return corrupt(list, e, "there is no \":\" before the name");
    ret_record->name = line;
    if (line.len == 0 || memchr(line.ptr, '/', line.len) != NULL ||
        memchr(line.ptr, '\0', line.len) != NULL)
        return corrupt(list, e, "its name is none that a file can have");
    list->last = ret_record->uid;
    return 1;
}

int
uidlist_free_uid(struct uidlist *list, uint32_t *ret_uid, struct err *e)
{
    struct uidlist_record record;
    int got;
    while ((got = uidlist_next(list, &record, e)) > 0)
        continue;
    *ret_uid = MAX(list->next, list->last + 1);
    return got;
}

bool
uidlist_is_whole(struct span text)
{
    struct uidlist list;
    uint32_t uid;
    return uidlist_begin(&list, text, NULL) == 0 && uidlist_free_uid(&list, &uid, NULL) == 0;
}

/* What lies `gap` beyond uid. */
static int
beyond(uint32_t uid, uint32_t gap, uint32_t *ret_next, struct err *e)
{
    if (gap > UIDLIST_UID_MAX || uid > UIDLIST_UID_MAX - gap)
        return err_set(e, ERR_REFUSED, "%u UIDs behind %u are more than there are", gap, uid);
    *ret_next = uid + gap;
    return 0;
}

int
uidlist_raise(struct span text, uint32_t gap, struct buf *ret_text, uint32_t *ret_next,
              struct err *e)
{
    struct uidlist list;
    uint32_t uid;
    if (uidlist_begin(&list, text, e) < 0)
        return -1;
    struct span records = list.rest;
    if (uidlist_free_uid(&list, &uid, e) < 0)
        return -1;
    if (beyond(uid, gap, ret_next, e) < 0)
        return -1;
    char number[16];
    int digits = snprintf(number, sizeof(number), "%u", *ret_next);
    size_t before = (size_t)(list.number.ptr - text.ptr);
    buf_reset(ret_text);
    buf_add(ret_text, text.ptr, before);
    buf_add(ret_text, number, (size_t)digits);
    buf_add(ret_text, list.number.ptr + list.number.len,
            (size_t)(records.ptr - (list.number.ptr + list.number.len)));
    buf_add(ret_text, records.ptr, records.len - list.rest.len); /* without what was cut off */
    return 0;
}

static size_t
after_last_end(struct span text)
{
    const uint8_t *end = text.len == 0 ? NULL : memrchr(text.ptr, '\n', text.len);
    return end == NULL ? 0 : (size_t)(end - text.ptr) + 1;
}

/* The UID of the last whole line; 0: that is the header. */
static int
read_last(struct span whole, bool has_header, uint32_t *ret_last, struct err *e)
{
    size_t begin = after_last_end(span_from(whole, 0, whole.len - 1));
    struct span line = span_from(whole, begin, whole.len - begin - 1);
    *ret_last = 0;
    if (begin == 0)
        return has_header ? 0 : err_set(e, ERR_CORRUPT, "the last line of the UID list has no end");
    if (!read_number(take_word(&line), UIDLIST_UID_MAX, ret_last))
        return err_set(e, ERR_CORRUPT, "the last line of the UID list does not begin with a UID");
    return 0;
}

int
uidlist_gap(struct span head, struct span tail, uint32_t gap, struct uidlist_gap *ret_gap,
            struct err *e)
{
    struct uidlist list;
    uint32_t last;
    if (uidlist_begin(&list, head, e) < 0)
        return -1;
    if (list.version != 3)
        return 0;
    size_t whole = after_last_end(tail);
    if (whole == 0)
        return err_set(e, ERR_CORRUPT, "the last line of the UID list has no end");
    if (read_last(span_from(tail, 0, whole), span_equal(head, tail), &last, e) < 0 ||
        beyond(MAX(list.next, last + 1), gap, &ret_gap->next, e) < 0)
        return -1;
    ret_gap->torn = tail.len - whole;
    ret_gap->len = (size_t)snprintf(ret_gap->line, sizeof(ret_gap->line), "%u :mailtwin.gap-%u\n",
                                    ret_gap->next - 1, ret_gap->next - 1);
    return 1;
}

/* --- merging --- */

static void
add_record(const struct uidlist_record *record, struct buf *out)
{
    char uid[16];
    int len = snprintf(uid, sizeof(uid), "%u", (unsigned)record->uid);
    buf_add(out, uid, (size_t)len);
    if (record->keys.len > 0)
        buf_add_u8(out, ' ');
    buf_add(out, record->keys.ptr, record->keys.len);
    buf_add(out, " :", 2);
    buf_add(out, record->name.ptr, record->name.len);
    buf_add_u8(out, '\n');
}

static int
by_name(const void *a, const void *b)
{
    const struct span *x = &((const struct uidlist_record *)a)->name;
    const struct span *y = &((const struct uidlist_record *)b)->name;
    int order = memcmp(x->ptr, y->ptr, MIN(x->len, y->len));
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* The records of a list by their names. */
struct names {
    struct uidlist_record *list;
    size_t count, cap;
};

static void
names_free(struct names *names)
{
    free(names->list);
}
#define _cleanup_names_ _cleanup_(names_free)

static int
names_of(struct uidlist list, struct names *names, struct err *e)
{
    struct uidlist_record record;
    int got;
    while ((got = uidlist_next(&list, &record, e)) > 0) {
        if (names->count == names->cap) {
            names->cap = MAX(names->cap * 2, (size_t)64);
            names->list = xrealloc(names->list, names->cap * sizeof(names->list[0]));
        }
        names->list[names->count++] = record;
    }
    if (names->count > 0)
        qsort(names->list, names->count, sizeof(names->list[0]), by_name);
    return got;
}

static const struct uidlist_record *
find_name(const struct names *names, const struct uidlist_record *record)
{
    return names->count == 0
               ? NULL
               : bsearch(record, names->list, names->count, sizeof(names->list[0]), by_name);
}

/* Both rise; of a UID or a name that both have the later one's record counts. */
static int
merge_records(struct uidlist *later, struct uidlist *earlier, struct buf *out, struct err *e)
{
    struct uidlist_record new = { 0 }, old = { 0 };
    _cleanup_names_ struct names names = { 0 };
    if (names_of(*later, &names, e) < 0)
        return -1;
    int has_new = uidlist_next(later, &new, e);
    int has_old = uidlist_next(earlier, &old, e);
    while (has_new >= 0 && has_old >= 0 && has_new + has_old > 0) {
        bool from_new = has_new > 0 && (has_old == 0 || new.uid <= old.uid);
        bool both = from_new && has_old > 0 && new.uid == old.uid;
        if (from_new)
            add_record(&new, out);
        else if (find_name(&names, &old) == NULL)
            add_record(&old, out);
        if (!from_new || both)
            has_old = uidlist_next(earlier, &old, e);
        if (from_new)
            has_new = uidlist_next(later, &new, e);
    }
    return has_new < 0 || has_old < 0 ? -1 : 0;
}

int
uidlist_moved(struct span later, struct span earlier, size_t *ret_count, struct err *e)
{
    struct uidlist new, old;
    struct uidlist_record record;
    _cleanup_names_ struct names names = { 0 };
    int got;
    *ret_count = 0;
    if (uidlist_begin(&new, later, e) < 0 || uidlist_begin(&old, earlier, e) < 0 ||
        names_of(new, &names, e) < 0)
        return -1;
    while ((got = uidlist_next(&old, &record, e)) > 0) {
        const struct uidlist_record *is = find_name(&names, &record);
        *ret_count += is != NULL && is->uid != record.uid;
    }
    return got;
}

/* The merged list, whose next UID may be too low by now: both were read to their ends. */
static int
raise_to_both(struct span text, const struct uidlist *a, const struct uidlist *b,
              struct buf *ret_text, struct err *e)
{
    struct uidlist list;
    uint32_t have, next;
    uint32_t want = MAX(MAX(a->next, a->last + 1), MAX(b->next, b->last + 1));
    if (uidlist_begin(&list, text, e) < 0 || uidlist_free_uid(&list, &have, e) < 0)
        return -1;
    return uidlist_raise(text, want - MIN(have, want), ret_text, &next, e);
}

int
uidlist_merge(struct span later, struct span earlier, struct buf *ret_text, struct err *e)
{
    struct uidlist new, old;
    uint32_t next;
    if (uidlist_begin(&new, later, e) < 0 || uidlist_begin(&old, earlier, e) < 0)
        return -1;
    if (new.version != 3 || old.version != 3 || new.uidvalidity != old.uidvalidity)
        return uidlist_raise(later, 0, ret_text, &next, e);
    _cleanup_buf_ struct buf text = { 0 };
    const uint8_t *end = memchr(later.ptr, '\n', later.len);
    ASSERT(end != NULL); /* uidlist_begin() read the line */
    buf_add(&text, later.ptr, (size_t)(end - later.ptr) + 1);
    if (merge_records(&new, &old, &text, e) < 0)
        return -1;
    return raise_to_both(buf_span(&text), &new, &old, ret_text, e);
}
