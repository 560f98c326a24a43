/* wait.h - one wait at the barrier, from a process that may outlive several daemons.
 *
 * Knows libmailtwin-barrier and the clock, and nothing of Dovecot. */
#ifndef MAILTWIN_PLUGIN_WAIT_H
#define MAILTWIN_PLUGIN_WAIT_H

#include "include/mailtwin/barrier.h"
#include "plugin/dovecot/kinds.h"

/* A daemon that is not there is waited for as long as a late one: a restart costs a moment, not an
 * error. store NULL: all stores. *ret_errno says why for all but VERDICT_SAFE and VERDICT_LATE. */
enum verdict wait_until_safe(struct mailtwin_barrier *barrier, const char *store,
                             unsigned timeout_ms, int *ret_errno);

#endif
