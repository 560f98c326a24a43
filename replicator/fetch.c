#include "replicator/fetch.h"

#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/apply.h"
#include "replicator/look.h"

#include <stdlib.h>
#include <unistd.h>

#define ROUND_MS 1000 /* names that could not be brought back are asked for again after this */

struct fetch {
    struct node *node;
    struct capture *capture;
    const char *peer;
    struct link_io *io;
    struct capture_held held; /* the next one, or the one under way */
    uint64_t round_ms;        /* not before this; 0 in the middle of a round */
    bool found;               /* held is to be asked for */
    bool asked;               /* one name is under way */
    bool content;             /* its DATA and END are to come */
    struct apply *apply;      /* open while a lost one is taken */
    int compared_fd;          /* the own copy of one in doubt, -1 none */
    uint64_t compared;        /* bytes of it */
    bool differs;
};

struct fetch *
fetch_new(struct node *node, struct capture *capture, const char *peer, struct link_io *io)
{
    struct fetch *f = xcalloc(1, sizeof(*f));
    f->node = node;
    f->capture = capture;
    f->peer = peer;
    f->io = io;
    f->compared_fd = -1;
    return f;
}

void
fetch_free(struct fetch **fetch)
{
    struct fetch *f = *fetch;
    if (f == NULL)
        return;
    apply_free(&f->apply);
    file_closep(&f->compared_fd);
    buf_free(&f->held.name);
    buf_free(&f->held.path);
    free(f);
    *fetch = NULL;
}

/* --- asking --- */

bool
fetch_pending(struct fetch *f)
{
    struct err e = { 0 };
    if (f->asked || f->found)
        return f->found;
    if (f->round_ms != 0 && capture_now_ms() < f->round_ms)
        return false;
    f->round_ms = 0;
    int found = capture_held_next(f->capture, f->peer, &f->held, &e);
    if (found < 0)
        event(EV_FAILED, F_STR("while", "looking for names lost with the power"), F_ERR(&e));
    f->found = found > 0;
    if (found <= 0) { /* the round is over */
        f->held.dir = 0;
        buf_reset(&f->held.name);
        f->round_ms = capture_now_ms() + ROUND_MS;
    }
    return f->found;
}

bool
fetch_asked(const struct fetch *f)
{
    return f->asked;
}

int
fetch_step(struct fetch *f, struct err *e)
{
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_FETCH;
    msg->fetch = (struct wire_fetch){ .store = f->held.store, .path = buf_span(&f->held.path) };
    int rc = link_io_send(f->io, msg, e);
    free(msg);
    f->asked = true;
    f->found = false;
    return rc < 0 ? -1 : link_io_flush(f->io, e);
}

static int
answer(struct fetch *f, enum capture_held_answer answer)
{
    capture_held_answer(f->capture, &f->held, f->peer, answer);
    f->asked = false;
    f->content = false;
    return 0;
}

/* Asked for again in the next round. */
static int
put_off(struct fetch *f)
{
    f->asked = false;
    f->content = false;
    return 0;
}

/* --- a lost one is brought back --- */

static int
open_apply(struct fetch *f, struct err *e)
{
    struct apply_store stores[RECORD_STORE_MAX] = { 0 };
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
finish_lost(struct fetch *f, struct err *e)
{
    bool ok = false;
    bool still = capture_held_still(f->capture, &f->held); /* else something newer is there */
    if (!still)
        apply_abort(f->apply);
    else if (apply_commit(f->apply, brought, &ok, e) < 0) {
        apply_abort(f->apply);
        return err_wrap(e, "bring back a file lost with the power");
    }
    apply_free(&f->apply); /* one engine has a store at a time: another session may need it */
    if (!ok && still)
        return put_off(f); /* its directory went meanwhile */
    if (ok)
        event(EV_BROUGHT_BACK, F_STR("store", f->node->stores[f->held.store].conf->name),
              F_SPAN("path", buf_span(&f->held.path)));
    return answer(f, CAPTURE_HELD_BACK);
}

static int
take_lost(struct fetch *f, const struct wire_rec *rec, struct err *e)
{
    if (open_apply(f, e) < 0 || apply_rec(f->apply, rec, e) < 0)
        return -1;
    return f->content ? 0 : finish_lost(f, e);
}

/* --- one in doubt is compared --- */

static int
take_doubt(struct fetch *f, const struct wire_rec *rec)
{
    struct look look = { 0 };
    f->compared = 0;
    file_closep(&f->compared_fd);
    f->compared_fd = file_open_beneath(f->node->stores[f->held.store].root_fd,
                                       buf_span(&f->held.path), O_RDONLY | O_NONBLOCK, 0, NULL);
    f->differs = f->compared_fd < 0 || look_at(f->compared_fd, "", &look, NULL) < 0 ||
                 !look.exists || look.attr.size != rec->now.size ||
                 look.attr.mtime_ns != rec->now.mtime_ns;
    return f->content ? 0 : answer(f, CAPTURE_HELD_SPOILT); /* it is no file there */
}

/* From where the comparison stands to `end` the own copy must have zeros. */
static int
compare_gap(struct fetch *f, uint64_t end, struct err *e)
{
    static const uint8_t zeros[65536];
    uint8_t ours[sizeof(zeros)];
    while (!f->differs && f->compared < end) {
        size_t want = (size_t)MIN(end - f->compared, (uint64_t)sizeof(ours));
        ssize_t got = file_pread_full(f->compared_fd, ours, want, f->compared, e);
        if (got < 0)
            return -1;
        f->differs = (size_t)got < want || memcmp(ours, zeros, want) != 0;
        f->compared += want;
    }
    return 0;
}

static int
compare_data(struct fetch *f, const struct wire_data *data, struct err *e)
{
    if (data->offset < f->compared)
        return err_set(e, ERR_PROTOCOL, "bytes of a file out of order");
    if (compare_gap(f, data->offset, e) < 0 || f->differs)
        return f->differs ? 0 : -1;
    _cleanup_free_ uint8_t *ours = xmalloc(MAX(data->bytes.len, (size_t)1));
    ssize_t got = file_pread_full(f->compared_fd, ours, data->bytes.len, data->offset, e);
    if (got < 0)
        return -1;
    f->differs = !span_equal(span_of(ours, (size_t)got), data->bytes);
    f->compared = data->offset + data->bytes.len;
    return 0;
}

static int
finish_doubt(struct fetch *f, const struct wire_end *end, struct err *e)
{
    if (compare_gap(f, end->size, e) < 0)
        return -1;
    file_closep(&f->compared_fd);
    if (!end->ok)
        return put_off(f); /* it was changed while it was read */
    return answer(f, f->differs ? CAPTURE_HELD_SPOILT : CAPTURE_HELD_BACK);
}

/* --- answers --- */

static int
take_rec(struct fetch *f, const struct wire_rec *rec, struct err *e)
{
    if (!f->asked || f->content || rec->record.store != f->held.store ||
        !span_equal(rec->record.path, buf_span(&f->held.path)))
        return err_set(e, ERR_PROTOCOL, "an answer to a FETCH that was not sent");
    if (record_op_flags(rec->record.op) & OP_F_DESTROY)
        return err_set(e, ERR_PROTOCOL, "a destructive operation as answer to a FETCH");
    if (rec->content == WIRE_CONTENT_GONE)
        return answer(f, CAPTURE_HELD_WITHOUT);
    f->content = rec->content == WIRE_CONTENT_DATA || rec->content == WIRE_CONTENT_DELTA;
    return f->held.doubt ? take_doubt(f, rec) : take_lost(f, rec, e);
}

int
fetch_take(struct fetch *f, const struct wire_msg *msg, struct err *e)
{
    if (msg->type == WIRE_REC)
        return take_rec(f, &msg->rec, e);
    if (!f->content)
        return err_set(e, ERR_PROTOCOL, "content without a file");
    if (msg->type == WIRE_DATA)
        return f->held.doubt ? compare_data(f, &msg->data, e) : apply_data(f->apply, &msg->data, e);
    if (f->held.doubt)
        return finish_doubt(f, &msg->end, e);
    return apply_end(f->apply, &msg->end, e) < 0 ? -1 : finish_lost(f, e);
}
