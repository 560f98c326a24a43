#include "plugin/dovecot/wait.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define PAUSE_MS 50 /* between two looks for a daemon that is not there */

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Nobody listens: it is being started, or it has ended while it was asked. */
static bool
nobody_there(int error)
{
    return error == ENOENT || error == ECONNREFUSED || error == ECONNRESET || error == EPIPE;
}

static enum verdict
verdict_of(enum mailtwin_safety safety, int error)
{
    switch (safety) {
    case MAILTWIN_SAFE:
    case MAILTWIN_DEGRADED:
        return VERDICT_SAFE;
    case MAILTWIN_LATE:
        return VERDICT_LATE;
    case MAILTWIN_ERROR:
        break;
    }
    return error == EPROTO ? VERDICT_REFUSED : VERDICT_DOWN;
}

enum verdict
wait_until_safe(struct mailtwin_barrier *barrier, const char *store, unsigned timeout_ms,
                int *ret_errno)
{
    const int64_t until_ms = now_ms() + timeout_ms;
    for (int64_t left = timeout_ms;; left = until_ms - now_ms()) {
        errno = 0;
        enum mailtwin_safety safety = mailtwin_barrier_wait(barrier, store,
                                                            left > 0 ? (unsigned)left : 0);
        *ret_errno = safety == MAILTWIN_ERROR ? errno : 0;
        if (safety != MAILTWIN_ERROR || !nobody_there(*ret_errno) ||
            now_ms() + PAUSE_MS >= until_ms)
            return verdict_of(safety, *ret_errno);
        const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
        (void)nanosleep(&pause, NULL); /* a signal makes it shorter: no harm */
    }
}
