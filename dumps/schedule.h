/* schedule.h - when a dump is due. Pure: times in, decision out. */
#ifndef MAILTWIN_DUMPS_SCHEDULE_H
#define MAILTWIN_DUMPS_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_RETRY_MS 60000 /* behind a failure, or less: no later than the next one is due */
#define SCHEDULE_HELD_MS  10000 /* behind a refusal, which ends by an order of somebody */

struct schedule {
    uint64_t every_ms;
    int64_t due_ms; /* of a clock that does not jump */
};

enum schedule_end {
    SCHEDULE_DONE,
    SCHEDULE_FAILED,
    SCHEDULE_HELD,
};

/* last_wall_ms: when the last one began by the clock on the wall, 0 none; in the future: the clock
 * was set, and it is due now. */
void schedule_begin(struct schedule *schedule, uint64_t every_ms, uint64_t last_wall_ms,
                    uint64_t now_wall_ms, int64_t now_ms);
bool schedule_is_due(const struct schedule *schedule, int64_t now_ms);
/* A run that began at began_ms ended. One that took longer than the interval is followed at once by
 * the next one, never by two. */
void schedule_ended(struct schedule *schedule, enum schedule_end end, int64_t began_ms,
                    int64_t now_ms);

#endif
