/* apply_private.h - what the files of the apply engine share.
 *
 *   apply.c        the interface: opening, records, abort      apply_commit.c  carries a run out
 *   apply_root.c   a store's .mailtwin, the marker, the notes  apply_ops.c     each operation
 *   apply_stage.c  content on its way into stage/              apply_dirs.c    open directories
 *   apply_delta.c  librsync: signatures, patching              apply_pool.c    sync workers
 *   apply_need.c   what an operation lacks                 apply_copy.c    instead of a link
 *   apply_aside.c  what was removed is deleted in the background
 *   apply_loss.c   what is deleted or overwritten is retained */
#ifndef MAILTWIN_APPLY_PRIVATE_H
#define MAILTWIN_APPLY_PRIVATE_H

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"
#include "replicator/apply.h"
#include "replicator/folder.h"

#include <stdatomic.h>

#define APPLY_DIR_SLOTS   48   /* parent directories kept open */
#define APPLY_OPEN_MAX    512  /* staged files kept open while their bytes go to the disk ... */
#define APPLY_KEPT_FIXUPS 64   /* ... of fix-ups: a sync brings them by the hundred */
#define APPLY_UNNAMED_MAX 2000 /* staged files without a name, each with a descriptor */
#define APPLY_FLUSH_BYTES (4 * 1024 * 1024) /* of others, before the disk begins with them */
#define APPLY_SIGNATURES  16                /* signatures given whose deltas may still come */

/* For "%.*s": paths may be longer than a sentence. */
#define PATH_ARGS(path) (int)MIN((path).len, (size_t)PATH_NAME_MAX), (const char *)(path).ptr

/* --- one operation --- */

struct apply_delta;
struct apply_root;

struct apply_op {
    struct record record; /* its spans, and those of xattrs, point into bytes */
    uint8_t content;
    struct attr now;
    struct attrs_xattr *xattrs; /* owned */
    size_t xattr_count;
    struct buf bytes;
    struct apply_root *root;

    enum apply_result result;
    struct apply_need needs[2];
    size_t need_count;
    bool settled;   /* result is known before COMMIT: nothing is to be carried out */
    bool repeated;  /* carried out before a crash */
    bool made;      /* a directory that the operation made: there is nothing in it yet */
    uint64_t stage; /* number of its name in stage/, 0 none */
    int fd;         /* the staged file, until its bytes are on the disk, or it has a name */
    bool unnamed;   /* the staged file is not in stage/: it has no name before its own */
    bool kept; /* fd stays open: its bytes are waited for at COMMIT, and not those of the whole root
                */
    uint64_t size;
    uint32_t crc;
    struct apply_delta *delta;

    bool exists;  /* its name, behind the operation */
    bool certain; /* what has the name is what the record speaks of */
    struct stat st;
    struct attrs_handle handle;
};

void apply_op_free(struct apply_op **op);
#define _cleanup_op_ _cleanup_(apply_op_free)

/* --- a store --- */

enum apply_note {
    NOTE_LATE = 1, /* a late record of the run was carried out: it is not in the marker's order */
    NOTE_NEED = 2, /* this record ended in NEED, and NEED it stays when it comes again */
};

struct apply_notes {
    struct {
        uint64_t seq;
        enum apply_note note;
    } * list;
    size_t count, cap;
};

struct apply_root {
    char *path;
    int fd;         /* the store's root */
    int private_fd; /* .mailtwin */
    int stage_fd, aside_fd, applied_fd, notes_fd;
    struct trash aside;
    struct retain *retain; /* NULL: nothing is kept */
    uint64_t marker;       /* records up to this one are carried out; late ones */
    uint64_t complete;     /* only up to this one: the newest of the last whole run */
    struct apply_notes notes;
    bool ordered;                  /* metadata reaches the disk in the order it was changed */
    bool unsynced;                 /* what was carried out earlier may not be durable: syncfs */
    bool in_run;                   /* the run has records for it */
    unsigned kept;                 /* staged files that are waited for one by one */
    bool left;                     /* others wait for a sync of the filesystem */
    unsigned unnamed, unnamed_max; /* staged files without a name */
    uint64_t left_bytes;
    atomic_bool flushing;
    uint64_t normal_seq; /* newest of the run that is not late, and newest of all */
    uint64_t newest_seq;
};

int apply_root_open(struct apply_root *root, const char *path, struct err *e) _must_check_;
void apply_root_close(struct apply_root *root);
/* Moves the marker forward (or, for a reset, anywhere); not synced. */
int apply_root_mark(struct apply_root *root, uint64_t seq, uint64_t complete,
                    struct err *e) _must_check_;
int apply_root_note(struct apply_root *root, uint64_t seq, enum apply_note note,
                    struct err *e) _must_check_;
bool apply_root_noted(const struct apply_root *root, uint64_t seq, enum apply_note note);
/* Removes the notes that have served: late ones of whole runs, needs up to the record `confirmed`.
 */
int apply_root_forget(struct apply_root *root, uint64_t confirmed, struct err *e) _must_check_;
int apply_root_reset(struct apply_root *root, uint64_t seq, struct err *e) _must_check_;

/* --- workers --- */

struct apply_pool;
int apply_pool_new(unsigned threads, struct apply_pool **ret_pool, struct err *e) _must_check_;
void apply_pool_free(struct apply_pool **pool); /* finishes what was added */
/* soon: begun with at once; else with some others, which wakes fewer threads, or at the wait. */
void apply_pool_add(struct apply_pool *pool, int (*run)(void *arg, struct err *e), void *arg,
                    bool soon);
/* Until nothing is left to do; the first failure since the last wait. */
int apply_pool_wait(struct apply_pool *pool, struct err *e) _must_check_;

/* --- open directories --- */

struct apply_dir {
    struct apply_root *root;
    struct buf path;
    int fd; /* -1: an unused slot */
    uint64_t used;
};

struct apply_dirs {
    struct apply_dir slots[APPLY_DIR_SLOTS];
    uint64_t clock;
};

void apply_dirs_init(struct apply_dirs *dirs);
/* 1 there it is (valid for the next calls: the least recently used goes first), 0 no such
 * directory, -1 failed. */
int apply_dir_get(struct apply_dirs *dirs, struct apply_root *root, struct span path,
                  struct apply_dir **ret_dir, struct err *e) _must_check_;
/* The same for one that is likely to be missing below a parent that is there: tries to make it
 * first. *ret_made: it did, and there is nothing in it. 0: it could not. */
int apply_dir_new(struct apply_dirs *dirs, struct apply_root *root, struct span path,
                  struct apply_dir **ret_dir, bool *ret_made, struct err *e) _must_check_;
/* The same, making what is missing; 0: something else has the name of a parent. */
int apply_dir_make(struct apply_dirs *dirs, struct apply_root *root, struct span path,
                   struct apply_dir **ret_dir, struct err *e) _must_check_;
/* Forgets the directory and those below: it was moved or removed. */
void apply_dirs_drop(struct apply_dirs *dirs, struct apply_root *root, struct span path);
void apply_dirs_clear(struct apply_dirs *dirs);

/* --- deletion in the background --- */

struct apply_aside;
int apply_aside_new(struct apply_root *roots, size_t root_count, struct apply_aside **ret_aside,
                    struct err *e) _must_check_;
void apply_aside_free(struct apply_aside **aside);
/* Moves dirfd/name away, at once and without syncing; the name is free then. */
int apply_aside_take(struct apply_aside *aside, struct apply_root *root, int dirfd,
                     const char *name, struct err *e) _must_check_;

/* --- staging --- */

struct apply {
    struct apply_root *roots;
    size_t root_count;
    struct apply_pool *pool;
    struct apply_aside *aside;
    struct apply_dirs dirs;
    struct apply_op **ops;
    size_t count, cap;
    struct apply_op *open; /* its content is being received; the newest of ops */
    bool spoiled;          /* something failed; only apply_abort() helps */
    uint64_t bytes;
    uint64_t stage;     /* number of the newest staged name */
    uint64_t confirmed; /* records up to this one do not come again */
    bool doubt;         /* apply_doubt(), or an operation lacked something since */
    int (*guard)(void *arg, const struct apply_loss *loss, struct err *e);
    void *guard_arg;
    bool begun; /* a run with records was carried out since the opening */
    struct apply_signed {
        struct apply_root *root;
        struct buf path;
        struct stat st;
    } sigs[APPLY_SIGNATURES]; /* a ring */
    size_t sig_next;
};

/* Takes the next number in stage/ for op. */
void apply_stage_name(struct apply *a, struct apply_op *op, char ret_name[FOLDER_NUMBER_SIZE]);
/* Makes a staged file for op in stage/; returns its descriptor, the caller's. */
int apply_stage_create(struct apply *a, struct apply_op *op, struct err *e) _must_check_;
/* Gives the staged file a name in stage/, by which it can replace another one. */
int apply_stage_named(struct apply *a, struct apply_op *op, char ret_name[FOLDER_NUMBER_SIZE],
                      struct err *e) _must_check_;
/* The staged file has its own name now. */
void apply_stage_published(struct apply_op *op);
int apply_stage_begin(struct apply *a, struct apply_op *op, struct err *e) _must_check_;
int apply_stage_data(struct apply *a, struct apply_op *op, const struct wire_data *data,
                     struct err *e) _must_check_;
int apply_stage_end(struct apply *a, struct apply_op *op, const struct wire_end *end,
                    struct err *e) _must_check_;
/* Until the bytes of what was staged are on the disk. */
int apply_stage_wait(struct apply_op *op, struct err *e) _must_check_;
void apply_stage_drop(struct apply_op *op); /* removes what it has staged */
/* Owner, mode, extended attributes and, for what is not a directory, the time. In this order: chown
 * clears setuid, an ACL's mask is part of the mode, and every change but the last moves times. */
int apply_give_attrs(int fd, const struct attr *attr, const struct attrs_xattr *xattrs,
                     size_t xattr_count, struct err *e) _must_check_;
/* Those that came with op. */
int apply_set_attrs(const struct apply_op *op, int fd, struct err *e) _must_check_;

/* --- deltas --- */

/* 1 begun, 0 the base is not the file whose signature was given. */
int apply_delta_begin(struct apply *a, struct apply_op *op, struct err *e) _must_check_;
void apply_delta_free(struct apply_delta **delta);
/* 1 fine so far, 0 it does not fit. last: nothing more comes, and it must be complete. */
int apply_delta_feed(struct apply_delta *delta, int out_fd, struct span bytes, bool last,
                     struct err *e) _must_check_;
uint64_t apply_delta_received(const struct apply_delta *delta);
uint64_t apply_delta_size(const struct apply_delta *delta); /* of the file made */

/* --- what is lost (apply_loss.c) --- */

/* The name goes: its object is retained, or deleted. */
int apply_remove(struct apply *a, struct apply_op *op, int dirfd, const char *name,
                 const struct stat *st, struct err *e) _must_check_;
/* The same for what is in the way of an object of another type. */
int apply_clear_way(struct apply *a, struct apply_op *op, int dirfd, const char *name,
                    const struct stat *st, struct err *e) _must_check_;
/* Another object is about to take the name, if there is one. */
int apply_replaces(struct apply *a, struct apply_op *op, int dirfd, const char *name,
                   struct err *e) _must_check_;

/* --- operations --- */

/* Stages a durable copy of the file dirfd/name for op, with all that it carries. */
int apply_copy(struct apply *a, struct apply_op *op, int dirfd, const char *name,
               struct err *e) _must_check_;

/* Carries one out and sets its result. */
int apply_op_run(struct apply *a, struct apply_op *op, struct err *e) _must_check_;
/* What it lacked, when its result is NEED. */
void apply_op_lacks(struct apply_op *op);
/* How the name looks now, before the next operation: the same run may use it again. */
int apply_op_look(struct apply *a, struct apply_op *op, struct err *e) _must_check_;

#endif
