#include "replicator/place.h"

#include "lib/os/attrs.h"
#include "lib/os/file.h"

#include <stdlib.h>

struct places *
places_new(const struct node *node)
{
    struct places *places = xcalloc(1, sizeof(*places));
    places->node = node;
    for (size_t i = 0; i < PLACES_MAX; i++)
        places->slots[i].fd = -1;
    return places;
}

static void
place_clear(struct place *place)
{
    file_closep(&place->fd);
    buf_free(&place->path);
    *place = (struct place){ .fd = -1 };
}

void
places_forget(struct places *places)
{
    for (size_t i = 0; i < PLACES_MAX; i++)
        place_clear(&places->slots[i]);
}

void
places_free(struct places **places)
{
    if (*places == NULL)
        return;
    places_forget(*places);
    free(*places);
    *places = NULL;
}

/* A Maildir's tmp is told from a user called "tmp" by the folders beside it. */
static int
is_maildir_tmp(const struct node_store *store, struct state_txn *txn, const struct state_dir *dir,
               bool *ret_is_tmp, struct err *e)
{
    *ret_is_tmp = false;
    if (dir->parent == 0 || !store_dir_is_tmp(&store->rules, dir->name, true))
        return 0;
    struct state_entry entry;
    int cur = state_entry_get(txn, dir->parent, span_str("cur"), &entry, e);
    int new = cur == 0 ? state_entry_get(txn, dir->parent, span_str("new"), &entry, e) : 0;
    if (cur < 0 || new < 0)
        return -1;
    *ret_is_tmp = store_dir_is_tmp(&store->rules, dir->name, cur > 0 || new > 0);
    return 0;
}

static struct place *
oldest(struct places *places)
{
    struct place *victim = &places->slots[0];
    for (size_t i = 0; i < PLACES_MAX; i++) {
        if (places->slots[i].used < victim->used)
            victim = &places->slots[i];
    }
    return victim;
}

static int
place_open(struct places *places, struct state_txn *txn, const struct state_dir *dir,
           struct place *place, struct err *e)
{
    const struct node_store *store = &places->node->stores[dir->store];
    place->dir = dir->id;
    place->store = dir->store;
    place->in_place = store_changes_in_place(&store->rules, dir->name);
    if (is_maildir_tmp(store, txn, dir, &place->is_tmp, e) < 0 ||
        state_dir_path(txn, dir->id, &place->path, e) < 0)
        return -1;
    struct span handle = span_from(dir->handle, WATCH_FSID_SIZE, dir->handle.len - WATCH_FSID_SIZE);
    struct err gone = { 0 };
    place->fd = attrs_handle_open(store->root_fd, handle, O_RDONLY | O_DIRECTORY, &gone);
    if (place->fd >= 0)
        return 1;
    if (gone.code == ERR_GONE)
        return 0;
    if (e != NULL)
        *e = gone;
    return -1;
}

int
places_get(struct places *places, struct state_txn *txn, uint64_t dir, struct place **ret_place,
           struct err *e)
{
    for (size_t i = 0; i < PLACES_MAX; i++) {
        if (places->slots[i].dir == dir && places->slots[i].fd >= 0) {
            places->slots[i].used = ++places->clock;
            *ret_place = &places->slots[i];
            return 1;
        }
    }
    struct state_dir row;
    int found = state_dir_get(txn, dir, &row, e);
    if (found <= 0)
        return found;
    if (row.store >= places->node->store_count || row.handle.len <= WATCH_FSID_SIZE)
        return err_set(e, ERR_CORRUPT, "the index row of directory %llu names store %u",
                       (unsigned long long)dir, row.store);
    struct place *place = oldest(places);
    place_clear(place);
    found = place_open(places, txn, &row, place, e);
    if (found <= 0) {
        place_clear(place);
        return found;
    }
    place->used = ++places->clock;
    *ret_place = place;
    return 1;
}
