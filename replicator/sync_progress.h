/* sync_progress.h - how far a sync is: the sender knows it from its walk and tells it with
 * SYNC_PROGRESS, both nodes show it by the same rule. Pure. */
#ifndef MAILTWIN_SYNC_PROGRESS_H
#define MAILTWIN_SYNC_PROGRESS_H

#include "lib/data/wire.h"
#include "replicator/walk.h"

struct sync_progress {
    struct wire_sync_progress told; /* total 0: nothing is known */
    uint64_t at_ms;                 /* when it was so, by this node's monotonic clock */
};

/* What a walk has done. from: its first directory id; begun_ms: when this session began it. */
struct sync_progress sync_progress_of(const struct walk_progress *walk, uint64_t from,
                                      uint64_t begun_ms, uint64_t now_ms);
/* 0 to 1 */
double sync_progress_done(const struct sync_progress *p);
/* Directories a second in this session, up to now; 0 not known. */
double sync_progress_rate(const struct sync_progress *p, uint64_t now_ms);
/* Seconds; -1 not known. */
double sync_progress_left(const struct sync_progress *p, uint64_t now_ms);

#endif
