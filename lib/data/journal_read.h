/* journal_read.h - the records of a state database as they lie there, for people: read beside a
 * running daemon, or from a copy. Nothing is written but a place in LMDB's table of readers. */
#ifndef MAILTWIN_JOURNAL_READ_H
#define MAILTWIN_JOURNAL_READ_H

#include "lib/data/record.h"

struct journal_read;

/* Does a file that begins so look like a state database? */
bool journal_read_knows(struct span start);

/* path: of the file "state", or of a copy. */
int journal_read_open(const char *path, struct journal_read **ret_read, struct err *e) _must_check_;
void journal_read_free(struct journal_read **read); /* NULL is fine */

enum journal_read_found {
    JOURNAL_READ_END = 0,
    JOURNAL_READ_RECORD = 1,
    JOURNAL_READ_DAMAGED =
        2, /* e says what is wrong with the row; the next call goes on behind it */
};

/* The next row, the oldest first: *ret_seq is its place (0: its key is damaged), the record's spans
 * are valid until the next call. The database is held as it is for a few thousand rows at a time,
 * so that the daemon may use its pages again. -1: LMDB cannot go on. */
int journal_read_next(struct journal_read *read, uint64_t *ret_seq, struct record *ret_record,
                      struct err *e) _must_check_;

#endif
