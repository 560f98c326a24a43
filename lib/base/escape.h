/* escape.h - any bytes as printable ASCII, for requests, answers and terminals: a backslash and two
 * hex digits stand for what is not. */
#ifndef MAILTWIN_ESCAPE_H
#define MAILTWIN_ESCAPE_H

#include "lib/base/buf.h"

/* The text of the bytes; for free(). */
char *escape_text(struct span bytes);
/* The bytes of such a text; false: it is not written so. */
bool escape_read(const char *text, struct buf *ret_bytes);

#endif
