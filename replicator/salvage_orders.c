/* salvage_orders.c - what is asked about what was salvaged, over the control socket. Main thread.
 */
#include "lib/os/when.h"
#include "lib/store/mailbox.h"
#include "replicator/salvage_box.h"
#include "replicator/salvage_part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 1000 /* items of one answer, at most */

struct wish {
    const char *id, *user; /* NULL: all */
    bool all;              /* in a list: also what is settled */
    const bool *enough;    /* NULL, or nothing more is looked for once it is set */
};

static struct wish
wish_of(const json_t *request)
{
    return (struct wish){ .id = json_string_value(json_object_get(request, "id")),
                          .user = json_string_value(json_object_get(request, "user")),
                          .all = json_is_true(json_object_get(request, "all")) };
}

static void
item_id(const struct salvage_box *box, uint32_t number, char ret_id[128])
{
    snprintf(ret_id, 128, "%s/%s/%u", box->id, box->store->conf->name, number);
}

/* An id names a salvage, what it has of a store, or one item. */
static bool
id_fits(const char *wanted, const char *id)
{
    size_t len = strlen(wanted);
    return strncmp(wanted, id, len) == 0 && (id[len] == '\0' || id[len] == '/');
}

static void
mailbox(const struct salvage_box *box, const struct salvage_item *item, struct mailbox *ret)
{
    const char *users = box->store->conf->users;
    mailbox_of(users == NULL ? "" : users, item->path, ret);
}

static bool
fits(const struct wish *wish, const struct salvage_box *box, const struct salvage_item *item)
{
    char id[128];
    struct mailbox m;
    item_id(box, item->number, id);
    if (wish->id != NULL && !id_fits(wish->id, id))
        return false;
    mailbox(box, item, &m);
    return wish->user == NULL || span_equal(m.user, span_str(wish->user));
}

static json_t *
text_json(struct span s)
{
    json_t *text = json_stringn(s.len > 0 ? (const char *)s.ptr : "", s.len);
    return text == NULL ? json_string("(a name that is not UTF-8)") : text;
}

/* Where its bytes are on this node, for those who put them back themselves. */
static json_t *
kept_json(const struct salvage_box *box, uint32_t number)
{
    if (!box->kept[number])
        return json_string("");
    _cleanup_free_ char *path = xasprintf("%s/" STORE_PRIVATE_DIR "/" SALVAGE_DIR "/%s/%08x",
                                          box->store->conf->path, box->id, number);
    return text_json(span_str(path));
}

static json_t *
item_json(const struct salvage_box *box, const struct salvage_item *item)
{
    char id[128], when[WHEN_SIZE];
    struct mailbox m;
    item_id(box, item->number, id);
    mailbox(box, item, &m);
    bool maildir = box->store->conf->kind == STORE_MAILDIR;
    const char *why = box->whys[item->number];
    const char *state = salvages_due(box, item) ? "waiting"
                        : salvage_box_is_out(box, item->number)
                            ? "unconfirmed"
                            : salvage_state_word(box->states[item->number]);
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:b, s:b, s:o}", "id",
                     id, "store", box->store->conf->name, "kind", salvage_kind_word(item->kind),
                     "state", state, "user", text_json(maildir ? m.user : (struct span){ 0 }),
                     "folder", text_json(maildir ? m.folder : (struct span){ 0 }), "path",
                     text_json(item->path), "before", text_json(item->other), "kept",
                     kept_json(box, item->number), "at",
                     when_text((uint64_t)MAX(item->changed_ns / 1000000000, 0), when), "size",
                     (json_int_t)item->attr.size, "can_apply", (int)salvages_can_give(item),
                     "settled", (int)salvage_box_settled(box, item->number), "why",
                     text_json(span_str(why == NULL ? "" : why)));
}

/* An item's place among all of them. */
struct item_place {
    size_t box;
    uint32_t number;
};

static const struct item_place beginning;

/* Calls each() for all from there on that fit; returns how many. */
static uint64_t
for_each(struct salvages *x, const struct wish *wish, struct item_place from,
         void (*each)(void *arg, struct salvage_box *box, const struct salvage_item *item),
         void *arg)
{
    uint64_t found = 0;
    struct salvage_item item;
    for (size_t i = from.box; i < x->count; i++) {
        for (uint32_t n = i == from.box ? from.number : 0; n < x->boxes[i].head.count; n++) {
            salvage_box_item(&x->boxes[i], n, &item);
            if (!fits(wish, &x->boxes[i], &item))
                continue;
            found++;
            each(arg, &x->boxes[i], &item);
            if (wish->enough != NULL && *wish->enough)
                return found;
        }
    }
    return found;
}

/* The place behind the item of that id; NULL: the beginning. */
static int
place_behind(const struct salvages *x, const char *id, struct item_place *ret_place, struct err *e)
{
    char of_item[128];
    *ret_place = beginning;
    if (id == NULL)
        return 0;
    const char *slash = strrchr(id, '/');
    uint32_t number = slash == NULL ? UINT32_MAX : (uint32_t)strtoul(slash + 1, NULL, 10);
    for (size_t i = 0; i < x->count; i++) {
        item_id(&x->boxes[i], number, of_item);
        if (number >= x->boxes[i].head.count || strcmp(of_item, id) != 0)
            continue;
        *ret_place = (struct item_place){ i, number + 1 };
        return 0;
    }
    return err_set(e, ERR_USAGE,
                   "what is listed behind \"%.64s\" is not known, for nothing salvaged has that "
                   "id (any more): list again from the beginning",
                   id);
}

struct listing_of {
    json_t *items;
    size_t limit;
    bool all;
    bool primary; /* this node is: what another one took and did not send back it may not have */
    uint64_t more;
    bool enough; /* there is more */
};

static void
list_item(void *arg, struct salvage_box *box, const struct salvage_item *item)
{
    struct listing_of *l = arg;
    bool over = salvage_box_settled(box, item->number) &&
                !(l->primary && salvage_box_is_out(box, item->number));
    if (!l->all && over)
        return;
    if (json_array_size(l->items) >= l->limit)
        l->enough = ++l->more > 0;
    else
        json_array_append_new(l->items, item_json(box, item));
}

/* The answer, or NULL. Under the lock. */
static json_t *
list_page(struct salvages *x, const json_t *request, struct err *e)
{
    struct item_place from;
    struct wish wish = wish_of(request);
    const json_t *limit = json_object_get(request, "limit");
    json_int_t wanted = limit == NULL ? SHOWN : json_integer_value(limit);
    if (place_behind(x, json_string_value(json_object_get(request, "after")), &from, e) < 0)
        return NULL;
    struct listing_of l = { .items = json_array(),
                            .limit = (size_t)MIN(MAX(wanted, 0), SHOWN),
                            .all = wish.all,
                            .primary = x->d->role == WIRE_ROLE_PRIMARY };
    if (from.box > 0 || from.number > 0) /* the first page has counted */
        wish.enough = &l.enough;
    uint64_t found = for_each(x, &wish, from, list_item, &l);
    return json_pack("{s:I, s:I, s:o}", "found", (json_int_t)found, "more", (json_int_t)l.more,
                     "items", l.items);
}

void
salvages_list(struct salvages *x, struct control_call *call, const json_t *request)
{
    struct err e = { 0 };
    salvages_refresh(x, false);
    pthread_mutex_lock(&x->lock);
    json_t *page = list_page(x, request, &e);
    pthread_mutex_unlock(&x->lock);
    if (page == NULL) {
        control_fail(call, &e);
        return;
    }
    json_object_set_new(page, "counts", salvages_counts(x));
    control_reply(call, page);
}

static void
want_item(void *arg, struct salvage_box *box, const struct salvage_item *item)
{
    uint64_t *ordered = arg;
    if (salvage_box_settled(box, item->number) || !salvages_can_give(item))
        return;
    box->wanted[item->number] = true;
    ++*ordered;
}

/* Messages, folders and files that no one has anything in the place of. */
static void
deliver_item(void *arg, struct salvage_box *box, const struct salvage_item *item)
{
    bool ours = item->kind == SALVAGE_MESSAGE || item->kind == SALVAGE_COPY ||
                item->kind == SALVAGE_FOLDER;
    if (ours)
        want_item(arg, box, item);
}

void
salvages_give(struct salvages *x, struct control_call *call, const json_t *request)
{
    struct wish wish = wish_of(request);
    uint64_t ordered = 0;
    bool apply = json_is_true(json_object_get(request, "apply"));
    salvages_refresh(x, false);
    pthread_mutex_lock(&x->lock);
    for_each(x, &wish, beginning, apply ? want_item : deliver_item, &ordered);
    x->retry_ms = 0;
    x->quiet = false;
    atomic_store(&x->order.hurry, true); /* it need not wait for what is known to be given */
    pthread_mutex_unlock(&x->lock);
    daemon_wake_sessions(x->d);
    control_reply(call, json_pack("{s:I}", "ordered", (json_int_t)ordered));
}

/* --- drop: in a thread of the loop's, for it waits for disks --- */

struct dropping {
    uv_work_t work;
    struct salvages *x;
    struct control_call *call;
    json_t *request; /* what the wish points into */
    struct wish wish;
    bool primary; /* this node is: who took it may be gone for good */
    uint64_t dropped;
    struct err e;
};

/* Of what the primary took it may have the only copy beside this one. */
static void
look_at_item(void *arg, struct salvage_box *box, const struct salvage_item *item)
{
    struct dropping *d = arg;
    if (!d->primary && salvage_box_is_out(box, item->number))
        err_set(&d->e, ERR_BUSY,
                "what was delivered has not come back to this node yet, and is kept here until "
                "then; try again");
}

static void
drop_item(void *arg, struct salvage_box *box, const struct salvage_item *item)
{
    struct dropping *d = arg;
    bool over = salvage_box_settled(box, item->number) && !salvage_box_is_out(box, item->number);
    if (over || d->e.code != ERR_NONE ||
        salvage_box_mark(box, item->number, SALVAGE_DROPPED, &d->e) < 0)
        return;
    pthread_mutex_lock(&d->x->lock);
    salvage_box_set(box, item->number, SALVAGE_DROPPED);
    pthread_mutex_unlock(&d->x->lock);
    d->dropped++;
}

/* What is settled as a whole goes from the disk. */
static int
remove_settled(struct salvages *x, struct err *e)
{
    for (size_t i = 0; i < x->count; i++) {
        const struct salvage_box *box = &x->boxes[i];
        bool settled = true;
        for (uint32_t n = 0; settled && n < box->head.count; n++)
            settled = salvage_box_settled(box, n) && !salvage_box_is_out(box, n);
        if (settled && salvage_box_remove(box, e) < 0)
            return -1;
    }
    return 0;
}

static void
drop_work(uv_work_t *work)
{
    struct dropping *d = work->data;
    for_each(d->x, &d->wish, beginning, drop_item, d);
    if (d->e.code == ERR_NONE && salvages_sync(d->x, &d->e) >= 0 && remove_settled(d->x, &d->e) < 0)
        ASSERT(d->e.code != ERR_NONE);
    salvages_load(d->x); /* what was removed is closed */
    salvages_end(d->x);
}

static void
drop_end(struct dropping *d)
{
    if (d->e.code != ERR_NONE)
        control_fail(d->call, &d->e);
    else
        control_reply(d->call, json_pack("{s:I}", "dropped", (json_int_t)d->dropped));
    json_decref(d->request);
    free(d);
}

static void
drop_done(uv_work_t *work, int status)
{
    (void)status; /* nobody cancels it */
    drop_end(work->data);
}

/* Makes it the one who works with the boxes, when nothing speaks against it. */
static void
drop_begin(struct dropping *d)
{
    struct salvages *x = d->x;
    pthread_mutex_lock(&x->lock);
    atomic_store(&x->order.hurry, true);
    if (x->active)
        err_set(&d->e, ERR_BUSY, "salvaged mail is being delivered at this moment; try again");
    else
        for_each(x, &d->wish, beginning, look_at_item, d);
    x->active |= d->e.code == ERR_NONE;
    pthread_mutex_unlock(&x->lock);
    daemon_wake_sessions(x->d); /* one that waits for what was given ends that */
}

void
salvages_drop(struct salvages *x, struct control_call *call, const json_t *request)
{
    struct dropping *d = xcalloc(1, sizeof(*d));
    d->work.data = d;
    d->x = x;
    d->call = call;
    d->request = json_deep_copy(request);
    d->wish = wish_of(d->request);
    d->primary = x->d->role == WIRE_ROLE_PRIMARY;
    salvages_refresh(x, false);
    drop_begin(d);
    if (d->e.code != ERR_NONE) {
        drop_end(d);
        return;
    }
    int rc = uv_queue_work(x->d->loop, &d->work, drop_work, drop_done);
    ASSERT(rc == 0); /* it fails without a function alone */
}
