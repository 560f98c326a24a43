#include "replicator/salvage.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/epochs.h"
#include "replicator/give.h"
#include "replicator/mass.h"
#include "replicator/salvage_box.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_MS     5000
#define ITEM_SHIFT   32
#define CONFIRM_STEP 256 /* items looked at, before what else is to be said on the link */

/* --- what there is --- */

struct found {
    struct salvage_box *boxes;
    size_t count;
};

static void
add_box(void *arg, const struct node_store *store, const char *name)
{
    struct found *all = arg;
    struct salvage_box box;
    struct err e = { 0 };
    int found = salvage_box_open(store, name, &box, &e);
    if (found < 0)
        event(EV_FAILED, F_STR("while", "opening what was salvaged"), F_ERR(&e));
    if (found <= 0)
        return;
    all->boxes = xrealloc(all->boxes, (all->count + 1) * sizeof(*all->boxes));
    all->boxes[all->count++] = box;
}

static void
close_boxes(struct found *all)
{
    for (size_t i = 0; i < all->count; i++)
        salvage_box_close(&all->boxes[i]);
    free(all->boxes);
}

void
salvages_load(struct salvages *x)
{
    struct err e = { 0 };
    struct found all = { 0 };
    for (size_t i = 0; i < x->d->node->store_count; i++) {
        if (salvage_box_names(&x->d->node->stores[i], add_box, &all, &e) < 0)
            event(EV_FAILED, F_STR("while", "looking for what was salvaged"), F_ERR(&e));
    }
    pthread_mutex_lock(&x->lock);
    struct found before = { x->boxes, x->count };
    x->boxes = all.boxes;
    x->count = all.count;
    x->quiet = false;
    pthread_mutex_unlock(&x->lock);
    close_boxes(&before);
}

void
salvages_end(struct salvages *x)
{
    pthread_mutex_lock(&x->lock);
    x->active = false;
    pthread_cond_broadcast(&x->idle);
    pthread_mutex_unlock(&x->lock);
}

void
salvages_refresh(struct salvages *x, bool wait)
{
    pthread_mutex_lock(&x->lock);
    while (wait && x->active && atomic_load(&x->changed))
        pthread_cond_wait(&x->idle, &x->lock);
    bool due = !x->active && atomic_exchange(&x->changed, false);
    x->active |= due;
    pthread_mutex_unlock(&x->lock);
    if (!due)
        return;
    salvages_load(x);
    salvages_end(x);
}

struct salvages *
salvages_new(struct daemon *d)
{
    struct salvages *x = xcalloc(1, sizeof(*x));
    x->d = d;
    atomic_store(&x->changed, true);
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->idle, NULL);
    return x;
}

void
salvages_free(struct salvages **salvages)
{
    struct salvages *x = *salvages;
    if (x == NULL)
        return;
    ASSERT(!x->active);
    close_boxes(&(struct found){ x->boxes, x->count });
    pthread_cond_destroy(&x->idle);
    pthread_mutex_destroy(&x->lock);
    free(x);
    *salvages = NULL;
}

void
salvages_changed(struct salvages *x)
{
    if (x != NULL)
        atomic_store(&x->changed, true);
}

void
salvages_progress(struct salvages *x, const struct salvage_progress *progress)
{
    if (x == NULL)
        return;
    pthread_mutex_lock(&x->lock);
    x->keeps = progress != NULL;
    if (progress != NULL)
        x->keeping = *progress;
    pthread_mutex_unlock(&x->lock);
}

static json_t *
keeping_json(const struct salvages *x)
{
    const struct salvage_progress *p = &x->keeping;
    if (!x->keeps)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:I}", "items", (json_int_t)p->items, "items_total",
                     (json_int_t)p->items_total, "bytes", (json_int_t)p->bytes, "bytes_total",
                     (json_int_t)p->bytes_total);
}

/* Of the newest one alone: what was kept before is not in the store any more. */
static uint64_t
newest_count(const struct salvages *x, const struct node_store *store)
{
    uint64_t epoch = 0, items = 0;
    for (size_t i = 0; i < x->count; i++) {
        if (x->boxes[i].store != store || x->boxes[i].head.epoch < epoch)
            continue;
        epoch = x->boxes[i].head.epoch;
        items = x->boxes[i].head.count;
    }
    return items;
}

void
salvages_allow(struct daemon *d)
{
    struct salvages *x = d->salvages;
    if (x == NULL || d->mass == NULL)
        return;
    salvages_refresh(x, true);
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < d->node->store_count; i++)
        mass_allow(d->mass, (uint16_t)i, newest_count(x, &d->node->stores[i]));
    pthread_mutex_unlock(&x->lock);
}

static bool
is_automatic(const struct salvage_box *box, enum salvage_kind kind)
{
    return box->store->conf->salvage == SALVAGE_MODE_DELIVER &&
           (salvage_has_content(kind) || kind == SALVAGE_FOLDER);
}

bool
salvages_due(const struct salvage_box *box, const struct salvage_item *item)
{
    return box->wanted[item->number] ||
           (box->states[item->number] == SALVAGE_OPEN && is_automatic(box, item->kind));
}

/* What is due goes first. */
static bool
any_work(struct salvages *x)
{
    struct salvage_item item;
    x->confirming = false;
    for (size_t i = 0; i < x->count; i++) {
        for (uint32_t n = 0; n < x->boxes[i].head.count; n++) {
            salvage_box_item(&x->boxes[i], n, &item);
            x->confirming |= salvage_box_is_out(&x->boxes[i], n);
            if (!salvages_due(&x->boxes[i], &item))
                continue;
            x->confirming = false;
            return true;
        }
    }
    x->quiet = !x->confirming;
    return x->confirming;
}

/* --- giving --- */

/* The next one behind the order's place that is due; an operator's word may come meanwhile. */
static bool
find_next(struct salvages *x, size_t *ret_box, struct salvage_item *ret_item)
{
    bool found = false;
    pthread_mutex_lock(&x->lock);
    while (!found && x->box < x->count) {
        const struct salvage_box *box = &x->boxes[x->box];
        *ret_box = x->box;
        if (x->number == box->head.count) {
            x->box++;
            x->number = 0;
            continue;
        }
        salvage_box_item(box, x->number++, ret_item);
        found = salvages_due(box, ret_item);
    }
    pthread_mutex_unlock(&x->lock);
    return found;
}

/* With the primary that is followed now, which may be another than the one that it parted from. */
static int
last_shared(const struct salvages *x, const struct salvage_head *head, uint64_t *ret_seq,
            struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t epoch, first;
    *ret_seq = head->fork;
    if (state_begin(x->d->node->state, false, &txn, e) < 0)
        return -1;
    int found = epochs_after(txn, head->epoch, &epoch, &first, e);
    if (found > 0 && first > 0)
        *ret_seq = MIN(head->fork, first - 1);
    return MIN(found, 0);
}

/* 1 filled, 0 it cannot be read. */
static int
fill_next(struct salvages *x, size_t place, const struct salvage_item *item, struct give_item *give)
{
    struct err e = { 0 };
    const struct salvage_box *box = &x->boxes[place];
    bool clears = item->kind == SALVAGE_REMOVAL && S_ISDIR(item->attr.mode);
    uint64_t shared = 0;
    if (salvage_has_content(item->kind))
        give->fd = salvage_box_content(box, item->number, &e);
    bool unread = salvage_has_content(item->kind) && give->fd < 0;
    if (unread || (clears && last_shared(x, &box->head, &shared, &e) < 0)) {
        event(EV_FAILED, F_STR("while", "reading what was salvaged"), F_ERR(&e));
        return 0;
    }
    give->tag = (uint64_t)place << ITEM_SHIFT | item->number;
    salvage_fill(give, box, item, shared);
    return 1;
}

static bool
gives_anything(const struct salvage_box *box)
{
    struct salvage_item item;
    bool any = false;
    for (uint32_t n = 0; !any && n < box->head.count; n++) {
        salvage_box_item(box, n, &item);
        any = salvages_due(box, &item) || salvage_box_is_out(box, n);
    }
    return any;
}

/* What a primary took and did not send back in time: this one may lack it. Unless this node itself
 * was the primary since: then it came here before or it did not, and users may have removed it. */
static int
state_of_lost(const struct salvages *x, struct state_txn *txn, const struct salvage_box *box,
              enum salvage_state *ret_state, struct err *e)
{
    bool own = false;
    if (box->taker.epoch > 0 && epochs_own_since(x->d, txn, box->taker.epoch, &own, e) < 0)
        return -1;
    *ret_state = own ? SALVAGE_UNSURE : SALVAGE_OPEN;
    return 0;
}

static int
meet_box(struct salvages *x, struct state_txn *txn, struct salvage_box *box, struct err *e)
{
    enum salvage_state lost;
    struct salvage_taker taker = { .epoch = state_meta(txn)->epoch };
    memcpy(taker.history, state_meta(txn)->history, sizeof(taker.history));
    pthread_mutex_lock(&x->lock);
    bool gives = gives_anything(box);
    pthread_mutex_unlock(&x->lock);
    if (!gives)
        return 0;
    if (state_of_lost(x, txn, box, &lost, e) < 0 || salvage_box_meet(box, &taker, lost, e) < 0)
        return -1;
    pthread_mutex_lock(&x->lock);
    salvage_box_met(box, &taker, lost);
    pthread_mutex_unlock(&x->lock);
    return 0;
}

/* The session has START of the primary: the state says who it is. */
static int
meet(struct salvages *x, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(x->d->node->state, false, &txn, e) < 0)
        return -1;
    for (size_t i = 0; i < x->count; i++) {
        if (meet_box(x, txn, &x->boxes[i], e) < 0)
            return -1;
    }
    x->met = true;
    return 0;
}

static int
next(struct give_order *order, struct give_item *ret_item, struct err *e)
{
    struct salvages *x = order->arg;
    struct salvage_item item;
    size_t box;
    if (!x->met && meet(x, e) < 0)
        return -1;
    while (!x->confirming && find_next(x, &box, &item)) {
        if (fill_next(x, box, &item, ret_item) > 0)
            return 1;
    }
    return 0;
}

static int
forget(struct salvages *x, struct salvage_box *box, uint32_t number, struct err *e)
{
    if (salvage_box_forget(box, number, e) < 0)
        return -1;
    pthread_mutex_lock(&x->lock);
    box->kept[number] = false;
    pthread_mutex_unlock(&x->lock);
    return 0;
}

/* This node has it too, by now: a piece of it. */
static int
confirmed(struct give_order *order)
{
    struct salvages *x = order->arg;
    struct err e = { 0 };
    for (unsigned left = CONFIRM_STEP; x->box < x->count && left > 0; left--) {
        struct salvage_box *box = &x->boxes[x->box];
        if (x->number < box->head.count && salvage_box_is_out(box, x->number) &&
            forget(x, box, x->number, &e) < 0) {
            event(EV_FAILED, F_STR("while", "removing what was delivered"), F_ERR(&e));
            return 0;
        }
        if (++x->number >= box->head.count) {
            x->box++;
            x->number = 0;
        }
    }
    return x->box < x->count;
}

int
salvages_sync(struct salvages *x, struct err *e)
{
    for (size_t i = 0; i < x->count; i++) {
        struct salvage_box *box = &x->boxes[i];
        if (salvage_box_sync(box, e) < 0)
            return -1;
        for (uint32_t n = 0; n < box->head.count; n++) {
            if (box->kept[n] && box->states[n] == SALVAGE_DROPPED && forget(x, box, n, e) < 0)
                return -1;
        }
    }
    return 0;
}

static enum salvage_state
state_of(const struct salvage_box *box, const struct salvage_item *item, const struct given *given)
{
    if (given->result == WIRE_GIVEN_CREATED)
        return SALVAGE_DELIVERED;
    if (given->result == WIRE_GIVEN_REFUSED)
        return SALVAGE_REFUSED;
    if (item->kind == SALVAGE_FILE && salvage_box_same(box, item))
        return SALVAGE_DELIVERED;
    return SALVAGE_EXISTS;
}

static void
note_trouble(struct salvages *x, const struct salvage_item *item, const struct given *given)
{
    pthread_mutex_lock(&x->lock);
    snprintf(x->trouble, sizeof(x->trouble), "%.*s: %.*s",
             (int)MIN(item->path.len, (size_t)PATH_NAME_MAX), (const char *)item->path.ptr,
             (int)MIN(given->text.len, (size_t)WIRE_TEXT_MAX / 2), (const char *)given->text.ptr);
    pthread_mutex_unlock(&x->lock);
}

static int
answered(struct give_order *order, const struct given *given, struct err *e)
{
    struct salvages *x = order->arg;
    struct salvage_item item;
    struct salvage_box *box = &x->boxes[given->tag >> ITEM_SHIFT];
    salvage_box_item(box, (uint32_t)given->tag, &item);
    x->gave = true;
    if (given->result == WIRE_GIVEN_FAILED || given->result == WIRE_GIVEN_REFUSED)
        note_trouble(x, &item, given);
    x->again |= given->result == WIRE_GIVEN_FAILED;
    if (given->result == WIRE_GIVEN_FAILED)
        return 0;
    enum salvage_state state = state_of(box, &item, given);
    if (salvage_box_mark(box, item.number, state, e) < 0)
        return -1;
    pthread_mutex_lock(&x->lock);
    salvage_box_set(box, item.number, state);
    salvage_box_tell(box, item.number, given->text);
    pthread_mutex_unlock(&x->lock);
    return 0;
}

struct counts {
    uint64_t delivered, waiting, listed;
    uint64_t out; /* of the delivered */
};

static void
count(const struct salvages *x, struct counts *ret)
{
    struct salvage_item item;
    *ret = (struct counts){ 0 };
    for (size_t i = 0; i < x->count; i++) {
        for (uint32_t n = 0; n < x->boxes[i].head.count; n++) {
            salvage_box_item(&x->boxes[i], n, &item);
            ret->out += salvage_box_is_out(&x->boxes[i], n);
            if (salvages_due(&x->boxes[i], &item))
                ret->waiting++;
            else if (!salvage_box_settled(&x->boxes[i], n))
                ret->listed++;
            else
                ret->delivered += x->boxes[i].states[n] != SALVAGE_DROPPED;
        }
    }
}

static void
tell_done(struct salvages *x)
{
    struct counts counts;
    pthread_mutex_lock(&x->lock);
    count(x, &counts);
    pthread_mutex_unlock(&x->lock);
    if (!x->gave || counts.waiting > 0)
        return;
    x->gave = false;
    event(EV_SALVAGED, F_U64("delivered", counts.delivered), F_U64("listed", counts.listed));
}

static void
done(struct give_order *order, const struct err *why)
{
    struct salvages *x = order->arg;
    struct err e = { 0 };
    if (salvages_sync(x, &e) < 0)
        event(EV_FAILED, F_STR("while", "noting what was delivered"), F_ERR(&e));
    tell_done(x);
    pthread_mutex_lock(&x->lock);
    if (why != NULL)
        snprintf(x->trouble, sizeof(x->trouble), "%s", why->text);
    x->retry_ms = why != NULL || x->again ? session_now_ms() + RETRY_MS : 0;
    pthread_mutex_unlock(&x->lock);
    salvages_end(x);
}

static void
begin(struct salvages *x, struct peer *peer)
{
    x->order = (struct give_order){ .next = next, .answered = answered, .done = done, .arg = x };
    if (x->confirming)
        x->order.confirmed = confirmed;
    x->met = x->again = false;
    x->box = 0;
    x->number = 0;
    x->active = true;
    if (!peer_give(peer, &x->order)) /* takes only the peer's lock, and calls nothing */
        x->active = false;
}

void
salvages_tick(struct salvages *x)
{
    if (x == NULL)
        return;
    salvages_refresh(x, false);
    pthread_mutex_lock(&x->lock);
    struct peer *from = x->d->role == WIRE_ROLE_STANDBY ? peer_receives_from(x->d) : NULL;
    if (from != NULL && !x->active && !x->quiet && session_now_ms() >= x->retry_ms && any_work(x))
        begin(x, from);
    pthread_mutex_unlock(&x->lock);
}

json_t *
salvages_counts(struct salvages *x)
{
    struct counts counts = { 0 };
    char trouble[ERR_TEXT_MAX] = "";
    json_t *keeping = NULL;
    if (x != NULL) {
        salvages_refresh(x, false);
        pthread_mutex_lock(&x->lock);
        keeping = keeping_json(x);
        count(x, &counts);
        if (counts.waiting > 0)
            snprintf(trouble, sizeof(trouble), "%s", x->trouble);
        pthread_mutex_unlock(&x->lock);
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "delivered", (json_int_t)counts.delivered,
                     "waiting", (json_int_t)counts.waiting, "listed", (json_int_t)counts.listed,
                     "unconfirmed", (json_int_t)counts.out, "keeping",
                     keeping != NULL ? keeping : json_null(), "trouble",
                     trouble[0] == '\0' ? json_null() : json_string(trouble));
}
