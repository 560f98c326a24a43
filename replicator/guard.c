#include "replicator/guard.h"

#include <string.h>

void
guard_reset(struct guard *guard)
{
    struct guard_limits limits = guard->limits;
    *guard = (struct guard){ .limits = limits };
}

void
guard_init(struct guard *guard, const struct guard_limits *limits)
{
    guard->limits = *limits;
    guard_reset(guard);
}

static uint64_t
slot_of(const struct guard *guard, uint64_t time_ms)
{
    return time_ms / MAX(guard->limits.window_ms / GUARD_SLOTS, (uint64_t)1);
}

/* A time before the newest is a clock that was set back, or a record that came late. */
struct guard_sum
guard_sum(const struct guard *guard, const struct guard_count *count, uint64_t time_ms)
{
    uint64_t now = MAX(slot_of(guard, time_ms), count->newest);
    struct guard_sum sum = { 0 };
    for (uint64_t i = 0; i < GUARD_SLOTS; i++) {
        uint64_t slot = count->newest - i;
        if (i > count->newest || now - slot >= GUARD_SLOTS)
            break;
        sum.lost += count->lost[slot % GUARD_SLOTS];
        sum.gone += count->gone[slot % GUARD_SLOTS];
    }
    return sum;
}

void
guard_lose(const struct guard *guard, struct guard_count *count, uint64_t files, uint64_t time_ms,
           bool gone)
{
    uint64_t now = MAX(slot_of(guard, time_ms), count->newest);
    uint64_t passed = MIN(now - count->newest, (uint64_t)GUARD_SLOTS);
    for (uint64_t i = 0; i < passed; i++)
        count->lost[(now - i) % GUARD_SLOTS] = count->gone[(now - i) % GUARD_SLOTS] = 0;
    count->newest = now;
    count->lost[now % GUARD_SLOTS] += files;
    if (!gone)
        return;
    count->gone[now % GUARD_SLOTS] += files;
    count->at_least -= MIN(count->at_least, files);
}

void
guard_found(struct guard_count *count, uint64_t files)
{
    count->at_least = files;
}

static uint64_t
part_of(uint64_t whole, unsigned percent)
{
    return whole / 100 * percent + whole % 100 * percent / 100;
}

/* There were those that are there and those that went since the window began. */
bool
guard_over(const struct guard *guard, const struct guard_count *count, uint64_t files,
           uint64_t time_ms, uint64_t *ret_most)
{
    struct guard_sum sum = guard_sum(guard, count, time_ms);
    unsigned percent = guard->limits.percent;
    uint64_t lost = sum.lost + files;
    *ret_most = 0;
    if (percent >= 100 || lost < GUARD_FLOOR)
        return false;
    if (lost <= part_of(count->at_least + sum.gone, percent))
        return false;
    /* twice what it takes, so that it is not asked for again with the next file */
    *ret_most = percent == 0 ? 0 : (lost / percent + 1) * 200;
    return true;
}

static uint64_t
hash_of(struct span user)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < user.len; i++)
        h = (h ^ user.ptr[i]) * UINT64_C(0x100000001b3);
    return h == 0 ? 1 : h;
}

struct guard_user *
guard_user_of(struct guard *guard, struct span user, uint64_t time_ms)
{
    uint64_t hash = hash_of(user), least = UINT64_MAX;
    struct guard_user *place = &guard->users[0];
    for (struct guard_user *u = guard->users; u < guard->users + GUARD_USERS; u++) {
        if (u->hash == hash)
            return u;
        uint64_t lost = u->hash == 0 ? 0 : guard_sum(guard, &u->count, time_ms).lost + 1;
        if (lost < least) {
            least = lost;
            place = u;
        }
    }
    *place = (struct guard_user){ .hash = hash };
    return place;
}
