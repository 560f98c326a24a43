#include "replicator/unpark.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/store/parked.h"

#include <stdlib.h>

#define NAMES_MAX 100 /* tried for one object, should somebody have taken them all */

struct hidden {
    uint16_t store;
    char name[PARKED_SIZE];
    struct buf origin; /* its path before, as it is called now; empty: nothing tells */
    bool done;
};

struct unpark {
    struct compare *c;
    struct hidden *list;
    size_t count;
};

static void
unpark_free(struct unpark *u)
{
    for (size_t i = 0; i < u->count; i++)
        buf_free(&u->list[i].origin);
    free(u->list);
}

static const struct node_store *
store_of(const struct unpark *u, const struct hidden *h)
{
    return &u->c->node->stores[h->store];
}

static void
tell_stuck(const struct unpark *u, const struct hidden *h, const struct err *why)
{
    event(EV_PARKED_STUCK, F_STR("store", store_of(u, h)->conf->name), F_STR("name", h->name),
          F_ERR(why));
}

/* --- which there are --- */

/* A row alone is no more than the index being behind. */
static void
add_if_there(struct unpark *u, uint16_t store, const char *name)
{
    struct hidden h = { .store = store };
    struct err why = { 0 };
    struct look look;
    memcpy(h.name, name, sizeof(h.name));
    if (look_at(store_of(u, &h)->root_fd, name, &look, &why) < 0) {
        tell_stuck(u, &h, &why);
        return;
    }
    if (!look.exists)
        return;
    u->list = xrealloc(u->list, (u->count + 1) * sizeof(u->list[0]));
    u->list[u->count++] = h;
}

static int
find_in(struct unpark *u, uint16_t store, struct err *e)
{
    char at[PATH_NAME_MAX + 1] = PARKED_PREFIX;
    uint64_t root = state_root(u->c->txn, store);
    while (root != 0) {
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(u->c->txn, root, span_str(at), &name, &entry, e);
        if (found <= 0 || !parked_has_prefix(name))
            return found < 0 ? -1 : 0;
        memcpy(at, name.ptr, name.len);
        at[name.len] = '\0';
        if (parked_is_name(span_str(at)))
            add_if_there(u, store, at);
    }
    return 0;
}

/* --- where they came from --- */

/* The newest record that parked it tells; directories above that name may have moved since. */
static void
follow_rename(struct hidden *h, const struct record *r)
{
    if (h->store != r->store)
        return;
    if (span_equal(r->path, span_str(h->name))) {
        buf_reset(&h->origin);
        buf_add(&h->origin, r->other.ptr, r->other.len);
    } else if (h->origin.len > 0 && !span_equal(buf_span(&h->origin), r->other)) {
        path_move(&h->origin, r->other, r->path);
    }
}

static int
read_journal(struct unpark *u, struct err *e)
{
    for (uint64_t seq = 0;;) {
        struct record r;
        int found = state_record(u->c->txn, seq, &r, e);
        if (found <= 0)
            return found;
        for (size_t i = 0; r.op == OP_RENAME && i < u->count; i++)
            follow_rename(&u->list[i], &r);
        seq = r.seq + 1;
    }
}

/* What came from below another hidden one waits for that one's name. Two that wait for each other
 * have no origin any more. */
static struct hidden *
next_one(struct unpark *u)
{
    struct hidden *waiting = NULL;
    for (size_t i = 0; i < u->count; i++) {
        struct hidden *h = &u->list[i];
        if (!h->done && !parked_is_path(buf_span(&h->origin)))
            return h;
        if (!h->done && waiting == NULL)
            waiting = h;
    }
    return waiting;
}

/* --- a name for one --- */

/* What the index has under the name may be what a power loss took, and is asked back from a
 * standby: then it is taken as well, though the disk says no. 1, 0, -1. */
static int
is_known(const struct unpark *u, const struct hidden *h, struct span dir, const char *name,
         struct err *e)
{
    _cleanup_buf_ struct buf path = { 0 };
    struct state_entry entry;
    struct span last;
    uint64_t id;
    path_join(&path, dir, span_str(name));
    int found = state_resolve(u->c->txn, h->store, buf_span(&path), &id, &last, e);
    return found <= 0 ? found : state_entry_get(u->c->txn, id, last, &entry, e);
}

/* 1 it has the name now, 0 the name is taken or has no directory any more, -1. */
static int
give_name(const struct unpark *u, const struct hidden *h, struct span dir, const char *name,
          struct buf *ret_path, struct err *e)
{
    int root_fd = store_of(u, h)->root_fd;
    struct err why = { 0 };
    int known = is_known(u, h, dir, name, e);
    if (known != 0)
        return known < 0 ? -1 : 0;
    _cleanup_close_ int fd = file_open_beneath(root_fd, dir, O_RDONLY | O_DIRECTORY, 0, &why);
    if (fd >= 0 && file_rename(root_fd, h->name, fd, name, true, &why) == 0) {
        path_join(ret_path, dir, span_str(name));
        if (file_sync(fd, &why) < 0 || file_sync(root_fd, &why) < 0)
            tell_stuck(u, h, &why); /* it has the name, until the power goes */
        return 1;
    }
    bool no = fd >= 0
                  ? why.sys == EEXIST
                  : why.sys == ENOENT || why.sys == ENOTDIR || why.sys == ELOOP || why.sys == EXDEV;
    if (no)
        return 0;
    *e = why;
    return -1;
}

/* Beside a name that is taken, or in the root. */
static int
give_aside(const struct unpark *u, const struct hidden *h, struct span dir, struct span origin,
           unsigned tries, struct buf *ret_path, struct err *e)
{
    int given = 0;
    for (unsigned i = 0; given == 0 && i < tries; i++) {
        char name[PATH_NAME_MAX + 1];
        parked_aside_name(span_str(h->name), origin, i, name);
        given = give_name(u, h, dir, name, ret_path, e);
    }
    return given;
}

static int
give_any(const struct unpark *u, const struct hidden *h, struct buf *ret_path, struct err *e)
{
    struct span origin = buf_span(&h->origin);
    char name[PATH_NAME_MAX + 1] = "";
    int given = 0;
    if (origin.len > 0 && !parked_is_path(origin) && path_valid(origin)) {
        struct span dir = path_parent(origin);
        struct span last = path_name(origin);
        memcpy(name, last.ptr, last.len);
        given = give_name(u, h, dir, name, ret_path, e);
        if (given == 0)
            given = give_aside(u, h, dir, span_str(name), 2, ret_path, e);
    }
    if (given == 0)
        given = give_aside(u, h, span_str(""), span_str(""), NAMES_MAX, ret_path, e);
    return given != 0 ? given : err_set(e, ERR_IO, "every name that it could have is taken");
}

/* As when somebody had renamed it, and at once: the events come later. */
static int
record(struct unpark *u, const struct hidden *h, struct span path, struct err *e)
{
    struct compare *c = u->c;
    struct place *place;
    struct look look;
    struct span last;
    uint64_t dir;
    char name[PATH_NAME_MAX + 1] = "";
    int found = state_resolve(c->txn, h->store, path, &dir, &last, e);
    if (found < 0)
        return -1;
    memcpy(name, last.ptr, last.len);
    if (found > 0)
        found = places_get(c->places, c->txn, dir, &place, e);
    if (found == 0) /* not known yet: the sweep comes there */
        return compare_unread(c, state_root(c->txn, h->store), e);
    if (found > 0 && compare_class(c, place, last) == CLASS_IGNORE)
        return 0; /* the configuration leaves it out */
    if (found > 0)
        found = look_at(place->fd, name, &look, e);
    if (found >= 0 && look.exists)
        found = compare_present(c, place, name, &look, 0, e);
    return found < 0 ? compare_unknown(c, dir, name, 0, e) : 0;
}

static int
unpark_one(struct unpark *u, struct hidden *h, struct err *e)
{
    _cleanup_buf_ struct buf path = { 0 };
    struct err why = { 0 };
    h->done = true;
    if (give_any(u, h, &path, &why) < 0) {
        tell_stuck(u, h, &why);
        return 0;
    }
    event(EV_UNPARKED, F_STR("store", store_of(u, h)->conf->name), F_STR("from", h->name),
          F_SPAN("to", buf_span(&path)));
    for (size_t i = 0; i < u->count; i++) {
        if (u->list[i].store == h->store)
            path_move(&u->list[i].origin, span_str(h->name), buf_span(&path));
    }
    return record(u, h, buf_span(&path), e);
}

static int
unpark_all(struct unpark *u, struct err *e)
{
    for (uint16_t i = 0; i < u->c->node->store_count; i++) {
        if (find_in(u, i, e) < 0)
            return -1;
    }
    if (u->count == 0)
        return 0;
    struct hidden *h;
    struct err why = { 0 };
    if (read_journal(u, &why) < 0) {
        for (size_t i = 0; i < u->count; i++)
            tell_stuck(u, &u->list[i], &why);
        return 0;
    }
    while ((h = next_one(u)) != NULL) {
        if (unpark_one(u, h, e) < 0)
            return -1;
    }
    return 0;
}

int
unpark(struct compare *c, struct err *e)
{
    struct unpark u = { .c = c };
    int rc = unpark_all(&u, e);
    unpark_free(&u);
    return rc < 0 ? err_wrap(e, "give a name to what was left hidden") : 0;
}
