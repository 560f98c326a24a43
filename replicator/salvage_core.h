/* salvage_core.h - what may become of what a returning node has alone. Pure: facts in, decision
 * out; used by session.c and salvage_keep.c for real and by the simulator. */
#ifndef MAILTWIN_SALVAGE_CORE_H
#define MAILTWIN_SALVAGE_CORE_H

#include "replicator/link.h"

/* Is it to be kept now? Of who was refused as diverged by a newer primary of its own history.
 * applied: what its stores have beyond its journal; a standby cannot name that, and stays held. */
bool salvage_is_due(const struct wire_hello *ours, const struct wire_hello *theirs,
                    const struct link_decision *decision, uint64_t applied);

/* All behind kept_fork is kept, and so this node may be overwritten: by this one, too? By whoever
 * shares all that came before, and by nobody who parted from this node earlier. */
bool salvage_permits(uint64_t kept_fork, const struct wire_hello *ours,
                     const struct wire_hello *theirs);

#endif
