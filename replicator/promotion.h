/* promotion.h - the order to promote this node. One that still receives waits a moment: its primary
 * may have been demoted just now, and the connection not have ended here yet; or have ended, and
 * not be there again. Main thread. */
#ifndef MAILTWIN_PROMOTION_H
#define MAILTWIN_PROMOTION_H

#include "replicator/daemon.h"

/* The longest wait for the role of the node that this one receives from to be told anew. */
#define PROMOTION_WAIT_MS 3000
/* And for a primary whose connection ended to say that it was demoted, and how far it had come:
 * then all of it is here. One that died does not answer. */
#define HANDOVER_WAIT_MS 1000

/* Answers the call now or later. A client that hangs up meanwhile has given its order up. force: as
 * roles_promote(), at once. */
void promotion_order(struct daemon *d, struct control_call *call, bool force);
/* States of peers have moved. */
void promotion_check(struct daemon *d);
/* The daemon stops: who still waits is told. */
void promotion_end(struct daemon *d);

#endif
