#include "replicator/place.h"

#include "lib/os/attrs.h"
#include "lib/os/file.h"

#include <stdlib.h>
#include <sys/stat.h>

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

/* How many of cur and new are directories in there, -1. */
static int
count_folders(struct state_txn *txn, uint64_t dir, struct err *e)
{
    static const char *const names[] = { "cur", "new" };
    int count = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct state_entry entry;
        int found = state_entry_get(txn, dir, span_str(names[i]), &entry, e);
        if (found < 0)
            return -1;
        count += found > 0 && S_ISDIR(entry.attr.mode);
    }
    return count;
}

/* A Maildir's folders are told from users of their names by what is beside and in them. */
static int
place_kind(struct place *place, const struct node_store *store, struct state_txn *txn,
           const struct state_dir *dir, struct err *e)
{
    const struct store_rules *rules = &store->rules;
    place->is_tmp = false;
    place->in_place = true;
    bool tmp = store_dir_is_tmp(rules, dir->name, true);
    if (dir->parent == 0 || (!tmp && store_changes_in_place(rules, dir->name, true)))
        return 0; /* the name alone says it */
    int beside = count_folders(txn, dir->parent, e);
    int inside = beside < 0 ? -1 : count_folders(txn, dir->id, e);
    if (inside < 0)
        return -1;
    place->is_tmp = store_dir_is_tmp(rules, dir->name, beside > 0);
    place->in_place = store_changes_in_place(rules, dir->name, beside == 2 && inside == 0);
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
    if (place_kind(place, store, txn, dir, e) < 0 ||
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
