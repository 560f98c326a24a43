/* barrier.h - callers who wait until all that happened before is safe. Main thread. */
#ifndef MAILTWIN_REPL_BARRIER_H
#define MAILTWIN_REPL_BARRIER_H

#include "replicator/daemon.h"

struct barriers *barriers_new(struct daemon *d);
void barriers_free(struct barriers **barriers);
/* What somebody waits for. */
struct barrier_for {
    int store;     /* its index, -1 all */
    bool handover; /* on a standby's disk, all of it, also what is of async stores */
    uint64_t timeout_ms;
};

/* Answers the call now or later; a client that hung up is forgotten.
 * "async" of the answer: no standby was asked. "state": safe; degraded (no standby, and when-alone
 * lets mail in); alone (no standby for PROTECTION_LOST_MS, and when-alone refuses: told as soon as
 * the journal has what happened); late (not within timeout_ms). */
void barriers_wait(struct barriers *b, struct control_call *call, const struct barrier_for *what);
/* What would a barrier end in? Answers at once: safe (nothing is waited for), pending (a standby is
 * there), degraded or alone (none is, and when-alone lets mail in, or does not). */
void barriers_probe(struct daemon *d, struct control_call *call, int store);
/* Positions of peers, or their states, have moved. */
void barriers_check(struct barriers *b);
/* The capture ends (a change of role): all who wait are told. */
void barriers_fail(struct barriers *b, const struct err *e);

#endif
