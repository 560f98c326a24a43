/* guard.h - is a store being destroyed? Pure: counts and times in, a decision out.
 *
 * It counts files that records delete, empty or overwrite, within a window that moves on with the
 * time of the records: a standby that catches up counts as the primary did. It closes when they
 * are more than a part of all files that there were, and not just a few. Who must be asked how many
 * there are is asked for no more than it takes: a store of millions is not counted for a few
 * hundred. What closes it and what is told of users alone:
 * docs/decisions/0014-mass-change-guard.md. */
#ifndef MAILTWIN_GUARD_H
#define MAILTWIN_GUARD_H

#include "lib/base/bytes.h"

#define GUARD_FLOOR 100 /* files: fewer are nothing out of the ordinary, whatever part they are */
#define GUARD_SLOTS 10  /* of the window */
#define GUARD_USERS 256 /* counted at once; the least of them makes room */

struct guard_limits {
    unsigned percent; /* 100: never */
    uint64_t window_ms;
};

/* Files lost of a store, or of a user. */
struct guard_count {
    uint64_t lost[GUARD_SLOTS], gone[GUARD_SLOTS];
    uint64_t newest;   /* number of the newest slot: time / (window / GUARD_SLOTS) */
    uint64_t at_least; /* files that are there, as far as anybody looked */
};

struct guard_user {
    uint64_t hash; /* of the user; 0 unused */
    bool told;
    struct guard_count count;
};

struct guard {
    struct guard_limits limits;
    struct guard_count store;
    struct guard_user users[GUARD_USERS];
};

void guard_init(struct guard *guard, const struct guard_limits *limits);
/* Nothing was lost so far. */
void guard_reset(struct guard *guard);

/* Would `files` more, lost at that time, be more than the limit of all that there were, as far as
 * anybody looked? Then *ret_most files at most are to be counted and told by guard_found(): when it
 * still is so after that, it is so. */
bool guard_over(const struct guard *guard, const struct guard_count *count, uint64_t files,
                uint64_t time_ms, uint64_t *ret_most);
/* So many files are there now, or more. */
void guard_found(struct guard_count *count, uint64_t files);
/* They are lost: gone, or with another content. */
void guard_lose(const struct guard *guard, struct guard_count *count, uint64_t files,
                uint64_t time_ms, bool gone);
struct guard_sum {
    uint64_t lost, gone; /* gone is a part of lost */
};
/* Within the window that ends at that time. */
struct guard_sum guard_sum(const struct guard *guard, const struct guard_count *count,
                           uint64_t time_ms);
/* The user's counts: a new one takes the place of the one that lost least. */
struct guard_user *guard_user_of(struct guard *guard, struct span user, uint64_t time_ms);

#endif
