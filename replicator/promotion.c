#include "replicator/promotion.h"

#include "replicator/handover.h"
#include "replicator/roles.h"

#include <stdlib.h>

struct promotion {
    struct daemon *daemon;
    struct control_call *call;
    struct peer *from;
    uv_timer_t timer;
};

static void
promote(struct daemon *d, struct control_call *call, bool force)
{
    struct err e = { 0 };
    if (roles_promote(d, force, &e) < 0)
        control_fail(call, &e);
    else
        control_reply(call, json_pack("{s:I}", "folders_failed", (json_int_t)d->folders_failed));
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Hands the call back. */
static struct control_call *
stop_waiting(struct daemon *d)
{
    struct promotion *p = d->promotion;
    d->promotion = NULL;
    uv_close((uv_handle_t *)&p->timer, timer_closed);
    return p->call;
}

/* That its connection ended says nothing yet: a primary connects again. */
static bool
role_is_told(struct peer *peer)
{
    struct peer_facts facts;
    peer_facts(peer, &facts);
    return !facts.receiving && facts.state != PEER_CONNECTING;
}

static void
look(struct daemon *d, bool late)
{
    const struct promotion *p = d->promotion;
    if (p == NULL)
        return;
    if (control_gone(p->call))
        control_reply(stop_waiting(d), json_object()); /* nobody hears it */
    else if (late || role_is_told(p->from))
        promote(d, stop_waiting(d), false);
}

void
promotion_check(struct daemon *d)
{
    look(d, false);
}

static void
on_late(uv_timer_t *timer)
{
    const struct promotion *p = timer->data;
    look(p->daemon, true);
}

static void
wait_for(struct daemon *d, struct peer *from, uint64_t ms, struct control_call *call)
{
    struct promotion *p = xcalloc(1, sizeof(*p));
    *p = (struct promotion){ .daemon = d, .call = call, .from = from };
    uv_timer_init(d->loop, &p->timer);
    p->timer.data = p;
    uv_timer_start(&p->timer, on_late, ms, 0);
    d->promotion = p;
}

void
promotion_order(struct daemon *d, struct control_call *call, bool force)
{
    struct peer *from = force ? NULL : peer_receives_from(d);
    struct peer *served = force || from != NULL ? NULL : handover_awaited(d);
    struct err e = { 0 };
    if (from == NULL && served == NULL) {
        promote(d, call, force);
    } else if (d->promotion == NULL) {
        wait_for(d, from != NULL ? from : served,
                 from != NULL ? PROMOTION_WAIT_MS : HANDOVER_WAIT_MS, call);
    } else {
        err_set(&e, ERR_BUSY, "another order to promote this node waits already");
        control_fail(call, &e);
    }
}

void
promotion_end(struct daemon *d)
{
    struct err e = { 0 };
    if (d->promotion == NULL)
        return;
    err_set(&e, ERR_PEER, "the daemon stops");
    control_fail(stop_waiting(d), &e);
}
