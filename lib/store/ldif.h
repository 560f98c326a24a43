/* ldif.h - one directory entry as text: what the spool of a store of kind ldap has for each entry.
 * Pure. Format: docs/formats/entry.md.
 *
 * An LDIF record (RFC 2849) in one form only: the same entry is the same bytes on each node, and a
 * file differs exactly when its entry does. Attributes are sorted by name (case does not count) and
 * value, no value is there twice, no line is folded. */
#ifndef MAILTWIN_LDIF_H
#define MAILTWIN_LDIF_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define LDIF_TEXT_MAX   (32u << 20) /* of an entry: more than a server takes in one request */
#define LDIF_VALUES_MAX 1000000u    /* members of a group */
#define LDIF_DN_MAX     8192u
#define LDIF_NAME_MAX   255u

/* Places in `bytes`, which may move while values are added. */
struct ldif_pair {
    uint32_t name, name_len;
    uint32_t value, value_len;
};

struct ldif_entry {
    struct buf bytes; /* the DN, then names and values */
    uint32_t dn_len;
    struct ldif_pair *pairs;
    size_t count, cap;
};

void ldif_free(struct ldif_entry *entry); /* leaves an empty entry behind */
#define _cleanup_ldif_ _cleanup_(ldif_free)

/* An entry is built by ldif_begin(), one ldif_add() for each value, and ldif_end(), which sorts. -1
 * from there: it is none that can be written (a limit, a name that is no attribute's). */
void ldif_begin(struct ldif_entry *entry, struct span dn);
void ldif_add(struct ldif_entry *entry, struct span name, struct span value);
int ldif_end(struct ldif_entry *entry, struct err *e) _must_check_;

/* Of a complete entry; spans point into it. */
struct span ldif_dn(const struct ldif_entry *entry);
struct span ldif_name(const struct ldif_entry *entry, size_t i);
struct span ldif_value(const struct ldif_entry *entry, size_t i);
/* The first value of the attribute; false: it has none. */
bool ldif_find(const struct ldif_entry *entry, const char *name, struct span *ret_value);
/* How many values from the i-th on have the i-th's name; 0 at the end. */
size_t ldif_run(const struct ldif_entry *entry, size_t i);
/* The order of attributes: 0 when both names mean the same one. */
int ldif_compare_names(struct span a, struct span b);

static inline bool
ldif_same_name(struct span a, struct span b)
{
    return ldif_compare_names(a, b) == 0;
}

/* Adds the text to *out. */
void ldif_write(const struct ldif_entry *entry, struct buf *out);
/* Reads what ldif_write() wrote. Anything else, also a text that was cut off, is ERR_CORRUPT with
 * the line. */
int ldif_read(struct span text, struct ldif_entry *ret_entry, struct err *e) _must_check_;

/* The numbers of LDAP's modify operation (RFC 4511, 4.6). */
enum ldif_op {
    LDIF_ADD = 0,
    LDIF_DELETE = 1,
    LDIF_REPLACE = 2
};
/* One change of one attribute; LDIF_DELETE without a value: all of it. */
typedef void ldif_change(void *arg, enum ldif_op op, struct span name, const struct span *values,
                         size_t count);
/* Attributes with more values than this are changed value by value, smaller ones are replaced. */
#define LDIF_REPLACE_MAX 16
/* What leads from one entry to the other, DNs aside. whole: also large attributes are replaced
 * (those whose values the server cannot compare). */
void ldif_diff(const struct ldif_entry *from, const struct ldif_entry *to, bool whole,
               ldif_change *change, void *arg);

#endif
