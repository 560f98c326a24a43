/* prepare.h - what a standby can do beforehand for the day when it takes over: a place for the
 * modification sequence of each folder, which is then only written (renumber.h). Making a hundred
 * thousand files takes seconds; writing forty bytes into each does not.
 *
 * A thread of its own, beside the session that receives. It only makes files that no store
 * replicates, and only where there is none; what it has not come to is made at the promotion. */
#ifndef MAILTWIN_PREPARE_H
#define MAILTWIN_PREPARE_H

#include "replicator/node.h"

struct prepare;

/* Of a standby; begins at once, and looks for new folders once a minute. */
struct prepare *prepare_begin(struct node *node);
void prepare_end(struct prepare **prepare); /* NULL is fine; waits for the folder in hand */

#endif
