#include "replicator/orders.h"

#include "lib/os/event.h"
#include "replicator/barrier.h"
#include "replicator/promotion.h"
#include "replicator/roles.h"
#include "replicator/session.h"
#include "replicator/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BARRIER_MS_DEFAULT 5000
#define HELD_SHOWN         1000
#define PROOF_SIZE         16
#define PROOF_KEY_SIZE     96
#define VERIFY_FIRST_MS    (60 * 60 * 1000) /* a store that was never compared, after the start */
#define VERIFY_AGAIN_MS    (10 * 60 * 1000) /* there was no standby, or it did not come to its end */

/* --- verify: one order for each peer that is sent to; the answer sums them up --- */

struct verify_job {
    struct daemon *daemon;
    struct control_call *call; /* NULL: by schedule */
    int store;
    unsigned left;
    uint64_t differences, repaired;
    json_t *examples;
    struct err err;
};

struct verify_part {
    struct verify_order order;
    struct verify_job *job;
    /* what a session told, on its way to the main thread */
    struct walk_progress progress;
    struct err err;
};

struct verify_news {
    struct verify_part *part;
    struct walk_progress progress;
    uint64_t at_ms;
};

static void
proof_key(const char *store, char ret_key[PROOF_KEY_SIZE])
{
    snprintf(ret_key, PROOF_KEY_SIZE, "verify/%s", store);
}

bool
orders_last_proof(struct state_txn *txn, const char *store, struct proof *ret_proof)
{
    char key[PROOF_KEY_SIZE];
    struct span row;
    proof_key(store, key);
    if (state_get(txn, key, &row, NULL) <= 0 || row.len != PROOF_SIZE)
        return false;
    *ret_proof = (struct proof){ get_le64(row.ptr), get_le64(row.ptr + 8) };
    return true;
}

static void
note_verified(struct verify_job *job)
{
    struct daemon *d = job->daemon;
    uint8_t row[PROOF_SIZE];
    put_le64(row, (uint64_t)time(NULL));
    put_le64(row + 8, job->differences);
    for (size_t i = 0; d->capture != NULL && i < d->conf->store_count; i++) {
        char key[PROOF_KEY_SIZE];
        if (job->store >= 0 && (size_t)job->store != i)
            continue;
        proof_key(d->conf->stores[i].name, key);
        capture_note_peer(d->capture, key, span_of(row, sizeof(row)));
    }
}

static void
job_finish(struct verify_job *job)
{
    if (job->err.code == ERR_NONE)
        note_verified(job);
    if (job->call != NULL && job->err.code != ERR_NONE)
        control_fail(job->call, &job->err);
    else if (job->call != NULL)
        control_reply(job->call,
                      json_pack("{s:I, s:I, s:O}", "differences", (json_int_t)job->differences,
                                "repaired", (json_int_t)job->repaired, "examples", job->examples));
    json_decref(job->examples);
    free(job);
}

static void
part_done_main(void *arg)
{
    struct verify_part *part = arg;
    struct verify_job *job = part->job;
    job->differences += part->progress.differences;
    job->repaired += part->progress.repaired;
    if (part->err.code != ERR_NONE)
        job->err = part->err;
    for (size_t i = 0; i < part->progress.example_count; i++) {
        const char *text = part->progress.examples[i];
        json_t *example = json_string(text);
        json_array_append_new(
            job->examples, example != NULL ? example : json_string("(a name that is not UTF-8)"));
    }
    free(part);
    if (--job->left == 0)
        job_finish(job);
}

static void
part_done(struct verify_order *order, const struct walk_progress *progress, const struct err *e)
{
    struct verify_part *part = order->arg;
    part->progress = *progress;
    if (e != NULL)
        part->err = *e;
    control_post(part->job->daemon->control, part_done_main, part);
}

static void
part_progress_main(void *arg)
{
    struct verify_news *news = arg;
    struct verify_job *job = news->part->job;
    double done = news->progress.total == 0
                      ? 0
                      : (double)(news->progress.next - 1) / (double)news->progress.total;
    if (job->call != NULL)
        control_progress(job->call, json_pack("{s:f, s:s, s:I}", "done", MIN(done, 1.0), "text",
                                              "comparing directories", "directories",
                                              (json_int_t)news->progress.directories));
    free(news);
}

static void
part_progress(struct verify_order *order, const struct walk_progress *progress)
{
    struct verify_part *part = order->arg;
    struct verify_news *news = xcalloc(1, sizeof(*news));
    news->part = part;
    news->progress = *progress;
    control_post(part->job->daemon->control, part_progress_main, news);
}

static void
give_order(struct verify_job *job, struct peer *peer, bool repair, bool content)
{
    struct verify_part *part = xcalloc(1, sizeof(*part));
    part->job = job;
    part->order = (struct verify_order){ .progress = part_progress,
                                         .done = part_done,
                                         .arg = part };
    part->order.opts = (struct walk_opts){
        .mode = WALK_VERIFY, .content = content, .repair = repair, .from = 1, .store = job->store
    };
    job->left++; /* before the session can be done with it */
    if (peer_order(peer, &part->order))
        return;
    job->left--;
    free(part);
}

static void
verify_start(struct daemon *d, struct control_call *call, int store, bool repair, bool content)
{
    struct verify_job *job = xcalloc(1, sizeof(*job));
    job->daemon = d;
    job->call = call;
    job->store = store;
    job->examples = json_array();
    for (size_t i = 0; i < d->peer_count; i++)
        give_order(job, &d->peers[i], repair, content);
    if (job->left > 0)
        return;
    err_set(&job->err, ERR_PEER,
            d->role == WIRE_ROLE_PRIMARY
                ? "no standby is connected and level (or one is being verified already)"
                : "verify compares from the primary: run it there");
    job_finish(job);
}

/* By the date of the last proof, which outlives the daemon. A clock that was set back makes it due;
 * a store that was never compared has its turn soon. */
static bool
is_due(struct daemon *d, struct state_txn *txn, const struct conf_store *store)
{
    struct proof proof;
    uint64_t every_ms = store->verify_every_ms;
    uint64_t now = (uint64_t)time(NULL);
    if (!orders_last_proof(txn, store->name, &proof))
        return session_now_ms() - d->began_ms >= MIN(every_ms, (uint64_t)VERIFY_FIRST_MS);
    return proof.at > now || (now - proof.at) * 1000 >= every_ms;
}

/* The first store whose time has come, -1 none. */
static int
first_due(struct daemon *d, uint64_t now_ms)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (d->role != WIRE_ROLE_PRIMARY || state_begin(d->node->state, false, &txn, NULL) < 0)
        return -1;
    for (size_t i = 0; i < d->conf->store_count; i++) {
        const struct conf_store *store = &d->conf->stores[i];
        uint64_t again = MIN(store->verify_every_ms, (uint64_t)VERIFY_AGAIN_MS);
        if (store->verify_every_ms != 0 && now_ms - d->verify_tried_ms[i] >= again &&
            is_due(d, txn, store))
            return (int)i;
    }
    return -1;
}

/* One at a time: a session that compares takes no second order. */
void
orders_verify_due(struct daemon *d)
{
    uint64_t now = session_now_ms();
    d->began_ms = d->began_ms == 0 ? now : d->began_ms;
    int store = first_due(d, now);
    if (store < 0)
        return;
    d->verify_tried_ms[store] = now;
    verify_start(d, NULL, store, false, false);
}

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
    json_int_t timeout = json_integer_value(json_object_get(request, "timeout_ms"));
    barriers_wait(d->barriers, call, store, timeout > 0 ? (uint64_t)timeout : BARRIER_MS_DEFAULT);
}

static void
do_verify(struct daemon *d, struct control_call *call, const json_t *request)
{
    int store = store_arg(d, call, request);
    if (store != -2)
        verify_start(d, call, store, flag(request, "repair"), flag(request, "content"));
}

static void
do_promote(struct daemon *d, struct control_call *call, const json_t *request)
{
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
    { "status", do_status, false }, { "barrier", do_barrier, false },
    { "verify", do_verify, true },  { "promote", do_promote, true },
    { "demote", do_demote, true },  { "resync", do_resync, true },
    { "held", do_held, false },     { "give-up", do_give_up, true },
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
        if (orders[i].changes)
            event(EV_CONTROL, F_STR("order", word), F_U64("uid", peer->uid),
                  F_U64("pid", (uint64_t)peer->pid));
        orders[i].run(d, call, request);
        return;
    }
    struct err e = { 0 };
    err_set(&e, ERR_USAGE, "the daemon knows no order \"%s\"", word == NULL ? "" : word);
    control_fail(call, &e);
}
