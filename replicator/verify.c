#include "replicator/verify.h"

#include "lib/os/event.h"
#include "replicator/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEY_SIZE 96
#define AGAIN_MS (10 * 60 * 1000) /* there was no standby, or it did not come to its end */

/* One order for each peer that is sent to; the answer sums them up. */
struct verify_job {
    struct verify_job *next; /* of those that run */
    struct daemon *daemon;
    struct control_call *call; /* NULL: by schedule */
    int store;
    struct walk_opts opts;
    uint64_t began; /* seconds since 1970 */
    uint64_t began_ms;
    struct part *parts; /* that have not ended */
    unsigned part_count;
    const struct peer *peer; /* of the last one */
    double done, began_done; /* of the part that told last */
    uint64_t from; /* all directories with a smaller id have been compared with every peer */
    uint64_t differences, repaired;
    json_t *examples;
    struct err err;
};

struct part {
    struct verify_order order;
    struct verify_job *job;
    struct part *next;
    /* what a session told, on its way to the main thread */
    struct walk_progress progress;
    struct err err;
};

struct news {
    struct part *part;
    struct walk_progress progress;
};

/* --- proofs --- */

static void
proof_key(const char *store, char ret_key[KEY_SIZE])
{
    snprintf(ret_key, KEY_SIZE, "verify/%s", store);
}

void
verify_last_proof(struct state_txn *txn, const char *store, struct proof *ret_proof)
{
    char key[KEY_SIZE];
    struct span row;
    proof_key(store, key);
    if (state_get(txn, key, &row, NULL) <= 0)
        row = span_of(NULL, 0);
    proof_decode(row, ret_proof);
}

static void
note_proof(struct verify_job *job, struct state_txn *txn, const char *store)
{
    char key[KEY_SIZE];
    struct proof proof;
    _cleanup_buf_ struct buf row = { 0 };
    struct proof_plan plan = { job->opts.content, job->opts.parts, job->opts.part };
    verify_last_proof(txn, store, &proof);
    proof_done(&proof, &plan, job->began, (uint64_t)time(NULL), job->differences);
    proof_encode(&proof, &row);
    proof_key(store, key);
    capture_note_peer(job->daemon->capture, key, buf_span(&row));
}

static void
note_verified(struct verify_job *job)
{
    struct daemon *d = job->daemon;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (d->capture == NULL || state_begin(d->node->state, false, &txn, NULL) < 0)
        return;
    for (size_t i = 0; i < d->conf->store_count; i++) {
        if (job->store < 0 || (size_t)job->store == i)
            note_proof(job, txn, d->conf->stores[i].name);
    }
}

/* --- jobs --- */

/* Where a scheduled one broke off the next goes on: when there was one standby alone, and nothing
 * was found so far that the next would find again. */
static void
keep_place(struct verify_job *job)
{
    bool goes_on = job->err.code != ERR_NONE && job->part_count == 1 && job->differences == 0;
    job->daemon->verify[job->store].from = goes_on ? job->from : 0;
    job->daemon->verify[job->store].began = job->began;
    job->daemon->verify[job->store].part = job->opts.part;
    job->daemon->verify[job->store].peer = goes_on ? job->peer : NULL;
}

static void
unlink_job(struct verify_job *job)
{
    struct verify_job **at = &job->daemon->verify_jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
}

static void
job_finish(struct verify_job *job)
{
    unlink_job(job);
    if (job->err.code == ERR_NONE)
        note_verified(job);
    if (job->call == NULL)
        keep_place(job);
    else if (job->err.code != ERR_NONE)
        control_fail(job->call, &job->err);
    else
        control_reply(job->call,
                      json_pack("{s:I, s:I, s:O}", "differences", (json_int_t)job->differences,
                                "repaired", (json_int_t)job->repaired, "examples", job->examples));
    json_decref(job->examples);
    free(job);
}

static void
part_free(struct part *part)
{
    struct part **at = &part->job->parts;
    while (*at != part)
        at = &(*at)->next;
    *at = part->next;
    free(part);
}

static void
part_done_main(void *arg)
{
    struct part *part = arg;
    struct verify_job *job = part->job;
    job->differences += part->progress.differences;
    job->repaired += part->progress.repaired;
    job->from = MIN(job->from, MAX(part->progress.next, job->opts.from));
    if (part->err.code != ERR_NONE)
        job->err = part->err;
    for (size_t i = 0; i < part->progress.example_count; i++) {
        const char *text = part->progress.examples[i];
        json_t *example = json_string(text);
        json_array_append_new(
            job->examples, example != NULL ? example : json_string("(a name that is not UTF-8)"));
    }
    part_free(part);
    if (job->parts == NULL)
        job_finish(job);
}

static void
part_done(struct verify_order *order, const struct walk_progress *progress, const struct err *e)
{
    struct part *part = order->arg;
    part->progress = *progress;
    if (e != NULL)
        part->err = *e;
    control_post(part->job->daemon->control, part_done_main, part);
}

static void
part_progress_main(void *arg)
{
    struct news *news = arg;
    struct verify_job *job = news->part->job;
    const struct walk_progress *progress = &news->progress;
    if (progress->total > 0) {
        job->done = MIN((double)(progress->next - 1) / (double)progress->total, 1.0);
        job->began_done = (double)(job->opts.from - 1) / (double)progress->total;
    }
    if (job->call != NULL)
        control_progress(job->call, json_pack("{s:f, s:s, s:I}", "done", job->done, "text",
                                              "comparing directories", "directories",
                                              (json_int_t)progress->directories));
    free(news);
}

static void
part_progress(struct verify_order *order, const struct walk_progress *progress)
{
    struct part *part = order->arg;
    struct news *news = xcalloc(1, sizeof(*news));
    news->part = part;
    news->progress = *progress;
    control_post(part->job->daemon->control, part_progress_main, news);
}

static void
give_order(struct verify_job *job, struct peer *peer)
{
    struct part *part = xcalloc(1, sizeof(*part));
    part->job = job;
    part->order = (struct verify_order){
        .opts = job->opts, .progress = part_progress, .done = part_done, .arg = part
    };
    part->next = job->parts; /* before the session can be done with it */
    job->parts = part;
    if (!peer_order(peer, &part->order)) {
        part_free(part);
        return;
    }
    job->part_count++;
    job->peer = peer;
}

/* What somebody waits for goes first; the schedule goes on later where it was. */
static void
displace_scheduled(struct daemon *d)
{
    for (struct verify_job *job = d->verify_jobs; job != NULL; job = job->next) {
        for (struct part *part = job->parts; job->call == NULL && part != NULL; part = part->next)
            atomic_store(&part->order.gives_way, true);
    }
}

static struct verify_job *
job_new(struct daemon *d, int store)
{
    struct verify_job *job = xcalloc(1, sizeof(*job));
    job->daemon = d;
    job->store = store;
    job->opts = (struct walk_opts){ .mode = WALK_VERIFY, .from = 1, .store = store };
    job->began = (uint64_t)time(NULL);
    job->began_ms = session_now_ms();
    job->from = UINT64_MAX;
    job->examples = json_array();
    job->next = d->verify_jobs;
    d->verify_jobs = job;
    return job;
}

static void
job_begin(struct verify_job *job)
{
    struct daemon *d = job->daemon;
    for (size_t i = 0; i < d->peer_count; i++)
        give_order(job, &d->peers[i]);
    if (job->parts != NULL)
        return;
    err_set(&job->err, ERR_PEER,
            d->role == WIRE_ROLE_PRIMARY
                ? "no standby is connected and level (or one is being verified already)"
                : "verify compares from the primary: run it there");
    job_finish(job);
}

void
verify_start(struct daemon *d, struct control_call *call, int store, bool repair, bool content)
{
    displace_scheduled(d);
    struct verify_job *job = job_new(d, store);
    job->call = call;
    job->opts.repair = repair;
    job->opts.content = content;
    job_begin(job);
}

static double
seconds_left(const struct verify_job *job)
{
    double spent = (double)(session_now_ms() - job->began_ms) / 1000;
    double did = job->done - job->began_done;
    return did > 0 ? spent * (1 - job->done) / did : -1;
}

bool
verify_is_running(const struct daemon *d, size_t store, double *ret_done, double *ret_seconds_left)
{
    const struct verify_job *job = d->verify_jobs;
    while (job != NULL && job->store >= 0 && (size_t)job->store != store)
        job = job->next;
    if (job == NULL)
        return false;
    *ret_done = job->done;
    *ret_seconds_left = seconds_left(job);
    return true;
}

/* --- by schedule --- */

/* The first store whose time has come, -1 none. */
static int
first_due(struct daemon *d, uint64_t now_ms, struct proof *ret_proof)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t now = (uint64_t)time(NULL);
    if (d->role != WIRE_ROLE_PRIMARY || state_begin(d->node->state, false, &txn, NULL) < 0)
        return -1;
    for (size_t i = 0; i < d->conf->store_count; i++) {
        const struct conf_store *store = &d->conf->stores[i];
        uint64_t again = MIN(store->verify_every_ms, (uint64_t)AGAIN_MS);
        verify_last_proof(txn, store->name, ret_proof);
        if (now_ms - d->verify[i].tried_ms >= again &&
            proof_is_due(ret_proof, store->verify_every_ms, now, now_ms - d->began_ms))
            return (int)i;
    }
    return -1;
}

/* The only one that an order would go to, NULL when there are several. */
static const struct peer *
only_peer(struct daemon *d)
{
    const struct peer *only = NULL;
    for (size_t i = 0; i < d->peer_count; i++) {
        if (!peer_takes_orders(&d->peers[i]))
            continue;
        if (only != NULL)
            return NULL;
        only = &d->peers[i];
    }
    return only;
}

static void
go_on(struct verify_job *job, const struct verify_place *place)
{
    if (place->from <= 1 || place->part != job->opts.part || place->peer == NULL ||
        place->peer != only_peer(job->daemon))
        return;
    job->opts.from = place->from;
    job->began = place->began;
}

/* One at a time: a session that compares takes no second order. */
void
verify_tick(struct daemon *d)
{
    struct proof proof;
    struct proof_plan plan;
    uint64_t now = session_now_ms();
    d->began_ms = d->began_ms == 0 ? now : d->began_ms;
    int store = d->verify_jobs != NULL ? -1 : first_due(d, now, &proof);
    if (store < 0)
        return;
    const struct conf_store *conf = &d->conf->stores[store];
    struct verify_job *job = job_new(d, store);
    proof_next(&proof, conf->verify_every_ms, conf->verify_contents_ms, &plan);
    job->opts.content = plan.content;
    job->opts.parts = plan.parts;
    job->opts.part = plan.part;
    go_on(job, &d->verify[store]);
    d->verify[store].tried_ms = now;
    job_begin(job);
}
