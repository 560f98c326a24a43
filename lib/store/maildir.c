#include "lib/store/maildir.h"

#include "lib/base/path.h"

enum match {
    EXACT,
    FAMILY, /* the name, and the name followed by '.' and anything */
};

static const struct {
    const char *name;
    enum match match;
    enum store_class class;
} rules[] = {
    { "dovecot-keywords", EXACT, CLASS_KEYWORDS },
    { "dovecot-uidlist", EXACT, CLASS_UIDLIST },
    { "courierimapuiddb", EXACT, CLASS_UIDLIST },
    { "courierpop3dsizelist", EXACT, CLASS_UIDLIST },
    /* Half-written, and renamed to the name that counts. */
    { "dovecot-uidlist.tmp", EXACT, CLASS_IGNORE },
    /* Rebuilt from the rest; an index newer than the uidlist would cost UIDs. */
    { "dovecot.index", FAMILY, CLASS_IGNORE },
    { "dovecot.list.index", FAMILY, CLASS_IGNORE },
    { "dovecot.mailbox.log", FAMILY, CLASS_IGNORE },
    { "dovecot-acl-list", EXACT, CLASS_IGNORE },
    /* Counted again where it is missing; a copy would count wrongly. */
    { "maildirsize", EXACT, CLASS_IGNORE },
    /* The one lock whose name begins with a dot. */
    { ".dovecot.lda-dupes.lock", EXACT, CLASS_IGNORE },
};

static bool
starts_with(struct span name, struct span prefix)
{
    return name.len >= prefix.len && memcmp(name.ptr, prefix.ptr, prefix.len) == 0;
}

static bool
rule_fits(struct span rule, enum match match, struct span name)
{
    if (!starts_with(name, rule))
        return false;
    return name.len == rule.len || (match == FAMILY && name.ptr[rule.len] == '.');
}

/* Not with a dot in front: ".Keys.lock" is the Maildir++ folder Keys/lock with its mail. */
static bool
is_lock(struct span name)
{
    static const char suffix[] = ".lock";
    size_t len = sizeof(suffix) - 1;
    if (name.len <= len || name.ptr[0] == '.')
        return false;
    return memcmp(name.ptr + name.len - len, suffix, len) == 0;
}

bool
maildir_is_part(struct span name)
{
    return span_equal(name, span_str("cur")) || span_equal(name, span_str("new")) ||
           span_equal(name, span_str("tmp"));
}

bool
maildir_is_messages(struct span dir)
{
    struct span name = path_name(dir);
    return span_equal(name, span_str("cur")) || span_equal(name, span_str("new"));
}

static bool
begins_with_a_digit(struct span name)
{
    return name.len > 0 && name.ptr[0] >= '0' && name.ptr[0] <= '9';
}

bool
maildir_is_delivery(struct span name)
{
    return begins_with_a_digit(name) && memchr(name.ptr, '.', name.len) != NULL;
}

bool
maildir_is_trash(struct span name)
{
    struct span end = span_str("DOVECOT-TRASHED");
    return name.len >= end.len && memcmp(name.ptr + name.len - end.len, end.ptr, end.len) == 0;
}

size_t
maildir_base_len(struct span name)
{
    static const char flags[] = { ':', '2', ',' };
    for (size_t i = 0; i + sizeof(flags) <= name.len; i++) {
        if (memcmp(name.ptr + i, flags, sizeof(flags)) == 0)
            return i;
    }
    return name.len;
}

enum store_class
maildir_class_of(struct span dir, struct span name)
{
    if (span_equal(path_name(dir), span_str("courierimapkeywords")))
        return CLASS_KEYWORDS;
    /* Also in a directory called cur or new, which may be the home of a user of that name. */
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (rule_fits(span_str(rules[i].name), rules[i].match, name))
            return rules[i].class;
    }
    /* The name of a message ends in that of its host, which may be called mx.lock. */
    bool message = maildir_is_messages(dir) && begins_with_a_digit(name);
    return is_lock(name) && !message ? CLASS_IGNORE : CLASS_NORMAL;
}
