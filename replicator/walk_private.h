/* walk_private.h - what walk.c, walk_fix.c, walk_moved.c and walk_verify.c share: the directories
 * under way, and both sides' view of one. */
#ifndef MAILTWIN_WALK_PRIVATE_H
#define MAILTWIN_WALK_PRIVATE_H

#include "lib/base/path.h"
#include "replicator/hints.h"
#include "replicator/scrub.h"
#include "replicator/seq_mark.h"
#include "replicator/walk.h"

#include <stdatomic.h>

#define ASKS_MAX      128 /* directories under way */
#define READING_MAX   32  /* of them, handed to the reading thread with a descriptor each */
#define FIX_NAMES_MAX 500 /* fixed in one step */

enum ask_state {
    ASK_FREE,
    ASK_WANTED,
    ASK_READING, /* verify: for the question */
    ASK_SENT,
    ASK_ANSWERED,
    ASK_REREADING, /* verify: to be compared with the answer */
    ASK_CONFIRM,   /* verify: a record may still take back what differs */
};

struct ask {
    enum ask_state state;
    uint64_t dir;
    uint16_t store;
    unsigned tries, remade;
    uint8_t verdict;
    struct attr self;
    struct listing theirs;
    size_t theirs_bytes; /* as they came */
    bool sorted;
    bool moved;                       /* its path changed since, or it did not fit: it is void */
    uint8_t digest[WIRE_DIGEST_SIZE]; /* as asked, like the path */
    struct buf path;
    struct hints touched;  /* names that records went out for since; "" the directory; lazy */
    struct hints suspects; /* verify: names that differed in every round so far; lazy */
    struct buf differs;    /* verify: what differs, see walk_verify.c */
    bool sifted;           /* verify: `suspects` counts */
    struct seq_mark *mark; /* verify: the journal's position when both sides had been read */
    uint8_t after[PATH_NAME_MAX];
    size_t after_len; /* fixed up to this name */
    bool self_done;
};

struct walk {
    const struct node *node;
    struct ship *ship;
    struct places *places;
    struct walk_opts opts;
    struct scrub *scrub; /* verify */
    size_t reading;      /* directories it has in hand */
    struct ask asks[ASKS_MAX];
    uint64_t next;
    uint64_t level;     /* all directories with a smaller id are level */
    bool all_asked;     /* up to the newest there was at the last look */
    bool complete;      /* and nothing was under way */
    bool ordered;       /* removals that may not be in the journal yet */
    struct buf recheck; /* store, path (span16) of names that files were moved or linked to */
    struct hints moved; /* by store, path: what records moved, to be fixed there */
    uint32_t id;
    size_t asked_bytes; /* of paths, in the message */
    size_t names_read;  /* in the step in hand */
    struct walk_progress progress;
    struct wire_msg msg;
};

/* A set of names that is made when the first one comes. */
void ask_mark(struct hints *names, struct span name);
bool ask_has(const struct hints *names, struct span name);
/* Did a record about this name go out since the question? */
bool ask_touched(const struct ask *a, struct span name);
/* What the peer has under this name, NULL for nothing. */
const struct wire_entry *ask_find(struct ask *a, struct span name);

void walk_entry(struct span name, const struct state_entry *entry, struct wire_entry *ret_entry);
/* Adds the hash: of a symlink's target, or of extended attributes. */
int walk_entry_hash(const struct place *place, struct span name, struct wire_entry *entry,
                    struct err *e) _must_check_;

/* Collects fix-ups of an answered directory, up to a bound. 1 more of it is left or records came in
 * that go first, 0 it is complete. */
int walk_fix(struct walk *w, struct ask *a, struct reclist *out, const struct walk_orders *orders,
             struct err *e) _must_check_;
/* Before a directory is looked at for a question: of what was known of it nothing counts any more.
 */
void ask_begin(struct ask *a, struct span path);
void ask_clear(struct ask *a);
/* 1 its place; 0 the directory is gone, a record tells the peer, and the ask is free; -1. */
int walk_place(struct walk *w, struct state_txn *txn, struct ask *a, struct place **ret_place,
               struct err *e) _must_check_;
struct ask *walk_first(struct walk *w, enum ask_state state); /* by directory; NULL none */
struct ask *walk_free_ask(struct walk *w);                    /* NULL: all are under way */
void walk_want(struct walk *w, struct ask *free, uint64_t dir, uint16_t store);
/* Wants the directories again that may have other links of a file than the peer's. */
int walk_choose_again(struct walk *w, struct state_txn *txn, struct err *e) _must_check_;
/* Collects fix-ups of what records moved, up to a bound. 1 records came in that go first. */
int walk_fix_moved(struct walk *w, struct reclist *out, struct err *e) _must_check_;
/* Takes the next directories into hand. */
int walk_choose(struct walk *w, struct state_txn *txn, struct err *e) _must_check_;
/* Adds a question to the message, which goes out when it is full, for another store or for another
 * kind of comparison. */
int walk_question(struct walk *w, struct ask *a, uint8_t flags, struct err *e) _must_check_;
int walk_flush(struct walk *w, struct err *e) _must_check_;

/* The peer cannot read the directory. */
void walk_verify_failed(struct walk *w, struct ask *a);
bool walk_verify_can_step(const struct walk *w);
int walk_verify_step(struct walk *w, const struct walk_orders *orders, struct err *e) _must_check_;

#endif
