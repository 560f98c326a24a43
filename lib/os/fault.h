/* fault.h - the places where a test makes the operating system fail, or stops the process.
 *
 * Every call that changes a filesystem asks here first: `if (fault("rename") < 0 ||
 * renameat(...))`. Only builds with -DMAILTWIN_FAULTS (asan, tsan, cover) count and fail; elsewhere
 * nothing is left of it. */
#ifndef MAILTWIN_FAULT_H
#define MAILTWIN_FAULT_H

#include "lib/base/base.h"

#ifdef MAILTWIN_FAULTS

enum fault_kind {
    FAULT_COUNT, /* nothing fails, the points are counted */
    FAULT_ERRNO, /* the at-th point fails with errnum */
    FAULT_SHORT, /* the at-th point, where it is a write, writes half of it */
    FAULT_HOOK,  /* the at-th point calls hook(), e.g. to stop the process there */
};

struct fault_plan {
    enum fault_kind kind;
    uint64_t at; /* counted from 1 */
    int errnum;
    void (*hook)(const char *where);
};

/* Counting starts again. Points of all threads count together. */
void fault_arm(const struct fault_plan *plan);
/* Ends it and returns how many points were passed; *ret_where (may be NULL) is the one that was
 * hit, NULL when none was. */
uint64_t fault_disarm(const char **ret_where);

/* 0 go on, -1 fail with errno set. */
int fault(const char *where);
/* The same before a write of len bytes; *ret_len is how many to write. */
int fault_write(const char *where, size_t len, size_t *ret_len);

#else

static inline int
fault(const char *where)
{
    (void)where;
    return 0;
}

static inline int
fault_write(const char *where, size_t len, size_t *ret_len)
{
    (void)where;
    *ret_len = len;
    return 0;
}

#endif
#endif
