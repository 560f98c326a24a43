/* compare.h - holds a name as it is now against the index and appends the records that lead from
 * one to the other. The heart of capture: events, sweeps and forced repairs all end here.
 *
 * Works inside one write transaction of the state; belongs to the capture thread. */
#ifndef MAILTWIN_COMPARE_H
#define MAILTWIN_COMPARE_H

#include "replicator/hints.h"
#include "replicator/look.h"
#include "replicator/place.h"

#define HINT_LISTS_MAX 6

struct compare {
    const struct node *node;
    struct places *places;
    struct state_txn *txn; /* of the batch in hand */
    bool record;           /* false: the first scan fills the index and writes no records */
    bool parked;           /* directories stand aside under a name of ours */
    bool left_aside;       /* some stay there until somebody can say where they are */
    bool blind;            /* events were lost, and the sweep for what they told is not done */
    int64_t now_ns;        /* of the batch */
    uint64_t emitted;      /* records appended since start */
    struct buf to_read;    /* u64 ids: directories to be read entirely */
    struct hints left_out; /* directories: what is in them and must not be recorded while names are
                              held */
    const struct hints
        *hints[HINT_LISTS_MAX]; /* what is told of other names, see compare_heeds() */
    size_t hint_lists;
    const struct hints *strays; /* of this turn: objects, by event; set by batch.c */
    struct hints told;          /* of what stands aside, under the name it had before */
    struct hints
        again; /* names that must be looked at once more, for other reasons than an event */
    /* Of which the disk could not say what they are: names, and directories under "". */
    struct hints unknown;
    struct hints
        gaps; /* the directories of those since the last try: what is in them is not known */
    struct hints deferred; /* names whose objects live, somewhere: perhaps in a gap */
    struct buf path, other;
};

void compare_init(struct compare *c, const struct node *node);
void compare_free(struct compare *c);
/* What is told in this list of a name counts for its object's next name; it must outlive c. */
void compare_heeds(struct compare *c, const struct hints *told);
/* Begins a batch in txn. */
void compare_batch(struct compare *c, struct state_txn *txn, int64_t now_ns);

/* How a name is treated, from its directory. */
enum store_class compare_class(const struct compare *c, const struct place *place,
                               struct span name);

/* look_at() the name; a file that by its mode is still being written is not there yet. */
int compare_look(const struct compare *c, const struct place *place, const char *name,
                 struct look *ret_look, struct err *e) _must_check_;

/* An object's handle as events name it. */
struct span compare_event_handle(const struct compare *c, uint16_t store, const struct look *look,
                                 uint8_t handle[WATCH_HANDLE_MAX]);

/* The name exists as looked. `what`: enum watch_what and HINT_FORCE, 0 when nothing but the look is
 * known. */
int compare_present(struct compare *c, struct place *place, const char *name,
                    const struct look *look, unsigned what, struct err *e) _must_check_;
/* The name does not exist. Returns 1 when it was put off: its object lives, and its new name is
 * still to be looked at (not when `what` has WATCH_GONE or HINT_AGAIN). 2: nobody can say what
 * became of its object: it is in `unknown` or in `deferred`. */
int compare_absent(struct compare *c, struct place *place, const char *name, unsigned what,
                   struct err *e) _must_check_;
/* The directory no longer exists, and something was told of a name in it: what was done through
 * that name may show in other names of the same object. 1: the index has an object under it, which
 * may turn up elsewhere; 0 nothing to be known. */
int compare_unreachable(struct compare *c, uint64_t dir, const char *name, unsigned what,
                        struct err *e) _must_check_;
/* Is it the object that is at fault? Not a lack of something, or the state, which ends the turn: it
 * comes again as a whole. */
bool compare_is_at_fault(const struct err *e);
/* A look, or what followed from it, failed: the failure in e is told and forgotten, and nothing is
 * recorded of the name (""; of all in the directory). It is in `unknown` with `what`, and its
 * directory is read by the next sweep. Returns 0, or -1 when it is not the object that is at fault.
 */
int compare_unknown(struct compare *c, uint64_t dir, const char *name, unsigned what,
                    struct err *e) _must_check_;
/* The object changed, and no event tells of a name that the store has of it: one of them is looked
 * at again, unless it was since; the others follow it. */
int compare_look_again(struct compare *c, uint16_t store, const struct look *look, unsigned what,
                       struct err *e) _must_check_;
/* The next sweep reads the directory, whatever its times are: more of it is known than is recorded.
 */
int compare_unread(struct compare *c, uint64_t dir, struct err *e) _must_check_;
/* After the names of a batch: directories that were put aside and turned up nowhere are removed. */
int compare_settle_parked(struct compare *c, struct err *e) _must_check_;

/* Owner and mode of a store's root, which has no name to be looked at. `what` with WATCH_ATTRIB or
 * HINT_FORCE: its extended attributes may be other ones. */
int compare_root_attr(struct compare *c, uint64_t dir, unsigned what, struct err *e) _must_check_;

/* Makes the row of a store's root when there is none yet, and orders it to be read. */
int compare_root(struct compare *c, uint16_t store, struct err *e) _must_check_;

#endif
