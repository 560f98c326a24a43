/* One session as it happens: a client, a connection to the server behind the gate, the dialogue
 * that says what is wanted next, and the message under way. */
#include "gate/dialogue.h"
#include "gate/gate.h"
#include "gate/parcel.h"
#include "gate/side.h"
#include "gate/verdict.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <stdlib.h>

#define IDLE_MS         (15 * 60 * 1000ULL) /* longer than servers keep an idle client */
#define FAREWELL_MS     5000                /* for the last words to be read */
#define PIECE           (64 * 1024)
#define TELL_AGAIN_S    60
#define DOES_NOT_ANSWER "The LMTP server behind the gate does not answer"

struct flow {
    TAILQ_ENTRY(flow) next;
    struct gate *gate;
    struct server *server;
    struct side client, backend;
    unsigned handles; /* sides that are not closed */
    struct dialogue dialogue;
    struct parcel parcel;
    struct verdict verdict;
    bool asked;    /* the verdict is on its way, or here */
    bool answered; /* it is here */
    bool connected, stops, ending, pumping;
    bool coming; /* the server has the message, and will soon say so */
    uint64_t active_ms, asked_ns;
};

static void flow_pump(struct flow *flow);

/* --- the end --- */

static void
note_coming(struct flow *flow, bool coming)
{
    if (coming == flow->coming)
        return;
    flow->coming = coming;
    for (size_t i = 0; i < flow->gate->door_count; i++)
        door_expect(flow->gate->doors[i], coming ? 1 : -1);
}

static void
side_closed(void *arg)
{
    struct flow *flow = arg;
    if (--flow->handles > 0)
        return;
    dialogue_free(&flow->dialogue);
    parcel_free(&flow->parcel);
    free(flow);
}

/* What the server took and the client was not told stays remembered; it may outlive the host. */
void
flow_drop(struct flow *flow)
{
    struct server *server = flow->server;
    struct err e = { 0 };
    if (flow->ending)
        return;
    flow->ending = true;
    note_coming(flow, false);
    verdict_cancel(&flow->verdict);
    if (flow->parcel.claim_count > 0 && flow->parcel.unsynced)
        server_memory_told(server, memory_sync(server->memory, &e) < 0 ? &e : NULL);
    parcel_given_back(&flow->parcel, server->memory);
    TAILQ_REMOVE(&server->flows, flow, next);
    flow->gate->flows--;
    side_close(&flow->client);
    side_close(&flow->backend);
}

/* --- what is wanted, and what was decided --- */

static void
verdict_came(void *arg)
{
    struct flow *flow = arg;
    flow->answered = true;
    flow_pump(flow);
}

/* true: the verdict is here. */
static bool
ask(struct flow *flow, bool knock)
{
    if (!flow->asked) {
        flow->asked = true;
        flow->asked_ns = uv_hrtime();
        flow->verdict.done = verdict_came;
        flow->verdict.arg = flow;
        flow->answered = verdict_ask(&flow->verdict, flow->gate, knock) == 1;
    }
    if (flow->answered)
        flow->asked = false;
    return flow->answered;
}

/* The operator hears of a door that opens or shuts, not of each client at it. */
static void
tell_door(struct gate *gate, const char *why)
{
    bool shut = why != NULL;
    if (shut && !gate->shut)
        event(EV_GATE_SHUT, F_STR("gate", gate->conf->name), F_STR("why", why));
    else if (!shut && gate->shut)
        event(EV_GATE_OPEN, F_STR("gate", gate->conf->name));
    gate->shut = shut;
}

static bool
at_door(struct flow *flow)
{
    if (!ask(flow, true))
        return false;
    const char *why = verdict_good(&flow->verdict) ? NULL : flow->verdict.why;
    if (why == NULL && memory_full(flow->server->memory))
        why = "Too much mail waits to become safe";
    tell_door(flow->gate, why);
    flow->gate->counts.refused += why != NULL;
    dialogue_door(&flow->dialogue, why);
    return true;
}

static void
tell_unprotected(struct gate *gate, size_t count)
{
    uint64_t now_s = server_now_s();
    gate->counts.unprotected += count;
    if (now_s - gate->unprotected_told_s < TELL_AGAIN_S)
        return;
    gate->unprotected_told_s = now_s;
    event(EV_GATE_UNPROTECTED, F_STR("gate", gate->conf->name),
          F_U64("mails", gate->counts.unprotected));
}

static void
count_released(struct gate *gate, const struct flow *flow)
{
    gate->counts.released += flow->parcel.claim_count;
    gate->counts.confirmed += flow->parcel.recalled;
}

/* Told first, forgotten then: dying in between costs a row that nobody asks for. */
static void
release(struct flow *flow)
{
    struct server *server = flow->server;
    size_t count = flow->parcel.claim_count;
    dialogue_barrier(&flow->dialogue, NULL);
    side_send(&flow->client, &flow->dialogue.to_client);
    if (flow->client.failed) {
        parcel_given_back(&flow->parcel, server->memory);
        return;
    }
    count_released(flow->gate, flow);
    parcel_confirmed(&flow->parcel, server->memory, server_now_s());
    if (flow->verdict.worst == DOOR_DEGRADED)
        tell_unprotected(flow->gate, count);
}

/* The rows are durable before the client hears 451. */
static void
hold_back(struct flow *flow)
{
    struct server *server = flow->server;
    struct err e = { 0 };
    server_memory_told(server, memory_sync(server->memory, &e) < 0 ? &e : NULL);
    event(EV_GATE_HELD_BACK, F_STR("gate", flow->gate->conf->name),
          F_U64("recipients", flow->parcel.claim_count), F_STR("why", flow->verdict.why));
    dialogue_barrier(&flow->dialogue, flow->verdict.why);
    flow->gate->counts.held_back += flow->parcel.claim_count;
    parcel_given_back(&flow->parcel, server->memory);
}

static bool
at_barrier(struct flow *flow)
{
    note_coming(flow, false);
    /* Nobody is there to be told; its retry will be. */
    if (flow->client.eof && side_input(&flow->client).len == 0) {
        flow_drop(flow);
        return false;
    }
    if (!ask(flow, false))
        return false;
    waits_add(&flow->gate->waits, (double)(uv_hrtime() - flow->asked_ns) / 1e9);
    if (verdict_good(&flow->verdict))
        release(flow);
    else
        hold_back(flow);
    return true;
}

static bool
at_begin(struct flow *flow)
{
    bool keep = parcel_begin(&flow->parcel, &flow->dialogue, flow->server->memory);
    dialogue_begin(&flow->dialogue, keep);
    return true;
}

static bool
at_decision(struct flow *flow)
{
    size_t known = parcel_recall(&flow->parcel, &flow->dialogue, flow->server->memory);
    if (known > 0)
        event(EV_GATE_CONFIRMED, F_STR("gate", flow->gate->conf->name), F_U64("recipients", known),
              F_U64("others", flow->dialogue.count - known));
    dialogue_decide(&flow->dialogue, flow->parcel.spool_size);
    return true;
}

static bool
at_replay(struct flow *flow)
{
    static uint8_t piece[PIECE];
    struct err e = { 0 };
    if (side_unsent(&flow->backend) > SIDE_OUT_MAX)
        return false;
    ssize_t got = parcel_replay(&flow->parcel, piece, sizeof(piece), &e);
    if (got < 0) {
        event(EV_GATE_BACKEND, F_STR("gate", flow->gate->conf->name), F_ERR(&e));
        dialogue_gone(&flow->dialogue, "The gate cannot read its spool");
    } else if (got == 0) {
        dialogue_replay_end(&flow->dialogue);
    } else {
        dialogue_replay(&flow->dialogue, span_of(piece, (size_t)got));
    }
    return true;
}

/* --- bytes --- */

static void
take_content(struct flow *flow)
{
    struct err e = { 0 };
    struct dialogue *d = &flow->dialogue;
    if (d->content.len == 0)
        return;
    bool spool = d->mode == MODE_SPOOL && !d->spool_failed;
    if (parcel_add(&flow->parcel, flow->server->dirfd, spool, buf_span(&d->content), &e) < 0) {
        event(EV_GATE_FORGETS, F_STR("gate", flow->gate->conf->name), F_ERR(&e));
        dialogue_spool_failed(d);
    }
    buf_reset(&d->content);
}

static bool
at_client(struct flow *flow)
{
    struct dialogue *d = &flow->dialogue;
    if (side_unsent(&flow->backend) > SIDE_OUT_MAX || side_unsent(&flow->client) > SIDE_OUT_MAX)
        return false;
    if (flow->stops && dialogue_idle(d)) {
        dialogue_gone(d, "The gate stops");
        return true;
    }
    size_t used = dialogue_client(d, side_input(&flow->client));
    flow->client.used += used;
    take_content(flow);
    if (used == 0 && flow->client.eof)
        flow_drop(flow);
    return used > 0;
}

static void
take_taken(struct flow *flow)
{
    struct server *server = flow->server;
    struct err e = { 0 };
    int i = flow->dialogue.took;
    if (i < 0)
        return;
    flow->dialogue.took = -1;
    flow->gate->counts.accepted++;
    int r = parcel_taken(&flow->parcel, &flow->dialogue, (size_t)i, server->memory, server_now_s(),
                         &e);
    server_memory_told(server, r < 0 ? &e : NULL);
}

static bool
go_ahead(struct flow *flow)
{
    size_t used = dialogue_ahead(&flow->dialogue, side_input(&flow->client));
    flow->client.used += used;
    return used > 0;
}

static bool
at_backend(struct flow *flow)
{
    struct dialogue *d = &flow->dialogue;
    if (!flow->connected)
        return false;
    size_t used = dialogue_backend(d, side_input(&flow->backend));
    flow->backend.used += used;
    take_taken(flow);
    if (used == 0 && flow->backend.eof) {
        dialogue_gone(d, "The LMTP server behind the gate ended the connection");
        return true;
    }
    return used > 0 || go_ahead(flow);
}

static bool
at_end(struct flow *flow)
{
    side_send(&flow->client, &flow->dialogue.to_client);
    if (side_unsent(&flow->client) == 0 || flow->client.failed)
        flow_drop(flow);
    return false;
}

static bool
step(struct flow *flow)
{
    switch (dialogue_wants(&flow->dialogue)) {
    case DIALOGUE_CLIENT:
        return at_client(flow);
    case DIALOGUE_BACKEND:
        return at_backend(flow);
    case DIALOGUE_DOOR:
        return at_door(flow);
    case DIALOGUE_BEGIN:
        return at_begin(flow);
    case DIALOGUE_DECISION:
        return at_decision(flow);
    case DIALOGUE_REPLAY:
        return at_replay(flow);
    case DIALOGUE_BARRIER:
        return at_barrier(flow);
    case DIALOGUE_END:
        return at_end(flow);
    }
    return false;
}

/* What several steps have to say goes out at once. */
static void
send_all(struct flow *flow)
{
    side_send(&flow->client, &flow->dialogue.to_client);
    side_send(&flow->backend, &flow->dialogue.to_backend);
}

static void
flow_pump(struct flow *flow)
{
    if (flow->pumping || flow->ending)
        return;
    flow->pumping = true;
    bool more = true;
    while (more && !flow->ending) {
        more = step(flow);
        if (!more || flow->dialogue.to_backend.len + flow->dialogue.to_client.len > PIECE)
            send_all(flow);
    }
    flow->pumping = false;
    if (flow->ending)
        return;
    note_coming(flow, flow->dialogue.state == STATE_FINAL);
    side_read(&flow->client);
    side_read(&flow->backend);
}

/* --- connections --- */

/* The server goes away between two commands: the client is told at once. */
static void
look_at_backend(struct flow *flow)
{
    struct side *backend = &flow->backend;
    if (!flow->connected && backend->failed) {
        if (server_now_s() - flow->gate->backend_told_s >= TELL_AGAIN_S) {
            flow->gate->backend_told_s = server_now_s();
            event(EV_GATE_BACKEND, F_STR("gate", flow->gate->conf->name),
                  F_STR("backend", flow->gate->conf->backend));
        }
        dialogue_gone(&flow->dialogue, DOES_NOT_ANSWER);
    }
    flow->connected = flow->connected || backend->open;
    if (dialogue_wants(&flow->dialogue) == DIALOGUE_CLIENT && side_input(backend).len > 0)
        dialogue_stray(&flow->dialogue, side_input(backend));
    enum dialogue_want want = dialogue_wants(&flow->dialogue);
    if (flow->connected && backend->eof && want != DIALOGUE_BACKEND && want != DIALOGUE_BARRIER)
        dialogue_gone(&flow->dialogue, "The LMTP server behind the gate ended the connection");
}

static void
side_changed(void *arg)
{
    struct flow *flow = arg;
    if (flow->ending)
        return;
    flow->active_ms = uv_now(flow->server->loop);
    look_at_backend(flow);
    flow_pump(flow);
}

void
flow_accept(struct gate *gate)
{
    struct server *server = gate->server;
    struct flow *flow = xcalloc(1, sizeof(*flow));
    flow->gate = gate;
    flow->server = server;
    flow->handles = 2;
    flow->active_ms = uv_now(server->loop);
    dialogue_init(&flow->dialogue);
    parcel_init(&flow->parcel);
    int family = gate->listen.unix_path ? AF_UNIX : AF_INET;
    side_init(&flow->client, server->loop, family, side_changed, side_closed, flow);
    side_init(&flow->backend, server->loop, gate->address.ss_family, side_changed, side_closed,
              flow);
    TAILQ_INSERT_TAIL(&server->flows, flow, next);
    if (side_accept(&flow->client, gate->listener) < 0) {
        gate->flows++;
        flow_drop(flow);
        return;
    }
    if (++gate->flows > GATE_FLOWS_MAX)
        dialogue_gone(&flow->dialogue, "Too many connections");
    else
        side_connect(&flow->backend, &gate->address);
    look_at_backend(flow);
    flow_pump(flow);
}

void
flow_tick(struct flow *flow, uint64_t now_ms)
{
    enum dialogue_want want = dialogue_wants(&flow->dialogue);
    uint64_t quiet_ms = now_ms - MIN(now_ms, flow->active_ms);
    if (want == DIALOGUE_END && quiet_ms > FAREWELL_MS) {
        flow_drop(flow);
    } else if (quiet_ms > IDLE_MS && want != DIALOGUE_BARRIER && want != DIALOGUE_DOOR) {
        dialogue_gone(&flow->dialogue, "Nothing came for too long");
        flow_pump(flow);
    }
}

void
flow_stop(struct flow *flow)
{
    flow->stops = true;
    flow_pump(flow);
}

size_t
flow_held(const struct flow *flow, const struct gate *gate)
{
    return flow->gate == gate ? flow->parcel.claim_count : 0;
}

struct flow *
flow_next(struct flow *flow)
{
    return TAILQ_NEXT(flow, next);
}
