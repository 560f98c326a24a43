#include "replicator/scan.h"

#include "lib/os/dir.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <unistd.h>

void
scan_init(struct scan *s, struct compare *compare)
{
    *s = (struct scan){ .compare = compare };
    hints_init(&s->moved);
}

static void
read_end(struct scan *s)
{
    if (s->stream != NULL)
        closedir(s->stream);
    s->stream = NULL;
    s->absent_phase = false;
    s->dir = 0;
}

void
scan_drop(struct scan *s)
{
    read_end(s);
    hints_clear(&s->moved);
}

void
scan_free(struct scan *s)
{
    read_end(s);
    hints_free(&s->moved);
}

void
scan_sweep(struct scan *s)
{
    s->sweeping = true;
    s->sweep_next = 1;
    s->sweep_in_place = 0;
    s->dirs_seen = 0;
    s->dirs_read = 0;
}

bool
scan_idle(const struct scan *s)
{
    return !s->sweeping && s->dir == 0 && s->compare->to_read.len == 0 &&
           hints_count(&s->moved) == 0;
}

/* Then its times do not tell all, and every sweep reads it. */
static int
may_be_unfinished(const struct compare *c, const struct state_dir *row, struct err *e)
{
    const struct store_rules *rules = &c->node->stores[row->store].rules;
    _cleanup_buf_ struct buf path = { 0 };
    if (!store_has_unfinished(rules))
        return 0;
    if (state_dir_path(c->txn, row->id, &path, e) < 0)
        return -1;
    return store_may_be_unfinished(rules, buf_span(&path));
}

int
scan_keep_times(struct compare *c, uint64_t dir, const struct look *seen, struct err *e)
{
    struct state_dir row;
    if (hints_what(&c->left_out, dir, span_str("")) != 0 ||
        hints_what(&c->gaps, dir, span_str("")) != 0)
        return 0; /* it has to be read again */
    int found = state_dir_get(c->txn, dir, &row, e);
    int open = found <= 0 ? found : may_be_unfinished(c, &row, e);
    if (found <= 0 || open < 0)
        return open;
    bool young = look_time_is_young(seen->ctime_ns, c->now_ns); /* moves with the other, too */
    int64_t ctime_ns = young || open > 0 ? 0 : seen->ctime_ns;
    int64_t mtime_ns = young || open > 0 ? 0 : seen->attr.mtime_ns;
    if (row.ctime_ns == ctime_ns && row.mtime_ns == mtime_ns)
        return 0;
    row.ctime_ns = ctime_ns;
    row.mtime_ns = mtime_ns;
    return state_dir_put(c->txn, &row, e);
}

/* One name, or one directory, that the disk does not give must not end the reading of all others.
 */
static int
not_known(struct scan *s, uint64_t dir, const char *name, struct err *e)
{
    s->lacking |= dir == s->dir;
    return compare_unknown(s->compare, dir, name, 0, e);
}

static int
look_and_compare(struct scan *s, struct place *place, const char *name, unsigned what,
                 struct err *e)
{
    struct compare *c = s->compare;
    struct look look;
    uint64_t dir = place->dir;
    if (compare_look(c, place, name, &look, e) < 0)
        return not_known(s, dir, name, e);
    int later = look.exists ? compare_present(c, place, name, &look, what & WATCH_ATTRIB, e)
                            : compare_absent(c, place, name, what, e);
    if (later < 0)
        return not_known(s, dir, name, e);
    if (later == 0)
        return 0;
    if (later == 1)
        hints_add(&s->moved, dir, span_str(name), 0);
    s->lacking |= dir == s->dir;
    return compare_unread(c, dir, e);
}

/* 1 begun, 0 the directory is gone, -1. */
static int
read_begin(struct scan *s, uint64_t dir, struct err *e)
{
    struct compare *c = s->compare;
    struct place *place;
    int found = places_get(c->places, c->txn, dir, &place, e);
    if (found <= 0)
        return found < 0 ? not_known(s, dir, "", e) : 0;
    if (look_at(place->fd, "", &s->before, e) < 0)
        return -1;
    found = dir_find(place->fd, ".", &s->stream, e);
    if (found <= 0)
        return found < 0 ? not_known(s, dir, "", e) : 0;
    struct span name;
    struct state_entry entry;
    int known = state_entry_next(c->txn, dir, span_str(""), &name, &entry, e);
    if (known < 0)
        return -1;
    s->had_entries = known > 0;
    s->lacking = false;
    s->dir = dir;
    s->after[0] = '\0';
    s->dirs_read++;
    return 1;
}

/* Names on the disk. 1 more, 0 all read. */
static int
read_present(struct scan *s, unsigned *budget, struct err *e)
{
    struct compare *c = s->compare;
    while (*budget > 0) {
        const struct dirent *d;
        struct err why = { 0 };
        int more = dir_next(s->stream, &d, &why);
        if (more == 0 || why.sys == ENOENT)
            return 0;
        if (more < 0) {
            *e = why;
            return not_known(s, s->dir, "", e);
        }
        struct place *place;
        int found = places_get(c->places, c->txn, s->dir, &place, e);
        if (found <= 0)
            return found < 0 ? not_known(s, s->dir, "", e) : 0;
        if (compare_class(c, place, span_str(d->d_name)) == CLASS_IGNORE)
            continue;
        if (look_and_compare(s, place, d->d_name, 0, e) < 0)
            return -1;
        (*budget)--;
    }
    return 1;
}

/* Names in the index that may be gone. 1 more, 0 all looked at. */
static int
read_absent(struct scan *s, uint64_t dir, unsigned *budget, struct err *e)
{
    struct compare *c = s->compare;
    while (*budget > 0) {
        struct span name;
        struct state_entry entry;
        struct place *place;
        int found = state_entry_next(c->txn, dir, span_str(s->after), &name, &entry, e);
        if (found <= 0)
            return found;
        memcpy(s->after, name.ptr, name.len);
        s->after[name.len] = '\0';
        found = places_get(c->places, c->txn, dir, &place, e);
        if (found <= 0)
            return found < 0 ? not_known(s, dir, "", e) : 0;
        if (look_and_compare(s, place, s->after, 0, e) < 0)
            return -1;
        (*budget)--;
    }
    return 1;
}

static int
read_step(struct scan *s, unsigned *budget, struct err *e)
{
    int more = s->absent_phase ? 0 : read_present(s, budget, e);
    if (more == 0 && s->had_entries) {
        s->absent_phase = true;
        more = read_absent(s, s->dir, budget, e);
    }
    if (more != 0)
        return more;
    if (!s->lacking && scan_keep_times(s->compare, s->dir, &s->before, e) < 0)
        return -1;
    read_end(s);
    return 0;
}

/* Looks at a directory's own name: one that no longer opens is what its name is now; the extended
 * attributes of one whose times moved may be other ones. */
static int
sweep_name(struct scan *s, const struct state_dir *row, unsigned what, struct err *e)
{
    struct compare *c = s->compare;
    char name[PATH_NAME_MAX + 1];
    memcpy(name, row->name.ptr, row->name.len);
    name[row->name.len] = '\0';
    struct place *place;
    int found = row->parent == 0 ? 0 : places_get(c->places, c->txn, row->parent, &place, e);
    if (found < 0)
        return not_known(s, row->parent, "", e);
    if (found == 0)
        return 0; /* the parent's turn came before or comes by itself */
    return look_and_compare(s, place, name, what, e);
}

static int
sweep_dir(struct scan *s, const struct state_dir *row, struct err *e)
{
    struct compare *c = s->compare;
    struct place *place;
    struct look look;
    int found = places_get(c->places, c->txn, row->id, &place, e);
    if (found < 0)
        return not_known(s, row->id, "", e);
    if (found == 0)
        return sweep_name(s, row, 0, e);
    if (look_at(place->fd, "", &look, e) < 0)
        return -1;
    if (!look.exists)
        return 0;
    bool moved = row->ctime_ns == 0 || row->ctime_ns != look.ctime_ns ||
                 row->mtime_ns != look.attr.mtime_ns;
    unsigned what = moved ? WATCH_ATTRIB : 0; /* are its extended attributes what they were? */
    if (row->parent == 0 && compare_root_attr(c, row->id, what, e) < 0 &&
        not_known(s, row->id, "", e) < 0)
        return -1;
    if (moved) {
        buf_add_le64(&c->to_read, row->id);
        return what == 0 ? 0 : sweep_name(s, row, what, e);
    } else if (place->in_place) {
        s->sweep_in_place = row->id;
        s->after[0] = '\0';
    }
    return 0;
}

static int
sweep_step(struct scan *s, unsigned *budget, struct err *e)
{
    if (s->sweep_in_place != 0) {
        int more = read_absent(s, s->sweep_in_place, budget, e);
        if (more == 0)
            s->sweep_in_place = 0;
        return more < 0 ? -1 : 0;
    }
    struct state_dir row;
    int found = state_dir_next(s->compare->txn, s->sweep_next, &row, e);
    if (found < 0)
        return -1;
    if (found == 0) {
        s->sweeping = false;
        return 0;
    }
    s->sweep_next = row.id + 1;
    s->dirs_seen++;
    *budget -= MIN(*budget, 1u);
    return sweep_dir(s, &row, e);
}

/* Everything has been read: what has turned up nowhere is gone. */
static int
moved_step(struct scan *s, unsigned *budget, struct err *e)
{
    struct compare *c = s->compare;
    while (*budget > 0 && hints_count(&s->moved) > 0) {
        struct place *place;
        const struct hint *hint = hints_at(&s->moved, hints_count(&s->moved) - 1);
        const char *name = hints_name(&s->moved, hint);
        int found = places_get(c->places, c->txn, hint->dir, &place, e);
        if (found < 0)
            found = not_known(s, hint->dir, name, e);
        else if (found > 0)
            found = look_and_compare(s, place, name, HINT_AGAIN, e);
        if (found < 0)
            return -1;
        hints_pop(&s->moved);
        (*budget)--;
    }
    return 0;
}

static uint64_t
pop_dir(struct buf *stack)
{
    uint64_t dir = get_le64(stack->ptr + stack->len - 8);
    stack->len -= 8;
    return dir;
}

int
scan_step(struct scan *s, unsigned budget, struct err *e)
{
    while (budget > 0 && !scan_idle(s)) {
        int rc;
        if (s->dir != 0)
            rc = read_step(s, &budget, e);
        else if (s->compare->to_read.len > 0)
            rc = read_begin(s, pop_dir(&s->compare->to_read), e);
        else if (s->sweeping)
            rc = sweep_step(s, &budget, e);
        else
            rc = moved_step(s, &budget, e);
        if (rc < 0) {
            read_end(s);
            return -1;
        }
    }
    return scan_idle(s) ? 0 : 1;
}
