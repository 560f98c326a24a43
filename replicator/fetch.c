#include "replicator/fetch.h"

#include "lib/os/event.h"
#include "replicator/apply.h"

#include <stdlib.h>

struct fetch {
    struct node *node;
    struct capture *capture;
    struct link_io *io;
    struct apply *apply; /* open while one answer is taken */
    bool asked;          /* one name is under way */
    bool content;        /* its DATA and END are to come */
    uint16_t store;
    struct buf path;
};

struct fetch *
fetch_new(struct node *node, struct capture *capture, struct link_io *io)
{
    struct fetch *f = xcalloc(1, sizeof(*f));
    f->node = node;
    f->capture = capture;
    f->io = io;
    return f;
}

void
fetch_free(struct fetch **fetch)
{
    if (*fetch == NULL)
        return;
    apply_free(&(*fetch)->apply);
    buf_free(&(*fetch)->path);
    free(*fetch);
    *fetch = NULL;
}

bool
fetch_pending(struct fetch *f)
{
    return !f->asked && capture_held(f->capture, 0, &f->store, &f->path) > 0;
}

int
fetch_step(struct fetch *f, struct err *e)
{
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_FETCH;
    msg->fetch = (struct wire_fetch){ .store = f->store, .path = buf_span(&f->path) };
    int rc = link_io_send(f->io, msg, e);
    free(msg);
    f->asked = true;
    return rc < 0 ? -1 : link_io_flush(f->io, e);
}

static int
open_apply(struct fetch *f, struct err *e)
{
    struct apply_store stores[RECORD_STORE_MAX];
    if (f->apply != NULL)
        return 0;
    for (size_t i = 0; i < f->node->store_count; i++)
        stores[i].path = f->node->stores[i].conf->path;
    return apply_open(stores, f->node->store_count, 1, &f->apply, e);
}

static void
brought(void *arg, const struct applied *applied)
{
    bool *ok = arg;
    *ok = applied->result == APPLY_DONE;
}

static int
finish(struct fetch *f, struct err *e)
{
    bool ok = false;
    if (apply_commit(f->apply, brought, &ok, e) < 0) {
        apply_abort(f->apply);
        return err_wrap(e, "bring back a file lost with the power");
    }
    if (ok)
        event(EV_BROUGHT_BACK, F_STR("store", f->node->stores[f->store].conf->name),
              F_SPAN("path", buf_span(&f->path)));
    apply_free(&f->apply); /* one engine has a store at a time: another session may need it */
    capture_release(f->capture, f->store, buf_span(&f->path));
    f->asked = false;
    f->content = false;
    return 0;
}

static int
take_rec(struct fetch *f, const struct wire_rec *rec, struct err *e)
{
    if (!f->asked || f->content || rec->record.store != f->store ||
        !span_equal(rec->record.path, buf_span(&f->path)))
        return err_set(e, ERR_PROTOCOL, "an answer to a FETCH that was not sent");
    if (record_op_flags(rec->record.op) & OP_F_DESTROY)
        return err_set(e, ERR_PROTOCOL, "a destructive operation as answer to a FETCH");
    if (open_apply(f, e) < 0 || apply_rec(f->apply, rec, e) < 0)
        return -1;
    f->content = rec->content == WIRE_CONTENT_DATA || rec->content == WIRE_CONTENT_DELTA;
    return f->content ? 0 : finish(f, e);
}

int
fetch_take(struct fetch *f, const struct wire_msg *msg, struct err *e)
{
    if (msg->type == WIRE_REC)
        return take_rec(f, &msg->rec, e);
    if (!f->content)
        return err_set(e, ERR_PROTOCOL, "content without a file");
    if (msg->type == WIRE_DATA)
        return apply_data(f->apply, &msg->data, e);
    return apply_end(f->apply, &msg->end, e) < 0 ? -1 : finish(f, e);
}
