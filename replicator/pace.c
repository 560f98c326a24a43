#include "replicator/pace.h"

#define SHARE 4 /* of the time of a commit: what follows it at least, under load */

static uint64_t
credit_ns(const struct pace *pace)
{
    return (PACE_BURST - 1) * pace->gap_ns;
}

void
pace_committed(struct pace *pace, uint64_t took_ns, uint64_t now_ns)
{
    pace->gap_ns = MIN(MAX(took_ns * SHARE, PACE_GAP_NS), PACE_GAP_MAX_NS);
    /* Commits that did not wait, for a barrier's sake, are no debt. */
    pace->due_ns = MIN(MAX(pace->due_ns, now_ns), now_ns + credit_ns(pace)) + pace->gap_ns;
}

uint64_t
pace_wait_ns(const struct pace *pace, uint64_t now_ns)
{
    uint64_t from_ns = now_ns + credit_ns(pace);
    return pace->due_ns > from_ns ? pace->due_ns - from_ns : 0;
}
