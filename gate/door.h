/* door.h - asks the replicator whether mail in a store is safe, for all sessions at once.
 *
 * A request to the barrier covers all that happened before it. So what was delivered while requests
 * are under way waits for the next one together: however many sessions deliver, there are few
 * barriers. A daemon that restarts is asked again until a caller's time is up. */
#ifndef MAILTWIN_DOOR_H
#define MAILTWIN_DOOR_H

#include "lib/base/err.h"

#include <sys/queue.h>
#include <uv.h>

#define DOOR_WHY_MAX 200

enum door_verdict {
    DOOR_SAFE,
    DOOR_DEGRADED, /* no standby has it, and when-alone lets mail in */
    DOOR_LATE,     /* not in time, or nobody answers */
    DOOR_REFUSED,  /* no standby, and when-alone refuses; or this node is not the primary */
};

struct door_wait {
    TAILQ_ENTRY(door_wait) next;
    struct door *door;           /* NULL: waits for nothing */
    uint64_t since_ms, until_ms; /* of uv_now() */
    void (*done)(struct door_wait *wait, enum door_verdict verdict, const char *why);
    void *arg;
};

/* store NULL: all stores of the node. barrier_socket: its path. */
struct door *door_new(uv_loop_t *loop, const char *barrier_socket, const char *store);
/* Nobody may be waiting. The loop has to run once more for the memory to be given back. */
void door_close(struct door **door);

/* Is what happened up to now safe? done() is called once, never in this call, within timeout_ms. */
void door_wait(struct door *door, struct door_wait *wait, uint64_t timeout_ms);
/* So many more deliveries are under way at the server (or fewer): those that are done wait a few
 * milliseconds for more of them, and share a barrier. */
void door_expect(struct door *door, int more);
/* Would it be refused now? Known for a short while; asks when it is not. May call done() at once;
 * DOOR_SAFE and DOOR_DEGRADED: come in. */
void door_knock(struct door *door, struct door_wait *wait);
/* done() will not be called. NULL door is fine. */
void door_cancel(struct door_wait *wait);

#endif
