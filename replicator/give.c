#include "replicator/give.h"

#include "lib/base/crc.h"
#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/store/keywords.h"
#include "lib/store/maildir.h"
#include "replicator/content.h"

#include <stdlib.h>

#define GIVE_WINDOW       256                /* objects under way */
#define GIVE_WINDOW_BYTES (16 * 1024 * 1024) /* and their bytes, beyond one object */

struct underway {
    uint64_t id, tag, bytes;
};

struct give {
    struct link_io *io;
    struct give_order *order;
    uint64_t last_id;
    bool drained;          /* the source has no more */
    struct give_item item; /* whose bytes are on their way, while `sending` */
    uint64_t item_at;
    uint32_t item_crc;
    bool sending;
    bool broken_off;          /* its order has ended: no more bytes of it */
    bool asked;               /* where the primary's journal is: the order waits to be confirmed */
    uint64_t question, reach; /* the newest; the answer to it, UINT64_MAX not yet */
    struct underway list[GIVE_WINDOW];
    size_t count;
    uint64_t bytes;
    struct wire_msg out;
    uint8_t chunk[WIRE_DATA_MAX];
};

void
give_item_free(struct give_item *item)
{
    file_closep(&item->fd);
    buf_free(&item->path);
    buf_free(&item->guid);
    buf_free(&item->from);
}

static bool
can_be_told(struct span name)
{
    bool good = name.len >= 1 && name.len <= WIRE_KEYWORD_SIZE;
    for (size_t i = 0; good && i < name.len; i++)
        good = name.ptr[i] > 0x20 && name.ptr[i] != 0x7f;
    return good;
}

static void
add_keyword(struct give_item *item, uint8_t letter, struct span name)
{
    if (!can_be_told(name) || item->keyword_count == WIRE_KEYWORDS_MAX)
        return;
    memcpy(item->keywords[item->keyword_count].name, name.ptr, name.len);
    item->keywords[item->keyword_count].name[name.len] = '\0';
    item->keywords[item->keyword_count++].letter = letter;
}

void
give_item_keywords(struct give_item *item, struct span keywords, const char *mark)
{
    struct keywords known;
    struct span name = path_name(buf_span(&item->path));
    size_t base = maildir_base_len(name);
    struct span flags = span_from(name, base, name.len - base);
    keywords_read(keywords, &known);
    item->keyword_count = 0;
    add_keyword(item, 0, span_str(mark));
    for (uint8_t i = 0; i < KEYWORDS_MAX; i++) {
        uint8_t letter = (uint8_t)('a' + i);
        if (flags.len > 0 && memchr(flags.ptr, letter, flags.len) != NULL)
            add_keyword(item, letter, known.names[i]);
    }
}

struct give *
give_new(struct link_io *io)
{
    struct give *g = xcalloc(1, sizeof(*g));
    g->io = io;
    g->item.fd = -1;
    return g;
}

static void
finish(struct give *g, const struct err *why)
{
    struct give_order *order = g->order;
    g->order = NULL;
    g->drained = false;
    g->count = 0;
    g->bytes = 0;
    g->broken_off = g->sending;
    g->asked = false;
    order->done(order, why);
}

void
give_free(struct give **give, const struct err *why)
{
    struct give *g = *give;
    if (g == NULL)
        return;
    if (g->order != NULL)
        finish(g, why);
    give_item_free(&g->item);
    free(g);
    *give = NULL;
}

static bool
can_step(const struct give *g)
{
    return g->sending || (g->order != NULL && !g->drained && g->count < GIVE_WINDOW &&
                          (g->count == 0 || g->bytes < GIVE_WINDOW_BYTES));
}

/* --- sending --- */

static void
fill(struct give *g, const struct give_item *item)
{
    struct wire_give *give = &g->out.give;
    g->out.type = WIRE_GIVE;
    *give = (struct wire_give){ .id = ++g->last_id,
                                .store = item->store,
                                .kind = (uint8_t)item->kind,
                                .mode = (uint8_t)item->mode,
                                .attr = item->attr,
                                .path = buf_span(&item->path),
                                .guid = buf_span(&item->guid),
                                .from = buf_span(&item->from),
                                .since = item->since,
                                .keyword_count = item->keyword_count };
    for (size_t i = 0; i < item->keyword_count; i++)
        give->keywords[i] = (struct wire_keyword){ item->keywords[i].letter,
                                                   span_str(item->keywords[i].name) };
}

static bool
has_bytes(const struct give_item *item)
{
    return item->kind != WIRE_GIVE_DIR &&
           (item->mode == WIRE_GIVE_DELIVER || item->mode == WIRE_GIVE_PUT ||
            item->mode == WIRE_GIVE_REPLACE);
}

static int
send_end(struct give *g, bool ok, struct err *e)
{
    g->out.type = WIRE_END;
    g->out.end = (struct wire_end){ .size = g->item_at, .crc = g->item_crc, .ok = ok };
    g->sending = g->broken_off = false;
    give_item_free(&g->item);
    g->item = (struct give_item){ .fd = -1 };
    return link_io_send(g->io, &g->out, e);
}

/* One piece: what else is to be said on this link, an acknowledgement above all, waits no longer
 * than that. What cannot be read here is answered as not given. */
static int
send_piece(struct give *g, struct err *e)
{
    struct err why = { 0 };
    uint64_t left = g->item.attr.size - g->item_at;
    size_t want = (size_t)MIN(left, (uint64_t)sizeof(g->chunk));
    if (g->broken_off || want == 0)
        return send_end(g, !g->broken_off, e);
    ssize_t got = file_pread_full(g->item.fd, g->chunk, want, g->item_at, &why);
    if (got < 0)
        event(EV_UNREADABLE, F_SPAN("path", buf_span(&g->item.path)), F_ERR(&why));
    if (got <= 0)
        return send_end(g, false, e);
    g->out.type = WIRE_DATA;
    g->out.data = (struct wire_data){ g->item_at, span_of(g->chunk, (size_t)got) };
    g->item_crc = crc32c_more(g->item_crc, g->out.data.bytes);
    g->item_at += (uint64_t)got;
    if (link_io_send(g->io, &g->out, e) < 0)
        return -1;
    return g->item_at == g->item.attr.size ? send_end(g, true, e) : 0;
}

/* Of a file, as the copy here has them. One that cannot be asked is given without. */
static void
add_xattrs(struct wire_give *give, const struct give_item *item, struct attrs_xattrs *xattrs)
{
    struct err why = { 0 };
    give->xattr_count = 0;
    if (item->kind != WIRE_GIVE_FILE || item->fd < 0)
        return;
    if (attrs_xattrs_read(item->fd, xattrs, &why) < 0)
        event(EV_UNREADABLE, F_SPAN("path", give->path), F_ERR(&why));
    else
        give->xattr_count = content_xattrs(xattrs, give->path, give->xattrs);
}

/* Takes the item over when its bytes are to follow. */
static int
send_item(struct give *g, struct give_item *item, struct err *e)
{
    _cleanup_xattrs_ struct attrs_xattrs xattrs = { 0 };
    fill(g, item);
    add_xattrs(&g->out.give, item, &xattrs);
    uint64_t bytes = has_bytes(item) ? item->attr.size : 0;
    g->list[g->count++] = (struct underway){ g->last_id, item->tag, bytes };
    g->bytes += bytes;
    if (link_io_send(g->io, &g->out, e) < 0)
        return -1;
    if (!has_bytes(item))
        return 0;
    g->item = *item;
    *item = (struct give_item){ .fd = -1 };
    g->item_at = 0;
    g->item_crc = 0;
    g->sending = true;
    return send_piece(g, e);
}

static int
all_answered(struct give *g, struct err *e)
{
    if (g->order->confirmed == NULL) {
        finish(g, NULL);
        return 0;
    }
    g->asked = true;
    g->reach = UINT64_MAX;
    g->out.type = WIRE_BARRIER;
    g->out.barrier.id = ++g->question;
    return link_io_send(g->io, &g->out, e) < 0 ? -1 : link_io_flush(g->io, e);
}

static int
step(struct give *g, struct err *e)
{
    _cleanup_give_item_ struct give_item item = { .fd = -1 };
    struct err why = { 0 };
    if (g->sending)
        return send_piece(g, e);
    int found = g->order->next(g->order, &item, &why);
    if (found > 0)
        return send_item(g, &item, e);
    g->drained = true;
    if (found < 0)
        finish(g, &why);
    else if (g->count == 0)
        return all_answered(g, e);
    return 0;
}

/* Nobody waits for this one to be confirmed: others are not to wait for it either. */
static int
wait_on(struct give *g, struct peer *peer, uint64_t durable)
{
    bool there = durable > 0 && durable >= g->reach;
    if (there && g->order->confirmed(g->order) > 0)
        return 1;
    if (!there && !atomic_load(&g->order->hurry) && !peer_gives_wait(peer))
        return 0;
    finish(g, NULL);
    return 1;
}

int
give_work(struct give *g, struct peer *peer, uint64_t durable, struct err *e)
{
    if (g->order == NULL)
        g->order = peer_next_give(peer);
    if (g->asked)
        return wait_on(g, peer, durable);
    if (!can_step(g))
        return 0;
    if (step(g, e) < 0)
        return -1;
    if (g->order == NULL || can_step(g))
        return 1;
    return link_io_flush(g->io, e);
}

int
give_end_item(struct give *g, struct err *e)
{
    while (g->sending) {
        if (send_piece(g, e) < 0)
            return -1;
    }
    return 0;
}

/* --- answers --- */

static struct underway *
find(struct give *g, uint64_t id)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->list[i].id == id)
            return &g->list[i];
    }
    return NULL;
}

int
give_answer(struct give *g, const struct wire_given *given, struct err *e)
{
    struct underway *u = find(g, given->id);
    if (u == NULL && given->id <= g->last_id && given->id > 0)
        return 0; /* its order has ended */
    if (u == NULL)
        return err_set(e, ERR_PROTOCOL, "an answer to a GIVE that was not sent");
    struct given told = { u->tag, (enum wire_given_result)given->result, given->path, given->text };
    g->bytes -= u->bytes;
    *u = g->list[--g->count];
    struct err why = { 0 };
    if (g->order->answered(g->order, &told, &why) < 0)
        finish(g, &why);
    else if (g->drained && g->count == 0)
        return all_answered(g, e);
    return 0;
}

void
give_reached(struct give *g, const struct wire_reached *reached)
{
    if (g->asked && reached->id == g->question)
        g->reach = reached->seq;
}
