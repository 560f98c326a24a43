#include "replicator/pace.h"

#define CREDIT_NS ((PACE_BURST - 1) * PACE_GAP_NS)

void
pace_committed(struct pace *pace, uint64_t now_ns)
{
    /* Commits that did not wait, for a barrier's sake, are no debt. */
    pace->due_ns = MIN(MAX(pace->due_ns, now_ns), now_ns + CREDIT_NS) + PACE_GAP_NS;
}

uint64_t
pace_wait_ns(const struct pace *pace, uint64_t now_ns)
{
    return pace->due_ns > now_ns + CREDIT_NS ? pace->due_ns - now_ns - CREDIT_NS : 0;
}
