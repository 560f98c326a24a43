/* capture.h - the primary: what the server tells becomes files of the spool.
 *
 * One LDAP change is one file written, renamed or removed, in the server's order. The cookie is
 * saved only when the files it stands for are durable, so after any crash the server tells again
 * what may be missing. What goes unnamed is removed only after a refresh that was complete, and
 * behind the guard. */
#ifndef MAILTWIN_DIRECTORY_CAPTURE_H
#define MAILTWIN_DIRECTORY_CAPTURE_H

#include "directory/dir.h"

int capture_begin(struct dir_store *s, struct err *e) _must_check_;
void capture_end(struct dir_store *s);
/* What can be done now; returns after how many milliseconds it wants to be called again at the
 * latest, -1: not before something comes from the server. */
int capture_step(struct dir_store *s);
/* Does the spool have all changes up to these numbers (server_csns())? */
bool capture_reached(const struct dir_store *s, struct span csns);
/* Everything is asked of the server anew. */
void capture_refresh(struct dir_store *s);
/* The guard was released: what it held back is removed. */
void capture_release(struct dir_store *s);

#endif
