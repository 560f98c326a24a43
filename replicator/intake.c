#include "replicator/intake.h"

#include "lib/base/crc.h"
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/fault.h"
#include "replicator/intake_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_MAX       256
#define BATCH_BYTES     (64 * 1024 * 1024)
#define OBJECT_SIZE_MAX (UINT64_C(1) << 40)

struct intake {
    struct node *node;
    struct link_io *io;
    bool primary;
    const atomic_bool *stop;
    struct intake_places places;
    struct intake_item items[BATCH_MAX];
    size_t count;
    bool open; /* the newest one's content is being received */
    uint64_t bytes;
    struct wire_msg out;
};

struct intake *
intake_new(struct node *node, struct link_io *io, bool primary, const atomic_bool *stop)
{
    struct intake *x = xcalloc(1, sizeof(*x));
    x->node = node;
    x->io = io;
    x->primary = primary;
    x->stop = stop;
    x->places.node = node;
    return x;
}

static void
item_free(struct intake_item *item)
{
    file_closep(&item->fd);
    file_closep(&item->dir_fd);
    buf_free(&item->bytes);
    buf_free(&item->where);
    buf_free(&item->from);
    buf_free(&item->to);
}

static void
batch_free(struct intake *x)
{
    for (size_t i = 0; i < x->count; i++)
        item_free(&x->items[i]);
    x->count = 0;
    x->open = false;
    x->bytes = 0;
    intake_places_free(&x->places);
}

void
intake_free(struct intake **intake)
{
    if (*intake == NULL)
        return;
    batch_free(*intake);
    free(*intake);
    *intake = NULL;
}

/* --- taking --- */

static struct span
keep(struct buf *bytes, struct span s)
{
    size_t at = bytes->len;
    buf_add(bytes, s.ptr, s.len);
    return span_of(bytes->ptr + at, s.len);
}

static struct intake_item *
item_new(struct intake *x, const struct wire_give *give)
{
    struct intake_item *item = &x->items[x->count++];
    *item = (struct intake_item){
        .give = *give, .fd = -1, .dir_fd = -1, .from_fd = -1, .to_fd = -1
    };
    size_t need = give->path.len + give->from.len + give->guid.len + 1;
    for (size_t i = 0; i < give->keyword_count; i++)
        need += give->keywords[i].name.len;
    for (size_t i = 0; i < give->xattr_count; i++)
        need += give->xattrs[i].name.len + give->xattrs[i].value.len;
    buf_reserve(&item->bytes, need); /* so that nothing moves below */
    item->give.path = keep(&item->bytes, give->path);
    item->give.guid = keep(&item->bytes, give->guid);
    item->give.from = keep(&item->bytes, give->from);
    for (size_t i = 0; i < give->keyword_count; i++)
        item->give.keywords[i].name = keep(&item->bytes, give->keywords[i].name);
    for (size_t i = 0; i < give->xattr_count; i++) {
        item->give.xattrs[i].name = keep(&item->bytes, give->xattrs[i].name);
        item->give.xattrs[i].value = keep(&item->bytes, give->xattrs[i].value);
    }
    return item;
}

/* Of both names of what is moved. */
static const char *
forbids(const struct intake *x, struct intake_item *item)
{
    const struct store_rules *rules = &x->node->stores[item->give.store].rules;
    intake_mailbox(x->node, item->give.store, item->give.path, &item->mailbox);
    const char *why = intake_forbids(rules, &item->give, &item->mailbox);
    if (why != NULL || item->give.mode != WIRE_GIVE_MOVE)
        return why;
    struct wire_give before = item->give;
    struct mailbox mailbox;
    before.path = item->give.from;
    intake_mailbox(x->node, before.store, before.path, &mailbox);
    return intake_forbids(rules, &before, &mailbox);
}

static void
check_item(const struct intake *x, struct intake_item *item)
{
    if (!x->primary) {
        intake_item_settle(item, WIRE_GIVEN_FAILED, "this node is not the primary");
        return;
    }
    if (item->give.store >= x->node->store_count) {
        intake_item_settle(item, WIRE_GIVEN_REFUSED, "there is no store of this number");
        return;
    }
    const char *why = forbids(x, item);
    if (why == NULL && item->give.attr.size > OBJECT_SIZE_MAX)
        why = "it is larger than any object that is given";
    if (why != NULL)
        intake_item_settle(item, WIRE_GIVEN_REFUSED, why);
}

static void
stage(const struct intake *x, struct intake_item *item)
{
    struct err why = { 0 };
    item->fd = file_open_unnamed(x->node->stores[item->give.store].root_fd, 0600, &why);
    if (item->fd < 0)
        intake_item_failed(item, &why);
}

static int
take_give(struct intake *x, const struct wire_give *give, struct err *e)
{
    if (x->open)
        return err_set(e, ERR_PROTOCOL, "a GIVE within the content of another");
    if ((x->count == BATCH_MAX || x->bytes > BATCH_BYTES) && intake_settle(x, e) < 0)
        return -1;
    struct intake_item *item = item_new(x, give);
    check_item(x, item);
    x->open = intake_has_bytes(give);
    if (x->open && !item->settled)
        stage(x, item);
    return 0;
}

static int
take_data(struct intake *x, const struct wire_data *data, struct err *e)
{
    struct intake_item *item = &x->items[x->count - 1];
    struct err why = { 0 };
    if (data->offset != item->received ||
        data->bytes.len > item->give.attr.size - MIN(item->received, item->give.attr.size))
        return err_set(e, ERR_PROTOCOL, "bytes beyond the size of what is given");
    item->crc = crc32c_more(item->crc, data->bytes);
    item->received += data->bytes.len;
    x->bytes += data->bytes.len;
    if (!item->settled && file_pwrite_full(item->fd, data->bytes, data->offset, &why) < 0)
        intake_item_failed(item, &why);
    return 0;
}

static int
take_end(struct intake *x, const struct wire_end *end, struct err *e)
{
    struct intake_item *item = &x->items[x->count - 1];
    x->open = false;
    if (end->size != item->received || end->crc != item->crc)
        return err_set(e, ERR_PROTOCOL, "what was given is not what was announced");
    if (!item->settled && (!end->ok || item->received != item->give.attr.size))
        intake_item_settle(item, WIRE_GIVEN_FAILED, "it could not be read where it is");
    return 0;
}

bool
intake_wants(const struct intake *x, enum wire_type type)
{
    return type == WIRE_GIVE || (x->open && (type == WIRE_DATA || type == WIRE_END));
}

int
intake_take(struct intake *x, const struct wire_msg *msg, struct err *e)
{
    if (msg->type == WIRE_GIVE)
        return take_give(x, &msg->give, e);
    return msg->type == WIRE_DATA ? take_data(x, &msg->data, e) : take_end(x, &msg->end, e);
}

/* --- carrying out --- */

/* Under the name that is there, then renamed: there is never a second one of its base name, to
 * which a mail server would give another. */
static int
replace(const struct intake *x, const struct intake_item *item, struct err *e)
{
    const char *from = intake_name_text(&item->from), *to = intake_name_text(&item->to);
    if (intake_replace(x->node->stores[item->give.store].root_fd, item->fd, item->from_fd, from,
                       e) < 0)
        return -1;
    if (item->from_fd == item->to_fd && strcmp(from, to) == 0)
        return 0;
    return file_rename(item->from_fd, from, item->to_fd, to, true, e);
}

/* Of what decides for itself: 1 it was changed. */
static int
do_act(struct intake *x, struct intake_item *item, struct err *e)
{
    switch (item->act) {
    case INTAKE_MAKE:
    case INTAKE_MAKE_OTHER:
        return file_link_unnamed(item->fd, item->to_fd, intake_name_text(&item->to), e);
    case INTAKE_REPLACE:
        return replace(x, item, e);
    case INTAKE_LIST:
        return intake_list(&x->places, item, e);
    case INTAKE_REFLAG:
        if (item->from_fd == item->to_fd &&
            strcmp(intake_name_text(&item->from), intake_name_text(&item->to)) == 0)
            return 0;
        return file_rename(item->from_fd, intake_name_text(&item->from), item->to_fd,
                           intake_name_text(&item->to), true, e);
    case INTAKE_MOVE:
        return intake_move(&x->places, item, e);
    case INTAKE_CLEAR:
        return intake_clear(&x->places, item, e);
    case INTAKE_REMOVE:
        if ((fault("unlink") < 0 || unlinkat(item->from_fd, intake_name_text(&item->from), 0) < 0))
            return err_sys(e, ERR_IO, "remove it");
        return 0;
    case INTAKE_EXISTS:
    case INTAKE_AGAIN:
    case INTAKE_ABSENT:
        break;
    }
    return 0;
}

/* What an operator elsewhere ordered is on record here, too. */
static void
tell_taken(const struct intake *x, struct intake_item *item)
{
    static const char *const words[] = {
        [INTAKE_REPLACE] = "replaced", [INTAKE_LIST] = "replaced", [INTAKE_REFLAG] = "flags",
        [INTAKE_REMOVE] = "removed",   [INTAKE_MOVE] = "moved",    [INTAKE_CLEAR] = "removed",
    };
    item->result = WIRE_GIVEN_CREATED;
    const char *what = item->act < ARRAY_LEN(words) ? words[item->act] : NULL;
    if (what != NULL)
        event(EV_TAKEN, F_STR("store", x->node->stores[item->give.store].conf->name),
              F_SPAN("path", item->give.path), F_SPAN("from", item->give.from),
              F_STR("what", what));
}

static bool
decides_itself(const struct intake_item *item)
{
    return item->act == INTAKE_LIST || item->act == INTAKE_MOVE || item->act == INTAKE_CLEAR;
}

static void
carry_out(struct intake *x, struct intake_item *item)
{
    struct err e = { 0 };
    if (item->act == INTAKE_AGAIN) {
        intake_item_settle(item, WIRE_GIVEN_FAILED, "it is being renamed at this moment");
        return;
    }
    if (item->act == INTAKE_ABSENT) {
        intake_item_settle(item, WIRE_GIVEN_REFUSED,
                           "what it speaks of is not there, or is another one");
        return;
    }
    int done = do_act(x, item, &e);
    bool stays = item->act == INTAKE_EXISTS || (decides_itself(item) && done == 0);
    if (done < 0)
        intake_item_failed(item, &e);
    else if (stays)
        intake_item_settle(item, WIRE_GIVEN_EXISTS, "");
    else
        tell_taken(x, item);
}

static bool
changes(const struct intake_item *item)
{
    return !item->settled ||
           (item->give.kind == WIRE_GIVE_DIR && item->result == WIRE_GIVEN_CREATED);
}

/* Of each store that the batch touches. */
static void
sync_stores(struct intake *x)
{
    bool touched[RECORD_STORE_MAX] = { false };
    for (size_t i = 0; i < x->count; i++) {
        if (changes(&x->items[i]))
            touched[x->items[i].give.store] = true;
    }
    for (size_t s = 0; s < x->node->store_count; s++) {
        struct err e = { 0 };
        if (!touched[s] || file_sync_fs(x->node->stores[s].root_fd, &e) >= 0)
            continue;
        for (size_t i = 0; i < x->count; i++) {
            if (x->items[i].give.store == s && changes(&x->items[i]))
                intake_item_failed(&x->items[i], &e);
        }
    }
}

static int
answer(struct intake *x, struct intake_item *item, struct err *e)
{
    x->out.type = WIRE_GIVEN;
    x->out.given = (struct wire_given){ .id = item->give.id,
                                        .result = (uint8_t)item->result,
                                        .path = buf_span(&item->where),
                                        .text = span_str(item->text) };
    if (item->result == WIRE_GIVEN_FAILED || item->result == WIRE_GIVEN_REFUSED)
        x->out.given.path = (struct span){ 0 };
    return link_io_send(x->io, &x->out, e);
}

int
intake_settle(struct intake *x, struct err *e)
{
    if (x->count == 0 || x->open)
        return 0;
    for (size_t i = 0; i < x->count; i++) {
        if (atomic_load(x->stop))
            intake_item_settle(&x->items[i], WIRE_GIVEN_FAILED, "the role of the node there ends");
        else if (!x->items[i].settled)
            intake_item_decide(&x->places, &x->items[i]);
    }
    intake_since(&x->places, x->items, x->count, x->stop);
    sync_stores(x); /* the bytes, before anybody sees their names */
    for (size_t i = 0; i < x->count; i++) {
        if (!x->items[i].settled && atomic_load(x->stop))
            intake_item_settle(&x->items[i], WIRE_GIVEN_FAILED, "the role of the node there ends");
        else if (!x->items[i].settled)
            carry_out(x, &x->items[i]);
    }
    sync_stores(x); /* the names */
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < x->count; i++)
        rc = answer(x, &x->items[i], e);
    batch_free(x);
    return rc < 0 ? -1 : link_io_flush(x->io, e);
}
