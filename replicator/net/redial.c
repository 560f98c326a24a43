#include "replicator/net/redial.h"

#define SHARE      128 /* of the outage: what a distance may be */
#define ANSWER_MIN 100 /* a switch that learns, a machine that is busy */
#define PATIENT    16  /* each so many calls one waits longer: the way may have become longer */
#define DOUBLINGS  3   /* and each time more so */

void
redial_begin(struct redial *redial, uint64_t now_ms)
{
    *redial = (struct redial){ .lost_ms = now_ms };
}

void
redial_lost(struct redial *redial, uint64_t rtt_ms, uint64_t now_ms)
{
    *redial = (struct redial){ .lost_ms = now_ms, .rtt_ms = MAX(rtt_ms, (uint64_t)1) };
}

void
redial_failed(struct redial *redial, bool answered)
{
    redial->refused = answered ? redial->refused + 1 : 0;
    redial->unanswered = answered ? 0 : redial->unanswered + 1;
}

uint64_t
redial_answer_ms(const struct redial *redial)
{
    unsigned patient = redial->unanswered / PATIENT;
    if (redial->unanswered % PATIENT == PATIENT - 1)
        return (uint64_t)REDIAL_ANSWER_MS << MIN(patient, (unsigned)DOUBLINGS);
    if (redial->rtt_ms == 0)
        return REDIAL_ANSWER_MS;
    return MIN(MAX(redial->rtt_ms * 4, (uint64_t)ANSWER_MIN), (uint64_t)REDIAL_ANSWER_MS);
}

static uint64_t
due_ms(const struct redial *redial, uint64_t now_ms)
{
    if (redial->refused > 0)
        return (uint64_t)REDIAL_FIRST_MS << MIN(redial->refused - 1, 16u);
    return (now_ms - redial->lost_ms) / SHARE;
}

uint64_t
redial_wait_ms(const struct redial *redial, unsigned chance, uint64_t now_ms)
{
    uint64_t due = MAX(due_ms(redial, now_ms), (uint64_t)REDIAL_FIRST_MS);
    uint64_t half = MIN(due, (uint64_t)REDIAL_LAST_MS) / 2;
    return half + half * chance / 99;
}
