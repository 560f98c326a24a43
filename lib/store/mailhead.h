/* mailhead.h - who wrote a message, about what: the few header fields by which people find it.
 * Pure, and bounded: any bytes give some answer.
 *
 * Encoded words (RFC 2047, B and Q) of UTF-8, US-ASCII, ISO-8859-1, -15 and windows-1252 are
 * decoded; others stay as they are written. What is not UTF-8 is read as ISO-8859-1. */
#ifndef MAILTWIN_MAILHEAD_H
#define MAILTWIN_MAILHEAD_H

#include "lib/base/bytes.h"

#define MAILHEAD_MAX   (64 * 1024) /* bytes of a message that are looked at */
#define MAILHEAD_FIELD 512

/* UTF-8 without control characters, cut where it is too long; "" where there is no such field. */
struct mailhead {
    char from[MAILHEAD_FIELD];
    char subject[MAILHEAD_FIELD];
    char date[MAILHEAD_FIELD];
    char message_id[MAILHEAD_FIELD];
};

/* head: the beginning of the message. The first field of each name counts. */
void mailhead_read(struct span head, struct mailhead *ret_head);
/* Does the field contain the text? Letters are equal whether large or small (ASCII, ISO-8859-1). */
bool mailhead_contains(const char *field, const char *text);

#endif
