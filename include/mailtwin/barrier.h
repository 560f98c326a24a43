/* barrier.h - for mail servers and scripts in C: wait until what was written is safe.
 *
 * A program that has written mail to a store calls mailtwin_barrier_wait() before it tells its
 * client "accepted". When it returns MAILTWIN_SAFE, all that happened in the store before the call
 * is on a standby as durably as the configuration asks for. Needs nothing but libc; any number of
 * threads may use one handle, and a handle survives fork() and a restart of the daemon. */
#ifndef MAILTWIN_PUBLIC_BARRIER_H
#define MAILTWIN_PUBLIC_BARRIER_H

#ifdef __cplusplus
extern "C" {
#endif

#define MAILTWIN_BARRIER_SOCKET "/run/mailtwin/barrier.sock"

struct mailtwin_barrier;

/* The numbers are the exit status of `mailtwin barrier`, but for the last. */
enum mailtwin_safety {
    MAILTWIN_SAFE = 0,
    MAILTWIN_LATE = 1,     /* not in the time allowed; it may still become safe */
    MAILTWIN_DEGRADED = 4, /* accepted without a standby: configured as "when-alone = continue" */
    MAILTWIN_ERROR = -1    /* no answer: errno says why (EPROTO: refused, or not understood).
                           Refused: no primary; no standby and when-alone = refuse */
};

/* socket_path NULL: MAILTWIN_BARRIER_SOCKET. Connects when it is first needed. 0, or -1 and errno.
 */
int mailtwin_barrier_open(const char *socket_path, struct mailtwin_barrier **ret_barrier);

/* store NULL: all stores of this node. Returns within timeout_ms. */
enum mailtwin_safety mailtwin_barrier_wait(struct mailtwin_barrier *barrier, const char *store,
                                           unsigned timeout_ms);

/* No thread may be waiting any more. NULL is fine. */
void mailtwin_barrier_close(struct mailtwin_barrier *barrier);

#ifdef __cplusplus
}
#endif

#endif
