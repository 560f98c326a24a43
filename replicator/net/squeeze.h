/* squeeze.h - the compressed stream of one direction of a link: one zstd frame without end, flushed
 * whenever the sender has nothing more. What the other side makes us hold is bounded. */
#ifndef MAILTWIN_SQUEEZE_H
#define MAILTWIN_SQUEEZE_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#include <sys/types.h>

#define SQUEEZE_WINDOW_LOG 20 /* 1 MiB: what a sender uses and what a receiver allows at most */

struct squeeze;
struct squeeze *squeeze_new(void);
void squeeze_free(struct squeeze **squeeze);
/* Appends what can be sent already to out; with flush all of it. */
void squeeze_write(struct squeeze *squeeze, struct span plain, bool flush, struct buf *out);

struct unsqueeze;
struct unsqueeze *unsqueeze_new(void);
void unsqueeze_free(struct unsqueeze **unsqueeze);
/* Decompresses from *packed, which it shortens, into at most `size` bytes at ptr. Returns their
 * number; 0 means that *packed is used up. -1: not zstd, damaged, or a window that is too large. */
ssize_t unsqueeze_read(struct unsqueeze *unsqueeze, struct span *packed, void *ptr, size_t size,
                       struct err *e) _must_check_;

#endif
