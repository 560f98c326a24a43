/* status.h - the answer to `mailtwin status`. Main thread. */
#ifndef MAILTWIN_STATUS_H
#define MAILTWIN_STATUS_H

#include "replicator/daemon.h"

/* Fields: interface of `mailtwin status --json`. The caller owns the object. */
json_t *status_json(struct daemon *d);

#endif
