/* restore.h - retained objects go back into the live stores of the primary: given to it over the
 * link, or, where this node is the primary by now, to its own intake. Main thread.
 *
 * A request names objects of one store, each as "BUCKET/NAME" or, for a file of a directory,
 * "BUCKET/NAME/MEMBER", with bytes that a text may not have as backslash and two hex digits. Behind
 * a line feed each stand earlier versions of a list of UIDs, the newest first: they are merged.
 * What is given twice is there once: see intake.h. */
#ifndef MAILTWIN_RESTORE_H
#define MAILTWIN_RESTORE_H

#include "replicator/daemon.h"

#define RESTORE_MAX 1000 /* objects of one request */

/* "do": "retained-give", "store", "objects", "replace" (true: they replace what has their name
 * now), "suffix" (taken off the paths that end so). Answers with how many were created, exist,
 * failed, were refused or are gone, with the first reason, and with those that were not taken, by
 * name. */
void restore_order(struct daemon *d, int store, struct control_call *call, const json_t *request);
/* Gives up one that runs here, and waits until nothing more of it happens: what is in the stores by
 * then stays, and its answer says that it was given up. Before a role ends, and with the daemon. */
void restore_stop(struct daemon *d);

#endif
