/* salvage_set.h - what a row of records amounts to: the difference between the tree before the
 * first and the tree behind the last. Pure: records in, changes out.
 *
 * What came and went within them is nothing; what was renamed is followed, also below directories
 * that were. */
#ifndef MAILTWIN_SALVAGE_SET_H
#define MAILTWIN_SALVAGE_SET_H

#include "lib/data/salvage.h"
#include "lib/store/store.h"

struct salvage_set;

struct salvage_set *salvage_set_new(void);
void salvage_set_free(struct salvage_set **set); /* NULL is fine */
/* The next record, in the order of their numbers; the set keeps its own copies. */
void salvage_set_add(struct salvage_set *set, const struct record *record);

/* One change of the whole. path "": what was called `from` is gone; from "": new. */
struct salvage_change {
    uint16_t store;
    struct span path, from;
    struct attr attr; /* as its last record has it; mode 0: not known */
    int64_t time_ns;
    bool copy; /* a further name of an object that has others */
};

/* In the order in which they happened, those that were removed last. */
void salvage_set_each(struct salvage_set *set,
                      void (*each)(void *arg, const struct salvage_change *change), void *arg);

/* What a change is for people and for the primary; 0: nothing that is told (control files of the
 * mail server, names that are not replicated). users: of the store's configuration. */
enum salvage_kind salvage_kind_of(const struct store_rules *rules, const char *users,
                                  const struct salvage_change *change);

#endif
