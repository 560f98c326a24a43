#include "gate/verdict.h"

#include <stdio.h>

static void
answered(struct door_wait *wait, enum door_verdict one, const char *why)
{
    struct verdict *verdict = wait->arg;
    if (one >= verdict->worst) {
        verdict->worst = one;
        snprintf(verdict->why, sizeof(verdict->why), "%s", why);
    }
    if (--verdict->missing == 0)
        verdict->done(verdict->arg);
}

int
verdict_ask(struct verdict *verdict, const struct gate *gate, bool knock)
{
    verdict->gate = gate;
    verdict->worst = DOOR_SAFE;
    verdict->why[0] = '\0';
    verdict->missing = gate->door_count + 1; /* done() is not called in here */
    for (size_t i = 0; i < gate->door_count; i++) {
        struct door_wait *wait = &verdict->waits[i];
        *wait = (struct door_wait){ .done = answered, .arg = verdict };
        if (knock)
            door_knock(gate->doors[i], wait);
        else
            door_wait(gate->doors[i], wait, gate->conf->timeout_ms);
    }
    return --verdict->missing == 0;
}

void
verdict_cancel(struct verdict *verdict)
{
    for (size_t i = 0; verdict->gate != NULL && i < verdict->gate->door_count; i++)
        door_cancel(&verdict->waits[i]);
    verdict->missing = 0;
}
