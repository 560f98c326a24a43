/* renames.h - what became of a path since. */
#ifndef MAILTWIN_RENAMES_H
#define MAILTWIN_RENAMES_H

#include "lib/data/state.h"

/* The path is that of the tree at seq: makes it that of the journal's tail, as far as directories
 * were renamed. */
int renames_since(struct state_txn *txn, uint16_t store, uint64_t seq, struct buf *path,
                  struct err *e) _must_check_;

#endif
