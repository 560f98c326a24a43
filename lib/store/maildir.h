/* maildir.h - which names of a Maildir store are messages, which carry identity, which are noise.
 * What is replicated says store.h. */
#ifndef MAILTWIN_MAILDIR_H
#define MAILTWIN_MAILDIR_H

#include "lib/store/store.h"

/* cur, new or tmp: a directory that may be part of a folder. Users may be called that, too. */
bool maildir_is_part(struct span name);
/* Is `dir` called as a folder's cur or new is? Users may be called that, too. */
bool maildir_is_messages(struct span dir);
/* Is the name one that deliveries have while they are in tmp? They begin with the time. */
bool maildir_is_delivery(struct span name);
/* How long a name is without the flags of a message in cur (":2,S"). */
size_t maildir_base_len(struct span name);
/* Dovecot renames a folder to such a name and then deletes it. */
bool maildir_is_trash(struct span name);
/* The class of a name, deliveries in tmp aside. IGNORE is said in cur and new only of names that no
 * message has: Dovecot's own files and locks, in the home of a user who is called so. */
enum store_class maildir_class_of(struct span dir, struct span name);

#endif
