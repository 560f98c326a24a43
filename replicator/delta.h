/* delta.h - librsync on the sender's side: what must change in the peer's copy of a large file. */
#ifndef MAILTWIN_DELTA_H
#define MAILTWIN_DELTA_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

/* Gives the delta from the copy that `signature` describes to the file fd, in pieces. */
int delta_make(struct span signature, int fd,
               int (*give)(void *arg, struct span bytes, struct err *e), void *arg,
               struct err *e) _must_check_;

#endif
