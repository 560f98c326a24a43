#include "replicator/compare_private.h"
#include "replicator/listing.h"
#include "replicator/strays.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <limits.h>
#include <unistd.h>

void
compare_init(struct compare *c, const struct node *node)
{
    *c = (struct compare){ .node = node, .places = places_new(node), .record = true };
    hints_init(&c->left_out);
    hints_init(&c->told);
    hints_init(&c->again);
    hints_init(&c->unknown);
    hints_init(&c->gaps);
    hints_init(&c->deferred);
    compare_heeds(c, &c->unknown);
    compare_heeds(c, &c->deferred);
}

void
compare_heeds(struct compare *c, const struct hints *told)
{
    ASSERT(c->hint_lists < ARRAY_LEN(c->hints));
    c->hints[c->hint_lists++] = told;
}

void
compare_free(struct compare *c)
{
    places_free(&c->places);
    hints_free(&c->left_out);
    hints_free(&c->told);
    hints_free(&c->again);
    hints_free(&c->unknown);
    hints_free(&c->gaps);
    hints_free(&c->deferred);
    buf_free(&c->to_read);
    buf_free(&c->path);
    buf_free(&c->other);
}

void
compare_batch(struct compare *c, struct state_txn *txn, int64_t now_ns)
{
    c->txn = txn;
    c->now_ns = now_ns;
}

enum store_class
compare_class(const struct compare *c, const struct place *place, struct span name)
{
    const struct store_rules *rules = &c->node->stores[place->store].rules;
    return store_class_of(rules, buf_span(&place->path), name, place->is_tmp);
}

/* --- records --- */

int
compare_emit(struct compare *c, struct record *r, const struct place *place, struct span name,
             struct err *e)
{
    if (!c->record)
        return 0;
    path_join(&c->path, buf_span(&place->path), name);
    if (c->path.len > PATH_STORE_MAX || r->other.len > PATH_STORE_MAX) {
        event(EV_SKIPPED, F_STR("why", "its path is too long"), F_SPAN("path", buf_span(&c->path)));
        return 0;
    }
    enum store_class class = compare_class(c, place, name);
    r->store = place->store;
    r->path = buf_span(&c->path);
    r->time_ns = (uint64_t)c->now_ns;
    r->late = class == CLASS_KEYWORDS || class == CLASS_UIDLIST;
    r->seq = 0;
    c->emitted++;
    return state_append(c->txn, r, e);
}

static int
emit_look(struct compare *c, enum record_op op, const struct place *place, struct span name,
          const struct look *look, struct err *e)
{
    struct record r = { .op = op, .attr = look->attr, .handle = attrs_handle_span(&look->handle) };
    return compare_emit(c, &r, place, name, e);
}

int
compare_emit_known(struct compare *c, enum record_op op, const struct place *place,
                   struct span name, const struct state_entry *entry, struct err *e)
{
    struct record r = { .op = op, .attr = entry->attr, .handle = entry->handle };
    return compare_emit(c, &r, place, name, e);
}

/* RENAME and LINK: `other` is a second name, in another directory of the same store. */
int
compare_emit_two(struct compare *c, enum record_op op, const struct place *place, struct span name,
                 struct span other_dir, struct span other_name, const struct state_entry *entry,
                 struct err *e)
{
    path_join(&c->other, other_dir, other_name);
    struct record r = { .op = op, .attr = entry->attr, .handle = entry->handle };
    r.other = buf_span(&c->other);
    return compare_emit(c, &r, place, name, e);
}

/* --- the same object --- */

static bool
content_moved(const struct state_entry *old, const struct look *look, unsigned what)
{
    if (!S_ISREG(look->attr.mode))
        return false;
    if (old->attr.size != look->attr.size || old->attr.mtime_ns != look->attr.mtime_ns ||
        (what & HINT_FORCE) != 0)
        return true;
    /* Written again before the clock ticked: the times cannot tell, the event does. */
    bool told = (what & (WATCH_MODIFIED | WATCH_CLOSED)) != 0;
    return told ? old->ctime_ns <= 0 : (what & HINT_WRITTEN) != 0 && look_content_is_young(old);
}

/* Extended attributes are in no row: the change time says that they may be others. Whoever watched
 * knows from the event. */
static bool
xattrs_may_differ(const struct compare *c, const struct state_entry *old, const struct look *look,
                  unsigned what)
{
    bool young = old->ctime_ns <= 0;
    bool told = (what & WATCH_ATTRIB) != 0;
    bool moved = (young ? -old->ctime_ns : old->ctime_ns) != look->ctime_ns;
    if (S_ISDIR(look->attr.mode)) /* its change time moves with every name in it */
        return told;
    return moved ? told || what == 0 || c->blind : told && young;
}

static bool
attr_moved(const struct compare *c, const struct state_entry *old, const struct look *look,
           unsigned what)
{
    if (compare_owner_moved(&old->attr, &look->attr) || (what & HINT_FORCE) != 0)
        return true;
    if (!S_ISDIR(look->attr.mode) && !S_ISREG(look->attr.mode))
        return old->attr.mtime_ns != look->attr.mtime_ns;
    return xattrs_may_differ(c, old, look, what);
}

/* Whether a directory's attributes have to be recorded; its row gets what they are now. */
static int
dir_attr_moved(struct compare *c, uint64_t dir, bool moved, bool force, bool *ret_moved,
               struct err *e)
{
    struct place *place;
    struct state_dir row;
    uint64_t xattrs;
    int found = places_get(c->places, c->txn, dir, &place, e);
    if (found > 0)
        found = state_dir_get(c->txn, dir, &row, e);
    if (found <= 0)
        return found;
    if (listing_dir_xattrs(place->fd, &xattrs, e) < 0)
        return -1;
    *ret_moved = moved || force || row.xattrs != xattrs;
    if (row.xattrs == xattrs)
        return 0;
    row.xattrs = xattrs;
    return state_dir_put(c->txn, &row, e);
}

/* Read by its handle: the name may be another one's behind the look. */
static int
made_symlink(struct compare *c, struct place *place, struct span name, const struct look *look,
             struct err *e)
{
    char target[PATH_MAX];
    struct record r = { .op = OP_SYMLINK, .attr = look->attr };
    r.handle = attrs_handle_span(&look->handle);
    int root = c->node->stores[place->store].root_fd;
    _cleanup_close_ int fd = attrs_handle_open(root, r.handle, O_PATH | O_NOFOLLOW, e);
    if (fd < 0 && e->code != ERR_GONE)
        return -1;
    err_clear(e);
    ssize_t len = fd < 0 ? 0 : readlinkat(fd, "", target, sizeof(target));
    if (len < 0)
        return err_sys(e, ERR_IO, "read a symlink");
    r.other = span_of(target, (size_t)len);
    return fd < 0 ? 0 : compare_emit(c, &r, place, name, e);
}

/* A peer that lacks the object cannot be given its attributes alone. */
static int
emit_whole(struct compare *c, struct place *place, struct span name, const struct look *look,
           struct err *e)
{
    if (S_ISLNK(look->attr.mode))
        return made_symlink(c, place, name, look, e);
    return emit_look(c, S_ISDIR(look->attr.mode) ? OP_MKDIR : OP_MKNOD, place, name, look, e);
}

/* It may have been in another store meanwhile, and what was told of it was told of that one. */
static int
claim_dir(struct compare *c, uint64_t dir, unsigned *what, struct err *e)
{
    int claimed = state_dir_claim(c->txn, dir, e);
    if (claimed <= 0)
        return claimed;
    buf_add_le64(&c->to_read, dir);
    *what |= WATCH_ATTRIB;
    return 0;
}

/* The same for one whose row in the other store went: the directory itself is looked at, too. */
static int
inherit(struct compare *c, uint64_t dir, struct err *e)
{
    struct state_dir row;
    buf_add_le64(&c->to_read, dir);
    int found = state_dir_get(c->txn, dir, &row, e);
    if (found > 0 && row.parent != 0)
        hints_add(&c->again, row.parent, row.name, WATCH_ATTRIB | WATCH_IS_DIR);
    return found < 0 ? -1 : 0;
}

/* A look that a scan had, ahead of the events; or nothing told of its attributes, which may have
 * changed under another name of the object that has its turn later. */
static bool
is_untold(const struct compare *c, const struct state_entry *old, unsigned what, bool attr)
{
    bool ahead = what == 0 || (what & HINT_AHEAD) != 0;
    bool untold = attr ? ahead && old->ctime_ns <= 0 : (what & WATCH_ATTRIB) == 0;
    return untold && !c->blind;
}

int
compare_same(struct compare *c, struct place *place, struct span name, const struct known *old,
             const struct look *look, unsigned what, struct err *e)
{
    if (S_ISDIR(look->attr.mode) && claim_dir(c, old->entry.dir, &what, e) < 0)
        return -1;
    bool content = content_moved(&old->entry, look, what);
    bool attr = !content && attr_moved(c, &old->entry, look, what);
    if (attr && S_ISDIR(look->attr.mode) &&
        dir_attr_moved(c, old->entry.dir, compare_owner_moved(&old->entry.attr, &look->attr),
                       (what & HINT_FORCE) != 0, &attr, e) < 0)
        return -1;
    if (!content && !attr && old->entry.ctime_ns == look->ctime_ns)
        return 0;
    if (content && emit_look(c, OP_PUT, place, name, look, e) < 0)
        return -1;
    bool whole = (what & HINT_FORCE) != 0 && !S_ISREG(look->attr.mode);
    if (attr && (whole ? emit_whole(c, place, name, look, e)
                       : emit_look(c, OP_META, place, name, look, e)) < 0)
        return -1;
    struct state_entry entry;
    look_to_entry(look, c->now_ns, old->entry.dir, &entry);
    if (!content && is_untold(c, &old->entry, what, attr))
        entry.ctime_ns = -look->ctime_ns; /* an event on its way still has to count */
    if (state_entry_put(c->txn, place->dir, name, &entry, e) < 0)
        return -1;
    if (S_ISDIR(look->attr.mode) || !(content || attr))
        return 0;
    bool several = MAX(old->entry.nlink, look->nlink) > 1;
    if (several && compare_others_follow(c, place, name, look, content, e) < 0)
        return -1;
    return compare_tell_stores(c, place->store, look, what, e);
}

/* --- another object --- */

int
compare_unread(struct compare *c, uint64_t dir, struct err *e)
{
    struct state_dir row;
    int found = state_dir_get(c->txn, dir, &row, e);
    if (found <= 0 || row.ctime_ns == 0)
        return found < 0 ? -1 : 0;
    row.ctime_ns = 0;
    return state_dir_put(c->txn, &row, e);
}

bool
compare_is_at_fault(const struct err *e)
{
    bool lack = e->sys == EMFILE || e->sys == ENFILE || e->sys == ENOMEM || e->sys == EINTR;
    return (e->code == ERR_IO && !lack) || e->code == ERR_UNSUITABLE;
}

int
compare_unknown(struct compare *c, uint64_t dir, const char *name, unsigned what, struct err *e)
{
    _cleanup_buf_ struct buf path = { 0 };
    if (!compare_is_at_fault(e))
        return -1;
    struct err why = *e;
    err_clear(e);
    if (state_dir_path(c->txn, dir, &path, e) < 0)
        return -1;
    event(file_disk_failed(&why) ? EV_UNREADABLE : EV_SKIPPED, F_SPAN("directory", buf_span(&path)),
          F_STR("name", name), F_ERR(&why));
    what &= WATCH_IS_DIR | HINT_FORCE;
    hints_add(&c->unknown, dir, span_str(name), what | WATCH_ATTRIB | WATCH_MODIFIED);
    hints_add(&c->gaps, dir, span_str(""), 1);
    return compare_unread(c, dir, e); /* the hints die with the daemon */
}

int
compare_unreachable(struct compare *c, uint64_t dir, const char *name, unsigned what, struct err *e)
{
    struct state_dir row;
    struct known old;
    if (!(what & (WATCH_MODIFIED | WATCH_CLOSED | WATCH_ATTRIB)))
        return 0;
    int found = state_dir_get(c->txn, dir, &row, e);
    struct place place = { .dir = dir, .store = found > 0 ? row.store : 0 };
    if (found > 0)
        found = known_get(c->txn, dir, span_str(name), &old, e);
    if (found > 0 && compare_look_at_others(c, &place, span_str(name), &old, e) < 0)
        return -1;
    return found;
}

int
compare_remove(struct compare *c, struct place *place, struct span name, const struct known *old,
               struct err *e)
{
    if (compare_look_at_others(c, place, name, old, e) < 0)
        return -1;
    bool is_dir = S_ISDIR(old->entry.attr.mode);
    if (compare_emit_known(c, is_dir ? OP_RMTREE : OP_UNLINK, place, name, &old->entry, e) < 0 ||
        state_entry_del(c->txn, place->dir, name, e) < 0)
        return -1;
    uint16_t store = place->store;
    uint64_t number;
    while (state_heir(c->txn, &number)) {
        if (inherit(c, number, e) < 0)
            return -1;
    }
    while (state_bereaved(c->txn, &number)) {
        if (compare_look_at_bereaved(c, store, number, e) < 0)
            return -1;
    }
    if (is_dir)
        places_forget(c->places);
    return 0;
}

struct span
compare_event_handle(const struct compare *c, uint16_t store, const struct look *look,
                     uint8_t handle[WATCH_HANDLE_MAX])
{
    return node_handle(&c->node->stores[store], attrs_handle_span(&look->handle), handle);
}

static int
made_dir(struct compare *c, struct place *place, struct span name, const struct look *look,
         struct err *e)
{
    if (emit_look(c, OP_MKDIR, place, name, look, e) < 0)
        return -1;
    uint8_t handle[WATCH_HANDLE_MAX];
    struct state_dir dir = {
        .parent = place->dir,
        .store = place->store,
        .attr = look->attr,
        .name = name,
        .handle = compare_event_handle(c, place->store, look, handle),
    };
    struct state_entry entry;
    if (state_dir_put(c->txn, &dir, e) < 0)
        return -1;
    look_to_entry(look, c->now_ns, dir.id, &entry);
    if (state_entry_put(c->txn, place->dir, name, &entry, e) < 0)
        return -1;
    buf_add_le64(&c->to_read, dir.id); /* whatever fails from here on: there is a row for it now */
    if (store_tells_kinds(&c->node->stores[place->store].rules, name))
        places_forget(c->places);
    bool moved;
    return dir_attr_moved(c, dir.id, true, false, &moved, e);
}

static int
made_file(struct compare *c, struct place *place, struct span name, const struct look *look,
          struct err *e)
{
    int rc = 0;
    if (S_ISREG(look->attr.mode))
        rc = emit_look(c, OP_PUT, place, name, look, e);
    else if (S_ISLNK(look->attr.mode))
        rc = made_symlink(c, place, name, look, e);
    else if (S_ISFIFO(look->attr.mode))
        rc = emit_look(c, OP_MKNOD, place, name, look, e);
    if (rc < 0)
        return -1;
    struct state_entry entry;
    look_to_entry(look, c->now_ns, 0, &entry);
    return state_entry_put(c->txn, place->dir, name, &entry, e);
}

/* Sockets live with their daemon and devices with their host; another filesystem is not under our
 * mark. */
static bool
cannot_replicate(const struct compare *c, const struct place *place, const struct look *look)
{
    if (S_ISSOCK(look->attr.mode))
        return true;
    const char *why = NULL;
    if (S_ISBLK(look->attr.mode) || S_ISCHR(look->attr.mode))
        why = "it is a device";
    else if (look->device != c->node->stores[place->store].device)
        why = "another filesystem is mounted there";
    if (why != NULL)
        event(EV_SKIPPED, F_STR("why", why),
              F_STR("store", c->node->stores[place->store].conf->name),
              F_SPAN("directory", buf_span(&place->path)));
    return why != NULL;
}

static int
present_new(struct compare *c, struct place *place, struct span name, const struct known *old,
            const struct look *look, unsigned what, struct err *e)
{
    uint64_t dir = place->dir;
    if (old != NULL && compare_clear_name(c, place, name, old, look, e) < 0)
        return -1;
    int found = places_get(c->places, c->txn, dir, &place, e);
    if (found > 0)
        found = compare_elsewhere(c, place, name, look, what, e);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (S_ISDIR(look->attr.mode))
        return made_dir(c, place, name, look, e);
    if (made_file(c, place, name, look, e) < 0)
        return -1;
    bool copies = look->nlink > 1 && !S_ISREG(look->attr.mode);
    if (copies && compare_others_follow(c, place, name, look, false, e) < 0)
        return -1;
    return compare_tell_stores(c, place->store, look, what, e);
}

/* The peer has a directory there, and nothing but a record's word removes one. */
static int
clear_peer(struct compare *c, const struct place *place, struct span name, const struct look *look,
           unsigned what, struct err *e)
{
    if (!(what & HINT_FORCE) || !(what & WATCH_IS_DIR) || S_ISDIR(look->attr.mode))
        return 0;
    struct record r = { .op = OP_RMTREE };
    return compare_emit(c, &r, place, name, e);
}

/* Events told of the object, under a name that it no longer has. */
static unsigned
what_strayed(const struct compare *c, const struct place *place, const struct look *look)
{
    uint8_t handle[WATCH_HANDLE_MAX];
    if (c->strays == NULL)
        return 0;
    return strays_what(c->strays, compare_event_handle(c, place->store, look, handle));
}

int
compare_present(struct compare *c, struct place *place, const char *name, const struct look *look,
                unsigned what, struct err *e)
{
    struct span n = span_str(name);
    what |= what_strayed(c, place, look);
    if (cannot_replicate(c, place, look))
        return 0;
    if (clear_peer(c, place, n, look, what, e) < 0)
        return -1;
    struct known old;
    int found = known_get(c->txn, place->dir, n, &old, e);
    int done = found > 0 ? compare_present_held(c, place, n, &old, look, what, e) : 0;
    if (found < 0 || done != 0)
        return found < 0 || done < 0 ? -1 : 0;
    if (found > 0 && look_same_object(look, &old.entry))
        return compare_same(c, place, n, &old, look, what, e);
    int hides = compare_hides(c, place, n, found > 0 ? &old : NULL, look, e);
    if (hides != 0)
        return hides < 0 ? -1 : 0;
    return present_new(c, place, n, found > 0 ? &old : NULL, look, what, e);
}

/* --- gone --- */

bool
compare_may_be_in_a_gap(const struct compare *c, uint16_t store, const struct known *old)
{
    return hints_count(&c->gaps) > 0 &&
           (S_ISDIR(old->entry.attr.mode) ||
            compare_object_lives(c, store, old->entry.handle, NULL) != 0);
}

static int
defer(struct compare *c, uint64_t dir, struct span name, unsigned what, struct err *e)
{
    hints_add(&c->deferred, dir, name, what);
    return compare_unread(c, dir, e) < 0 ? -1 : 2; /* the hint dies with the daemon */
}

static int
absent_known(struct compare *c, struct place *place, const char *text, const struct known *old,
             unsigned what, struct err *e)
{
    struct span name = span_str(text);
    uint64_t dir = place->dir;
    if (S_ISDIR(old->entry.attr.mode)) {
        int found = compare_follow_dir(c, place->store, old, e);
        if (found < 0 && e->code == ERR_IO)
            return compare_unknown(c, dir, text, what, e) < 0 ? -1 : 2;
        if (found == 0 && !(what & WATCH_GONE) && compare_may_be_in_a_gap(c, place->store, old))
            return defer(c, dir, name, what, e);
        if (found == 0 && !(what & (WATCH_GONE | WATCH_MOVED | HINT_AGAIN)))
            return 1; /* nobody told: it may be in one that was not read yet */
        if (found != 0)
            return found < 0 ? -1 : 0;
        found = places_get(c->places, c->txn, dir, &place, e);
        if (found <= 0)
            return found;
    }
    int held = compare_absent_held(c, place, name, old, e);
    if (held != 0)
        return held < 0 ? -1 : 0;
    if (S_ISDIR(old->entry.attr.mode))
        return compare_remove(c, place, name, old, e);
    bool may_wait = (what & (WATCH_GONE | HINT_AGAIN)) == 0; /* moved, and nobody told yet */
    int lives = may_wait ? compare_object_lives(c, place->store, old->entry.handle, e) : 0;
    if (lives < 0)
        return compare_unknown(c, dir, text, what, e) < 0 ? -1 : 2;
    if (lives > 0)
        return 1;
    if ((what & WATCH_GONE) == 0 && compare_may_be_in_a_gap(c, place->store, old))
        return defer(c, dir, name, what, e);
    return compare_remove(c, place, name, old, e);
}

int
compare_absent(struct compare *c, struct place *place, const char *name, unsigned what,
               struct err *e)
{
    struct span n = span_str(name);
    struct known old;
    int found = known_get(c->txn, place->dir, n, &old, e);
    if (found < 0)
        return -1;
    if (found > 0)
        return absent_known(c, place, name, &old, what, e);
    if (!(what & HINT_FORCE))
        return 0;
    /* Only the peer has it: the record by which it may remove it. */
    struct record r = { .op = what & WATCH_IS_DIR ? OP_RMTREE : OP_UNLINK };
    return compare_emit(c, &r, place, n, e);
}

int
compare_root_attr(struct compare *c, uint64_t dir, unsigned what, struct err *e)
{
    struct place *place;
    struct look look;
    struct state_dir row;
    int found = places_get(c->places, c->txn, dir, &place, e);
    if (found <= 0 || look_at(place->fd, "", &look, e) < 0)
        return found < 0 ? -1 : 0;
    if (state_dir_get(c->txn, dir, &row, e) <= 0)
        return -1;
    bool moved = compare_owner_moved(&row.attr, &look.attr);
    if (!look.exists || (!moved && (what & (WATCH_ATTRIB | HINT_FORCE)) == 0))
        return 0;
    if (dir_attr_moved(c, dir, moved, (what & HINT_FORCE) != 0, &moved, e) < 0 ||
        state_dir_get(c->txn, dir, &row, e) <= 0)
        return -1;
    if (!moved)
        return 0;
    row.attr = look.attr;
    if (state_dir_put(c->txn, &row, e) < 0)
        return -1;
    return emit_look(c, OP_META, place, span_str(""), &look, e);
}

int
compare_root(struct compare *c, uint16_t store, struct err *e)
{
    if (state_root(c->txn, store) != 0)
        return 0;
    struct state_dir dir = { .store = store };
    if (node_root_row(c->node, &dir, c->txn, e) < 0)
        return -1;
    buf_add_le64(&c->to_read, dir.id);
    return 0;
}
