/* order.h - an order that changes something is on record: who gave it, why, and what came of it. */
#ifndef MAILTWIN_ORDER_H
#define MAILTWIN_ORDER_H

#include "lib/os/control.h"

/* Before the order is carried out: event CONTROL now, ORDER_END when the call is answered. Both are
 * acts: see docs/formats/audit.md. In the loop thread. */
void order_note(struct control_call *call, const json_t *request, const struct control_peer *peer);

#endif
