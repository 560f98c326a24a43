/* maildir.h - which names of a Maildir store are messages, which carry identity, which are noise;
 * for store.c alone. */
#ifndef MAILTWIN_MAILDIR_H
#define MAILTWIN_MAILDIR_H

#include "lib/store/store.h"

/* Is `dir` a folder's cur or new? What lies in there is a message, whatever it is called. */
bool maildir_is_messages(struct span dir);
/* The class of a name that is in no tmp; IGNORE is never said of a name in cur or new. */
enum store_class maildir_class_of(struct span dir, struct span name);

#endif
