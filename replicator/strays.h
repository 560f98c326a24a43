/* strays.h - objects that changed, whatever name an event gave them. The look at that name may find
 * another object there, or nothing: the name is gone again, is not replicated, or there is none at
 * all (an NFS client's change). What was done then shows under the names that the index has of the
 * object, and no event tells of those.
 *
 * Belongs to the capture thread. */
#ifndef MAILTWIN_STRAYS_H
#define MAILTWIN_STRAYS_H

#include "lib/os/watch.h"
#include "replicator/compare.h"

/* Notes what an event says of an object. `strays`: bounded by whoever empties it each turn. */
void strays_note(struct hints *strays, const struct watch_event *event);
/* What was noted of the object so far, of enum watch_what. */
unsigned strays_what(const struct hints *strays, struct span object);
/* It was looked at under some name: what was noted so far is told by that. told false: it is not,
 * the look came to nothing. */
void strays_seen(struct hints *strays, struct span object, bool told);
/* At the end of a turn: those that live and have changed since they were looked at are to be looked
 * at again under one of their names. */
int strays_settle(struct hints *strays, struct compare *c, struct err *e) _must_check_;
/* What was looked at in the turn is not recorded: it is all to be settled once more. */
void strays_again(struct hints *strays);

#endif
