/* orders.h - what comes over the control socket. Main thread. */
#ifndef MAILTWIN_ORDERS_H
#define MAILTWIN_ORDERS_H

#include "replicator/daemon.h"

void orders_handle(struct control_call *call, const json_t *request,
                   const struct control_peer *peer, void *arg);

#endif
