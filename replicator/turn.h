/* turn.h - one session receives at a time: there is one apply engine, and one writer of the state.
 *
 * A session of a newer promotion takes the place of an older one's, which may hang on a link that
 * is half open: the older is told to end, closes engine and journal, and gives its turn back before
 * the newer has it. */
#ifndef MAILTWIN_TURN_H
#define MAILTWIN_TURN_H

#include "lib/data/wire.h"

#include <pthread.h>
#include <stdatomic.h>

struct peer;

/* One session's wish to receive; belongs to its thread. */
struct turn_claim {
    struct peer *peer;
    int link_fd; /* shut down to end a session that waits for its peer; open until turn_give() */
    uint8_t history[WIRE_HISTORY_SIZE]; /* of the sender */
    uint64_t epoch;
    atomic_bool lost; /* a newer one waits: end */
};

struct turn {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct turn_claim *holder, *next;
    /* The newest promotion that greeted, and until when an older one is turned away although
     * nobody receives: the newer session may be on its way to greet again. */
    uint8_t history[WIRE_HISTORY_SIZE];
    uint64_t epoch;
    uint64_t until_ms;
};

void turn_init(struct turn *turn);
void turn_destroy(struct turn *turn);

/* Waits until the session before it has ended. ERR_REFUSED: a newer promotion has the turn, waits
 * for it, or greeted a moment ago. ERR_BUSY: the session before it does not end. ERR_PEER: the peer
 * was told to stop. */
int turn_take(struct turn *turn, struct turn_claim *claim, struct err *e) _must_check_;
void turn_give(struct turn *turn, struct turn_claim *claim);
bool turn_lost(const struct turn_claim *claim);
/* A peer was told to stop: who waits looks again. */
void turn_wake(struct turn *turn);

#endif
