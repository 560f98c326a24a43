/* listback.h - what stands in a file that carries identity when an earlier version of it comes
 * back: lists of UIDs and sizes, keywords, the last UIDVALIDITY. Pure: text in, text out.
 *
 * One that nobody can read (encrypted, emptied, overwritten) gives way to the earlier version. One
 * that can be read is the mail server's and keeps all that it says: UIDs that it gave out since,
 * and its UIDVALIDITY. It gets only what it lacks; where that contradicts what it says, nothing is
 * changed and the sentence says so. */
#ifndef MAILTWIN_LISTBACK_H
#define MAILTWIN_LISTBACK_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum listback_kind {
    LISTBACK_NONE,     /* a file that carries no identity */
    LISTBACK_UIDS,     /* dovecot-uidlist, courierimapuiddb */
    LISTBACK_SIZES,    /* courierpop3dsizelist */
    LISTBACK_KEYWORDS, /* dovecot-keywords */
    LISTBACK_VALIDITY, /* dovecot-uidvalidity */
};

/* Of a name in a Maildir store. */
enum listback_kind listback_kind_of(struct span name);

struct listback {
    enum listback_kind kind;
    struct span here, back;
    bool merge;   /* an operator's word: one that can be read gets what it lacks */
    uint32_t gap; /* for UIDs given out since `back`, which are told nowhere when `here` is lost */
    size_t moved; /* set: messages that have got another UID there by now, and keep it */
};

/* 1 *ret_text is to stand there, 0 what is there stays, as it has all of `back` or was not to be
 * merged. -1 ERR_REFUSED: it is not put back, and why; so it is when `back` cannot be read. */
int listback_text(struct listback *x, struct buf *ret_text, struct err *e) _must_check_;

#endif
