/* hints.h - names to look at, each once, in the order of their first mention. */
#ifndef MAILTWIN_HINTS_H
#define MAILTWIN_HINTS_H

#include "lib/base/buf.h"

/* In addition to enum watch_what. */
enum {
    HINT_FORCE = 256,     /* ship this name even when it equals the index */
    HINT_AGAIN = 512,     /* was looked at before and put off */
    HINT_TOLD = 1024,     /* its object changed under a name in another store */
    HINT_SEEN = 2048,     /* of strays.c: looked at since */
    HINT_LATE = 4096,     /* of batch.c: looked at before the second reading of the queue */
    HINT_MISSED = 8192,   /* of batch.c: was not there in its turn */
    HINT_AHEAD = 16384,   /* of compare_move.c: a scan found it, ahead of the events */
    HINT_WRITTEN = 32768, /* of compare_links.c: may have been written by a name that is gone */
};

struct hint {
    uint64_t dir; /* directory id */
    unsigned what;
    uint64_t due_ms; /* put off: not before this */
    size_t name_at;  /* in names */
    uint16_t name_len;
    uint32_t next; /* in the hash chain, 0 ends */
};

struct hints {
    struct hint *list; /* [0] is not used */
    size_t count;      /* with [0] */
    size_t cap;
    struct buf names; /* each with a NUL behind it */
    uint32_t *slots;
    size_t slot_count;
};

void hints_init(struct hints *h);
void hints_free(struct hints *h);
void hints_clear(struct hints *h);
/* Adds the name, or adds `what` to it; returns the hint, valid until the next add. */
struct hint *hints_add(struct hints *h, uint64_t dir, struct span name, unsigned what);
/* What is to be looked at under this name, 0 nothing. */
unsigned hints_what(const struct hints *h, uint64_t dir, struct span name);
size_t hints_count(const struct hints *h);
/* index from 0; the name has a NUL behind it. */
struct hint *hints_at(struct hints *h, size_t index);
/* Forgets the last one. */
void hints_pop(struct hints *h);
const char *hints_name(const struct hints *h, const struct hint *hint);

#endif
