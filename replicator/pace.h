/* pace.h - group commit: when the journal may commit again. A burst is committed at once, change by
 * change; under steady load commits keep their distance, so that each carries several changes: one
 * commit writes about a dozen pages and syncs twice, whether it holds one record or fifty. On a
 * disk that is slow or busy they take a fifth of its time at most: the other four are the mail
 * server's. Pure; the time is handed in. */
#ifndef MAILTWIN_PACE_H
#define MAILTWIN_PACE_H

#include "lib/base/base.h"

#define PACE_GAP_NS     4000000ULL  /* between commits under load ... */
#define PACE_GAP_MAX_NS 40000000ULL /* ... and on a slow disk: what a change may wait for it */
#define PACE_BURST      4           /* as many may follow each other at once after a pause */

struct pace {
    uint64_t due_ns; /* when the next commit would be due, had they come evenly */
    uint64_t gap_ns; /* between commits, after the last one */
};

/* A commit took took_ns and ended now. */
void pace_committed(struct pace *pace, uint64_t took_ns, uint64_t now_ns);
/* Nanoseconds until the next commit may begin, PACE_GAP_MAX_NS at most; 0 now. */
uint64_t pace_wait_ns(const struct pace *pace, uint64_t now_ns);

#endif
