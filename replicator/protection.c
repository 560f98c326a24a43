#include "replicator/protection.h"

#include "lib/os/event.h"
#include "lib/os/when.h"

#include <time.h>

#define ALARM_MS    (3600 * 1000) /* an alarm is told again while it lasts */
#define REMEMBER_MS 1000          /* between two notes of how far the others are */

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
        if (!facts.paused)
            best = PROTECTION_PENDING;
    }
    return best;
}

bool
protection_refuses(const struct daemon *d, int store)
{
    uint64_t since = d->protection.alone_ms;
    return since != 0 && capture_now_ms() >= since + PROTECTION_LOST_MS &&
           protection_alone(d, store) == ALONE_REFUSE;
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

/* --- since when, and up to where --- */

/* The row: epoch, safe, degraded_since, protected_since. Of another epoch it says nothing. */
#define ROW      "protection"
#define ROW_SIZE 32

int
protection_begin(struct daemon *d, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct span row;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    int found = state_get(txn, ROW, &row, e);
    if (found < 0)
        return -1;
    d->protection = (struct protection_facts){ .safe = meta->tail, .kept = meta->tail };
    if (found == 0 || row.len != ROW_SIZE || get_le64(row.ptr) != meta->epoch)
        return 0;
    d->protection.kept = get_le64(row.ptr + 8);
    d->protection.safe = MIN(d->protection.kept, meta->tail);
    d->protection.degraded_since = get_le64(row.ptr + 16);
    d->protection.protected_since = get_le64(row.ptr + 24);
    return 0;
}

static uint64_t
epoch_of(const struct daemon *d)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    return state_begin(d->node->state, false, &txn, NULL) < 0 ? 0 : state_meta(txn)->epoch;
}

/* With the next commit of the capture: what a crash loses of it is a second. */
static void
remember(struct daemon *d)
{
    _cleanup_buf_ struct buf row = { 0 };
    buf_add_le64(&row, epoch_of(d));
    buf_add_le64(&row, d->protection.safe);
    buf_add_le64(&row, d->protection.degraded_since);
    buf_add_le64(&row, d->protection.protected_since);
    capture_note_peer(d->capture, ROW, buf_span(&row));
    d->protection.kept = d->protection.safe;
    d->protection.kept_ms = capture_now_ms();
}

void
protection_end(struct daemon *d)
{
    if (d->role == WIRE_ROLE_PRIMARY && d->capture != NULL &&
        d->protection.safe != d->protection.kept)
        remember(d);
}

/* A row for each acknowledgement would be a commit of the journal for each. */
static bool
is_due(const struct protection_facts *p)
{
    return p->safe != p->kept && capture_now_ms() >= p->kept_ms + REMEMBER_MS;
}

/* Also by a follower that no barrier waits for. */
static void
find_safe(struct daemon *d)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        if (facts.sending && facts.state == PEER_CONNECTED)
            d->protection.safe = MAX(d->protection.safe, facts.durable);
    }
}

static void
alarm_again(struct daemon *d)
{
    struct protection_facts *p = &d->protection;
    char since[WHEN_SIZE];
    p->told_ms = capture_now_ms();
    event(protection_alone(d, -1) == ALONE_REFUSE ? EV_REFUSING : EV_DEGRADED,
          F_STR("since", when_text(p->degraded_since, since)), F_U64("safe_seq", p->safe),
          F_U64("tail", atomic_load(&d->tail)));
}

static void
change(struct daemon *d, bool alone)
{
    struct protection_facts *p = &d->protection;
    uint64_t now = (uint64_t)time(NULL);
    char since[WHEN_SIZE];
    when_text(p->degraded_since, since);
    p->degraded_since = alone ? now : 0;
    p->protected_since = alone ? 0 : now;
    if (alone)
        alarm_again(d);
    else
        event(EV_PROTECTED, F_STR("alone_since", since));
}

void
protection_update(struct daemon *d)
{
    struct protection_facts *p = &d->protection;
    if (d->role != WIRE_ROLE_PRIMARY || d->capture == NULL) {
        *p = (struct protection_facts){ 0 };
        return;
    }
    find_safe(d);
    bool wanted = durability_of(d, -1) != DURABILITY_ASYNC;
    bool alone = wanted && protection_of(d, -1, UINT64_MAX) == PROTECTION_NONE;
    if (!alone)
        p->alone_ms = 0;
    else if (p->alone_ms == 0) /* degraded_since may be of a run before this one */
        p->alone_ms = capture_now_ms();
    if (alone != (p->degraded_since != 0)) {
        change(d, alone);
        remember(d);
    } else if (alone && capture_now_ms() - p->told_ms >= ALARM_MS) {
        alarm_again(d);
    }
    if (is_due(p))
        remember(d);
}
