#include "gate/waits.h"

#include <stdlib.h>
#include <string.h>

void
waits_add(struct waits *w, double seconds)
{
    w->kept[w->next] = seconds;
    w->next = (w->next + 1) % WAITS_KEPT;
    w->count = MIN(w->count + 1, (size_t)WAITS_KEPT);
    w->last = seconds;
    w->longest = MAX(w->longest, seconds);
}

static int
compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The smallest that so many of 100 do not exceed. */
static double
share(const double *sorted, size_t count, size_t percent)
{
    return sorted[(count * percent + 99) / 100 - 1];
}

struct gate_waits
waits_sum_up(const struct waits *w)
{
    double sorted[WAITS_KEPT];
    if (w->count == 0)
        return (struct gate_waits){ 0 };
    memcpy(sorted, w->kept, w->count * sizeof(sorted[0]));
    qsort(sorted, w->count, sizeof(sorted[0]), compare);
    return (struct gate_waits){ .last = w->last,
                                .p50 = share(sorted, w->count, 50),
                                .p99 = share(sorted, w->count, 99),
                                .longest = w->longest };
}
