#include "replicator/pace.h"

#define SHARE     4 /* of the time of a commit: what follows it at least, under load */
#define DECAY     4 /* a short commit between long ones takes a quarter of the distance away */
#define CREDIT_NS ((PACE_BURST - 1) * PACE_GAP_NS)

void
pace_committed(struct pace *pace, uint64_t records, uint64_t took_ns, uint64_t now_ns)
{
    uint64_t carried_ns = MIN(records, PACE_GAP_MAX_NS / PACE_GAP_NS) * PACE_GAP_NS;
    uint64_t gap_ns = MAX(pace->gap_ns - pace->gap_ns / DECAY, MAX(took_ns * SHARE, carried_ns));
    pace->gap_ns = MIN(gap_ns, PACE_GAP_MAX_NS);
    /* Commits that did not wait, for a barrier's sake, are no debt. */
    pace->due_ns = MIN(MAX(pace->due_ns, now_ns), now_ns + CREDIT_NS) + pace->gap_ns;
}

void
pace_hurried(struct pace *pace, uint64_t now_ns)
{
    pace->gap_ns = PACE_GAP_MAX_NS;
    pace->due_ns = now_ns + CREDIT_NS + PACE_GAP_MAX_NS;
}

uint64_t
pace_wait_ns(const struct pace *pace, uint64_t now_ns)
{
    return pace->due_ns > now_ns + CREDIT_NS ? pace->due_ns - now_ns - CREDIT_NS : 0;
}
