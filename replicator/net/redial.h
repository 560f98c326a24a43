/* redial.h - when a peer without a link is called again, and how long a call may stay unanswered.
 *
 * A call is one connection request: the kernel repeats it after 1, 2 and 4 seconds only, so an
 * outage that is over would be noticed late. Calls are therefore given up early and made again, at
 * distances that grow with the outage: being cut off lasts little longer than the cut. Who
 * answers and is refused, or refuses, is called at distances that double. Pure; time and chance are
 * handed in. */
#ifndef MAILTWIN_REDIAL_H
#define MAILTWIN_REDIAL_H

#include "lib/base/base.h"

#define REDIAL_FIRST_MS  100   /* the shortest distance between two calls */
#define REDIAL_LAST_MS   10000 /* and the longest */
#define REDIAL_HELD_MS   5000  /* a link this old was a good one */
#define REDIAL_ANSWER_MS 1000  /* for an answer, when nobody knows how far away the peer is */

struct redial {
    uint64_t lost_ms;    /* since when there is no good link */
    uint64_t rtt_ms;     /* there and back on the last good link; 0 not known */
    unsigned unanswered; /* calls in a row */
    unsigned refused;    /* answered calls in a row that came to no good link */
};

void redial_begin(struct redial *redial, uint64_t now_ms);
/* A good link ended. */
void redial_lost(struct redial *redial, uint64_t rtt_ms, uint64_t now_ms);
/* A call came to nothing, or to a link that was none. */
void redial_failed(struct redial *redial, bool answered);
/* How long the next call may stay unanswered. */
uint64_t redial_answer_ms(const struct redial *redial);
/* Until the next call: between half and all of what is due, so that two nodes do not knock in step
 * for ever. chance: 0 to 99. */
uint64_t redial_wait_ms(const struct redial *redial, unsigned chance, uint64_t now_ms);

#endif
