/* verdict.h - asks all doors of a gate and makes one answer of theirs. */
#ifndef MAILTWIN_GATE_VERDICT_H
#define MAILTWIN_GATE_VERDICT_H

#include "gate/gate.h"

struct verdict {
    struct door_wait waits[GATE_DOORS_MAX];
    const struct gate *gate;
    size_t missing; /* answers; 0 when nothing was asked */
    enum door_verdict worst;
    char why[DOOR_WHY_MAX];
    void (*done)(void *arg); /* not before verdict_ask() has returned */
    void *arg;
};

/* knock: may mail come in? else: is all up to now safe? 1 the answer is here, 0 done() will be
 * called. */
int verdict_ask(struct verdict *verdict, const struct gate *gate, bool knock);
void verdict_cancel(struct verdict *verdict);

static inline bool
verdict_good(const struct verdict *verdict)
{
    return verdict->worst <= DOOR_DEGRADED;
}

#endif
