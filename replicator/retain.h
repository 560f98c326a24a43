/* retain.h - what a record takes from a store on a standby is kept in <store>/.mailtwin/retained
 * for a time. Format: docs/formats/retained.md.
 *
 * Keeping is a rename, or a second name for what is replaced; nothing is copied, and the name says
 * everything, so what a crash leaves is found again as it is. What keeps its store short of space
 * goes, the oldest first. A message that lives under another name is not kept. */
#ifndef MAILTWIN_RETAIN_H
#define MAILTWIN_RETAIN_H

#include "lib/base/kinds.h"
#include "lib/data/record.h"
#include "lib/data/retained.h"

#define RETAIN_VERSION_MS (10ull * 60 * 1000) /* between two kept versions of one control file */

struct retain_opts {
    const char *path;  /* the store's root */
    const char *store; /* its name */
    enum store_kind kind;
    const char *users;    /* see lib/store/mailbox.h; NULL to guess */
    uint64_t keep_ms;     /* 0: nothing is kept, and what is there goes */
    unsigned max_percent; /* of the filesystem */
};

struct retain; /* one store's */

/* Makes nothing: that is done when the first object comes. */
int retain_open(const struct retain_opts *opts, struct retain **ret_retain,
                struct err *e) _must_check_;
void retain_free(struct retain **retain);

/* A name that a record takes from its object. */
struct retain_loss {
    const struct record *record;
    struct span path; /* of the name: a RENAME loses what has its new one */
    int dirfd;
    const char *name;
    const struct stat *st;
    int new_fd; /* of what replaces it, as far as that is open; else -1 */
};

/* Moves the object away, without syncing: it is as durable as other names of the run. 1 kept, 0 not
 * (it lives elsewhere, is of no use, or there is no room): the caller deletes it. */
int retain_take(struct retain *retain, const struct retain_loss *loss, struct err *e) _must_check_;
/* Gives the object a second name before another gets its own: that one is never missing. 0 when it
 * need not be kept, too. */
int retain_replaced(struct retain *retain, const struct retain_loss *loss,
                    struct err *e) _must_check_;
/* Before a directory is renamed: what is in it is deleted soon when a mail server puts it out of
 * the way first, and is to be found under the name that the user knew. */
int retain_moves(struct retain *retain, const struct record *rename, struct err *e) _must_check_;

/* The oldest hour of it goes, to make room. 1 something went, 0 there is nothing. */
int retain_yield(struct retain *retain, struct err *e) _must_check_;
/* The same of each in the list: what comes in is more than what is retained. Did any? */
bool retain_give_way(struct retain *const *list, size_t count);
/* While pinned nothing goes. */
void retain_pin(struct retain *retain, bool pinned);

/* How the clock goes by which objects expire: with the wall's, back at once, ahead at most twice as
 * fast as time passes. A wall clock that is a year ahead takes nothing with it. */
uint64_t retain_clock_next(uint64_t clock_ms, uint64_t wall_ms, uint64_t passed_ms);

struct retain_usage {
    uint64_t bytes;     /* as counted last */
    uint64_t oldest_ms; /* 0 nothing is kept */
};

/* Expires, counts, makes room and deletes. wall_ms, passed_ms since the last call. */
int retain_tend(struct retain *retain, uint64_t wall_ms, uint64_t passed_ms,
                struct err *e) _must_check_;
void retain_usage(struct retain *retain, struct retain_usage *ret_usage);

/* A thread of the lowest priority that tends them once a minute. */
struct retain_keeper;
int retain_keeper_new(struct retain *const *list, size_t count, struct retain_keeper **ret_keeper,
                      struct err *e) _must_check_;
void retain_keeper_free(struct retain_keeper **keeper); /* before the retains */

#endif
