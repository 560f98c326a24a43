/* batch.h - one turn of the capture: what the queue tells, looked at in the right order.
 *
 * Order inside a turn: names something was renamed to; other names that exist; control files that
 * name messages (looked at before a second emptying of the queue, so that every message they name
 * is recorded before them); names that are gone. */
#ifndef MAILTWIN_BATCH_H
#define MAILTWIN_BATCH_H

#include "replicator/compare.h"

#include "lib/os/watch.h"

struct batch {
    struct compare *compare;
    struct watch *watch;
    struct hints hints;  /* of this turn */
    struct hints done;   /* of this turn, looked at; the transaction is not committed yet */
    struct hints later;  /* put off: files still being written, renames half seen */
    struct hints strays; /* of this turn: objects, by event */
    struct hints
        touched;      /* directory ids whose times in the index are 0 since the last checkpoint */
    struct buf late;  /* struct late, of this turn */
    struct buf times; /* struct dir_times, between batch_times_begin() and _end() */
    uint64_t now_ms;  /* monotonic */
    bool overflow;    /* the kernel dropped events */
    bool drained;     /* the queue was empty at the end of the last reading */
};

void batch_init(struct batch *b, struct compare *compare, struct watch *watch);
void batch_free(struct batch *b);

/* Empties the queue into hints, up to a bound. */
int batch_read(struct batch *b, struct err *e) _must_check_;
/* Takes what was put off and is due; all of it when flush is set. */
void batch_take_due(struct batch *b, bool flush);
/* Looks at all hints of the turn. flush: nothing is put off for still being written. */
int batch_process(struct batch *b, bool flush, struct err *e) _must_check_;
/* The turn's transaction is committed; or it failed, and what the turn was told has its turn again.
 */
void batch_turn_end(struct batch *b, bool committed);
/* Names that another name's end put in question, also behind batch_process(), have their turn next
 * time: until then no barrier opens. */
void batch_take_again(struct batch *b);
/* Milliseconds until something put off is due, -1 when nothing is. */
int batch_due_in(const struct batch *b, uint64_t now_ms);
/* Gives touched directories their times back, in two steps around a reading of the queue: what is
 * looked at first counts only when the queue then holds nothing about it. */
int batch_times_begin(struct batch *b, struct err *e) _must_check_;
int batch_times_end(struct batch *b, struct err *e) _must_check_;

#endif
