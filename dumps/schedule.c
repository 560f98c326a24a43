#include "dumps/schedule.h"

#include "lib/base/base.h"

void
schedule_begin(struct schedule *schedule, uint64_t every_ms, uint64_t last_wall_ms,
               uint64_t now_wall_ms, int64_t now_ms)
{
    uint64_t ago = now_wall_ms - MIN(last_wall_ms, now_wall_ms);
    bool now = last_wall_ms == 0 || last_wall_ms > now_wall_ms || ago >= every_ms;
    schedule->every_ms = every_ms;
    schedule->due_ms = now ? now_ms : now_ms + (int64_t)(every_ms - ago);
}

bool
schedule_is_due(const struct schedule *schedule, int64_t now_ms)
{
    return now_ms >= schedule->due_ms;
}

void
schedule_ended(struct schedule *schedule, enum schedule_end end, int64_t began_ms, int64_t now_ms)
{
    int64_t every = (int64_t)schedule->every_ms;
    if (end == SCHEDULE_HELD)
        schedule->due_ms = now_ms + MIN(every, SCHEDULE_HELD_MS);
    else if (end == SCHEDULE_FAILED)
        schedule->due_ms = now_ms + MIN(every, SCHEDULE_RETRY_MS);
    else
        schedule->due_ms = MAX(began_ms + every, now_ms);
}
