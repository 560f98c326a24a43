/* reclist.h - records copied out of the state, so that no transaction stays open while they are
 * sent. */
#ifndef MAILTWIN_RECLIST_H
#define MAILTWIN_RECLIST_H

#include "lib/data/record.h"

struct reclist {
    struct buf bytes;  /* encoded records, each behind its length */
    struct buf starts; /* u64 offsets */
};

void reclist_free(struct reclist *l);
#define _cleanup_reclist_ _cleanup_(reclist_free)
void reclist_clear(struct reclist *l);
void reclist_add(struct reclist *l, const struct record *r);
size_t reclist_count(const struct reclist *l);
/* The spans point into the list. A record that reclist_add() took always decodes. */
void reclist_get(const struct reclist *l, size_t index, struct record *ret_record);

#endif
