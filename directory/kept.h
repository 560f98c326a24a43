/* kept.h - entries that this node's server refused while it was a standby. After a promotion their
 * files stay in the spool, although the server has them not: absence there says nothing about them.
 * Their ids are in directory/STORE.refused, one a line. */
#ifndef MAILTWIN_DIRECTORY_KEPT_H
#define MAILTWIN_DIRECTORY_KEPT_H

#include "directory/dir.h"

/* Marks the rows of the list as kept. */
void kept_load(struct dir_store *s);
/* Writes the list of all rows with a problem; no list when there is none. */
int kept_save(struct dir_store *s, struct err *e) _must_check_;
/* The server has the entry now, or it was deleted there. */
int kept_drop(struct dir_store *s, struct row *row, struct err *e) _must_check_;

#endif
