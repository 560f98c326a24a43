#include "replicator/status.h"

#include "lib/os/when.h"
#include "replicator/gates.h"
#include "replicator/mass.h"
#include "replicator/protection.h"
#include "replicator/receiver.h"
#include "replicator/risk.h"
#include "replicator/salvage.h"
#include "replicator/session.h"
#include "replicator/status_dump.h"
#include "replicator/verify.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define RISK_SHOWN      20    /* users by name */
#define LAG_RECORDS_MAX 20000 /* counted one by one at most */

static double
now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static json_t *
time_json(uint64_t seconds)
{
    char text[WHEN_SIZE];
    return seconds == 0 ? json_null() : json_string(when_text(seconds, text));
}

static const char *
capture_word(const struct daemon *d, const struct capture_status *capture)
{
    if (d->capture == NULL)
        return "live";
    switch (capture->phase) {
    case CAPTURE_INITIAL:
        return "initial";
    case CAPTURE_SWEEPING:
        return "sweeping";
    case CAPTURE_STALLED:
        return "paused";
    case CAPTURE_LIVE:
        break;
    }
    return "live";
}

static json_t *
last_verify(struct state_txn *txn, const char *store)
{
    struct proof proof = { 0 };
    if (txn != NULL)
        verify_last_proof(txn, store, &proof);
    if (proof.at == 0)
        return json_null();
    return json_pack("{s:o, s:I, s:o}", "at", time_json(proof.at), "differences",
                     (json_int_t)proof.differences, "contents_since",
                     time_json(proof.contents_since));
}

static json_t *
verify_now(const struct daemon *d, size_t store)
{
    double done, left;
    if (!verify_is_running(d, store, &done, &left))
        return json_null();
    return json_pack("{s:f, s:o}", "done", done, "seconds_left",
                     left < 0 ? json_null() : json_real(left));
}

/* On a standby a store is what its receiver is. */
static const char *
store_word(const struct daemon *d, struct state_txn *txn, const struct capture_status *capture)
{
    if (d->capture != NULL)
        return capture_word(d, capture);
    if (atomic_load(&d->apply_stalled) || mass_closed(d->mass, NULL))
        return "paused";
    return txn != NULL && state_meta(txn)->sync_base != 0 ? "initial" : "live";
}

static json_t *
retained_json(struct retain *retain)
{
    struct retain_usage usage;
    if (retain == NULL)
        return json_null();
    retain_usage(retain, &usage);
    return json_pack("{s:I, s:o}", "bytes", (json_int_t)usage.bytes, "oldest",
                     time_json(usage.oldest_ms / 1000));
}

/* What the mass-change guard holds back, null nothing. */
static json_t *
mass_json(struct daemon *d)
{
    static const char *const words[] = { "open", "closed", "discard" };
    struct mass_facts f;
    struct err why = { 0 };
    mass_facts(d->mass, &f);
    if (f.state == MASS_OPEN)
        return json_null();
    json_t *path = json_string(f.path);
    if (path == NULL)
        path = json_string("(a name that is not UTF-8)");
    mass_closed(d->mass, &why);
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:b, s:b, s:o, s:s}", "state",
                     words[f.state], "store", d->conf->stores[f.store].name, "since",
                     time_json(f.at_ms / 1000), "began", time_json(f.began_ms / 1000), "began_ms",
                     (json_int_t)f.began_ms, "files", (json_int_t)f.lost, "of",
                     (json_int_t)MAX(f.of, f.lost), "resync", f.syncing, "level",
                     mass_is_level(d->mass), "next", path, "why", why.text);
}

static void
add_dump(const struct daemon *d, const struct conf_store *s, json_t *store)
{
    json_t *last = status_dump(d->node, s);
    bool late = d->role == WIRE_ROLE_PRIMARY && status_dump_is_late(s, last, (uint64_t)time(NULL));
    json_object_set_new(store, "last_dump", last);
    json_object_set_new(store, "dump_late", json_boolean(late));
}

/* Only a primary accepts anything. */
static json_t *
protection_json(const struct daemon *d, size_t store)
{
    return d->role == WIRE_ROLE_PRIMARY ? json_string(safety_word(protection_of_store(d, store)))
                                        : json_null();
}

static json_t *
stores_json(struct daemon *d, struct state_txn *txn, const struct capture_status *capture)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->conf->store_count; i++) {
        const struct conf_store *s = &d->conf->stores[i];
        json_t *store = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", s->name, "kind",
                                  store_kind_word(s->kind), "path", s->path, "state",
                                  store_word(d, txn, capture), "last_verify",
                                  last_verify(txn, s->name), "verify", verify_now(d, i));
        json_object_set_new(store, "protection", protection_json(d, i));
        json_object_set_new(store, "retained", retained_json(d->node->stores[i].retain));
        if (capture->phase == CAPTURE_STALLED)
            json_object_set_new(store, "why", json_string(capture->text));
        if (s->kind == STORE_DUMP)
            add_dump(d, s, store);
        json_array_append_new(list, store);
    }
    return list;
}

struct lag {
    double seconds;
    uint64_t bytes, messages, records;
    bool complete; /* all of it was counted */
};

/* What the peer has not acknowledged, read from the journal. */
static void
lag_of(const struct daemon *d, struct state_txn *txn, uint64_t durable, struct lag *ret_lag)
{
    *ret_lag = (struct lag){ 0 };
    uint64_t tail = atomic_load(&d->tail);
    ret_lag->records = tail > durable ? tail - durable : 0;
    unsigned counted = 0;
    for (uint64_t seq = durable + 1; txn != NULL && seq <= tail && counted < LAG_RECORDS_MAX;
         counted++) {
        struct record r;
        if (state_record(txn, seq, &r, NULL) <= 0)
            break;
        if (counted == 0)
            ret_lag->seconds = MAX(0.0, now_seconds() - (double)r.time_ns / 1e9);
        if (r.op == OP_PUT) {
            ret_lag->bytes += r.attr.size;
            ret_lag->messages += !r.late;
        }
        seq = r.seq + 1;
    }
    ret_lag->complete = counted < LAG_RECORDS_MAX;
}

static json_t *
resync_json(const struct peer_facts *facts)
{
    const struct sync_progress *p = &facts->resync;
    if (facts->state != PEER_RESYNC || p->told.total == 0)
        return json_null();
    uint64_t now = session_now_ms();
    double left = sync_progress_left(p, now);
    return json_pack("{s:f, s:o, s:f, s:I}", "done", sync_progress_done(p), "seconds_left",
                     left < 0 ? json_null() : json_real(left), "per_second",
                     sync_progress_rate(p, now), "directories", (json_int_t)p->told.directories);
}

static json_t *
peer_json(struct daemon *d, struct peer *peer, struct state_txn *txn)
{
    struct peer_facts facts;
    struct lag lag;
    peer_facts(peer, &facts);
    lag_of(d, facts.sending ? txn : NULL, facts.durable, &lag);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:b, s:o}", "node", peer->conf->name,
        "state", peer_state_word(facts.state), "direction",
        facts.sending     ? "sends to it"
        : facts.receiving ? "receives from it"
                          : "none",
        "seq", (json_int_t)facts.shipped, "received_seq", (json_int_t)facts.received, "durable_seq",
        (json_int_t)facts.durable, "lag_seconds", lag.seconds, "lag_bytes", (json_int_t)lag.bytes,
        "lag_messages", (json_int_t)lag.messages, "lag_records", (json_int_t)lag.records,
        "lag_complete", lag.complete, "resync", resync_json(&facts));
    json_object_set_new(json, "ack_seconds",
                        facts.ack_seconds > 0 ? json_real(facts.ack_seconds) : json_null());
    if (facts.text[0] != '\0')
        json_object_set_new(json, "why", json_string(facts.text));
    return json;
}

static json_t *
peers_json(struct daemon *d, struct state_txn *txn)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->peer_count; i++)
        json_array_append_new(list, peer_json(d, &d->peers[i], txn));
    return list;
}

/* At most RISK_SHOWN users, by name; the sums count all. */
static json_t *
users_json(const struct daemon *d, const struct risk *risk)
{
    json_t *list = json_array();
    for (size_t i = 0; i < MIN(risk->user_count, (size_t)RISK_SHOWN); i++) {
        const struct risk_user *u = &risk->users[i];
        json_t *name = u->user.len == 0 ? json_string("")
                                        : json_stringn((const char *)u->user.ptr, u->user.len);
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:I, s:I}", "user",
                            name != NULL ? name : json_string("(a name that is not UTF-8)"),
                            "store", d->conf->stores[u->store].name, "messages",
                            (json_int_t)u->messages, "changes", (json_int_t)u->changes));
    }
    return list;
}

/* What would be lost with this machine now. */
static json_t *
risk_json(const struct daemon *d, struct state_txn *txn)
{
    struct risk risk;
    if (d->role != WIRE_ROLE_PRIMARY || txn == NULL ||
        risk_count(d->conf, txn, d->protection.safe, &risk, NULL) < 0)
        return json_null();
    json_t *json = json_pack(
        "{s:I, s:I, s:o, s:b, s:I, s:o}", "messages", (json_int_t)risk.messages, "changes",
        (json_int_t)risk.changes, "since", time_json(risk.since_ns / 1000000000u), "complete",
        risk.complete, "user_count", (json_int_t)risk.user_count, "users", users_json(d, &risk));
    risk_free(&risk);
    return json;
}

static json_t *
history_json(const uint8_t history[WIRE_HISTORY_SIZE])
{
    char text[2 * WIRE_HISTORY_SIZE + 1];
    bool any = false;
    for (size_t i = 0; i < WIRE_HISTORY_SIZE; i++) {
        snprintf(text + 2 * i, 3, "%02x", history[i]);
        any |= history[i] != 0;
    }
    return any ? json_string(text) : json_null();
}

/* Of this node's own copy. Only the state can say: it has the order and the end of a sync durably,
 * whatever the links are doing. */
static const char *
sync_word(struct state_txn *txn)
{
    struct span row;
    if (txn == NULL)
        return "unknown";
    int ordered = state_get(txn, LEDGER_ACCEPT_SYNC, &row, NULL);
    if (ordered != 0)
        return ordered > 0 ? "ordered" : "unknown";
    const struct state_meta *meta = state_meta(txn);
    if (meta->sync_base != 0)
        return "unfinished";
    return span_is_zero(span_of(meta->history, sizeof(meta->history))) ? "empty" : "none";
}

/* The node that was named when a resync was ordered which has not begun. */
static json_t *
sync_from(struct state_txn *txn)
{
    struct span row;
    if (txn == NULL || state_get(txn, LEDGER_SYNC_FROM, &row, NULL) <= 0)
        return NULL;
    return json_stringn((const char *)row.ptr, row.len);
}

static const char *
state_word(struct daemon *d, const struct capture_status *capture)
{
    if (d->role == WIRE_ROLE_NONE)
        return "held";
    if (d->role == WIRE_ROLE_STANDBY)
        return "following";
    enum safety safety = protection_of_node(d);
    bool alone = safety == SAFETY_REFUSING || safety == SAFETY_DEGRADED;
    return alone || capture->phase == CAPTURE_LIVE ? safety_word(safety) : capture_word(d, capture);
}

static const char *
role_word(uint8_t role)
{
    return role == WIRE_ROLE_PRIMARY ? "primary" : role == WIRE_ROLE_STANDBY ? "standby" : "none";
}

json_t *
status_json(struct daemon *d)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct capture_status capture = { .phase = CAPTURE_LIVE };
    struct state_meta meta = { 0 };
    if (state_begin(d->node->state, false, &txn, NULL) >= 0)
        meta = *state_meta(txn);
    if (d->capture != NULL)
        capture_status(d->capture, &capture);
    json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:o, s:s, s:s, s:o, s:I, s:I, s:I}", "cluster",
                             d->conf->cluster, "node", d->conf->self, "role", role_word(d->role),
                             "epoch", (json_int_t)meta.epoch, "history", history_json(meta.history),
                             "state", state_word(d, &capture), "sync", sync_word(txn),
                             "degraded_since", time_json(d->protection.degraded_since), "seq",
                             (json_int_t)atomic_load(&d->tail), "held", (json_int_t)capture.held,
                             "unreadable", (json_int_t)capture.unreadable);
    json_t *from = sync_from(txn);
    if (from != NULL)
        json_object_set_new(json, "sync_from", from);
    if (d->why_not_serving[0] != '\0')
        json_object_set_new(json, "why", json_string(d->why_not_serving));
    json_object_set_new(json, "protected_since", time_json(d->protection.protected_since));
    json_object_set_new(json, "no_standby_since", time_json(d->protection.no_standby_since));
    json_object_set_new(json, "at_risk", risk_json(d, txn));
    json_object_set_new(json, "salvage", salvages_counts(d->salvages));
    json_object_set_new(json, "stores", stores_json(d, txn, &capture));
    json_object_set_new(json, "peers", peers_json(d, txn));
    json_object_set_new(json, "mass_change", mass_json(d));
    json_object_set_new(json, "journal",
                        json_pack("{s:I, s:I, s:I, s:I}", "oldest", (json_int_t)meta.oldest, "tail",
                                  (json_int_t)meta.tail, "bytes", (json_int_t)meta.log_bytes,
                                  "checkpoint", (json_int_t)meta.checkpoint));
    json_object_set_new(json, "barrier",
                        json_pack("{s:f}", "last_seconds", d->barrier_last_seconds));
    json_object_set_new(json, "gates", gates_json(d->gates, session_now_ms()));
    return json;
}

int
role_json(struct daemon *d, json_t **ret_json, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    *ret_json = json_pack("{s:s, s:I, s:o, s:I, s:I}", "role", role_word(d->role), "epoch",
                          (json_int_t)meta->epoch, "history", history_json(meta->history), "tail",
                          (json_int_t)atomic_load(&d->tail), "applied",
                          (json_int_t)atomic_load(&d->applied));
    return 0;
}
