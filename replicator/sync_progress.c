#include "replicator/sync_progress.h"

static uint64_t
before(uint64_t dir)
{
    return dir - MIN(dir, (uint64_t)1);
}

struct sync_progress
sync_progress_of(const struct walk_progress *walk, uint64_t from, uint64_t begun_ms,
                 uint64_t now_ms)
{
    struct sync_progress p = { .at_ms = now_ms };
    p.told.total = MIN(walk->total, (uint64_t)WIRE_COUNT_MAX);
    p.told.done = MIN(before(walk->next), p.told.total);
    p.told.from = MIN(before(from), p.told.total);
    p.told.directories = MIN(walk->directories, (uint64_t)WIRE_COUNT_MAX);
    p.told.spent_ms = now_ms - MIN(begun_ms, now_ms);
    return p;
}

double
sync_progress_done(const struct sync_progress *p)
{
    return p->told.total > 0 ? (double)p->told.done / (double)p->told.total : 0;
}

static double
per_second(const struct sync_progress *p, uint64_t count, uint64_t now_ms)
{
    double spent_ms = (double)p->told.spent_ms + (double)(now_ms - MIN(now_ms, p->at_ms));
    return spent_ms > 0 ? (double)count * 1000 / spent_ms : 0;
}

double
sync_progress_rate(const struct sync_progress *p, uint64_t now_ms)
{
    return per_second(p, p->told.directories, now_ms);
}

/* A directory that was level may have to be looked at again: then `done` falls behind `from`. Where
 * all have been looked at the end waits for something else. */
double
sync_progress_left(const struct sync_progress *p, uint64_t now_ms)
{
    double speed = per_second(p, p->told.done - MIN(p->told.done, p->told.from), now_ms);
    uint64_t rest = p->told.total - p->told.done;
    return speed > 0 && rest > 0 ? (double)rest / speed : -1;
}
