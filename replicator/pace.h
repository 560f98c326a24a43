/* pace.h - group commit: when the journal may commit again. A commit writes about a dozen pages and
 * syncs twice, whether it holds one record or fifty, and a run, packets and syncs of the standby
 * follow from it. A burst is committed at once, change by change. Under load the distance grows
 * with what the last commit carried: a mail server at its limit gets its processor and its disk
 * back, and waits for a standby that is some hundredths of a second behind. A disk that is slow or
 * busy gives a fifth of its time at most. Pure; the time is handed in. */
#ifndef MAILTWIN_PACE_H
#define MAILTWIN_PACE_H

#include "lib/base/base.h"

#define PACE_GAP_NS     4000000ULL  /* of distance for each record of the last commit: up to */
#define PACE_GAP_MAX_NS 40000000ULL /* ... this, which is what a change may wait for it */
#define PACE_BURST      4           /* as many may follow each other at once after a pause */

struct pace {
    uint64_t due_ns; /* when the next commit would be due, had they come evenly */
    uint64_t gap_ns; /* between commits, after the last one */
};

/* A commit of so many records, one at least, took took_ns and ended now. */
void pace_committed(struct pace *pace, uint64_t records, uint64_t took_ns, uint64_t now_ns);
/* Somebody waited for that commit, and did not wait for its time. Who waits asks again: what nobody
 * waits for goes with the next one, or waits PACE_GAP_MAX_NS. */
void pace_hurried(struct pace *pace, uint64_t now_ns);
/* Nanoseconds until the next commit may begin, PACE_GAP_MAX_NS at most; 0 now. */
uint64_t pace_wait_ns(const struct pace *pace, uint64_t now_ns);

#endif
