/* waits.h - how long barriers were waited for: the last one, the longest, and what half and 99 of
 * 100 of the last WAITS_KEPT did not exceed. Pure. */
#ifndef MAILTWIN_GATE_WAITS_H
#define MAILTWIN_GATE_WAITS_H

#include "lib/os/gate_report.h"

#define WAITS_KEPT 1000

struct waits {
    double kept[WAITS_KEPT]; /* seconds; a ring */
    size_t count, next;      /* count: of kept that are set */
    double last, longest;
};

void waits_add(struct waits *w, double seconds);
struct gate_waits waits_sum_up(const struct waits *w);

#endif
