#include "replicator/answer.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/content.h"
#include "replicator/look.h"

#include <sys/stat.h>
#include <unistd.h>

#define LISTING_BYTES (FRAME_BODY_MAX / 2)

static int
reply(struct answers *x, enum wire_type type, struct err *e)
{
    x->out->type = type;
    return link_io_send(x->io, x->out, e);
}

/* The names from *next on, as many as go into one message. */
static int
send_listing(struct answers *x, const struct listing *l, size_t *next, struct err *e)
{
    struct wire_digest_answer *answer = &x->out->digest_answer;
    _cleanup_buf_ struct buf packed = { 0 };
    size_t first = *next;
    listing_pack(l, first, LISTING_BYTES, &packed, next);
    answer->entry_count = (uint32_t)(*next - first);
    answer->entries = buf_span(&packed);
    answer->more = *next < l->count;
    return reply(x, WIRE_DIGEST_ANSWER, e) < 0 ? -1 : answer->more;
}

/* What was found is told as it is, from the name *next on. 1 there is more of it, 0 it is told. */
static int
answer_item(struct answers *x, const struct scrub_item *item, size_t *next, struct err *e)
{
    struct wire_digest_answer *answer = &x->out->digest_answer;
    uint8_t digest[WIRE_DIGEST_SIZE];
    *answer = (struct wire_digest_answer){ .id = item->id, .dir = item->dir };
    if (item->result == SCRUB_FAILED)
        event(EV_SKIPPED, F_SPAN("path", buf_span(&item->path)), F_ERR(&item->why));
    if (item->result != SCRUB_READ) {
        answer->verdict = item->result == SCRUB_ABSENT ? WIRE_DIR_ABSENT : WIRE_DIR_FAILED;
        return reply(x, WIRE_DIGEST_ANSWER, e);
    }
    answer->self = item->listing.self;
    answer->verdict = WIRE_DIR_DIFFERENT;
    if (*next == 0) {
        listing_digest(&item->listing, digest);
        if (memcmp(digest, item->digest, sizeof(digest)) == 0)
            answer->verdict = WIRE_DIR_SAME;
    }
    if (answer->verdict == WIRE_DIR_SAME)
        return reply(x, WIRE_DIGEST_ANSWER, e);
    return send_listing(x, &item->listing, next, e);
}

static struct scrub_item *
item_of(const struct wire_digest_ask *ask, const struct wire_dir *dir)
{
    struct scrub_item *item = scrub_item_new(ask->store, dir->path);
    item->dir = dir->dir;
    item->id = ask->id;
    memcpy(item->digest, dir->digest, sizeof(item->digest));
    item->content = (ask->flags & WIRE_DIGEST_CONTENT) != 0;
    return item;
}

int
answer_digests(struct answers *x, const struct wire_digest_ask *ask, struct err *e)
{
    for (uint16_t i = 0; i < ask->count; i++) {
        _cleanup_scrub_item_ struct scrub_item *item = item_of(ask, &ask->dirs[i]);
        scrub_read(x->node, item, NULL);
        if (x->ledger != NULL && item->result == SCRUB_READ &&
            ledger_see(x->ledger, item->store, buf_span(&item->path), item->fd, &item->listing, e) <
                0)
            return -1;
        size_t next = 0;
        int more;
        do
            more = answer_item(x, item, &next, e);
        while (more > 0);
        if (more < 0)
            return -1;
    }
    return link_io_flush(x->io, e);
}

int
answer_later(struct scrub *scrub, const struct wire_digest_ask *ask, struct err *e)
{
    for (uint16_t i = 0; i < ask->count; i++) {
        if (scrub_ask(scrub, item_of(ask, &ask->dirs[i]), e) < 0)
            return -1;
    }
    return 0;
}

int
answer_reading(struct answers *x, struct scrub *scrub, struct answer_reading *r, struct err *e)
{
    if (r->item == NULL)
        *r = (struct answer_reading){ .item = scrub_take(scrub) };
    if (r->item == NULL)
        return 0;
    int more = answer_item(x, r->item, &r->next, e);
    if (more <= 0)
        scrub_item_free(&r->item);
    if (more < 0)
        return -1;
    if (more > 0 || scrub_has_done(scrub))
        return 1;
    return link_io_flush(x->io, e);
}

static int
give_signature(void *arg, struct span bytes, struct err *e)
{
    struct answers *x = arg;
    while (bytes.len > 0) {
        size_t len = MIN(bytes.len, (size_t)WIRE_DATA_MAX);
        x->out->sig = (struct wire_sig){ .ok = 1, .bytes = span_of(bytes.ptr, len) };
        if (reply(x, WIRE_SIG, e) < 0)
            return -1;
        bytes = span_of(bytes.ptr + len, bytes.len - len);
    }
    return 0;
}

int
answer_signature(struct answers *x, const struct wire_sig_ask *ask, struct err *e)
{
    int rc = apply_signature(x->apply, ask->store, ask->path, give_signature, x, e);
    if (rc < 0)
        return -1;
    x->out->sig = (struct wire_sig){ .ok = rc == 0, .last = 1 };
    if (reply(x, WIRE_SIG, e) < 0)
        return -1;
    return link_io_flush(x->io, e);
}

static enum record_op
op_for(uint32_t mode)
{
    return S_ISDIR(mode)    ? OP_MKDIR
           : S_ISFIFO(mode) ? OP_MKNOD
           : S_ISLNK(mode)  ? OP_SYMLINK
                            : OP_PUT;
}

/* A file whose reading fails at once: ask again. */
static int
send_later(struct answers *x, const struct record *r, struct err *e)
{
    if (content_send_bare(x->io, r, WIRE_CONTENT_DATA, e) < 0)
        return -1;
    x->out->type = WIRE_END;
    x->out->end = (struct wire_end){ .ok = 0 };
    return link_io_send(x->io, x->out, e);
}

/* What cannot be looked at may be here: another time it can be told. */
static int
send_failed(struct answers *x, const struct record *r, const struct err *why, struct err *e)
{
    event(EV_SKIPPED, F_SPAN("path", r->path), F_ERR(why));
    return send_later(x, r, e);
}

/* That it is on no node is what makes the primary give it up: it is said only when it is sure. A
 * name that waits for another one is here under its old name. */
static int
send_missing(struct answers *x, const struct record *r, struct err *e)
{
    return x->lacks ? send_later(x, r, e) : content_send_bare(x->io, r, WIRE_CONTENT_GONE, e);
}

static int
send_symlink(struct answers *x, struct record *r, int parent, const char *name,
             const struct record *plain, struct err *e)
{
    _cleanup_buf_ struct buf target = { 0 };
    struct err why = { 0 };
    int found = listing_symlink(parent, name, &target, &why);
    if (found < 0)
        return send_failed(x, plain, &why, e);
    if (found == 0)
        return send_missing(x, plain, e);
    r->other = buf_span(&target);
    return content_send_bare(x->io, r, WIRE_CONTENT_NONE, e);
}

/* Read before anything is sent: then what cannot be read costs no link. */
static int
send_content(struct answers *x, const struct record *r, const struct record *plain, struct err *e)
{
    _cleanup_content_ struct content content = { .fd = -1 };
    struct err why = { 0 };
    uint64_t bytes = 0;
    if (content_open(x->node, r, &content, &why) < 0 ||
        content_load(&content, CONTENT_LOAD_MAX, &why) < 0)
        return send_failed(x, plain, &why, e);
    if (content.gone)
        return send_missing(x, plain, e);
    return content_send(x->io, r, &content, (struct span){ 0 }, &bytes, e);
}

/* 1 there it is, 0 it is not here, -1 nobody can say. */
static int
find_object(const struct answers *x, const struct wire_fetch *fetch, int *ret_parent,
            char name[PATH_NAME_MAX + 1], struct look *ret_look, struct err *e)
{
    path_name_text(path_name(fetch->path), name);
    *ret_parent = file_open_beneath(x->node->stores[fetch->store].root_fd, path_parent(fetch->path),
                                    O_RDONLY | O_DIRECTORY, 0, e);
    if (*ret_parent < 0)
        return e->sys == ENOENT || e->sys == ENOTDIR || e->sys == ELOOP ? 0 : -1;
    return look_at(*ret_parent, name, ret_look, e) < 0 ? -1 : ret_look->exists;
}

/* The primary lost it with the power: it is given back as this node has it. */
static int
send_object(struct answers *x, const struct wire_fetch *fetch, struct err *e)
{
    struct record r = { .op = OP_PUT, .store = fetch->store, .path = fetch->path };
    r.attr.mode = S_IFREG;
    const struct record plain = r;
    struct err why = { 0 };
    struct look look = { 0 };
    char name[PATH_NAME_MAX + 1];
    _cleanup_close_ int parent = -1;
    int found = find_object(x, fetch, &parent, name, &look, &why);
    if (found < 0)
        return send_failed(x, &plain, &why, e);
    if (found == 0)
        return send_missing(x, &plain, e);
    if (S_ISSOCK(look.attr.mode) || S_ISCHR(look.attr.mode) || S_ISBLK(look.attr.mode))
        return content_send_bare(x->io, &plain, WIRE_CONTENT_GONE, e);
    r.op = op_for(look.attr.mode);
    r.attr = look.attr;
    if (r.op == OP_SYMLINK)
        return send_symlink(x, &r, parent, name, &plain, e);
    return send_content(x, &r, &plain, e);
}

int
answer_fetch(struct answers *x, const struct wire_fetch *fetch, struct err *e)
{
    return send_object(x, fetch, e) < 0 ? -1 : link_io_flush(x->io, e);
}
