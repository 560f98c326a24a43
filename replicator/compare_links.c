/* compare_links.c - an object with several names: what is seen under one holds for all. */
#include "replicator/compare_private.h"

#include "lib/base/path.h"

bool
compare_owner_moved(const struct attr *old, const struct attr *now)
{
    return old->mode != now->mode || old->uid != now->uid || old->gid != now->gid;
}

struct same_object {
    struct compare *c;
    uint16_t store;
    uint64_t dir;
    struct span name;
    struct buf path;
    struct state_entry entry;
    enum record_op op; /* what the peer is told of the other names, 0 nothing */
};

static int
tell_other(struct same_object *s, uint64_t dir, struct span name, struct err *e)
{
    struct compare *c = s->c;
    struct place *place;
    _cleanup_buf_ struct buf path = { 0 };
    int found = places_get(c->places, c->txn, dir, &place, e);
    if (found < 0 || (found == 0 && state_dir_path(c->txn, dir, &path, e) < 0))
        return -1;
    /* the peer has that name still, and it may be where the object is taken from next */
    struct place gone = { .dir = dir, .store = s->store, .fd = -1, .path = path };
    place = found > 0 ? place : &gone;
    if (s->op == OP_META)
        return compare_emit_known(c, OP_META, place, name, &s->entry, e);
    return compare_emit_two(c, OP_LINK, place, name, buf_span(&s->path), s->name, &s->entry, e);
}

static int
other_follows(struct same_object *s, uint64_t dir, struct span name, const struct state_entry *row,
              struct err *e)
{
    uint8_t copy[PATH_NAME_MAX];
    memcpy(copy, name.ptr, name.len);
    struct span other = span_of(copy, name.len);
    bool same = !compare_owner_moved(&row->attr, &s->entry.attr) &&
                row->attr.mtime_ns == s->entry.attr.mtime_ns;
    bool untold = s->op == OP_META && same;
    if (s->op != 0 && !untold && tell_other(s, dir, other, e) < 0)
        return -1;
    return state_entry_put(s->c->txn, dir, other, &s->entry, e);
}

/* What was seen of an object holds for all of its names. */
static int
others_follow(struct same_object *s, struct err *e)
{
    for (unsigned i = 0;;) {
        uint64_t dir;
        struct span name;
        struct state_entry row;
        int found = state_object_name(s->c->txn, s->store, &s->entry, &i, &dir, &name, &row, e);
        if (found <= 0)
            return found;
        bool is_self = dir == s->dir && span_equal(name, s->name);
        if (!is_self && other_follows(s, dir, name, &row, e) < 0)
            return -1;
    }
}

/* A file's new content replaces the old one on the peer, and its other names there are linked anew.
 * What is no file has a copy there for each name. */
static enum record_op
op_for_others(const struct look *look, bool content)
{
    if (content)
        return OP_LINK;
    return S_ISREG(look->attr.mode) ? 0 : OP_META;
}

int
compare_others_follow(struct compare *c, const struct place *place, struct span name,
                      const struct look *look, bool content, struct err *e)
{
    struct same_object s = { .c = c, .store = place->store, .dir = place->dir };
    s.name = name;
    s.op = op_for_others(look, content);
    buf_add(&s.path, place->path.ptr, place->path.len);
    look_to_entry(look, c->now_ns, 0, &s.entry);
    int rc = others_follow(&s, e);
    buf_free(&s.path);
    return rc;
}

/* --- names in other stores --- */

#define TELL (WATCH_ATTRIB | HINT_WRITTEN | HINT_TOLD)

struct told_object {
    uint64_t ino;
    struct span handle;
    int64_t ctime_ns; /* as it was seen now, 0 not */
    unsigned what;    /* for the look */
    bool back;        /* another store told of it */
    uint64_t not_dir; /* a name that is not meant */
    struct span not_name;
};

#define NAMES_TRIED 16 /* names of one object that are looked for on the disk */

/* Equal change times: it was looked at since, unless that was within one tick of the clock. */
static bool
knows_already(const struct told_object *object, const struct known *known)
{
    int64_t seen = known->entry.ctime_ns;
    return object->ctime_ns != 0 &&
           (seen == object->ctime_ns || (object->back && -seen == object->ctime_ns));
}

/* Has the object that name on the disk now? */
static bool
is_there(struct compare *c, uint64_t dir, struct span name, struct span handle)
{
    char text[PATH_NAME_MAX + 1];
    struct place *place;
    struct look look;
    return places_get(c->places, c->txn, dir, &place, NULL) > 0 &&
           look_at(place->fd, path_name_text(name, text), &look, NULL) == 0 && look.exists &&
           span_equal(attrs_handle_span(&look.handle), handle);
}

struct name_at {
    uint64_t dir;
    size_t len;
    uint8_t name[PATH_NAME_MAX];
};

/* 1 the index has the i-th name for that very object, 2 and it was looked at since, 0 it is another
 * object's, or the one to be passed over; -1 there is no i-th, or it failed: e->code tells. */
static int
name_of_object(struct compare *c, uint16_t store, const struct told_object *object, unsigned i,
               struct name_at *ret_at, struct err *e)
{
    struct span name;
    struct known known;
    int found = state_name_of(c->txn, store, object->ino, i, &ret_at->dir, &name, e);
    if (found <= 0)
        return -1;
    ret_at->len = name.len;
    memcpy(ret_at->name, name.ptr, name.len);
    name.ptr = ret_at->name;
    if (ret_at->dir == object->not_dir && span_equal(name, object->not_name))
        return 0;
    if (known_get(c->txn, ret_at->dir, name, &known, e) < 0)
        return -1;
    if (!span_equal(known.entry.handle, object->handle))
        return 0;
    return knows_already(object, &known) ? 2 : 1;
}

/* One of its names in the store is looked at again: one that it has now, if possible, for one that
 * goes with its directory takes with it what was told. */
static int
tell_store(struct compare *c, uint16_t store, const struct told_object *object, struct err *e)
{
    struct name_at chosen = { .len = 0 };
    struct err why = { 0 };
    for (unsigned i = 0; i < NAMES_TRIED; i++) {
        struct name_at at;
        int found = name_of_object(c, store, object, i, &at, &why);
        if (found == 2)
            return 0;
        if (found < 0)
            break;
        bool there = found > 0 && is_there(c, at.dir, span_of(at.name, at.len), object->handle);
        if (found > 0 && (chosen.len == 0 || there))
            chosen = at;
        if (there)
            break;
    }
    if (why.code != ERR_NONE) {
        *e = why;
        return -1;
    }
    if (chosen.len == 0)
        return 0;
    hints_add(&c->again, chosen.dir, span_of(chosen.name, chosen.len), object->what | HINT_AGAIN);
    return compare_unread(c, chosen.dir, e); /* the hint dies with the daemon */
}

static int
tell_stores(struct compare *c, uint16_t store, const struct told_object *object, struct err *e)
{
    const struct node_store *stores = c->node->stores;
    for (size_t i = 0; i < c->node->store_count; i++) {
        if (i != store && stores[i].device == stores[store].device &&
            tell_store(c, (uint16_t)i, object, e) < 0)
            return -1;
    }
    return 0;
}

int
compare_tell_stores(struct compare *c, uint16_t store, const struct look *look, unsigned what,
                    struct err *e)
{
    struct told_object object = { .ino = look->ino,
                                  .handle = attrs_handle_span(&look->handle),
                                  .ctime_ns = look->ctime_ns,
                                  .what = TELL,
                                  .back = (what & HINT_TOLD) != 0 };
    if (!c->record) /* the first reading comes to all of them */
        return 0;
    return tell_stores(c, store, &object, e);
}

int
compare_look_again(struct compare *c, uint16_t store, const struct look *look, unsigned what,
                   struct err *e)
{
    struct told_object object = { .ino = look->ino,
                                  .handle = attrs_handle_span(&look->handle),
                                  .ctime_ns = look->ctime_ns,
                                  .what = what };
    return tell_store(c, store, &object, e);
}

/* --- a name goes --- */

int
compare_look_at_others(struct compare *c, const struct place *place, struct span name,
                       const struct known *old, struct err *e)
{
    struct told_object object = { .ino = old->entry.ino,
                                  .handle = old->entry.handle,
                                  .what = TELL };
    if (S_ISDIR(old->entry.attr.mode))
        return 0;
    if (tell_stores(c, place->store, &object, e) < 0)
        return -1;
    object.what = WATCH_ATTRIB | HINT_WRITTEN;
    object.not_dir = place->dir;
    object.not_name = name;
    return old->entry.nlink < 2 ? 0 : tell_store(c, place->store, &object, e); /* in this store */
}

int
compare_look_at_bereaved(struct compare *c, uint16_t store, uint64_t ino, struct err *e)
{
    uint8_t last[sizeof(((struct known *)NULL)->handle)];
    struct told_object object = { .ino = ino, .what = WATCH_ATTRIB | HINT_WRITTEN };
    for (unsigned i = 0;; i++) { /* another object may have had the number before */
        uint64_t dir;
        struct span name;
        struct known known;
        uint8_t copy[PATH_NAME_MAX];
        int found = state_name_of(c->txn, store, ino, i, &dir, &name, e);
        if (found <= 0)
            return found;
        name = span_of(memcpy(copy, name.ptr, name.len), name.len);
        found = known_get(c->txn, dir, name, &known, e);
        if (found <= 0)
            return found;
        if (span_equal(known.entry.handle, object.handle))
            continue;
        object.handle = span_of(memcpy(last, known.handle, known.entry.handle.len),
                                known.entry.handle.len);
        if (tell_store(c, store, &object, e) < 0)
            return -1;
    }
}
