#include "replicator/barrier.h"

#include "replicator/protection.h"
#include "replicator/session.h"

#include <stdlib.h>

#define TICK_MS 20
/* Those answered before the capture said how far it is are among them: with short timeouts they
 * would grow for as long as a sweep or a full disk lasts. */
#define WAITS_MAX 4096

struct wait {
    struct wait *next;
    struct barriers *barriers;
    struct control_call *call; /* NULL: answered; the capture still holds on to it */
    int store;
    bool handover;
    bool reached; /* seq is known */
    uint64_t seq;
    uint64_t begun_ms, until_ms;
};

struct barriers {
    struct daemon *daemon;
    struct wait *list;
    unsigned count;
    uv_timer_t *timer;
};

static void
on_tick(uv_timer_t *timer)
{
    barriers_check(timer->data);
}

struct barriers *
barriers_new(struct daemon *d)
{
    struct barriers *b = xcalloc(1, sizeof(*b));
    b->daemon = d;
    b->timer = xcalloc(1, sizeof(*b->timer));
    uv_timer_init(d->loop, b->timer);
    b->timer->data = b;
    return b;
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void
barriers_free(struct barriers **barriers)
{
    struct barriers *b = *barriers;
    if (b == NULL)
        return;
    while (b->list != NULL) {
        struct wait *next = b->list->next;
        free(b->list);
        b->list = next;
    }
    uv_close((uv_handle_t *)b->timer, timer_closed);
    free(b);
    *barriers = NULL;
}

static void
let_go(struct wait *w)
{
    w->call = NULL;
    atomic_fetch_sub(&w->barriers->daemon->awaited, 1);
}

static void
answer(struct wait *w, const char *state)
{
    struct daemon *d = w->barriers->daemon;
    double seconds = (double)(session_now_ms() - w->begun_ms) / 1000.0;
    if (w->reached && !w->handover) /* what no mail waits for says nothing about mail */
        d->barrier_last_seconds = seconds;
    bool async = !w->handover && protection_is_async(d, w->store);
    json_t *reply = json_pack("{s:s, s:f, s:I, s:b}", "state", state, "seconds", seconds, "seq",
                              (json_int_t)(w->reached ? w->seq : 0), "async", async);
    control_reply(w->call, reply);
    let_go(w);
}

/* Runs in the main thread; the wait is freed here when it was answered meanwhile. */
static void
reached_main(void *arg)
{
    struct wait *w = arg;
    w->reached = true;
    barriers_check(w->barriers);
}

static void
reached_capture(void *arg, uint64_t seq)
{
    struct wait *w = arg;
    w->seq = seq;
    control_post(w->barriers->daemon->control, reached_main, w);
}

void
barriers_wait(struct barriers *b, struct control_call *call, const struct barrier_for *what)
{
    struct err e = { 0 };
    if (b->count == WAITS_MAX) {
        err_set(&e, ERR_BUSY, "%d barriers wait for the journal already", WAITS_MAX);
        control_fail(call, &e);
        return;
    }
    struct wait *w = xcalloc(1, sizeof(*w));
    b->count++;
    w->barriers = b;
    w->call = call;
    w->store = what->store;
    w->handover = what->handover;
    w->begun_ms = session_now_ms();
    w->until_ms = w->begun_ms + what->timeout_ms;
    w->next = b->list;
    b->list = w;
    atomic_fetch_add(&b->daemon->awaited, 1);
    if (!uv_is_active((uv_handle_t *)b->timer))
        uv_timer_start(b->timer, on_tick, TICK_MS, TICK_MS);
    capture_barrier(b->daemon->capture, reached_capture, w);
}

void
barriers_probe(struct daemon *d, struct control_call *call, int store)
{
    enum protection p = protection_of(d, store, UINT64_MAX);
    const char *state = protection_alone(d, store) == ALONE_CONTINUE ? "degraded" : "alone";
    if (p == PROTECTED)
        state = "safe";
    else if (p == PROTECTION_PENDING)
        state = "pending";
    control_reply(call, json_pack("{s:s}", "state", state));
}

static void
check_one(struct wait *w, uint64_t now)
{
    struct daemon *d = w->barriers->daemon;
    if (w->call == NULL)
        return;
    if (control_gone(w->call)) {
        control_reply(w->call, json_object()); /* nobody hears it */
        let_go(w);
        return;
    }
    if (w->reached) {
        enum protection p = w->handover ? protection_handed_over(d, w->seq)
                                        : protection_of(d, w->store, w->seq);
        if (p == PROTECTED) {
            answer(w, "safe");
            return;
        }
        if (p == PROTECTION_NONE && protection_alone(d, w->store) == ALONE_CONTINUE) {
            answer(w, "degraded");
            return;
        }
        if (p == PROTECTION_NONE && protection_refuses(d, w->store)) {
            answer(w, "alone");
            return;
        }
    }
    if (now >= w->until_ms)
        answer(w, "late");
}

void
barriers_check(struct barriers *b)
{
    uint64_t now = session_now_ms();
    struct wait **at = &b->list;
    while (*at != NULL) {
        struct wait *w = *at;
        check_one(w, now);
        if (w->call == NULL && w->reached) {
            *at = w->next;
            free(w);
            b->count--;
        } else {
            at = &w->next;
        }
    }
    if (b->list == NULL)
        uv_timer_stop(b->timer);
}

void
barriers_fail(struct barriers *b, const struct err *e)
{
    for (struct wait *w = b->list; w != NULL; w = w->next) {
        if (w->call == NULL)
            continue;
        control_fail(w->call, e);
        let_go(w);
    }
}
