/* prepare.h - what a standby can do beforehand for the day when it takes over: the modification
 * sequence of each folder (renumber.h). Making a hundred thousand files takes seconds, writing them
 * one.
 *
 * A thread of its own, beside the session that receives. It only writes files that no store
 * replicates, and no mail server has written to; what it has not come to is done at the promotion.
 */
#ifndef MAILTWIN_PREPARE_H
#define MAILTWIN_PREPARE_H

#include "replicator/renumber.h"

struct prepare;

/* Of a standby; begins at once, and looks again every few minutes. */
struct prepare *prepare_begin(struct node *node);
/* NULL is fine; waits for the folders in hand. ret_prepared: how far it came; NULL is fine. */
void prepare_end(struct prepare **prepare, struct renumber_prepared *ret_prepared);

#endif
