#include "replicator/protection.h"

#include "lib/os/event.h"
#include "lib/os/when.h"

#include <string.h>
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

bool
protection_is_async(const struct daemon *d, int store)
{
    return durability_of(d, store) == DURABILITY_ASYNC;
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

/* One that is being brought level has what it acknowledged only when it is level. */
static struct safety_peer
look_at(struct peer *peer)
{
    struct peer_facts facts;
    peer_facts(peer, &facts);
    return (struct safety_peer){
        .durability = peer->conf->durability,
        .follows = facts.sending && facts.state == PEER_CONNECTED,
        .paused = facts.paused,
        .received = facts.received,
        .durable = facts.durable,
    };
}

enum protection
protection_of(const struct daemon *d, int store, uint64_t seq)
{
    enum conf_durability wanted = durability_of(d, store);
    enum protection best = wanted == DURABILITY_ASYNC ? PROTECTED : PROTECTION_NONE;
    for (size_t i = 0; best != PROTECTED && i < d->peer_count; i++) {
        struct safety_peer peer = look_at(&d->peers[i]);
        best = MIN(best, safety_reach(wanted, &peer, seq));
    }
    return best;
}

enum protection
protection_handed_over(const struct daemon *d, uint64_t seq)
{
    enum protection best = PROTECTION_NONE;
    bool only_async = true;
    for (size_t i = 0; i < d->peer_count; i++)
        only_async &= d->peers[i].conf->durability == DURABILITY_ASYNC;
    for (size_t i = 0; i < d->peer_count; i++) {
        struct safety_peer peer = look_at(&d->peers[i]);
        best = MIN(best, safety_handed_over(&peer, only_async, seq));
    }
    return best;
}

/* No standby protects anything, or would if something were to wait for it. */
static bool
is_alone(const struct daemon *d)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        struct safety_peer peer = look_at(&d->peers[i]);
        if (safety_reach(DURABILITY_DURABLE, &peer, UINT64_MAX) != PROTECTION_NONE)
            return false;
    }
    return true;
}

enum safety
protection_of_store(const struct daemon *d, size_t store)
{
    return safety_of_store(&d->conf->stores[store], d->protection.alone_ms != 0);
}

enum safety
protection_of_node(const struct daemon *d)
{
    return safety_of_node(d->conf->stores, d->conf->store_count, d->protection.alone_ms != 0);
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

/* The row: epoch, safe, degraded_since, protected_since, no_standby_since; the last one is younger
 * than the others. Of another epoch it says nothing. */
#define ROW          "protection"
#define ROW_SIZE     40
#define ROW_SIZE_OLD 32

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
    if (found == 0 || (row.len != ROW_SIZE && row.len != ROW_SIZE_OLD) ||
        get_le64(row.ptr) != meta->epoch)
        return 0;
    d->protection.kept = get_le64(row.ptr + 8);
    d->protection.safe = MIN(d->protection.kept, meta->tail);
    d->protection.degraded_since = get_le64(row.ptr + 16);
    d->protection.protected_since = get_le64(row.ptr + 24);
    if (row.len == ROW_SIZE)
        d->protection.no_standby_since = get_le64(row.ptr + 32);
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
    buf_add_le64(&row, d->protection.no_standby_since);
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
static bool
find_standby(struct daemon *d)
{
    bool any = false;
    for (size_t i = 0; i < d->peer_count; i++) {
        struct safety_peer peer = look_at(&d->peers[i]);
        if (!peer.follows)
            continue;
        d->protection.safe = MAX(d->protection.safe, peer.durable);
        any |= !peer.paused;
    }
    return any;
}

/* --- what is told --- */

/* The stores of which what comes is refused now, or of which it is let in. */
static void
name_stores(const struct daemon *d, bool refused, struct buf *names)
{
    for (size_t i = 0; i < d->conf->store_count; i++) {
        if ((protection_of_store(d, i) == SAFETY_REFUSING) != refused)
            continue;
        if (names->len > 0)
            buf_add_u8(names, ',');
        buf_add(names, d->conf->stores[i].name, strlen(d->conf->stores[i].name));
    }
    buf_add_u8(names, '\0');
}

static void
raise_alarm(struct daemon *d, enum safety now)
{
    struct protection_facts *p = &d->protection;
    _cleanup_buf_ struct buf refused = { 0 };
    _cleanup_buf_ struct buf accepted = { 0 };
    char since[WHEN_SIZE];
    name_stores(d, true, &refused);
    name_stores(d, false, &accepted);
    p->told = true;
    p->told_ms = capture_now_ms();
    event(now == SAFETY_REFUSING ? EV_REFUSING : EV_DEGRADED,
          F_STR("since", when_text(p->degraded_since, since)), F_U64("safe_seq", p->safe),
          F_U64("tail", atomic_load(&d->tail)), F_STR("refused", (const char *)refused.ptr),
          F_STR("accepted", (const char *)accepted.ptr));
}

static void
lose(struct daemon *d, enum safety now)
{
    d->protection.degraded_since = (uint64_t)time(NULL);
    d->protection.protected_since = 0;
    raise_alarm(d, now);
}

/* By a standby; or because the configuration asks for none any more, which protects nobody. */
static void
regain(struct daemon *d, enum safety now)
{
    struct protection_facts *p = &d->protection;
    char since[WHEN_SIZE];
    if (now == SAFETY_PROTECTED) {
        p->protected_since = (uint64_t)time(NULL);
        event(EV_PROTECTED, F_STR("alone_since", when_text(p->degraded_since, since)));
    }
    p->degraded_since = 0;
}

/* true: a date has changed. */
static bool
note_safety(struct daemon *d, enum safety now)
{
    struct protection_facts *p = &d->protection;
    bool lost = now == SAFETY_REFUSING || now == SAFETY_DEGRADED;
    if (now == SAFETY_ASYNC)
        p->protected_since = 0; /* of another configuration */
    if (lost && p->degraded_since == 0)
        lose(d, now);
    else if (!lost && p->degraded_since != 0)
        regain(d, now);
    else {
        if (lost && (!p->told || capture_now_ms() - p->told_ms >= ALARM_MS))
            raise_alarm(d, now);
        return false;
    }
    return true;
}

static bool
note_standby(struct protection_facts *p, bool any)
{
    if (any == (p->no_standby_since == 0))
        return false;
    p->no_standby_since = any ? 0 : (uint64_t)time(NULL);
    return true;
}

void
protection_update(struct daemon *d)
{
    struct protection_facts *p = &d->protection;
    if (d->role != WIRE_ROLE_PRIMARY || d->capture == NULL) {
        *p = (struct protection_facts){ 0 };
        return;
    }
    bool moved = note_standby(p, find_standby(d));
    if (!is_alone(d))
        p->alone_ms = 0;
    else if (p->alone_ms == 0) /* degraded_since may be of a run before this one */
        p->alone_ms = capture_now_ms();
    moved |= note_safety(d, protection_of_node(d));
    if (moved || is_due(p))
        remember(d);
}
