/* queue.h - which names of a Postfix queue directory are mail, and which are of one host alone; for
 * store.c and for what looks at a queue after a promotion.
 *
 * The mail is in some of the directories; the others hold sockets, locks and what a chroot needs. A
 * queue file is written in place: in incoming and maildrop it counts only once its owner may
 * execute it, which Postfix sets last, behind its sync. The name of a file carries the number of
 * its inode: "5 hex digits of a time, then the inode in hex", or, with enable_long_queue_ids,
 * seconds, microseconds and, behind a 'z', the inode in another base, where nothing depends on it.
 */
#ifndef MAILTWIN_QUEUE_H
#define MAILTWIN_QUEUE_H

#include "lib/base/bytes.h"

/* Is the directory of that name, in the root, one of the queue's? */
bool queue_is_part(struct span name);
/* Of these: do message files lie in it, and not only logs about them? maildrop has none of these
 * names. */
bool queue_has_messages(struct span name);
/* Are files of this directory (store path) written in place? Of what becomes of one the directory's
 * times tell nothing. */
bool queue_is_taken_into(struct span dir);
/* A file of this directory (store path) with this mode is still being written, and nobody's yet. */
bool queue_is_unfinished(struct span dir, uint32_t mode);
/* The inode number in a short name. false: a long name, or none. */
bool queue_name_ino(struct span name, uint64_t *ret_ino);

#endif
