/* orders.h - what comes over the control socket. Main thread. */
#ifndef MAILTWIN_ORDERS_H
#define MAILTWIN_ORDERS_H

#include "replicator/daemon.h"

void orders_handle(struct control_call *call, const json_t *request,
                   const struct control_peer *peer, void *arg);
/* The last proof that a store's copies are what it is, kept in the state. */
struct proof {
    uint64_t at; /* seconds since 1970 */
    uint64_t differences;
};

/* false: it was never compared. */
bool orders_last_proof(struct state_txn *txn, const char *store, struct proof *ret_proof);
/* Verifies the stores whose time has come; called now and then. */
void orders_verify_due(struct daemon *d);

#endif
