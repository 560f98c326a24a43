/* state.h - the node's durable memory: journal and index of all stores in one LMDB environment,
 * changed in one transaction, so that the index is exactly the tree at the journal's tail. Format:
 * docs/formats/journal.md.
 *
 * One writer at a time (the capture thread of a primary, the receiver of a standby), any number of
 * reading threads. What a transaction wrote is durable once state_commit() has returned 0. */
#ifndef MAILTWIN_STATE_H
#define MAILTWIN_STATE_H

#include "lib/data/record.h"
#include "lib/data/wire.h"

struct state;
struct state_txn;

struct state_opts {
    uint64_t map_size;    /* upper bound of the file; 0: 1 TiB of address space */
    uint64_t journal_max; /* bytes of encoded records kept at most; 0: no bound */
    bool no_sync;         /* tests and benchmarks only */
};

enum {
    STATE_ROOT_DIR = 1
}; /* the directory id of each store's root */

/* What is known about the node's data as a whole. */
struct state_meta {
    uint8_t history[WIRE_HISTORY_SIZE];
    uint8_t role; /* enum wire_role */
    uint64_t epoch;
    uint64_t tail;       /* newest seq */
    uint64_t oldest;     /* oldest seq kept; tail + 1 when none is */
    uint64_t log_bytes;  /* encoded bytes of the records kept */
    uint64_t sync_base;  /* standby: an unfinished sync began at this seq; 0 none */
    uint64_t checkpoint; /* everything up to this seq is on the stores' disks */
    uint8_t boot_id[16]; /* the boot in which it was last open */
    uint8_t clean;       /* 1: stopped cleanly, `evidence` is valid */
    uint8_t indexed;     /* 1: the index is complete (the first scan or sync is done) */
    uint64_t next_dir;   /* next directory id */
};

/* A row that a standby wrote: nobody has watched the directory here yet. */
#define STATE_DIR_UNSEEN INT64_MIN

struct state_dir {
    uint64_t id;
    uint64_t parent; /* 0 for a root */
    uint16_t store;
    int64_t mtime_ns; /* as read by the last look, 0: look again at the next sweep; or UNSEEN */
    int64_t ctime_ns;
    uint64_t xattrs; /* a digest of its extended attributes as last recorded; 0 none */
    struct attr attr;
    struct span name;   /* "" for a root */
    struct span handle; /* its file handle, with the filesystem's id in front */
};

struct state_entry {
    struct attr attr;
    int64_t ctime_ns;
    uint64_t ino;
    uint32_t nlink;
    uint64_t dir; /* the directory's own id when the entry is a directory, else 0 */
    struct span handle;
};

/* Opens the database in dirfd, and makes it when there is none: under its name it is whole,
 * whenever the process or the power ends. One process at a time; the caller sees to that. */
int state_open(int dirfd, const struct state_opts *opts, struct state **ret_state,
               struct err *e) _must_check_;
void state_free(struct state **state);
/* The disk refused the last word of a commit: LMDB begins no transaction any more until the
 * database is opened anew, which finds the one before. From any thread. */
bool state_is_broken(const struct state *state);

/* A write transaction belongs to the thread that began it; a read transaction too. */
int state_begin(struct state *state, bool write, struct state_txn **ret_txn,
                struct err *e) _must_check_;
/* Ends it either way. ERR_NOSPACE: the disk is full, nothing of it happened. */
int state_commit(struct state_txn **txn, struct err *e) _must_check_;
void state_abort(struct state_txn **txn); /* NULL is fine */
#define _cleanup_txn_ _cleanup_(state_abort)

/* The copy inside the transaction; change it through the pointer, commit stores it. */
struct state_meta *state_meta(struct state_txn *txn);

/* Small values by name: peers' positions, history list, device evidence. 1 found, 0 none. */
int state_get(struct state_txn *txn, const char *key, struct span *ret_value,
              struct err *e) _must_check_;
int state_put(struct state_txn *txn, const char *key, struct span value,
              struct err *e) _must_check_;
int state_del(struct state_txn *txn, const char *key, struct err *e) _must_check_;

/* The newest promotion of this history that any node told of, 0 none: the node's own epoch only
 * moves when it follows. It only grows, until it is forgotten with the history. */
int state_epoch_heard(struct state_txn *txn, uint64_t *ret_epoch, struct err *e) _must_check_;
int state_epoch_hear(struct state_txn *txn, uint64_t epoch, struct err *e) _must_check_;
int state_epoch_forget(struct state_txn *txn, struct err *e) _must_check_;

/* Journal. Appends with seq tail + 1 and the current epoch when r->seq is 0, else with the record's
 * own (a standby's copy; must be above the tail). Trims the oldest beyond journal_max. */
int state_append(struct state_txn *txn, struct record *r, struct err *e) _must_check_;
/* The first record with a seq >= from. 1 found (spans live as long as the transaction and no
 * write), 0 none. */
int state_record(struct state_txn *txn, uint64_t from, struct record *ret_record,
                 struct err *e) _must_check_;
/* Drops all records and starts behind tail: a standby that begins a sync. */
int state_log_reset(struct state_txn *txn, uint64_t tail, struct err *e) _must_check_;

/* Index: directories. */
int state_dir_get(struct state_txn *txn, uint64_t id, struct state_dir *ret_dir,
                  struct err *e) _must_check_;
int state_dir_find(struct state_txn *txn, struct span handle, uint64_t *ret_id,
                   struct err *e) _must_check_;
/* Gives it the next id when dir->id is 0, and stores it. */
int state_dir_put(struct state_txn *txn, struct state_dir *dir, struct err *e) _must_check_;
/* A directory that moves between two stores of one filesystem is for a moment in both, and its
 * handle leads to one of the rows. claim: to this one from now on; 1 it led to another, and what
 * was told of the directory since was told of that one: it must be looked at, and read. heir: the
 * same happened to *ret_id because another row was removed; one at a time, of this transaction. */
int state_dir_claim(struct state_txn *txn, uint64_t id, struct err *e) _must_check_;
bool state_heir(struct state_txn *txn, uint64_t *ret_id);
/* The inode number of a file that lost a name below a directory that was removed, and may have
 * others in the store; one at a time, of this transaction. */
bool state_bereaved(struct state_txn *txn, uint64_t *ret_ino);
/* The first directory with an id >= from. 1 found, 0 none. */
int state_dir_next(struct state_txn *txn, uint64_t from, struct state_dir *ret_dir,
                   struct err *e) _must_check_;
/* Its path below the store's root. ERR_CORRUPT when a parent is missing. */
int state_dir_path(struct state_txn *txn, uint64_t id, struct buf *ret_path,
                   struct err *e) _must_check_;

/* Index: entries. get: 1 found, 0 none. put replaces; both keep dirs and inodes in step: putting a
 * directory makes its entry->dir point to dirs' row (which the caller stores first). */
int state_entry_get(struct state_txn *txn, uint64_t dir, struct span name,
                    struct state_entry *ret_entry, struct err *e) _must_check_;
int state_entry_put(struct state_txn *txn, uint64_t dir, struct span name,
                    const struct state_entry *entry, struct err *e) _must_check_;
/* Removes the name; a directory with all below it. */
int state_entry_del(struct state_txn *txn, uint64_t dir, struct span name,
                    struct err *e) _must_check_;
/* Moves the name, replacing what has the new one; a directory keeps its id. */
int state_entry_move(struct state_txn *txn, uint64_t dir, struct span name, uint64_t new_dir,
                     struct span new_name, struct err *e) _must_check_;
/* Walks a directory's entries in the order of names: the first with a name > after ("" the first).
 * The spans of *ret_name live as long as the transaction and no write. */
int state_entry_next(struct state_txn *txn, uint64_t dir, struct span after, struct span *ret_name,
                     struct state_entry *ret_entry, struct err *e) _must_check_;

/* Names of an inode of a store: the index-th. 1 found, 0 no more. */
int state_name_of(struct state_txn *txn, uint16_t store, uint64_t ino, unsigned index,
                  uint64_t *ret_dir, struct span *ret_name, struct err *e) _must_check_;
/* Names of an object of a store: of its inode's, those that have its handle. The number of an
 * object that is gone is given to another at once, and until the name of the first was looked at
 * the index has both. *index begins at 0 and is moved behind the name found; 1 found, 0 no more. */
int state_object_name(struct state_txn *txn, uint16_t store, const struct state_entry *object,
                      unsigned *index, uint64_t *ret_dir, struct span *ret_name,
                      struct state_entry *ret_entry, struct err *e) _must_check_;

/* Names that a power loss took or may have spoilt, until a standby gave them back or no node can. A
 * row goes with its entry: moved with it, removed with it. */
enum state_held_kind {
    STATE_HELD_LOST = 1, /* missing, or less than the index says: not recorded as it is now */
    STATE_HELD_DOUBT,    /* looks right, but its bytes may not have reached the disk */
};

struct state_held {
    uint64_t dir;
    struct span name;
    uint8_t kind;    /* enum state_held_kind */
    uint64_t seq;    /* who has not come as far cannot have it */
    uint64_t newest; /* who has come as far must have had all of it */
    /* What the loss left under the name; its handle is empty when there was nothing. */
    uint64_t size;
    int64_t mtime_ns;
    struct span left;
    struct span without; /* the nodes that showed that they have it not: a span16 each */
};

/* 1 held, 0 not. */
int state_held_get(struct state_txn *txn, uint64_t dir, struct span name,
                   struct state_held *ret_held, struct err *e) _must_check_;
int state_held_put(struct state_txn *txn, const struct state_held *held,
                   struct err *e) _must_check_;
int state_held_del(struct state_txn *txn, uint64_t dir, struct span name,
                   struct err *e) _must_check_;
/* The first one behind (dir, after), in the order of directory ids and names; 0, "" begins. 1 found
 * (spans live as long as the transaction and no write), 0 no more. */
int state_held_next(struct state_txn *txn, uint64_t dir, struct span after,
                    struct state_held *ret_held, struct err *e) _must_check_;
uint64_t state_held_count(struct state_txn *txn);
int state_held_clear(struct state_txn *txn, struct err *e) _must_check_;
bool state_held_without(const struct state_held *held, struct span node);

/* Resolves a store path to the directory that holds its last component. 1 found, 0 a parent is
 * missing. */
int state_resolve(struct state_txn *txn, uint16_t store, struct span path, uint64_t *ret_dir,
                  struct span *ret_name, struct err *e) _must_check_;
/* The id of the root directory of a store, 0 when it has none yet. */
uint64_t state_root(struct state_txn *txn, uint16_t store);

#endif
