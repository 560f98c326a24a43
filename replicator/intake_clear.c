/* intake_clear.c - a directory goes, with all in it, because an operator says that the other node
 * removed it rightly: that one knew all that was in it when the two parted, and nothing else goes.
 *
 * Two things show what came since. The journal, from the record at which they parted: whatever is
 * put into the directory behind that forbids it. And the index, which is the tree at the journal's
 * end: what lies there and is not in the index, or is another one, came this moment, and the next
 * attempt finds it in the journal. So names are removed one by one, each when it was recognized,
 * and a directory only when it is empty: a mail that comes meanwhile stays, and its folder. */
#include "replicator/intake_private.h"

#include "lib/os/attrs.h"
#include "lib/os/dir.h"
#include "lib/os/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define CAME      "something comes into it at this moment"

/* --- what the journal says --- */

static bool
is_asked(const struct intake_item *item)
{
    return !item->settled && item->act == INTAKE_CLEAR;
}

static void
settle_all(struct intake_item *items, size_t count, const struct err *why)
{
    for (size_t i = 0; i < count; i++) {
        if (is_asked(&items[i]))
            intake_item_failed(&items[i], why);
    }
}

/* *ret_from: the first record that any of them needs. */
static void
check_reach(const struct state_meta *meta, struct intake_item *items, size_t count,
            uint64_t *ret_from)
{
    *ret_from = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!is_asked(&items[i]))
            continue;
        uint64_t since = items[i].give.since;
        if (since > meta->tail || meta->oldest > since + 1)
            intake_item_settle(&items[i], WIRE_GIVEN_REFUSED,
                               "the journal does not tell any more what came into it since");
        else
            *ret_from = MIN(*ret_from, since + 1);
    }
}

static void
hear(const struct intake_places *places, struct intake_item *items, size_t count,
     const struct record *r)
{
    for (size_t i = 0; i < count; i++) {
        const struct wire_give *give = &items[i].give;
        if (!is_asked(&items[i]) || give->store != r->store || r->seq <= give->since)
            continue;
        const char *why = intake_came(&places->node->stores[r->store].rules, give->path, r);
        if (why != NULL)
            intake_item_settle(&items[i], WIRE_GIVEN_REFUSED, why);
    }
}

static int
read_journal(struct intake_places *places, struct intake_item *items, size_t count,
             const atomic_bool *stop, struct err *e)
{
    uint64_t from;
    struct record r;
    int found = 0;
    if (intake_search_begin(places, e) < 0)
        return -1;
    check_reach(state_meta(places->txn), items, count, &from);
    while (from != UINT64_MAX && (found = state_record(places->txn, from, &r, e)) > 0) {
        if (atomic_load(stop))
            return err_set(e, ERR_PEER, "the role of the node there ends");
        hear(places, items, count, &r);
        from = r.seq + 1;
    }
    return found;
}

void
intake_since(struct intake_places *places, struct intake_item *items, size_t count,
             const atomic_bool *stop)
{
    struct err e = { 0 };
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any |= is_asked(&items[i]);
    if (any && read_journal(places, items, count, stop, &e) < 0)
        settle_all(items, count, &e);
}

/* --- what lies there --- */

struct clear {
    const struct store_rules *rules;
    struct state_txn *txn; /* of the same moment as the journal that was read */
    bool remove;           /* else it only looks */
    bool locked;           /* the lock in the top one is this process's */
};

struct entry {
    char name[PATH_NAME_MAX + 1];
    int rank;
    struct stat st;
};

struct listing {
    struct entry *entries;
    size_t count, cap;
    bool maildir; /* cur or new is among them */
};

static void
listing_free(struct listing *l)
{
    free(l->entries);
}

/* Mail first, then what says whose it is. */
static int
rank_of(const char *name, const struct stat *st)
{
    if (!S_ISDIR(st->st_mode))
        return 3;
    if (strcmp(name, "cur") == 0 || strcmp(name, "new") == 0)
        return 0;
    return strcmp(name, "tmp") == 0 ? 2 : 1;
}

static int
compare(const void *a, const void *b)
{
    return ((const struct entry *)a)->rank - ((const struct entry *)b)->rank;
}

static int
add_entry(struct listing *l, int fd, const char *name, struct err *e)
{
    struct entry entry = { 0 };
    if (fstatat(fd, name, &entry.st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at what is in it");
    snprintf(entry.name, sizeof(entry.name), "%s", name);
    entry.rank = rank_of(name, &entry.st);
    l->maildir |= entry.rank == 0;
    if (l->count == l->cap) {
        l->cap = MAX(l->cap * 2, (size_t)64);
        l->entries = xrealloc(l->entries, l->cap * sizeof(*l->entries));
    }
    l->entries[l->count++] = entry;
    return 0;
}

static int
list(int fd, struct listing *l, struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        if (add_entry(l, fd, item->d_name, e) < 0)
            return -1;
    }
    if (l->count > 0)
        qsort(l->entries, l->count, sizeof(*l->entries), compare);
    return more;
}

static bool
is_known_file(const struct state_entry *known, const struct stat *st)
{
    bool same_size = !S_ISREG(st->st_mode) || known->attr.size == (uint64_t)st->st_size;
    return known->ino == st->st_ino && same_size && known->attr.mtime_ns == attrs_ns(&st->st_mtim);
}

static int
unlink_one(int fd, const char *name, int flags, struct err *e)
{
    if (fault("unlink") == 0 && (unlinkat(fd, name, flags) == 0 || errno == ENOENT))
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return err_set(e, ERR_BUSY, CAME);
    return err_sys(e, ERR_IO, "remove it");
}

/* A directory in hand. */
struct place {
    int fd;
    struct span path;
    uint64_t id;
    bool is_tmp;
    int depth;
};

static int clear_place(const struct clear *c, const struct place *place, struct err *e);

static int
clear_below(const struct clear *c, const struct place *place, const struct entry *entry,
            const struct state_entry *known, bool is_tmp, struct err *e)
{
    struct span name = span_str(entry->name);
    _cleanup_buf_ struct buf path = { 0 };
    path_join(&path, place->path, name);
    _cleanup_close_ int fd = file_open_beneath(place->fd, name, O_RDONLY | O_DIRECTORY, 0, e);
    struct place below = { fd, buf_span(&path), known->dir, is_tmp, place->depth + 1 };
    if (fd < 0 || clear_place(c, &below, e) < 0)
        return -1;
    return c->remove ? unlink_one(place->fd, entry->name, AT_REMOVEDIR, e) : 0;
}

/* What a mail server never has replicated is nobody's mail. What somebody excluded is on no other
 * node: it would be gone. */
static int
check_class(const struct clear *c, const struct place *place, const struct entry *entry,
            enum store_class *ret_class, struct err *e)
{
    static const char *const none[] = { NULL };
    const struct store_rules bare = { c->rules->kind, none };
    struct span name = span_str(entry->name);
    *ret_class = store_class_of(c->rules, place->path, name, place->is_tmp);
    bool ignored = *ret_class == CLASS_IGNORE;
    bool excluded = ignored &&
                    store_class_of(&bare, place->path, name, place->is_tmp) != CLASS_IGNORE;
    if (excluded || (ignored && S_ISDIR(entry->st.st_mode)))
        return err_set(e, ERR_REFUSED, "it holds what is not replicated");
    if (place->depth > 0 && strcmp(entry->name, INTAKE_UIDLIST_LOCK) == 0)
        return err_set(e, ERR_REFUSED, "a mail server has a folder in it locked");
    return 0;
}

static int
clear_entry(const struct clear *c, const struct place *place, const struct entry *entry,
            bool maildir, struct err *e)
{
    struct state_entry known;
    struct span name = span_str(entry->name);
    enum store_class class;
    if (c->locked && place->depth == 0 && strcmp(entry->name, INTAKE_UIDLIST_LOCK) == 0)
        return 0; /* who unlocks removes it */
    int found = state_entry_get(c->txn, place->id, name, &known, e);
    if (found < 0 || check_class(c, place, entry, &class, e) < 0)
        return -1;
    if (S_ISDIR(entry->st.st_mode))
        return found == 0 || known.dir == 0
                   ? err_set(e, ERR_BUSY, CAME)
                   : clear_below(c, place, entry, &known, store_dir_is_tmp(c->rules, name, maildir),
                                 e);
    if (class == CLASS_NORMAL && (found == 0 || !is_known_file(&known, &entry->st)))
        return err_set(e, ERR_BUSY, CAME);
    return c->remove ? unlink_one(place->fd, entry->name, 0, e) : 0;
}

static int
clear_place(const struct clear *c, const struct place *place, struct err *e)
{
    _cleanup_(listing_free) struct listing l = { 0 };
    if (place->depth > DEPTH_MAX)
        return err_set(e, ERR_REFUSED, "there are too many directories in each other below it");
    if (list(place->fd, &l, e) < 0)
        return -1;
    for (size_t i = 0; i < l.count; i++) {
        if (clear_entry(c, place, &l.entries[i], l.maildir, e) < 0)
            return -1;
    }
    return 0;
}

/* All of it is looked at before the first name goes. A folder that stays is one. */
static int
clear_locked(const struct intake_places *places, const struct intake_item *item,
             const struct place *top, bool folder, struct err *e)
{
    struct err why = { 0 };
    struct clear c = { .rules = &places->node->stores[item->give.store].rules,
                       .txn = places->txn,
                       .locked = folder };
    if (clear_place(&c, top, e) < 0)
        return -1;
    c.remove = true;
    int rc = clear_place(&c, top, e);
    if (rc < 0 && folder && intake_make_folder(top->fd, top->path, item->mailbox.home, &why) < 0)
        ASSERT(why.code != ERR_NONE); /* the mail server makes what is missing */
    return rc;
}

static int
remove_empty(int root_fd, struct span path, struct err *e)
{
    char name[PATH_NAME_MAX + 1];
    _cleanup_close_ int parent = file_open_beneath(root_fd, path_parent(path),
                                                   O_RDONLY | O_DIRECTORY, 0, e);
    return parent < 0 ? -1
                      : unlink_one(parent, path_name_text(path_name(path), name), AT_REMOVEDIR, e);
}

int
intake_clear(struct intake_places *places, struct intake_item *item, struct err *e)
{
    const struct wire_give *give = &item->give;
    int root_fd = places->node->stores[give->store].root_fd;
    struct place top = { .path = give->path };
    struct intake_lock lock;
    bool locked;
    _cleanup_close_ int fd = file_open_beneath(root_fd, give->path, O_RDONLY | O_DIRECTORY, 0, e);
    if (fd < 0)
        return intake_none(e);
    int found = intake_search_id(places, give->store, give->path, &top.id, e);
    if (found <= 0)
        return found < 0 ? -1 : err_set(e, ERR_BUSY, CAME);
    top.fd = fd;
    if (intake_lock_folder(fd, &lock, &locked, e) < 0)
        return -1;
    int rc = clear_locked(places, item, &top, locked, e);
    if (locked)
        intake_unlock(&lock);
    if (rc < 0 || remove_empty(root_fd, give->path, e) < 0)
        return -1;
    return 1;
}
