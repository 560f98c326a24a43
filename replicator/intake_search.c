/* intake_search.c - where a mailbox has a message, by the index: a moment behind the disk, and
 * complete where a directory that is read while names move in it is not. */
#include "replicator/intake_private.h"

#include "lib/os/attrs.h"
#include "lib/store/uidlist.h"

#include <stdlib.h>
#include <sys/stat.h>

#define UIDLIST_HEAD 4096 /* bytes that surely hold the first line */
#define DEPTH_MAX    32   /* of folders below a user's home */

int
intake_search_begin(struct intake_places *places, struct err *e)
{
    return places->txn != NULL ? 0 : state_begin(places->node->state, false, &places->txn, e);
}

/* 1 found, 0 no such directory. */
static int
dir_id(struct state_txn *txn, uint16_t store, struct span path, uint64_t *ret_dir, struct err *e)
{
    struct span name;
    struct state_entry entry;
    *ret_dir = state_root(txn, store);
    if (path.len == 0 || *ret_dir == 0)
        return *ret_dir != 0;
    int found = state_resolve(txn, store, path, ret_dir, &name, e);
    if (found > 0)
        found = state_entry_get(txn, *ret_dir, name, &entry, e);
    if (found <= 0)
        return found;
    *ret_dir = entry.dir;
    return entry.dir != 0;
}

int
intake_search_id(struct intake_places *places, uint16_t store, struct span path, uint64_t *ret_dir,
                 struct err *e)
{
    return dir_id(places->txn, store, path, ret_dir, e);
}

/* A base name alone, or with ":2," and flags behind it; others with the same beginning may stand
 * in between. */
static int
find_in(struct state_txn *txn, uint64_t dir, struct span base, struct buf *ret_name, struct err *e)
{
    struct state_entry entry;
    struct span name = base;
    int found = state_entry_get(txn, dir, base, &entry, e);
    _cleanup_buf_ struct buf from = { 0 };
    if (found == 0) {
        buf_add(&from, base.ptr, base.len);
        buf_add(&from, ":2", 2);
        found = state_entry_next(txn, dir, buf_span(&from), &name, &entry, e);
        buf_add(&from, ",", 1);
        bool fits = found > 0 && name.len >= from.len && memcmp(name.ptr, from.ptr, from.len) == 0;
        found = found < 0 ? -1 : fits;
    }
    if (found > 0)
        buf_add(ret_name, name.ptr, name.len);
    return found;
}

int
intake_search_dir(struct intake_places *places, uint16_t store, struct span dir, struct span base,
                  struct buf *ret_path, struct err *e)
{
    uint64_t id;
    _cleanup_buf_ struct buf name = { 0 };
    int found = dir_id(places->txn, store, dir, &id, e);
    if (found > 0)
        found = find_in(places->txn, id, base, &name, e);
    if (found > 0)
        path_join(ret_path, dir, buf_span(&name));
    return found;
}

/* --- a user's folders --- */

static void
add_dir(struct intake_home *home, uint64_t dir, struct span path)
{
    if (home->count == home->cap) {
        home->cap = MAX(home->cap * 2, (size_t)16);
        home->dirs = xrealloc(home->dirs, home->cap * sizeof(*home->dirs));
    }
    home->dirs[home->count].dir = dir;
    home->dirs[home->count].path = (struct buf){ 0 };
    buf_add(&home->dirs[home->count++].path, path.ptr, path.len);
}

static int
walk(struct state_txn *txn, struct intake_home *home, uint64_t dir, struct span path, int depth,
     struct err *e)
{
    struct span name = { 0 };
    struct state_entry entry;
    _cleanup_buf_ struct buf after = { 0 };
    for (;;) {
        int found = state_entry_next(txn, dir, buf_span(&after), &name, &entry, e);
        if (found <= 0)
            return found;
        buf_reset(&after);
        buf_add(&after, name.ptr, name.len);
        if (!S_ISDIR(entry.attr.mode) || entry.dir == 0 || span_equal(name, span_str("tmp")))
            continue;
        _cleanup_buf_ struct buf below = { 0 };
        path_join(&below, path, buf_span(&after));
        bool messages = span_equal(name, span_str("cur")) || span_equal(name, span_str("new"));
        if (messages)
            add_dir(home, entry.dir, buf_span(&below));
        else if (depth < DEPTH_MAX &&
                 walk(txn, home, entry.dir, buf_span(&below), depth + 1, e) < 0)
            return -1;
    }
}

static int
home_get(struct intake_places *places, uint16_t store, struct span path,
         struct intake_home **ret_home, struct err *e)
{
    for (size_t i = 0; i < places->home_count; i++) {
        *ret_home = &places->homes[i];
        if ((*ret_home)->store == store && span_equal(buf_span(&(*ret_home)->path), path))
            return 0;
    }
    if (places->home_count == places->home_cap) {
        places->home_cap = MAX(places->home_cap * 2, (size_t)8);
        places->homes = xrealloc(places->homes, places->home_cap * sizeof(*places->homes));
    }
    struct intake_home *home = &places->homes[places->home_count++];
    uint64_t dir;
    *home = (struct intake_home){ .store = store };
    buf_add(&home->path, path.ptr, path.len);
    *ret_home = home;
    int found = dir_id(places->txn, store, path, &dir, e);
    return found <= 0 ? found : walk(places->txn, home, dir, path, 0, e);
}

int
intake_search_home(struct intake_places *places, uint16_t store, struct span path, struct span base,
                   struct buf *ret_path, struct err *e)
{
    struct intake_home *home;
    if (home_get(places, store, path, &home, e) < 0)
        return -1;
    for (size_t i = 0; i < home->count; i++) {
        _cleanup_buf_ struct buf name = { 0 };
        int found = find_in(places->txn, home->dirs[i].dir, base, &name, e);
        if (found < 0)
            return -1;
        if (found > 0) {
            path_join(ret_path, buf_span(&home->dirs[i].path), buf_span(&name));
            return 1;
        }
    }
    return 0;
}

/* --- a folder by its GUID --- */

bool
intake_has_guid(int root_fd, struct span folder, struct span guid)
{
    char head[UIDLIST_HEAD];
    struct uidlist list;
    _cleanup_buf_ struct buf path = { 0 };
    path_join(&path, folder, span_str("dovecot-uidlist"));
    _cleanup_close_ int fd = file_open_beneath(root_fd, buf_span(&path), O_RDONLY | O_NONBLOCK, 0,
                                               NULL);
    ssize_t got = fd < 0 ? -1 : file_pread_full(fd, head, sizeof(head), 0, NULL);
    return got > 0 && uidlist_begin(&list, span_of(head, (size_t)got), NULL) == 0 &&
           span_equal(list.guid, guid);
}

int
intake_search_guid(struct intake_places *places, uint16_t store, struct span path, struct span guid,
                   struct buf *ret_path, struct err *e)
{
    struct intake_home *home;
    if (home_get(places, store, path, &home, e) < 0)
        return -1;
    for (size_t i = 0; i < home->count; i++) {
        struct span dir = buf_span(&home->dirs[i].path);
        struct span folder = path_parent(dir);
        if (!span_equal(path_name(dir), span_str("cur")) ||
            !intake_has_guid(places->node->stores[store].root_fd, folder, guid))
            continue;
        buf_add(ret_path, folder.ptr, folder.len);
        return 1;
    }
    return 0;
}
