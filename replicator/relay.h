/* relay.h - what a standby that feeds another answers by itself: it writes no records of its own.
 * Session thread. */
#ifndef MAILTWIN_RELAY_H
#define MAILTWIN_RELAY_H

#include "replicator/ship.h"

/* Ships a name that the follower lacks as this standby has it now, as a fix-up with a COMMIT. A
 * name that is not here either needs nothing: a record on its way removes it there. */
int relay_need(struct ship *ship, uint16_t store, struct span path, struct err *e) _must_check_;

#endif
