/* recover.h - after a power loss: what the journal names behind the last checkpoint may not have
 * reached the disk. What the disk may have lost, and what is done: docs/power-loss.md.
 *
 * Names are given and taken again as the journal says. What the disk lacks or may have wrong then
 * is held, durably: it is asked back from the standbys, and never recorded as deleted before each
 * that could have it has shown that it has it not. */
#ifndef MAILTWIN_RECOVER_H
#define MAILTWIN_RECOVER_H

#include "replicator/compare.h"

/* At start, inside a transaction, when the host went down without a clean stop: repairs what it can
 * and holds the rest. Otherwise does nothing; what was held before is held still. */
int recover_begin(struct compare *c, struct err *e) _must_check_;

/* Names still held, here or by an earlier run: a node that has any lacks something of its own past,
 * and is not whole. */
uint64_t recover_pending(struct state_txn *txn);

#endif
