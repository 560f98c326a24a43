/* keywords.h - which keyword each letter in the names of a folder's messages stands for: Dovecot's
 * dovecot-keywords. Pure: text in, text out.
 *
 *   0 Later            the letter 'a' stands for the keyword Later
 *   1 $Forwarded
 *
 * Lines that Dovecot passes over are passed over, and not written again, as it does. */
#ifndef MAILTWIN_KEYWORDS_H
#define MAILTWIN_KEYWORDS_H

#include "lib/base/buf.h"

#define KEYWORDS_MAX  26
#define KEYWORDS_SIZE (64 * 1024) /* bytes of a file that is worth reading */

struct keywords {
    struct span names[KEYWORDS_MAX]; /* point into the text; empty: the letter is free */
};

void keywords_read(struct span text, struct keywords *ret_keywords);
/* The place of a name, in whatever case; -1 it has none. */
int keywords_find(const struct keywords *keywords, struct span name);
/* Gives it the first free place; -1 when all are taken. */
int keywords_add(struct keywords *keywords, struct span name);
void keywords_write(const struct keywords *keywords, struct buf *out);

#endif
