/* relay.h - what a standby that feeds another answers by itself, having no journal of its own
 * making: what its follower lacks or has in the way is shipped as fix-ups. Session thread. */
#ifndef MAILTWIN_RELAY_H
#define MAILTWIN_RELAY_H

#include "replicator/place.h"
#include "replicator/ship.h"

#define RELAY_BYTES_MAX (32 * 1024 * 1024) /* of needs */

struct relay {
    struct ship *ship;
    struct places *places;
    struct buf needs; /* as encoded by relay.c */
    struct buf dirs;  /* u64 ids: all that is in them is still to be shipped */
};

void relay_init(struct relay *relay, struct ship *ship);
void relay_free(struct relay *relay);
/* ERR_PROTOCOL: more is asked for at once than is kept (RELAY_BYTES_MAX). */
int relay_add(struct relay *relay, const struct wire_need *need, struct err *e) _must_check_;
bool relay_pending(const struct relay *relay);
/* One name, or one directory. Only when the ship's cursor is the journal's tail: there the
 * follower's tree must be what the index says. */
int relay_step(struct relay *relay, struct err *e) _must_check_;

#endif
