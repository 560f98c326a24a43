/* capture_held.c - names that a power loss took: which node may have them, and what became of the
 * asking. The rule is that of tests/sim/recover.h. */
#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/capture_private.h"
#include "replicator/recover.h"

#include <stdlib.h>
#include <string.h>

/* --- who may have it --- */

static bool
may_have(struct capture *c, size_t node, const struct state_held *held)
{
    const struct conf *conf = c->node->conf;
    const char *name = conf->nodes[node].name;
    if (strcmp(name, conf->self) == 0 || state_held_without(held, span_str(name)))
        return false;
    pthread_mutex_lock(&c->lock);
    struct heard heard = c->heard[node];
    pthread_mutex_unlock(&c->lock);
    return !heard.heard || (heard.tail > 0 && heard.tail >= held->seq);
}

static bool
another_may_have(struct capture *c, size_t node, const struct state_held *held)
{
    for (size_t i = 0; i < c->node->conf->node_count; i++) {
        if (i != node && may_have(c, i, held))
            return true;
    }
    return false;
}

/* Its place in the configuration, node_count for none. */
static size_t
node_index(const struct capture *c, const char *name)
{
    const struct conf *conf = c->node->conf;
    size_t i = 0;
    while (i < conf->node_count && strcmp(conf->nodes[i].name, name) != 0)
        i++;
    return i;
}

/* --- in the capture thread --- */

/* From now on it is a name like others. */
static int
let_go(struct capture *c, uint64_t dir, struct span name, bool lost, struct err *e)
{
    if (lost)
        hints_add(&c->batch.hints, dir, name, HINT_FORCE | WATCH_ATTRIB);
    return state_held_del(c->compare.txn, dir, name, e);
}

static void
tell_given_up(const struct capture *c, uint64_t dir, struct span name)
{
    struct state_dir row;
    _cleanup_buf_ struct buf path = { 0 };
    _cleanup_buf_ struct buf full = { 0 };
    if (state_dir_get(c->compare.txn, dir, &row, NULL) <= 0 ||
        state_dir_path(c->compare.txn, dir, &path, NULL) < 0)
        return; /* its directory is gone: nothing is lost that the journal does not say */
    buf_add(&full, path.ptr, path.len);
    if (path.len > 0)
        buf_add_u8(&full, '/');
    buf_add(&full, name.ptr, name.len);
    event(EV_GIVEN_UP, F_STR("store", c->node->stores[row.store].conf->name),
          F_SPAN("path", buf_span(&full)));
}

/* 1: something that is no directory stands where a directory above the name was; 0 looked, or there
 * is nothing to look into. */
static int
look_under(struct capture *c, const struct state_held *held, struct look *ret_look, struct err *e)
{
    struct state_dir row;
    struct err why = { 0 };
    char name[PATH_NAME_MAX + 1] = "";
    _cleanup_buf_ struct buf path = { 0 };
    int found = state_dir_get(c->compare.txn, held->dir, &row, e);
    *ret_look = (struct look){ 0 };
    if (found <= 0 || state_dir_path(c->compare.txn, held->dir, &path, e) < 0)
        return found <= 0 ? found : -1;
    memcpy(name, held->name.ptr, held->name.len);
    _cleanup_close_ int fd = file_open_beneath(c->node->stores[row.store].root_fd, buf_span(&path),
                                               O_RDONLY | O_DIRECTORY, 0, &why);
    if (fd >= 0)
        return look_at(fd, name, ret_look, e);
    if (why.sys == ENOENT || why.sys == ESTALE)
        return 0;
    if (why.sys == ENOTDIR || why.sys == ELOOP)
        return 1;
    *e = why; /* what cannot be looked at may be anything, and is not to be overwritten */
    return err_wrap(e, "look below %.*s", (int)path.len, (const char *)path.ptr);
}

/* Does something stand there that came when the journal had the lost one already? What was there
 * before is known to whoever has that; of what is in the place of a directory nothing is. */
static int
hides_a_newer(struct capture *c, const struct state_held *held, struct err *e)
{
    struct known known;
    struct look look;
    if (held->kind != STATE_HELD_LOST)
        return 0;
    int found = look_under(c, held, &look, e);
    if (found != 0 || !look.exists)
        return found;
    found = known_get(c->compare.txn, held->dir, held->name, &known, e);
    return found > 0 ? look_came_later(&look, &known.entry) : found;
}

/* 1 it is to be let go, and `told` says whether as one that nobody has. */
static int
is_over(struct capture *c, enum request_kind why, const struct state_held *held, bool *ret_told,
        struct err *e)
{
    bool hopeless = why == REQ_GIVE_UP || !another_may_have(c, c->node->conf->node_count, held);
    *ret_told = hopeless && (why != REQ_YIELD || c->node->conf->node_count <= 2);
    return hopeless || why != REQ_YIELD ? hopeless : hides_a_newer(c, held, e);
}

/* 1 a lost one was let go, 0 none, -1. */
static int
review(struct capture *c, enum request_kind why, struct err *e)
{
    struct state_held held = { .name = span_str("") };
    uint8_t copy[PATH_NAME_MAX];
    int let = 0;
    bool told;
    for (;;) {
        int found = state_held_next(c->compare.txn, held.dir, held.name, &held, e);
        if (found <= 0)
            return found < 0 ? -1 : let;
        int over = is_over(c, why, &held, &told, e);
        if (over < 0)
            return -1;
        memcpy(copy, held.name.ptr, held.name.len);
        held.name = span_of(copy, held.name.len);
        if (over == 0)
            continue;
        bool lost = held.kind == STATE_HELD_LOST;
        let |= lost;
        if (lost && told)
            tell_given_up(c, held.dir, held.name);
        if (let_go(c, held.dir, held.name, lost, e) < 0)
            return -1;
    }
}

int
capture_held_review(struct capture *c, struct err *e)
{
    return review(c, REQ_HEARD, e) < 0 ? -1 : 0;
}

static int
note_without(struct capture *c, const struct request *r, struct state_held *held, struct err *e)
{
    _cleanup_buf_ struct buf without = { 0 };
    buf_add(&without, held->without.ptr, held->without.len);
    buf_add_span16(&without, span_str(r->key));
    held->without = buf_span(&without);
    return state_held_put(c->compare.txn, held, e) < 0 || review(c, REQ_HEARD, e) < 0 ? -1 : 0;
}

/* What was in doubt is wrong: it is asked for like what is lost. */
static int
note_spoilt(struct capture *c, const struct request *r, struct state_held *held, struct err *e)
{
    (void)r;
    held->kind = STATE_HELD_LOST;
    return state_held_put(c->compare.txn, held, e);
}

static int
answered(struct capture *c, const struct request *r, struct err *e)
{
    struct state_held held;
    int found = state_held_get(c->compare.txn, r->dir, buf_span(&r->bytes), &held, e);
    if (found <= 0)
        return found; /* something newer came, or two were asked */
    if (r->kind == REQ_WITHOUT)
        return note_without(c, r, &held, e);
    if (r->kind == REQ_SPOILT)
        return note_spoilt(c, r, &held, e);
    return let_go(c, r->dir, buf_span(&r->bytes), held.kind == STATE_HELD_LOST, e);
}

/* At what was left out of the journal because of held names. Not behind each that comes back: it is
 * a sweep. */
static void
look_again(struct capture *c)
{
    if (hints_count(&c->compare.left_out) == 0)
        return;
    hints_clear(&c->compare.left_out);
    c->need_sweep = true;
}

int
capture_obey_held(struct capture *c, const struct request *r, struct err *e)
{
    if (atomic_load(&c->held) == 0)
        return 0;
    if (r->kind != REQ_HEARD && r->kind != REQ_YIELD && r->kind != REQ_GIVE_UP)
        return answered(c, r, e);
    int let = review(c, r->kind, e);
    if (let > 0)
        look_again(c); /* what it hid, although others may be held for long */
    return let < 0 ? -1 : 0;
}

void
capture_held_end(struct capture *c)
{
    if (recover_pending(c->compare.txn) == 0)
        look_again(c);
}

/* --- in the asking threads --- */

static struct request *
request_of(enum request_kind kind)
{
    struct request *r = xcalloc(1, sizeof(*r));
    r->kind = kind;
    return r;
}

void
capture_heard(struct capture *c, const char *node, uint64_t tail)
{
    size_t i = node_index(c, node);
    if (i == c->node->conf->node_count)
        return;
    pthread_mutex_lock(&c->lock);
    c->heard[i] = (struct heard){ .heard = true, .tail = tail };
    pthread_mutex_unlock(&c->lock);
    if (atomic_load(&c->held) > 0)
        capture_post(c, request_of(REQ_HEARD));
}

void
capture_yield(struct capture *c, const char *node, uint64_t tail)
{
    size_t peer = node_index(c, node);
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->node->conf->node_count; i++)
        c->heard[i] = (struct heard){ .heard = true, .tail = i == peer ? tail : 0 };
    pthread_mutex_unlock(&c->lock);
    if (atomic_load(&c->held) > 0)
        capture_post(c, request_of(REQ_YIELD));
}

static int
describe(struct capture *c, struct state_txn *txn, const struct state_held *row,
         struct capture_held *held, struct err *e)
{
    struct state_dir dir;
    (void)c;
    int found = state_dir_get(txn, row->dir, &dir, e);
    if (found <= 0)
        return found;
    held->dir = row->dir;
    held->store = dir.store;
    held->doubt = row->kind == STATE_HELD_DOUBT;
    buf_reset(&held->name);
    buf_add(&held->name, row->name.ptr, row->name.len);
    buf_reset(&held->path);
    if (state_dir_path(txn, row->dir, &held->path, e) < 0)
        return -1;
    if (held->path.len > 0)
        buf_add_u8(&held->path, '/');
    buf_add(&held->path, row->name.ptr, row->name.len);
    return 1;
}

/* A directory comes back before what is below it. */
static bool
has_place(const struct capture *c, const struct capture_held *held)
{
    _cleanup_close_ int fd = file_open_beneath(c->node->stores[held->store].root_fd,
                                               path_parent(buf_span(&held->path)),
                                               O_RDONLY | O_DIRECTORY, 0, NULL);
    return fd >= 0;
}

int
capture_held_next(struct capture *c, const char *node, struct capture_held *held, struct err *e)
{
    if (atomic_load(&c->held) == 0)
        return 0;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(c->node->state, false, &txn, e) < 0)
        return -1;
    size_t i = node == NULL ? 0 : node_index(c, node);
    struct state_held row = { .dir = held->dir, .name = buf_span(&held->name) };
    for (;;) {
        int found = state_held_next(txn, row.dir, row.name, &row, e);
        if (found <= 0)
            return found;
        if (node != NULL && !may_have(c, i, &row))
            continue;
        found = describe(c, txn, &row, held, e);
        if (found < 0 || (found > 0 && (node == NULL || has_place(c, held))))
            return found;
    }
}

bool
capture_held_may_be_on(struct capture *c, const struct capture_held *held, const char *node)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct state_held row;
    return state_begin(c->node->state, false, &txn, NULL) >= 0 &&
           state_held_get(txn, held->dir, buf_span(&held->name), &row, NULL) > 0 &&
           may_have(c, node_index(c, node), &row);
}

bool
capture_held_waits(struct capture *c, const char *node)
{
    if (atomic_load(&c->held) == 0)
        return false;
    _cleanup_txn_ struct state_txn *txn = NULL;
    size_t i = node_index(c, node);
    if (state_begin(c->node->state, false, &txn, NULL) < 0)
        return true;
    pthread_mutex_lock(&c->lock);
    uint64_t tail = c->heard[i].tail;
    pthread_mutex_unlock(&c->lock);
    struct state_held row = { .name = span_str("") };
    int found;
    while ((found = state_held_next(txn, row.dir, row.name, &row, NULL)) > 0) {
        bool has = tail > 0 && tail >= row.newest && !state_held_without(&row, span_str(node));
        if (!has && another_may_have(c, i, &row))
            return true;
    }
    return found < 0;
}

bool
capture_held_still(struct capture *c, const struct capture_held *held)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct state_held row;
    char name[PATH_NAME_MAX + 1] = "";
    struct look look = { 0 };
    memcpy(name, held->name.ptr, held->name.len);
    if (state_begin(c->node->state, false, &txn, NULL) < 0 ||
        state_held_get(txn, held->dir, buf_span(&held->name), &row, NULL) <= 0)
        return false;
    _cleanup_close_ int fd = file_open_beneath(c->node->stores[held->store].root_fd,
                                               path_parent(buf_span(&held->path)),
                                               O_RDONLY | O_DIRECTORY, 0, NULL);
    return fd >= 0 && look_at(fd, name, &look, NULL) >= 0 && look_is_as_left(&look, &row);
}

void
capture_held_answer(struct capture *c, const struct capture_held *held, const char *node,
                    enum capture_held_answer answer)
{
    static const enum request_kind kinds[] = { REQ_BACK, REQ_SPOILT, REQ_WITHOUT };
    struct request *r = request_of(kinds[answer]);
    r->dir = held->dir;
    r->key = xstrdup(node);
    buf_add(&r->bytes, held->name.ptr, held->name.len);
    capture_post(c, r);
}

void
capture_held_give_up(struct capture *c)
{
    capture_post(c, request_of(REQ_GIVE_UP));
}
