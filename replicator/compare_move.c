#include "replicator/compare_private.h"

#include "lib/base/path.h"
#include "lib/os/file.h"
#include "lib/store/parked.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

int
compare_object_lives(const struct compare *c, uint16_t store, struct span handle, struct err *e)
{
    struct err why = { 0 };
    struct stat st;
    if (handle.len == 0)
        return 0; /* nobody saw it here */
    _cleanup_close_ int fd = attrs_handle_open(c->node->stores[store].root_fd, handle, O_PATH,
                                               &why);
    if (fd < 0 && why.code == ERR_GONE)
        return 0;
    if (fd >= 0 && fstat(fd, &st) < 0)
        err_sys(&why, ERR_IO, "look at an object by its handle");
    if (why.code == ERR_NONE)
        return st.st_nlink > 0;
    if (e != NULL)
        *e = why;
    return -1;
}

/* What events told of the object under the name it had. */
static unsigned
what_was_told(const struct compare *c, uint64_t dir, struct span name)
{
    unsigned what = hints_what(&c->told, dir, name);
    for (size_t i = 0; i < c->hint_lists; i++)
        what |= hints_what(c->hints[i], dir, name);
    return what & (WATCH_ATTRIB | WATCH_MODIFIED | WATCH_CLOSED | HINT_WRITTEN);
}

/* What a primary that died left under a private name has the number of an inode there. */
static int
park_name(const struct compare *c, uint64_t root_dir, uint64_t ino, char ret_name[PARKED_SIZE],
          struct err *e)
{
    struct state_entry other;
    parked_name(ino, ret_name);
    int found = state_entry_get(c->txn, root_dir, span_str(ret_name), &other, e);
    if (found > 0)
        parked_name(ino | UINT64_C(1) << 63, ret_name);
    return found < 0 ? -1 : 0;
}

/* An object stands where another is now, and lives: it was moved to where nobody has looked yet. It
 * waits under a name of ours in the store's root, so that nothing of it is deleted and shipped
 * again. */
static int
park(struct compare *c, struct place *place, struct span name, const struct known *old,
     struct err *e)
{
    uint16_t store = place->store;
    _cleanup_buf_ struct buf from = { 0 };
    buf_add(&from, place->path.ptr, place->path.len);
    char parked[PARKED_SIZE];
    uint64_t root_dir = state_root(c->txn, store);
    if (park_name(c, root_dir, old->entry.ino, parked, e) < 0)
        return -1;
    struct place *root;
    if (places_get(c->places, c->txn, root_dir, &root, e) <= 0)
        return err_set(e, ERR_GONE, "the root of store %u is gone", store);
    if (compare_emit_two(c, OP_RENAME, root, span_str(parked), buf_span(&from), name, &old->entry,
                         e) < 0)
        return -1;
    uint64_t dir = place->dir;
    hints_add(&c->told, root_dir, span_str(parked), what_was_told(c, dir, name));
    if (state_entry_move(c->txn, dir, name, root_dir, span_str(parked), e) < 0)
        return -1;
    places_forget(c->places);
    c->parked = true;
    return 0;
}

/* What the index has under this name is another object: takes it out of the way where a plain
 * replacement would not do. */
int
compare_clear_name(struct compare *c, struct place *place, struct span name,
                   const struct known *old, const struct look *look, struct err *e)
{
    bool only = old->entry.nlink < 2;
    /* of which nobody can say: it stands aside, and is looked for before it is removed */
    if (only && compare_object_lives(c, place->store, old->entry.handle, NULL) != 0)
        return park(c, place, name, old, e);
    if (S_ISDIR(old->entry.attr.mode) || S_ISDIR(look->attr.mode))
        return compare_remove(c, place, name, old, e);
    return compare_look_at_others(c, place, name, old, e);
}

struct elsewhere {
    uint64_t dir;
    uint8_t name[PATH_NAME_MAX + 1];
    size_t name_len;
    struct known known;
    bool still_there; /* the object has that name too, now */
};

static int
look_elsewhere(struct compare *c, struct elsewhere *at, const struct look *look, struct err *e)
{
    struct place *place;
    at->still_there = false;
    int found = places_get(c->places, c->txn, at->dir, &place, e);
    if (found <= 0)
        return found;
    struct look now;
    if (look_at(place->fd, (const char *)at->name, &now, e) < 0)
        return -1;
    at->still_there = now.exists &&
                      span_equal(attrs_handle_span(&now.handle), attrs_handle_span(&look->handle));
    return 0;
}

/* Is the object in the index under another name? 1, 0, -1. A name that it no longer has is
 * preferred: that is a rename. */
static int
find_elsewhere(struct compare *c, const struct place *place, struct span name,
               const struct look *look, struct elsewhere *ret_at, struct err *e)
{
    int result = 0;
    for (unsigned i = 0;; i++) {
        struct elsewhere at = { 0 };
        struct span at_name;
        int found = state_name_of(c->txn, place->store, look->ino, i, &at.dir, &at_name, e);
        if (found <= 0)
            return found < 0 ? -1 : result;
        if (at.dir == place->dir && span_equal(at_name, name))
            continue;
        at.name_len = MIN(at_name.len, (size_t)PATH_NAME_MAX);
        memcpy(at.name, at_name.ptr, at.name_len);
        if (known_get(c->txn, at.dir, span_of(at.name, at.name_len), &at.known, e) < 0)
            return -1;
        if (!look_same_object(look, &at.known.entry))
            continue;
        if (look_elsewhere(c, &at, look, e) < 0)
            return -1;
        *ret_at = at;
        ret_at->known.entry.handle = span_of(ret_at->known.handle, at.known.entry.handle.len);
        result = 1;
        if (!at.still_there)
            return 1;
    }
}

/* The new home of a directory lies, as far as the index knows, below that very directory: the home
 * was moved out first, and nobody has looked yet. It stands aside until its own turn. */
static int
untangle(struct compare *c, struct place **place, const struct elsewhere *at, struct err *e)
{
    _cleanup_buf_ struct buf moved = { 0 };
    _cleanup_buf_ struct buf from = { 0 };
    uint64_t dir = (*place)->dir;
    if (state_dir_path(c->txn, at->dir, &from, e) < 0)
        return -1;
    path_join(&moved, buf_span(&from), span_of(at->name, at->name_len));
    if (!path_is_below(buf_span(&(*place)->path), buf_span(&moved)))
        return 0;
    struct state_dir row;
    struct known home;
    struct place *parent;
    char name[PATH_NAME_MAX + 1];
    int found = state_dir_get(c->txn, dir, &row, e);
    if (found <= 0)
        return found;
    memcpy(name, row.name.ptr, row.name.len);
    name[row.name.len] = '\0';
    found = places_get(c->places, c->txn, row.parent, &parent, e);
    if (found > 0)
        found = known_get(c->txn, parent->dir, span_str(name), &home, e);
    if (found > 0 && park(c, parent, span_str(name), &home, e) < 0)
        return -1;
    return found <= 0 ? found : places_get(c->places, c->txn, dir, place, e);
}

/* A rename or a link moves the change time that all names of the object show. Marked as young: an
 * event about one of them may be on its way. */
static int
other_times_follow(struct compare *c, const struct place *place, struct span name,
                   const struct look *look, struct err *e)
{
    for (unsigned i = 0; look->nlink > 1; i++) {
        uint64_t dir;
        struct span at_name;
        struct known other;
        uint8_t copy[PATH_NAME_MAX];
        int found = state_name_of(c->txn, place->store, look->ino, i, &dir, &at_name, e);
        if (found <= 0)
            return found;
        if (dir == place->dir && span_equal(at_name, name))
            continue;
        at_name = span_of(memcpy(copy, at_name.ptr, at_name.len), at_name.len);
        if (known_get(c->txn, dir, at_name, &other, e) < 0)
            return -1;
        if (!look_same_object(look, &other.entry) || other.entry.ctime_ns == 0)
            continue;
        other.entry.ctime_ns = -look->ctime_ns;
        if (state_entry_put(c->txn, dir, at_name, &other.entry, e) < 0)
            return -1;
    }
    return 0;
}

static int
moved_here(struct compare *c, struct place *place, struct span name, const struct look *look,
           const struct elsewhere *at, unsigned what, struct err *e)
{
    _cleanup_buf_ struct buf from = { 0 };
    struct span old_name = span_of(at->name, at->name_len);
    bool was_young = at->known.entry.ctime_ns <= 0 || what == 0;
    what = what == 0 ? HINT_AHEAD : what;
    what |= what_was_told(c, at->dir, old_name);
    if (c->blind || S_ISDIR(look->attr.mode)) /* a directory's can be compared */
        what |= WATCH_ATTRIB;
    if (S_ISDIR(look->attr.mode) && untangle(c, &place, at, e) < 0)
        return -1;
    if (state_dir_path(c->txn, at->dir, &from, e) < 0 ||
        compare_emit_two(c, OP_RENAME, place, name, buf_span(&from), old_name, &at->known.entry,
                         e) < 0)
        return -1;
    uint64_t dir = place->dir;
    if (state_entry_move(c->txn, at->dir, old_name, dir, name, e) < 0)
        return -1;
    if (S_ISDIR(look->attr.mode)) {
        places_forget(c->places);
        int found = places_get(c->places, c->txn, dir, &place, e);
        if (found <= 0)
            return found;
    }
    /* What changed besides the name gets its own record; the rename alone moved the change time. */
    struct known moved = at->known;
    moved.entry.handle = span_of(moved.handle, at->known.entry.handle.len);
    moved.entry.ctime_ns = was_young ? 0 : look->ctime_ns + 1;
    if (!S_ISDIR(look->attr.mode) && other_times_follow(c, place, name, look, e) < 0)
        return -1;
    return compare_same(c, place, name, &moved, look, WATCH_ARRIVED | what, e);
}

static int
linked_here(struct compare *c, struct place *place, struct span name, const struct look *look,
            const struct elsewhere *at, unsigned what, struct err *e)
{
    _cleanup_buf_ struct buf from = { 0 };
    struct span other = span_of(at->name, at->name_len);
    struct known linked = at->known;
    linked.entry.handle = span_of(linked.handle, at->known.entry.handle.len);
    if (state_dir_path(c->txn, at->dir, &from, e) < 0 ||
        compare_emit_two(c, OP_LINK, place, name, buf_span(&from), other, &linked.entry, e) < 0 ||
        state_entry_put(c->txn, place->dir, name, &linked.entry, e) < 0)
        return -1;
    /* What was written through the new name since. */
    what |= what_was_told(c, at->dir, other);
    linked.entry.nlink = MAX(linked.entry.nlink, 1u) + 1;
    linked.entry.ctime_ns = linked.entry.ctime_ns <= 0 ? 0 : look->ctime_ns + 1;
    if (other_times_follow(c, place, name, look, e) < 0)
        return -1;
    return compare_same(c, place, name, &linked, look, WATCH_MADE | what, e);
}

int
compare_elsewhere(struct compare *c, struct place *place, struct span name, const struct look *look,
                  unsigned what, struct err *e)
{
    struct elsewhere at;
    int found = find_elsewhere(c, place, name, look, &at, e);
    if (found <= 0)
        return found;
    if (!at.still_there)
        return moved_here(c, place, name, look, &at, what, e) < 0 ? -1 : 1;
    if (S_ISDIR(look->attr.mode)) /* it has one name: it went there since the look */
        return 1;
    if (!S_ISREG(look->attr.mode))
        return 0;
    return linked_here(c, place, name, look, &at, what, e) < 0 ? -1 : 1;
}

/* Its path as the kernel knows it, and the directory above. 1, 0 it is gone, -1 nobody can say. */
static int
where_is_dir(const struct compare *c, uint16_t store, struct span handle, char path[PATH_MAX],
             struct look *ret_parent, struct err *e)
{
    struct err why = { 0 };
    _cleanup_close_ int fd = attrs_handle_open(c->node->stores[store].root_fd, handle,
                                               O_RDONLY | O_DIRECTORY, &why);
    if (fd < 0 && why.code == ERR_GONE)
        return 0;
    if (fd < 0) {
        *e = why;
        return -1;
    }
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0)
        return errno == ENAMETOOLONG ? 0 : err_sys(e, ERR_IO, "ask for a directory's path");
    path[len] = '\0';
    _cleanup_close_ int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up < 0 && (errno == ENOENT || errno == ESTALE))
        return 0;
    if (up < 0)
        return err_sys(e, ERR_IO, "open the directory above");
    return look_at(up, "", ret_parent, e) < 0 ? -1 : ret_parent->exists;
}

int
compare_follow_dir(struct compare *c, uint16_t store, const struct known *old, struct err *e)
{
    char path[PATH_MAX];
    struct look parent;
    int there = where_is_dir(c, store, old->entry.handle, path, &parent, e);
    if (there <= 0)
        return there;
    char *name = strrchr(path, '/');
    uint8_t handle[WATCH_HANDLE_MAX];
    uint64_t dir;
    struct place *place;
    struct look look;
    int found = state_dir_find(c->txn, compare_event_handle(c, store, &parent, handle), &dir, e);
    if (found > 0)
        found = places_get(c->places, c->txn, dir, &place, e);
    if (found <= 0 || name == NULL || name[1] == '\0')
        return found < 0 ? -1 : 0;
    if (look_at(place->fd, name + 1, &look, e) < 0)
        return -1;
    if (place->store != store || !look_same_object(&look, &old->entry) ||
        compare_class(c, place, span_str(name + 1)) == CLASS_IGNORE)
        return 0;
    /* whatever was told under the name that it was looked for: here it counts */
    return compare_present(c, place, name + 1, &look, WATCH_ATTRIB, e) < 0 ? -1 : 1;
}

/* Has it that name on the disk as well? A primary that died left it there, and it got no other. */
static int
is_left_over(const struct compare *c, uint16_t store, const char *name, const struct known *old,
             struct err *e)
{
    struct look look;
    if (look_at(c->node->stores[store].root_fd, name, &look, e) < 0)
        return -1;
    return look_same_object(&look, &old->entry);
}

/* The directory of a parked row is looked for once more; then it is gone, unless it may be where
 * nobody could look. */
static int
settle_one(struct compare *c, uint16_t store, uint64_t root, const char *name, struct err *e)
{
    struct known old;
    int found = known_get(c->txn, root, span_str(name), &old, e);
    if (found <= 0)
        return found;
    found = is_left_over(c, store, name, &old, e);
    if (found == 0 && S_ISDIR(old.entry.attr.mode))
        found = compare_follow_dir(c, store, &old, e);
    if (found < 0 && compare_unknown(c, root, name, 0, e) < 0)
        return -1;
    if (found < 0 || (found == 0 && compare_may_be_in_a_gap(c, store, &old))) {
        c->left_aside = true;
        return 0;
    }
    if (found > 0)
        return 0;
    struct place *place;
    found = places_get(c->places, c->txn, root, &place, e);
    return found <= 0 ? found : compare_remove(c, place, span_str(name), &old, e);
}

/* 1 settled, *at is its name; 0 there is none behind *at. */
static int
settle_next(struct compare *c, uint16_t store, char at[PATH_NAME_MAX + 1], struct err *e)
{
    uint64_t root = state_root(c->txn, store);
    struct span name;
    struct state_entry entry;
    int found = state_entry_next(c->txn, root, span_str(at), &name, &entry, e);
    if (found <= 0 || !parked_has_prefix(name))
        return found < 0 ? -1 : 0;
    memcpy(at, name.ptr, name.len);
    at[name.len] = '\0';
    if (!parked_is_name(span_str(at)))
        return 1; /* somebody's own */
    return settle_one(c, store, root, at, e) < 0 ? -1 : 1;
}

static int
settle_store(struct compare *c, uint16_t store, struct err *e)
{
    char at[PATH_NAME_MAX + 1] = PARKED_PREFIX;
    int found;
    do
        found = settle_next(c, store, at, e);
    while (found > 0);
    return found;
}

int
compare_settle_parked(struct compare *c, struct err *e)
{
    if (!c->parked)
        return 0;
    c->left_aside = false;
    while (c->parked) { /* to settle one may put another aside, also one that comes before it */
        c->parked = false;
        for (uint16_t store = 0; store < c->node->store_count; store++) {
            if (settle_store(c, store, e) < 0) {
                c->parked = true;
                return -1;
            }
        }
    }
    if (!c->left_aside)
        hints_clear(&c->told);
    return 0;
}
