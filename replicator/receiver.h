/* receiver.h - what a standby keeps of what it applies: journal and index, in step with the tree.
 */
#ifndef MAILTWIN_RECEIVER_H
#define MAILTWIN_RECEIVER_H

#include "replicator/apply.h"
#include "replicator/listing.h"
#include "replicator/node.h"
#include "replicator/reclist.h"

/* The writer of a standby's state; belongs to the receiving session's thread. Operations are
 * applied first (the marker in the store says how far) and written here after that, so a crash
 * leaves the state behind, never ahead. */
struct ledger {
    struct node *node;
    struct state_txn *txn; /* open while something is unwritten */
    struct reclist run; /* records of the run in hand; late ones come out of the order of numbers */
    uint64_t tail;      /* newest seq written, committed or not */
    uint64_t behind;    /* as LEDGER_BEHIND */
    unsigned unwritten;
    bool unnumbered;  /* of these some come with no record, and not again */
    bool marker_void; /* the stores' marker speaks of what was received before the last START */
};

/* Rows of the state, see docs/formats/journal.md. */
/* The tree may have what the index has not: a session receives, or the last one was broken off. Its
 * u64: so it is until the index has a record behind this one; 0: until the session ends. */
#define LEDGER_BEHIND      "index_behind"
#define LEDGER_MARKER_VOID "marker_void" /* while it is */
/* The data here may be replaced: "1" an operator said so; two seqs: all behind
 * the first up to the second is kept, see salvage_core.h. */
#define LEDGER_ACCEPT_SYNC "accept_sync"
#define LEDGER_KEPT_ROW    16
#define LEDGER_SYNC_FROM   "sync_from" /* the node that it is to be replaced by */
#define LEDGER_EPOCHS      "epochs"
#define LEDGER_EPOCH_ROW   16 /* epoch, first seq */

int ledger_open(struct ledger *l, struct node *node, struct err *e) _must_check_;
void ledger_free(struct ledger *l); /* gives up what is not committed */
/* Takes over the sender's history: what START says, and marker_void. `fresh`: the index is empty
 * and will be complete. marker: the stores' newest. */
int ledger_start(struct ledger *l, const struct wire_start *start, bool fresh, uint64_t marker,
                 struct err *e) _must_check_;
/* The session ends, and all that it carried out is committed and was asked for: the index may have
 * all that the tree has. */
int ledger_end(struct ledger *l, struct err *e) _must_check_;
/* 1 the tree may have what the index has not, 0 not, -1. */
int ledger_is_behind(struct state_txn *txn, struct err *e) _must_check_;
/* The marker was set anew. */
int ledger_marker_counts(struct ledger *l, struct err *e) _must_check_;
/* One operation that was carried out. */
int ledger_note(struct ledger *l, const struct applied *applied, struct err *e) _must_check_;
/* The run is complete: its records go into the journal in the order of their numbers. */
int ledger_run_end(struct ledger *l, struct err *e) _must_check_;
int ledger_sync_done(struct ledger *l, struct err *e) _must_check_;
/* Before something is written: a transaction is open. */
int ledger_writable(struct ledger *l, struct err *e) _must_check_;
int ledger_commit(struct ledger *l, struct err *e) _must_check_;

/* --- ledger_index.c: within the transaction --- */

/* The index after one operation; the tree is as it was right behind it. */
int ledger_index(struct ledger *l, const struct applied *applied, struct err *e) _must_check_;
/* A directory as it was found, sorted: the index may know less, or what is no longer so. */
int ledger_see(struct ledger *l, uint16_t store, struct span path, int fd,
               const struct listing *seen, struct err *e) _must_check_;

#endif
