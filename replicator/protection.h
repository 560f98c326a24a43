/* protection.h - is mail safe now? Which peers count, and how far they are. Main thread. */
#ifndef MAILTWIN_PROTECTION_H
#define MAILTWIN_PROTECTION_H

#include "replicator/daemon.h"
#include "replicator/safety.h"

/* A link that ended is made again within tenths of a second when both nodes live. A standby that
 * has not come back for this long (as long as a silent link is waited for) is called lost. */
#define PROTECTION_LOST_MS 5000

/* Of all changes up to seq of a store (-1: of all stores). */
enum protection protection_of(const struct daemon *d, int store, uint64_t seq);
/* Likewise, for a change of roles: on a standby's disk, whatever the stores' durability. */
enum protection protection_handed_over(const struct daemon *d, uint64_t seq);
/* Nothing is waited for but the journal. */
bool protection_is_async(const struct daemon *d, int store);
/* Of a barrier: it refuses when a store that it is for does. */
enum conf_alone protection_alone(const struct daemon *d, int store);
/* Is what no standby has refused now, and not only later? So it is when `when-alone` of the store
 * refuses and every standby is lost. */
bool protection_refuses(const struct daemon *d, int store);
/* This node is the primary from now on, or again: what it knew in this epoch before a restart
 * counts on, also since when it is alone. */
int protection_begin(struct daemon *d, struct err *e) _must_check_;
/* Of a primary, at the last update. */
enum safety protection_of_store(const struct daemon *d, size_t store);
enum safety protection_of_node(const struct daemon *d);
/* Notes when protection is lost or regained: date, event; an alarm again each hour that it is lost.
 * Where no store waits for a standby there is none to lose: then only the date since when no
 * standby follows. */
void protection_update(struct daemon *d);
/* The capture is about to end: what is known of the others is kept with its last commit. */
void protection_end(struct daemon *d);

/* Tells of peers that the journal no longer reaches back to, and of those that confirm later than
 * `ack-late` allows; called now and then. */
void protection_check_journal(struct daemon *d);

#endif
