/* place.h - a directory of the index, opened: descriptor, path, what kind of directory it is.
 *
 * A small cache in front of opening by handle. Belongs to one thread. */
#ifndef MAILTWIN_PLACE_H
#define MAILTWIN_PLACE_H

#include "replicator/node.h"

#define PLACES_MAX 128

struct place {
    uint64_t dir;
    uint16_t store;
    int fd;
    bool is_tmp;   /* a Maildir's tmp: no delivery in it counts */
    bool in_place; /* its files change in place */
    struct buf path;
    uint64_t used;
};

struct places {
    const struct node *node;
    struct place slots[PLACES_MAX];
    uint64_t clock;
};

struct places *places_new(const struct node *node);
void places_free(struct places **places);
/* After a directory was moved or removed, or a Maildir's folders appeared: paths and kinds may be
 * wrong. */
void places_forget(struct places *places);

/* 1 opened, 0 the directory is gone (from the disk or from the index), -1. *ret_place is valid
 * until the next call. */
int places_get(struct places *places, struct state_txn *txn, uint64_t dir, struct place **ret_place,
               struct err *e) _must_check_;

#endif
