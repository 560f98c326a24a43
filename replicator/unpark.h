/* unpark.h - what a primary that died left parked on its standby gets a visible name. */
#ifndef MAILTWIN_UNPARK_H
#define MAILTWIN_UNPARK_H

#include "replicator/compare.h"

/* The primary moves what is in the way by two records: to a private name in the store's root
 * (lib/store/parked.h), and on from there. Where the second never came, the object stands hidden on
 * the disk. Here it gets the name that it had, or one beside that, or one in the root, never one
 * that is taken; index and journal follow, as they do when somebody renames it.
 *
 * For a node that is primary: at its start, and when the index has come level with the disk. Costs
 * a look into the index where there is nothing. What gets no name is told, and has its turn again
 * at the next start, or behind the next sweep. Returns -1 only when the state fails. */
int unpark(struct compare *c, struct err *e) _must_check_;

#endif
