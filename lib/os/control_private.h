/* control_private.h - what the files of control share. */
#ifndef MAILTWIN_CONTROL_PRIVATE_H
#define MAILTWIN_CONTROL_PRIVATE_H

#include "lib/os/control.h"

/* Makes run_dir when it is missing. *ret_group: whose sockets in it are. */
int control_prepare_dir(const char *run_dir, gid_t *ret_group, struct err *e) _must_check_;
/* Returns a descriptor: run_dir, or its socket `own` (NULL none) alone, is this process's until it
 * is closed. ERR_BUSY: another's. */
int control_take_lock(const char *run_dir, const char *own, struct err *e) _must_check_;

/* The answer that says no; the caller's. A sentence may quote a file name of any bytes. */
json_t *control_refusal(const struct err *e);

#endif
