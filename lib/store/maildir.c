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

static enum store_class
class_by_name(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (rule_fits(span_str(rules[i].name), rules[i].match, name))
            return rules[i].class;
    }
    return is_lock(name) ? CLASS_IGNORE : CLASS_NORMAL;
}

bool
maildir_is_messages(struct span dir)
{
    struct span name = path_name(dir);
    return span_equal(name, span_str("cur")) || span_equal(name, span_str("new"));
}

enum store_class
maildir_class_of(struct span dir, struct span name)
{
    if (span_equal(path_name(dir), span_str("courierimapkeywords")))
        return CLASS_KEYWORDS;
    enum store_class class = class_by_name(name);
    /* A user may be called "new": his uidlist still goes last. */
    return class == CLASS_IGNORE && maildir_is_messages(dir) ? CLASS_NORMAL : class;
}
