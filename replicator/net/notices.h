/* notices.h - the queue in front of the control channel. */
#ifndef MAILTWIN_NOTICES_H
#define MAILTWIN_NOTICES_H

#include "replicator/net/role.h"

/* Sends what the channel takes. 0, -1 the store role is gone. */
int notices_flush(struct role *role, struct err *e) _must_check_;
void notices_free(struct role *role);
/* role.c: waits until the channel takes more, if something is queued. */
void role_watch_control(struct role *role);

#endif
