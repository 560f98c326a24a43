#include "replicator/orders.h"

#include "lib/os/event.h"
#include "lib/os/order.h"
#include "replicator/barrier.h"
#include "replicator/gates.h"
#include "replicator/mass.h"
#include "replicator/promotion.h"
#include "replicator/restore.h"
#include "replicator/roles.h"
#include "replicator/salvage.h"
#include "replicator/session.h"
#include "replicator/status.h"
#include "replicator/verify.h"

#include <string.h>

#define BARRIER_MS_DEFAULT 5000
#define HELD_SHOWN         1000

/* --- requests --- */

/* -1 all, -2 no such store (and the call was answered). */
static int
store_arg(struct daemon *d, struct control_call *call, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "store"));
    if (name == NULL || name[0] == '\0')
        return -1;
    for (size_t i = 0; i < d->conf->store_count; i++) {
        if (strcmp(d->conf->stores[i].name, name) == 0)
            return (int)i;
    }
    struct err e = { 0 };
    err_set(&e, ERR_USAGE, "the configuration has no store \"%s\"", name);
    control_fail(call, &e);
    return -2;
}

static bool
flag(const json_t *request, const char *key)
{
    return json_is_true(json_object_get(request, key));
}

static void
finish(struct control_call *call, int rc, const struct err *e)
{
    if (rc < 0)
        control_fail(call, e);
    else
        control_reply(call, json_object());
}

static void
do_status(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    control_reply(call, status_json(d));
}

static void
do_role(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    struct err e = { 0 };
    json_t *json;
    if (role_json(d, &json, &e) < 0)
        control_fail(call, &e);
    else
        control_reply(call, json);
}

static void
do_barrier(struct daemon *d, struct control_call *call, const json_t *request)
{
    int store = store_arg(d, call, request);
    if (store == -2)
        return;
    if (d->capture == NULL) {
        struct err e = { 0 };
        err_set(&e, ERR_REFUSED, "this node is not the primary: mail is not accepted here");
        control_fail(call, &e);
        return;
    }
    if (flag(request, "probe")) {
        barriers_probe(d, call, store);
        return;
    }
    json_int_t timeout = json_integer_value(json_object_get(request, "timeout_ms"));
    barriers_wait(d->barriers, call,
                  &(struct barrier_for){
                      .store = store,
                      .handover = flag(request, "handover"),
                      .timeout_ms = timeout > 0 ? (uint64_t)timeout : BARRIER_MS_DEFAULT,
                  });
}

static void
hear_gates(struct daemon *d, struct control_call *call, const json_t *request,
           const struct control_peer *peer)
{
    struct err e = { 0 };
    finish(call, gates_hear(d->gates, request, peer, session_now_ms(), &e), &e);
}

static void
do_verify(struct daemon *d, struct control_call *call, const json_t *request)
{
    int store = store_arg(d, call, request);
    if (store != -2)
        verify_start(d, call, store, flag(request, "repair"), flag(request, "content"));
}

static void
plan_promotion(struct daemon *d, struct control_call *call)
{
    uint64_t epoch = 0;
    struct err e = { 0 };
    int rc = roles_promote_plan(d, &epoch, &e);
    if (rc < 0 && e.code != ERR_REFUSED)
        control_fail(call, &e);
    else
        control_reply(call, json_pack("{s:I, s:o}", "epoch", (json_int_t)epoch, "refused",
                                      rc < 0 ? json_string(e.text) : json_null()));
}

static void
do_promote(struct daemon *d, struct control_call *call, const json_t *request)
{
    if (flag(request, "plan"))
        plan_promotion(d, call);
    else
        promotion_order(d, call, flag(request, "force"));
}

static void
do_demote(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    struct err e = { 0 };
    finish(call, roles_demote(d, &e), &e);
}

static void
do_resync(struct daemon *d, struct control_call *call, const json_t *request)
{
    struct err e = { 0 };
    const char *from = json_string_value(json_object_get(request, "from"));
    finish(call, roles_resync(d, from, &e), &e);
}

/* --- what a power loss took --- */

static json_t *
held_name(struct daemon *d, const struct capture_held *held)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < d->conf->node_count; i++) {
        if (capture_held_may_be_on(d->capture, held, d->conf->nodes[i].name))
            json_array_append_new(nodes, json_string(d->conf->nodes[i].name));
    }
    json_t *path = json_stringn((const char *)held->path.ptr, held->path.len);
    if (path == NULL)
        path = json_string("(a name that is not UTF-8)");
    return json_pack("{s:s, s:o, s:s, s:o}", "store", d->conf->stores[held->store].name, "path",
                     path, "kind", held->doubt ? "in doubt" : "lost", "nodes", nodes);
}

static int
held_json(struct daemon *d, json_t **ret_json, struct err *e)
{
    struct capture_held held = { 0 };
    struct capture_status status;
    json_t *names = json_array();
    int found = 1;
    capture_status(d->capture, &status);
    while (json_array_size(names) < HELD_SHOWN &&
           (found = capture_held_next(d->capture, NULL, &held, e)) > 0)
        json_array_append_new(names, held_name(d, &held));
    buf_free(&held.name);
    buf_free(&held.path);
    *ret_json = json_pack("{s:I, s:o}", "held", (json_int_t)status.held, "names", names);
    return found < 0 ? -1 : 0;
}

static bool
is_primary(struct daemon *d, struct control_call *call)
{
    struct err e = { 0 };
    if (d->capture != NULL)
        return true;
    err_set(&e, ERR_REFUSED, "this node is not the primary: nothing is held here");
    control_fail(call, &e);
    return false;
}

static void
do_held(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    struct err e = { 0 };
    json_t *json;
    if (!is_primary(d, call))
        return;
    if (held_json(d, &json, &e) >= 0) {
        control_reply(call, json);
        return;
    }
    json_decref(json);
    control_fail(call, &e);
}

static void
do_give_up(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    if (!is_primary(d, call))
        return;
    capture_held_give_up(d->capture);
    control_reply(call, json_object());
}

/* --- mass changes --- */

static void
let_through(struct daemon *d, struct control_call *call, enum mass_state state)
{
    struct err e = { 0 };
    int rc = mass_release(d->mass, state, &e);
    if (rc == 0)
        daemon_wake_sessions(d);
    finish(call, rc, &e);
}

static void
do_retained_release(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    let_through(d, call, MASS_OPEN);
}

static void
do_salvage(struct daemon *d, struct control_call *call, const json_t *request)
{
    salvages_list(d->salvages, call, request);
}

static void
do_salvage_give(struct daemon *d, struct control_call *call, const json_t *request)
{
    salvages_give(d->salvages, call, request);
}

static void
do_salvage_drop(struct daemon *d, struct control_call *call, const json_t *request)
{
    salvages_drop(d->salvages, call, request);
}

/* epoch: of one promotion, 0 all. */
static int
loss_json(struct daemon *d, uint64_t epoch, json_t **ret_json, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    json_t *found = NULL;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    int got = epoch == 0 ? loss_list(txn, &found, e) : loss_get(txn, epoch, &found, e);
    if (got < 0)
        return -1;
    if (epoch != 0 && got == 0)
        return err_set(e, ERR_USAGE, "there is no loss statement of epoch %llu on this node",
                       (unsigned long long)epoch);
    *ret_json = json_pack("{s:o}", epoch == 0 ? "statements" : "statement", found);
    return 0;
}

static void
do_loss(struct daemon *d, struct control_call *call, const json_t *request)
{
    struct err e = { 0 };
    json_t *json;
    json_int_t epoch = json_integer_value(json_object_get(request, "epoch"));
    if (loss_json(d, epoch > 0 ? (uint64_t)epoch : 0, &json, &e) < 0)
        control_fail(call, &e);
    else
        control_reply(call, json);
}

static void
do_retained_give(struct daemon *d, struct control_call *call, const json_t *request)
{
    int store = store_arg(d, call, request);
    if (store >= 0)
        restore_order(d, store, call, request);
    if (store == -1) {
        struct err e = { 0 };
        err_set(&e, ERR_USAGE, "the order names no store");
        control_fail(call, &e);
    }
}

static void
do_retained_discard(struct daemon *d, struct control_call *call, const json_t *request)
{
    struct err e = { 0 };
    struct mass_facts facts;
    mass_facts(d->mass, &facts);
    if (flag(request, "end"))
        finish(call, mass_end(d->mass, &e), &e);
    else if (facts.state == MASS_DISCARD) /* begun before, and not ended */
        control_reply(call, json_object());
    else
        let_through(d, call, MASS_DISCARD);
}

static void
do_stop(struct daemon *d, struct control_call *call, const json_t *request)
{
    (void)request;
    control_reply(call, json_object());
    uv_stop(d->loop);
}

static const struct {
    const char *word;
    void (*run)(struct daemon *d, struct control_call *call, const json_t *request);
    bool changes;
} orders[] = {
    { "status", do_status, false },
    { "role", do_role, false },
    { "barrier", do_barrier, false },
    { "verify", do_verify, true },
    { "promote", do_promote, true },
    { "demote", do_demote, true },
    { "resync", do_resync, true },
    { "held", do_held, false },
    { "give-up", do_give_up, true },
    { "retained-release", do_retained_release, true },
    { "retained-discard", do_retained_discard, true },
    { "retained-give", do_retained_give, true },
    { "salvage", do_salvage, false },
    { "salvage-give", do_salvage_give, true },
    { "salvage-drop", do_salvage_drop, true },
    { "loss", do_loss, false },
    { "stop", do_stop, true },
};

void
orders_handle(struct control_call *call, const json_t *request, const struct control_peer *peer,
              void *arg)
{
    struct daemon *d = arg;
    const char *word = json_string_value(json_object_get(request, "do"));
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        if (word == NULL || strcmp(word, orders[i].word) != 0)
            continue;
        if (orders[i].changes && !json_is_true(json_object_get(request, "plan")))
            order_note(call, request, peer);
        orders[i].run(d, call, request);
        return;
    }
    if (word != NULL && strcmp(word, "gate") == 0) { /* the one that depends on who asks */
        hear_gates(d, call, request, peer);
        return;
    }
    struct err e = { 0 };
    err_set(&e, ERR_USAGE, "the daemon knows no order \"%s\"", word == NULL ? "" : word);
    control_fail(call, &e);
}
