/* status.h - the answer to `mailtwin status`. Main thread. */
#ifndef MAILTWIN_STATUS_H
#define MAILTWIN_STATUS_H

#include "replicator/daemon.h"

/* Fields: interface of `mailtwin status --json`. The caller owns the object. */
json_t *status_json(struct daemon *d);

/* What the other daemons of this node go by: {"role", "epoch", "history", "tail", "applied"}.
 * applied: the newest record that was carried out in a store here, on a standby. */
int role_json(struct daemon *d, json_t **ret_json, struct err *e) _must_check_;

#endif
