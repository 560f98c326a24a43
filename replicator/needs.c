#include "replicator/needs.h"

#include "lib/base/path.h"
#include "lib/os/event.h"

#include <sys/stat.h>

#define NEEDS_KEY "needs"

struct need {
    uint16_t store;
    uint8_t tries;
    uint8_t more; /* something else lacked it since it was asked for */
    struct span path;
};

void
needs_free(struct needs *n)
{
    buf_free(&n->list);
}

static bool
next_need(struct reader *r, struct need *ret_need)
{
    if (r->rest.len == 0)
        return false;
    ret_need->store = reader_le16(r);
    ret_need->tries = reader_u8(r);
    ret_need->more = reader_u8(r);
    ret_need->path = reader_span16(r);
    return true;
}

static void
add_need(struct buf *list, const struct need *need)
{
    buf_add_le16(list, need->store);
    buf_add_u8(list, need->tries);
    buf_add_u8(list, need->more);
    buf_add_span16(list, need->path);
}

int
needs_load(struct needs *n, struct state_txn *txn, struct err *e)
{
    struct span row;
    buf_reset(&n->list);
    n->count = 0;
    n->changed = false;
    int found = state_get(txn, NEEDS_KEY, &row, e);
    if (found <= 0)
        return found;
    struct reader r = reader_of(row);
    struct need need;
    while (next_need(&r, &need)) {
        if (r.failed || !path_valid(need.path) || n->count == NEEDS_MAX)
            return err_set(e, ERR_CORRUPT, "the list of names that are asked for is damaged");
        add_need(&n->list, &need);
        n->count++;
    }
    return 0;
}

int
needs_open(struct needs *n, struct state *state, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    return state_begin(state, false, &txn, e) < 0 ? -1 : needs_load(n, txn, e);
}

int
needs_save(struct needs *n, struct state_txn *txn, struct err *e)
{
    if (!n->changed)
        return 0;
    n->changed = false;
    return n->count == 0 ? state_del(txn, NEEDS_KEY, e)
                         : state_put(txn, NEEDS_KEY, buf_span(&n->list), e);
}

void
needs_start(struct needs *n, uint64_t seq, bool anew)
{
    n->position = seq;
    if (!anew || n->count == 0)
        return;
    buf_reset(&n->list);
    n->count = 0;
    n->changed = true;
}

/* Keeps those of the list that keep() wants, as it changed them. */
static void
rebuild(struct needs *n, bool (*keep)(void *arg, struct need *need, struct buf *path), void *arg)
{
    struct reader r = reader_of(buf_span(&n->list));
    struct buf kept = { 0 };
    struct need need;
    n->count = 0;
    while (next_need(&r, &need)) {
        _cleanup_buf_ struct buf path = { 0 };
        buf_add(&path, need.path.ptr, need.path.len);
        if (!keep(arg, &need, &path))
            continue;
        need.path = buf_span(&path);
        add_need(&kept, &need);
        n->count++;
    }
    buf_free(&n->list);
    n->list = kept;
    n->changed = true;
}

/* --- asking --- */

struct asking {
    const struct needs *needs;
    uint16_t store;
    struct span path;
    bool (*is_dir)(void *arg, uint16_t store, struct span path);
    bool dir;
    bool again; /* what came for this very name did not fit */
};

static void
ask(const struct needs *n, const struct need *need, bool is_dir)
{
    struct wire_need msg = {
        .store = need->store, .seq = n->position, .is_dir = is_dir, .path = need->path
    };
    n->ask(n->arg, &msg);
}

/* false: it was asked for often enough. */
static bool
ask_once_more(const struct needs *n, struct need *need, bool is_dir)
{
    if (need->tries == NEEDS_TRIES) {
        event(EV_SKIPPED, F_STR("why", "its sender was asked for it again and again"),
              F_SPAN("path", need->path));
        return false;
    }
    need->tries++;
    need->more = 0;
    ask(n, need, is_dir);
    return true;
}

static bool
keep_asked(void *arg, struct need *need, struct buf *path)
{
    struct asking *a = arg;
    need->path = buf_span(path);
    if (a->is_dir != NULL)
        return ask_once_more(a->needs, need, a->is_dir(a->needs->arg, need->store, need->path));
    if (need->store != a->store || !span_equal(need->path, a->path))
        return true;
    need->more = 1;
    return !a->again || ask_once_more(a->needs, need, a->dir);
}

void
needs_ask_again(struct needs *n, bool (*is_dir)(void *arg, uint16_t store, struct span path))
{
    struct asking a = { .needs = n, .is_dir = is_dir };
    if (n->count > 0)
        rebuild(n, keep_asked, &a);
}

static bool
is_open(const struct needs *n, uint16_t store, struct span path)
{
    struct reader r = reader_of(buf_span(&n->list));
    struct need need;
    while (next_need(&r, &need)) {
        if (need.store == store && span_equal(need.path, path))
            return true;
    }
    return false;
}

static void
need(struct needs *n, uint16_t store, struct span path, bool is_dir, bool again)
{
    struct asking a = { .needs = n, .store = store, .path = path, .dir = is_dir, .again = again };
    struct need fresh = { .store = store, .tries = 1, .path = path };
    if (is_open(n, store, path)) {
        rebuild(n, keep_asked, &a);
        return;
    }
    ask(n, &fresh, is_dir);
    if (n->count == NEEDS_MAX)
        return;
    add_need(&n->list, &fresh);
    n->count++;
    n->changed = true;
}

/* --- operations --- */

struct settling {
    const struct needs *needs;
    const struct applied *applied;
};

/* What lacked the name while its answer was on its way lacks it no longer, but was not carried out:
 * it comes with a second answer. */
static bool
keep_settled(const struct settling *s, struct need *need)
{
    return need->more && ask_once_more(s->needs, need, S_ISDIR(s->applied->attr.mode));
}

/* Attributes alone fit whatever stands there; only a store's root is answered so. */
static bool
is_in_passing(const struct record *r)
{
    return r->op == OP_META && r->path.len > 0;
}

static bool
keep_unsettled(void *arg, struct need *need, struct buf *path)
{
    const struct settling *s = arg;
    const struct record *r = s->applied->record;
    bool cleared = r->op == OP_RMTREE || r->op == OP_RENAME; /* nothing of what was below is left */
    need->path = buf_span(path);
    if (need->store != r->store)
        return true;
    if (span_equal(need->path, r->path))
        return is_in_passing(r) || keep_settled(s, need);
    if (cleared && path_is_below(need->path, r->path))
        return false;
    if (r->op != OP_RENAME)
        return true;
    if (span_equal(need->path, r->other))
        return false;
    path_move(path, r->other, r->path);
    return true;
}

void
needs_note(struct needs *n, const struct applied *applied, bool syncing)
{
    const struct record *r = applied->record;
    n->position = MAX(n->position, r->seq);
    if (r->op == OP_EPOCH)
        return;
    if (applied->result == APPLY_DONE && n->count > 0)
        rebuild(n, keep_unsettled, &(struct settling){ n, applied });
    for (size_t i = 0; applied->result == APPLY_NEED && i < applied->need_count; i++) {
        const struct apply_need *lack = &applied->needs[i];
        struct span whole = i == 0 ? r->path : r->other;
        struct span path = lack->missing && syncing ? whole : lack->path;
        need(n, r->store, path, lack->is_dir, span_equal(path, r->path));
    }
}
