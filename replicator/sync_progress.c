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

/* A directory that was level may have to be looked at again: then `done` falls behind `from`. */
double
sync_progress_rate(const struct sync_progress *p, uint64_t now_ms)
{
    double spent_ms = (double)p->told.spent_ms + (double)(now_ms - MIN(now_ms, p->at_ms));
    double here = (double)(p->told.done - MIN(p->told.done, p->told.from));
    return spent_ms > 0 ? here * 1000 / spent_ms : 0;
}

double
sync_progress_left(const struct sync_progress *p, uint64_t now_ms)
{
    double rate = sync_progress_rate(p, now_ms);
    return rate > 0 ? (double)(p->told.total - p->told.done) / rate : -1;
}
