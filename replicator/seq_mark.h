/* seq_mark.h - a place of the journal that a session waits for. It is set by the capture thread
 * when a barrier opens, which may be behind the end of the session: the last one frees it. */
#ifndef MAILTWIN_SEQ_MARK_H
#define MAILTWIN_SEQ_MARK_H

#include <stdint.h>

struct seq_mark;

/* The caller has one reference. wake_fd: an eventfd that is written to when the mark is set; it
 * outlives the capture. */
struct seq_mark *seq_mark_new(int wake_fd);
struct seq_mark *seq_mark_ref(struct seq_mark *mark);
void seq_mark_unref(struct seq_mark **mark); /* NULL is fine; leaves NULL behind */
/* As capture_barrier() calls it, from another thread. mark: a reference of its own, given up. */
void seq_mark_set(void *mark, uint64_t seq);
uint64_t seq_mark_get(struct seq_mark *mark); /* UINT64_MAX until it is set */

#endif
