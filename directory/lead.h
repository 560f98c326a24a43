/* lead.h - when the server of a promoted node leads, and its spool follows. Pure. */
#ifndef MAILTWIN_DIRECTORY_LEAD_H
#define MAILTWIN_DIRECTORY_LEAD_H

#include "directory/dir.h"

#include <stdlib.h>
#include <string.h>

#define LEAD_APPLY   "apply\n" /* the mark of what is done with the store, in STORE.mode ... */
#define LEAD_CAPTURE "capture" /* ... with the epoch behind it: " 3\n" */

/* It captured in one epoch, and the node is the primary of another: did a node lead in between, of
 * whose changes the spool knows and the server does not? The next promotion behind its own was this
 * node's again, and brought nothing. 0: not known. */
static inline bool
lead_missed(uint64_t captured, uint64_t epoch)
{
    return captured != 0 && epoch > captured + 1;
}

/* Is a primary's server to get what the spool has, before it leads? mark: of what was done when the
 * daemon was last stopped, NULL none. */
static inline bool
lead_applies_first(const char *mark, uint64_t epoch)
{
    size_t len = strlen(LEAD_CAPTURE);
    if (mark == NULL || strncmp(mark, LEAD_CAPTURE, len) != 0)
        return mark != NULL && strcmp(mark, LEAD_APPLY) == 0;
    return lead_missed(strtoull(mark + len, NULL, 10), epoch);
}

/* May it be said that the server is level? applied: it has what the spool has. epoch: who asks has
 * promoted the node with it, which this daemon may not know yet (0: nobody has). Then it is level
 * when its server leads: before, what a client writes there could be taken for what only a standby
 * has. captured: the epoch in which the capture began. */
static inline bool
lead_is_level(enum dir_mode mode, const struct role_state *role, uint64_t epoch, uint64_t captured,
              bool applied)
{
    if (mode == DIR_CAPTURE)
        return role->role == ROLE_PRIMARY && role->epoch >= epoch &&
               !lead_missed(captured, role->epoch);
    if (mode == DIR_APPLY)
        return epoch == 0 && role->role != ROLE_PRIMARY && applied;
    return mode == DIR_NATIVE;
}

#endif
