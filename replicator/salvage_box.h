/* salvage_box.h - one manifest and its marks, opened; and all of them: for salvage.c and
 * salvage_orders.c alone. */
#ifndef MAILTWIN_SALVAGE_BOX_H
#define MAILTWIN_SALVAGE_BOX_H

#include "lib/data/salvage.h"
#include "replicator/give.h"
#include "replicator/salvage.h"

struct salvage_box {
    const struct node_store *store;
    char id[SALVAGE_ID_SIZE];
    int all_fd, dirfd, marks_fd; /* .mailtwin/salvage, the directory in it, its marks */
    char *text;                  /* the manifest */
    struct salvage_head head;
    struct span *bodies; /* each item, as salvage_next() reads it */
    uint8_t *states;     /* enum salvage_state */
    bool *wanted;        /* an operator's word: to be given now */
    bool *kept;          /* its bytes are here */
    char **whys;         /* what the primary said last, when it refused; NULL nothing */
    struct salvage_taker taker;
};

/* The salvage `id` of a store. 1 opened, 0 it has none that is whole, -1. */
int salvage_box_open(const struct node_store *store, const char *id, struct salvage_box *ret_box,
                     struct err *e) _must_check_;
void salvage_box_close(struct salvage_box *box);
/* Calls each() with the name of every directory below the store's .mailtwin/salvage. */
int salvage_box_names(const struct node_store *store,
                      void (*each)(void *arg, const struct node_store *store, const char *name),
                      void *arg, struct err *e) _must_check_;

void salvage_box_item(const struct salvage_box *box, uint32_t number,
                      struct salvage_item *ret_item);
/* The bytes of an item; -1 with e->sys. */
int salvage_box_content(const struct salvage_box *box, uint32_t number, struct err *e) _must_check_;
/* Is what the store has under the item's path by now the same, byte by byte? */
bool salvage_box_same(const struct salvage_box *box, const struct salvage_item *item);
/* --- on the disk alone: what follows from it in the box the caller sets, under the list's lock ---
 */

/* Appended; durable with salvage_box_sync(). */
int salvage_box_mark(const struct salvage_box *box, uint32_t number, enum salvage_state state,
                     struct err *e) _must_check_;
int salvage_box_sync(const struct salvage_box *box, struct err *e) _must_check_;
/* Its bytes go: nobody needs them. */
int salvage_box_forget(const struct salvage_box *box, uint32_t number, struct err *e) _must_check_;
/* Before something is given to this primary. What another one took and did not send back is `lost`:
 * open again, for this one may lack it; or unsure. */
int salvage_box_meet(const struct salvage_box *box, const struct salvage_taker *taker,
                     enum salvage_state lost, struct err *e) _must_check_;
/* All of it goes. */
int salvage_box_remove(const struct salvage_box *box, struct err *e) _must_check_;

/* --- what is known of it --- */

void salvage_box_set(struct salvage_box *box, uint32_t number, enum salvage_state state);
void salvage_box_met(struct salvage_box *box, const struct salvage_taker *taker,
                     enum salvage_state lost);
/* What the primary said of an item that it refused; of another nothing is told. */
void salvage_box_tell(struct salvage_box *box, uint32_t number, struct span why);
/* Did the primary take it, and has it not come back yet? Then its bytes are kept here. */
bool salvage_box_is_out(const struct salvage_box *box, uint32_t number);
/* Is nothing left to be decided about it? */
bool salvage_box_settled(const struct salvage_box *box, uint32_t number);

/* --- all of them --- */

struct salvages {
    struct daemon *d;
    atomic_bool changed;
    pthread_mutex_t lock; /* of what follows; never held while a disk or a link is waited for */
    pthread_cond_t idle;
    bool keeps; /* `keeping` counts */
    struct salvage_progress keeping;
    struct salvage_box *boxes;
    size_t count;
    /* Somebody works with the boxes: an order that a session carries out, a drop, a reading. It
     * alone changes them (under the lock), and reads them without. */
    bool active;
    struct give_order order;
    bool again;      /* something was not taken now */
    bool met;        /* the order knows who takes it */
    bool confirming; /* the order gives nothing: it waits for what was given to come back */
    size_t box;      /* where the order is */
    uint32_t number;
    bool quiet; /* nothing is due until something changes */
    bool gave;  /* something, since the last word about it */
    uint64_t retry_ms;
    char trouble[ERR_TEXT_MAX]; /* why the last one was not taken */
};

/* --- without the lock --- */

/* Opens all anew, for who is active. */
void salvages_load(struct salvages *x);
/* The same when something was kept, and nobody is active; wait: once nobody is. */
void salvages_refresh(struct salvages *x, bool wait);
/* For who is active: what was noted is durable, and what was dropped is gone. */
int salvages_sync(struct salvages *x, struct err *e) _must_check_;
void salvages_end(struct salvages *x); /* nobody is active any more */

/* --- with it, or by who is active --- */

/* Is it to be given to the primary? */
bool salvages_due(const struct salvage_box *box, const struct salvage_item *item);
/* Can it be given at all? The rest is for people and their mail programs. */
bool salvages_can_give(const struct salvage_item *item);
/* What the primary is asked for, but for the bytes and the tag. since: of a directory's removal,
 * the last record that this node shares with it. */
void salvage_fill(struct give_item *give, const struct salvage_box *box,
                  const struct salvage_item *item, uint64_t since);

#endif
