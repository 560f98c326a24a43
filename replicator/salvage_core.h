/* salvage_core.h - what may become of what a returning node has alone. Pure: facts in, decision
 * out; used by session.c and salvage_keep.c for real and by the simulator. */
#ifndef MAILTWIN_SALVAGE_CORE_H
#define MAILTWIN_SALVAGE_CORE_H

#include "replicator/link.h"

/* Is it to be kept now? Of who was refused as diverged by a newer primary of its own history.
 * applied: what its stores have beyond its journal; a standby cannot name that, and stays held. */
bool salvage_is_due(const struct wire_hello *ours, const struct wire_hello *theirs,
                    const struct link_decision *decision, uint64_t applied);

/* What a salvage permits: of this node's records those from behind `fork` up to `tail` are kept. */
struct salvage_permission {
    bool bound; /* else an operator permits everything */
    uint64_t fork, tail;
};

/* May this one overwrite this node? Whoever shares all that came before what is kept, while nothing
 * has come behind it; and nobody who parted from this node earlier. */
bool salvage_permits(const struct salvage_permission *permission, const struct wire_hello *ours,
                     const struct wire_hello *theirs);

#endif
