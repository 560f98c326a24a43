/* scan.h - reads whole directories and compares every name: new trees, and the sweep for what
 * changed while nobody watched. Works in small steps inside the capture thread's transactions. */
#ifndef MAILTWIN_SCAN_H
#define MAILTWIN_SCAN_H

#include "lib/base/path.h"
#include "replicator/compare.h"

#include <dirent.h>

struct scan {
    struct compare *compare;
    /* the directory being read */
    uint64_t dir;
    DIR *stream;
    bool had_entries; /* the index knew names in it before: look for those that are gone */
    bool absent_phase;
    bool lacking;       /* of a name in it nothing is known yet: it is in moved */
    struct hints moved; /* gone from their names, and alive: perhaps under one not yet read */
    struct look before; /* its times before it was read */
    char after[PATH_NAME_MAX + 1];
    /* the sweep over all directories */
    bool sweeping;
    uint64_t sweep_next;
    uint64_t sweep_in_place; /* the directory whose files' own times are being looked at, 0 none */
    uint64_t dirs_read, dirs_seen;
};

void scan_init(struct scan *s, struct compare *compare);
void scan_free(struct scan *s);
/* After a failed transaction: gives up what is in hand; a sweep must follow. */
void scan_drop(struct scan *s);

/* Starts a sweep over all directories, from the beginning. */
void scan_sweep(struct scan *s);
/* Does up to `budget` names' worth of work. 1 more is left, 0 nothing is, -1. */
int scan_step(struct scan *s, unsigned budget, struct err *e) _must_check_;
bool scan_idle(const struct scan *s);

/* Stores a directory's times as seen, or 0 when they are too young to prove anything. */
int scan_keep_times(struct compare *c, uint64_t dir, const struct look *seen,
                    struct err *e) _must_check_;

#endif
