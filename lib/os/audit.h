/* audit.h - the audit trail: acts, as acts.def names them, on the disk of this node. Format and
 * what it promises: docs/formats/audit.md. */
#ifndef MAILTWIN_AUDIT_H
#define MAILTWIN_AUDIT_H

#include "lib/base/err.h"

#include <jansson.h>
#include <stdio.h>

#define AUDIT_FILE "audit.log"

/* From here on each act of this process is appended to the trail in state_dirfd, which the caller
 * keeps open and the same to the process's end. A process that closes what it inherited has no
 * trail any more. From any thread. */
void audit_begin(int state_dirfd);

/* Reads the trail in the directory from its beginning, a call for each line with its fields as
 * strings, "event" and "time" among them; `fields` is borrowed. *ret_unreadable: lines that are
 * none of ours, or were cut off. Returns 0, also when there is no trail yet, or -1. */
int audit_read(int state_dirfd, void (*line)(json_t *fields, void *arg), void *arg,
               size_t *ret_unreadable, struct err *e) _must_check_;
/* The same of a trail that is open as a stream, which stays the caller's. */
int audit_read_stream(FILE *stream, void (*line)(json_t *fields, void *arg), void *arg,
                      size_t *ret_unreadable, struct err *e) _must_check_;

#endif
