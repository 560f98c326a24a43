/* verify.h - comparisons of this node's stores with those of its standbys: by order and by
 * schedule. Main thread. The work is done by the sessions (walk.h) and at the peers (answer.h). */
#ifndef MAILTWIN_VERIFY_H
#define MAILTWIN_VERIFY_H

#include "replicator/daemon.h"
#include "replicator/proof.h"

/* Compares a store (-1 all) with every standby that is connected and level, and answers the call:
 * {"differences", "repaired", "examples"}, or why not. */
void verify_start(struct daemon *d, struct control_call *call, int store, bool repair,
                  bool content);
/* Begins what the schedule wants; called now and then. */
void verify_tick(struct daemon *d);

/* at 0: the store was never compared. */
void verify_last_proof(struct state_txn *txn, const char *store, struct proof *ret_proof);
/* A store that is being compared now; done: how much of it, 0 to 1. */
bool verify_is_running(const struct daemon *d, size_t store, double *ret_done, double *ret_seconds);

#endif
