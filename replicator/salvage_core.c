#include "replicator/salvage_core.h"

#include <string.h>

bool
salvage_is_due(const struct wire_hello *ours, const struct wire_hello *theirs,
               const struct link_decision *decision, uint64_t applied)
{
    bool nameable = ours->role == WIRE_ROLE_NONE || applied <= ours->tail;
    return decision->refusal == WIRE_REFUSE_DIVERGED && ours->role != WIRE_ROLE_PRIMARY &&
           theirs->role == WIRE_ROLE_PRIMARY && theirs->epoch > ours->epoch &&
           ours->tail > decision->fork && nameable;
}

bool
salvage_permits(const struct salvage_permission *permission, const struct wire_hello *ours,
                const struct wire_hello *theirs)
{
    if (!permission->bound)
        return true;
    return memcmp(ours->history, theirs->history, WIRE_HISTORY_SIZE) == 0 &&
           link_fork(ours, theirs) >= permission->fork && ours->tail <= permission->tail;
}
