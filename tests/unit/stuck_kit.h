/* stuck_kit.h - how many folders a promotion said it left as they were: event_tap(count_stuck,
 * NULL). */
#ifndef MAILTWIN_TEST_STUCK_KIT_H
#define MAILTWIN_TEST_STUCK_KIT_H

#include "lib/os/event.h"

#include <stdatomic.h>

static atomic_uint stuck;

static inline void
count_stuck(enum event_id id, const char *line, void *arg)
{
    (void)line;
    (void)arg;
    if (id == EV_IDENTITY_STUCK)
        atomic_fetch_add(&stuck, 1);
}

#endif
