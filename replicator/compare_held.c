#include "replicator/compare_private.h"

/* --- the rows --- */

static int
held_get(const struct compare *c, uint64_t dir, struct span name, struct state_held *ret_held,
         struct err *e)
{
    if (state_held_count(c->txn) == 0)
        return 0;
    return state_held_get(c->txn, dir, name, ret_held, e);
}

/* --- what must not be recorded meanwhile --- */

/* Does the object with this handle stand under a held name, where it is not recorded? */
static int
stands_under_held(const struct compare *c, uint16_t store, struct span handle, struct err *e)
{
    struct state_held held = { .name = span_str("") };
    for (;;) {
        int found = state_held_next(c->txn, held.dir, held.name, &held, e);
        if (found <= 0)
            return found;
        if (held.kind != STATE_HELD_LOST || !span_equal(held.left, handle))
            continue;
        struct state_dir row;
        found = state_dir_get(c->txn, held.dir, &row, e);
        if (found != 0 && (found < 0 || row.store == store))
            return found;
    }
}

/* Has the index the object under a held name? */
static int
is_known_as_held(const struct compare *c, uint16_t store, const struct look *look, struct err *e)
{
    for (unsigned i = 0;; i++) {
        uint64_t dir;
        struct span name;
        struct known known;
        struct state_held held;
        int found = state_name_of(c->txn, store, look->ino, i, &dir, &name, e);
        if (found > 0)
            found = known_get(c->txn, dir, name, &known, e);
        if (found <= 0)
            return found;
        if (!look_same_object(look, &known.entry))
            continue;
        found = held_get(c, dir, name, &held, e);
        if (found != 0 && (found < 0 || held.kind == STATE_HELD_LOST))
            return found;
    }
}

static int
is_inside(const struct compare *c, uint64_t dir, uint64_t above, struct err *e)
{
    while (dir != above) {
        struct state_dir row;
        int found = state_dir_get(c->txn, dir, &row, e);
        if (found <= 0 || row.parent == 0)
            return found < 0 ? -1 : 0;
        dir = row.parent;
    }
    return 1;
}

static int
is_above_held(const struct compare *c, uint64_t dir, struct err *e)
{
    if (state_held_count(c->txn) == 0)
        return 0;
    struct state_held held = { .name = span_str("") };
    for (;;) {
        int found = state_held_next(c->txn, held.dir, held.name, &held, e);
        if (found <= 0)
            return found;
        int inside = held.kind == STATE_HELD_LOST ? is_inside(c, held.dir, dir, e) : 0;
        if (inside != 0)
            return inside;
    }
}

/* Looked at again when nothing is held any more. */
static int
leave_out(struct compare *c, uint64_t dir, struct err *e)
{
    struct state_dir row;
    hints_add(&c->left_out, dir, span_str(""), 1);
    int found = state_dir_get(c->txn, dir, &row, e);
    if (found <= 0 || row.ctime_ns == 0)
        return found;
    row.ctime_ns = 0;
    return state_dir_put(c->txn, &row, e);
}

/* --- names that are held --- */

int
compare_adopt_dir(struct compare *c, uint16_t store, uint64_t dir, struct span name,
                  const struct known *old, const struct look *look, struct err *e)
{
    uint8_t handle[WATCH_HANDLE_MAX];
    struct state_dir row;
    struct state_entry entry;
    int found = state_dir_get(c->txn, old->entry.dir, &row, e);
    if (found <= 0)
        return found;
    row.attr = look->attr;
    row.ctime_ns = 0;
    row.mtime_ns = 0;
    row.handle = compare_event_handle(c, store, look, handle);
    look_to_entry(look, c->now_ns, row.id, &entry);
    if (state_dir_put(c->txn, &row, e) < 0 || state_entry_put(c->txn, dir, name, &entry, e) < 0)
        return -1;
    buf_add_le64(&c->to_read, row.id); /* what is below, and held no more, was lost with it */
    places_forget(c->places);
    return 1;
}

/* A directory lost with the power was brought back: the same one for the index, so that what is not
 * brought back yet is still known below it. */
static int
dir_is_back(struct compare *c, struct place *place, struct span name, const struct known *old,
            const struct look *look, struct err *e)
{
    struct record r = { .op = OP_MKDIR, .attr = look->attr };
    r.handle = attrs_handle_span(&look->handle);
    if (compare_emit(c, &r, place, name, e) < 0)
        return -1;
    return compare_adopt_dir(c, place->store, place->dir, name, old, look, e) < 0 ? -1 : 1;
}

/* Another directory, or no directory, stands where one was that holds lost names. */
static int
is_in_the_way(struct compare *c, struct place *place, struct span name, const struct known *old,
              const struct look *look, struct err *e)
{
    int above = is_above_held(c, old->entry.dir, e);
    if (above <= 0)
        return above;
    int lives = compare_object_lives(c, place->store, old->entry.handle, NULL);
    if (lives > 0)
        return 0;
    if (lives == 0 && S_ISDIR(look->attr.mode))
        return dir_is_back(c, place, name, old, look, e);
    return leave_out(c, place->dir, e) < 0 ? -1 : 1;
}

int
compare_hides(struct compare *c, struct place *place, struct span name, const struct known *old,
              const struct look *look, struct err *e)
{
    int hides = 0;
    if (state_held_count(c->txn) == 0)
        return 0;
    if (old != NULL && S_ISDIR(old->entry.attr.mode) && look != NULL)
        return is_in_the_way(c, place, name, old, look, e);
    if (old != NULL)
        hides = stands_under_held(c, place->store, old->entry.handle, e);
    if (hides == 0 && look != NULL)
        hides = is_known_as_held(c, place->store, look, e);
    if (hides <= 0)
        return hides;
    return leave_out(c, place->dir, e) < 0 ? -1 : 1;
}

int
compare_present_held(struct compare *c, struct place *place, struct span name,
                     const struct known *old, const struct look *look, unsigned what, struct err *e)
{
    struct state_held held;
    int found = held_get(c, place->dir, name, &held, e);
    if (found <= 0)
        return found;
    bool as_left = look_is_as_left(look, &held);
    bool lost = held.kind == STATE_HELD_LOST;
    if (as_left && (lost || !(what & (WATCH_MODIFIED | WATCH_CLOSED | HINT_WRITTEN))))
        return lost;
    if (state_held_del(c->txn, place->dir, name, e) < 0) /* what is newer wins */
        return -1;
    bool new_dir = S_ISDIR(look->attr.mode) && S_ISDIR(old->entry.attr.mode) &&
                   !look_same_object(look, &old->entry);
    return lost && new_dir ? dir_is_back(c, place, name, old, look, e) : 0;
}

/* The directory itself is held from now on: it comes back before what is lost below it. */
static int
hold_above(struct compare *c, const struct place *place, struct span name, struct err *e)
{
    struct state_held held = { .dir = place->dir, .name = name, .kind = STATE_HELD_LOST };
    return state_held_put(c->txn, &held, e) < 0 ? -1 : 1;
}

int
compare_absent_held(struct compare *c, struct place *place, struct span name,
                    const struct known *old, struct err *e)
{
    struct state_held held;
    int found = held_get(c, place->dir, name, &held, e);
    if (found != 0 && (found < 0 || held.kind == STATE_HELD_LOST))
        return found;
    int above = S_ISDIR(old->entry.attr.mode) ? is_above_held(c, old->entry.dir, e) : 0;
    if (above != 0)
        return above < 0 ? -1 : hold_above(c, place, name, e);
    return compare_hides(c, place, name, old, NULL, e);
}
