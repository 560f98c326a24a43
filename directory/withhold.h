/* withhold.h - a change that takes the password from an entry is carried on without that part while
 * the server may only have ceased to show it; see secrets.h.
 *
 * From the first such change to the next refresh no cookie is saved, so whatever happens
 * the refresh is one of everything: it brings the spool level when the account sees all again, and
 * withholds again when not. */
#ifndef MAILTWIN_DIRECTORY_WITHHOLD_H
#define MAILTWIN_DIRECTORY_WITHHOLD_H

#include "directory/dir.h"

/* A refresh begins; it is complete. */
void withhold_begin(struct dir_store *s);
void withhold_refreshed(struct dir_store *s);
/* The entry as it is to be written, *text, when the spool had old_text: what must not be lost is
 * put back into it. -1: the connection is lost. */
int withhold_look(struct dir_store *s, struct row *row, const struct buf *old_text,
                  const struct ldif_entry *entry, struct buf *text, struct err *e) _must_check_;
/* Of each entry that is told. A new one may lack what it never showed: soon an older one that has a
 * secret is looked at. */
void withhold_note(struct dir_store *s, const struct ldif_entry *entry, bool is_new);
/* Does what is to be looked at again. 0: everything is to be asked for, since the server shows
 * again what it did not; else the milliseconds after which to call again, -1 there is nothing to
 * wait for. */
int withhold_wait(struct dir_store *s);
/* How many entries of the spool have a secret that the server does not show. */
size_t withhold_count(const struct dir_store *s);
void withhold_end(struct dir_store *s);

#endif
