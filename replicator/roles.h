/* roles.h - promote, demote, step down, resync: the changes of this node's role. Main thread. */
#ifndef MAILTWIN_ROLES_H
#define MAILTWIN_ROLES_H

#include "replicator/daemon.h"

/* Takes up the role that the state says, at start. */
int roles_begin(struct daemon *d, struct err *e) _must_check_;
/* force: in spite of a primary that answers, of an unfinished sync, or of a newer promotion that
 * was heard of and not followed. */
int roles_promote(struct daemon *d, bool force, struct err *e) _must_check_;
/* What a promotion now would do, without doing it: its epoch. -1: refused unless by force. */
int roles_promote_plan(struct daemon *d, uint64_t *ret_epoch, struct err *e) _must_check_;
/* A standby from then on; without a role, when the journal has not all that happened here yet: then
 * it is completed before anything is overwritten. */
int roles_demote(struct daemon *d, struct err *e) _must_check_;
int roles_resync(struct daemon *d, const char *from, struct err *e) _must_check_;
/* Ends sessions and capture cleanly, at the end of the process. */
void roles_end(struct daemon *d);

#endif
