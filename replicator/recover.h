/* recover.h - after a power loss: what the journal names behind the last checkpoint may not have
 * reached the disk.
 *
 * Names and attributes are done again from the journal; contents that the disk lacks are held until
 * a standby gave them back. Held names are never recorded as deleted. */
#ifndef MAILTWIN_RECOVER_H
#define MAILTWIN_RECOVER_H

#include "replicator/compare.h"

/* At start, inside a transaction, when the host went down without a clean stop: repairs what it can
 * and fills c->held. Otherwise does nothing. */
int recover_begin(struct compare *c, struct err *e) _must_check_;

/* Names still held. */
size_t recover_pending(const struct compare *c);

#endif
