#include "lib/store/listback.h"

#include "lib/store/identity.h"
#include "lib/store/keywords.h"
#include "lib/store/uidlist.h"

enum listback_kind
listback_kind_of(struct span name)
{
    static const struct {
        const char *name;
        enum listback_kind kind;
    } known[] = {
        { "dovecot-uidlist", LISTBACK_UIDS },          { "courierimapuiddb", LISTBACK_UIDS },
        { "courierpop3dsizelist", LISTBACK_SIZES },    { "dovecot-keywords", LISTBACK_KEYWORDS },
        { IDENTITY_VALIDITY_FILE, LISTBACK_VALIDITY },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (span_equal(name, span_str(known[i].name)))
            return known[i].kind;
    }
    return LISTBACK_NONE;
}

static void
set(struct buf *text, struct span s)
{
    buf_reset(text);
    buf_add(text, s.ptr, s.len);
}

/* Why it cannot be read becomes why it is not put back. */
static int
refuse(struct err *e)
{
    struct err why = *e;
    return err_set(e, ERR_REFUSED, "what is retained of it cannot be read: %s", why.text);
}

/* --- lists of UIDs --- */

static int
merge_uids(struct listback *x, struct buf *ret_text, struct err *e)
{
    _cleanup_buf_ struct buf as_it_is = { 0 };
    struct uidlist here, back;
    uint32_t next;
    if (uidlist_begin(&here, x->here, e) < 0 || uidlist_begin(&back, x->back, e) < 0)
        return -1;
    if (here.uidvalidity != back.uidvalidity)
        return err_set(e, ERR_REFUSED,
                       "the mail server has begun a new list there, of UIDVALIDITY %u instead of "
                       "%u",
                       here.uidvalidity, back.uidvalidity);
    if (uidlist_raise(x->here, 0, &as_it_is, &next, e) < 0 ||
        uidlist_merge(x->here, x->back, ret_text, e) < 0 ||
        uidlist_moved(x->here, x->back, &x->moved, e) < 0)
        return -1;
    return !span_equal(buf_span(&as_it_is), buf_span(ret_text));
}

static int
back_uids(struct listback *x, struct buf *ret_text, struct err *e)
{
    uint32_t next;
    bool whole = uidlist_is_whole(x->here);
    if (whole && !x->merge)
        return 0;
    if (!uidlist_is_whole(x->back)) {
        int rc = uidlist_raise(x->back, 0, ret_text, &next, e);
        return rc < 0 ? refuse(e) : -1;
    }
    if (whole)
        return merge_uids(x, ret_text, e);
    return uidlist_raise(x->back, x->gap, ret_text, &next, e) < 0 ? -1 : 1;
}

static int
back_sizes(const struct listback *x, struct buf *ret_text, struct err *e)
{
    if (identity_raise_sizes(x->here, 0, ret_text, NULL) == 0)
        return 0;
    if (identity_raise_sizes(x->back, x->gap, ret_text, e) == 0)
        return 1;
    return e->code == ERR_CORRUPT ? refuse(e) : -1;
}

/* --- keywords --- */

static bool
is_empty(const struct keywords *k)
{
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        if (k->names[i].len > 0)
            return false;
    }
    return true;
}

/* 1 the letter got its name back, 0 it has it, -1 one of the two means something else by now. */
static int
back_letter(struct keywords *here, int letter, struct span name, struct err *e)
{
    int place = keywords_find(here, name);
    if (place == letter)
        return 0;
    if (place >= 0 || here->names[letter].len > 0)
        return err_set(e, ERR_REFUSED, "the letter %c stands for another keyword there by now",
                       'a' + letter);
    here->names[letter] = name;
    return 1;
}

static int
back_keywords(const struct listback *x, struct buf *ret_text, struct err *e)
{
    struct keywords here, back;
    int changed = 0;
    keywords_read(x->here, &here);
    keywords_read(x->back, &back);
    if (is_empty(&back))
        return x->back.len == 0
                   ? 0
                   : err_set(e, ERR_REFUSED, "what is retained of it is no list of keywords");
    if (!is_empty(&here) && !x->merge)
        return 0;
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        int got = back.names[i].len == 0 ? 0 : back_letter(&here, i, back.names[i], e);
        if (got < 0)
            return -1;
        changed |= got;
    }
    buf_reset(ret_text);
    keywords_write(&here, ret_text);
    return changed;
}

/* --- the last UIDVALIDITY --- */

static int
back_validity(const struct listback *x, struct buf *ret_text, struct err *e)
{
    uint32_t here = identity_validity(x->here), back = identity_validity(x->back);
    if (here != 0 && (!x->merge || here >= back))
        return 0;
    if (back == 0)
        return err_set(e, ERR_REFUSED, "what is retained of it is no UIDVALIDITY");
    set(ret_text, x->back);
    return 1;
}

int
listback_text(struct listback *x, struct buf *ret_text, struct err *e)
{
    x->moved = 0;
    switch (x->kind) {
    case LISTBACK_UIDS:
        return back_uids(x, ret_text, e);
    case LISTBACK_SIZES:
        return back_sizes(x, ret_text, e);
    case LISTBACK_KEYWORDS:
        return back_keywords(x, ret_text, e);
    case LISTBACK_VALIDITY:
        return back_validity(x, ret_text, e);
    case LISTBACK_NONE:
        break;
    }
    set(ret_text, x->back);
    return 1;
}
