#include "replicator/protection.h"

#include "lib/os/event.h"

#include <time.h>

static bool
store_counts(const struct daemon *d, int store, size_t index)
{
    return (store < 0 || (size_t)store == index) &&
           d->conf->stores[index].durability != DURABILITY_ASYNC;
}

static enum conf_durability
durability_of(const struct daemon *d, int store)
{
    enum conf_durability most = DURABILITY_ASYNC;
    for (size_t i = 0; i < d->conf->store_count; i++) {
        if (store_counts(d, store, i))
            most = MAX(most, d->conf->stores[i].durability);
    }
    return most;
}

enum conf_alone
protection_alone(const struct daemon *d, int store)
{
    for (size_t i = 0; i < d->conf->store_count; i++) {
        if (store_counts(d, store, i) && d->conf->stores[i].when_alone == ALONE_REFUSE)
            return ALONE_REFUSE;
    }
    return ALONE_CONTINUE;
}

/* A follower marked async never protects; one that is being brought level lacks older mail, but has
 * what it acknowledged only when it is level. */
static bool
peer_counts(const struct peer *peer, const struct peer_facts *facts)
{
    return facts->sending && facts->state == PEER_CONNECTED &&
           peer->conf->durability != DURABILITY_ASYNC;
}

enum protection
protection_of(const struct daemon *d, int store, uint64_t seq)
{
    enum conf_durability wanted = durability_of(d, store);
    if (wanted == DURABILITY_ASYNC)
        return PROTECTED; /* nothing more was asked for than the journal */
    enum protection best = PROTECTION_NONE;
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        if (!peer_counts(&d->peers[i], &facts))
            continue;
        enum conf_durability here = MIN(wanted, d->peers[i].conf->durability);
        uint64_t has = here == DURABILITY_RECEIVED ? facts.received : facts.durable;
        if (has >= seq)
            return PROTECTED;
        best = PROTECTION_PENDING;
    }
    return best;
}

/* A peer that was here before and that the journal has left behind will be compared as a whole when
 * it returns. */
static void
tell_trimmed(struct daemon *d, uint64_t oldest)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        bool behind = facts.durable != 0 && facts.durable + 1 < oldest;
        if (behind && !d->peers[i].trim_told)
            event(EV_JOURNAL_TRIMMED, F_STR("peer", d->peers[i].conf->name),
                  F_U64("its_seq", facts.durable), F_U64("oldest", oldest));
        d->peers[i].trim_told = behind;
    }
}

/* Since when the peer has not confirmed the first record that it lacks, 0 it lacks none. Wall
 * clock, as records have it. */
static uint64_t
late_ms(const struct peer_facts *facts, struct state_txn *txn)
{
    struct record r;
    struct timespec now;
    if (!facts->sending || facts->state != PEER_CONNECTED ||
        facts->durable >= state_meta(txn)->tail ||
        state_record(txn, facts->durable + 1, &r, NULL) <= 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    uint64_t then_ms = r.time_ns / 1000000;
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static void
tell_late(struct daemon *d, struct state_txn *txn)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        uint64_t late = late_ms(&facts, txn);
        bool too_late = late > d->conf->ack_late_ms;
        if (too_late && !d->peers[i].late_told)
            event(EV_ACK_LATE, F_STR("peer", d->peers[i].conf->name),
                  F_U64("seq", facts.durable + 1), F_U64("late_ms", late));
        d->peers[i].late_told = too_late;
    }
}

void
protection_check_journal(struct daemon *d)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (d->role != WIRE_ROLE_PRIMARY || state_begin(d->node->state, false, &txn, NULL) < 0)
        return;
    tell_trimmed(d, state_meta(txn)->oldest);
    tell_late(d, txn);
}

void
protection_update(struct daemon *d)
{
    bool wanted = d->role == WIRE_ROLE_PRIMARY && durability_of(d, -1) != DURABILITY_ASYNC;
    bool alone = wanted && protection_of(d, -1, UINT64_MAX) == PROTECTION_NONE;
    if (alone == (d->degraded_since != 0))
        return;
    d->degraded_since = alone ? (uint64_t)time(NULL) : 0;
    if (alone)
        event(EV_DEGRADED);
    else if (wanted)
        event(EV_PROTECTED);
}
