/* apply.h - carries a peer's operations out in the stores of this node: stage, sync, rename, sync,
 * report.
 *
 * One thread calls it; syncing of staged files is done by workers of its own. Whole or absent:
 * content is staged, in a file without a name or in <store>/.mailtwin/stage, and gets its name at
 * the end. Confined: every name is reached by file_open_beneath(). Exactly once: a marker in
 * <store>/.mailtwin/applied, renamed after each operation of the journal, says which are done after
 * any crash; those are skipped. */
#ifndef MAILTWIN_APPLY_H
#define MAILTWIN_APPLY_H

#include "lib/data/wire.h"

#include <sys/stat.h>

#define APPLY_HANDLE_MAX 128

enum apply_result {
    APPLY_DONE,    /* carried out now */
    APPLY_SKIPPED, /* the marker says it was carried out before a crash; or its content was gone */
    APPLY_NEED,    /* what it builds on is not here: ask for `needs` as they are now */
};

/* Ask for this path, and for what is below it: it is missing, or in the way. */
struct apply_need {
    struct span path; /* of the record, or a directory above */
    bool is_dir;      /* a directory has the name */
    bool missing;     /* a directory above that is not there */
};

/* One operation after COMMIT, in order. For what existed right behind it, whatever came of it later
 * in the run: attr, ino, nlink, handle of the name. */
struct applied {
    const struct record *record; /* as it was received */
    enum apply_result result;
    const struct apply_need *needs; /* of its name, and of the old one of a RENAME */
    size_t need_count;
    bool certain; /* the name has the object that the record speaks of */
    bool exists;  /* record->path exists here, and the fields below are set */
    bool bare;    /* a directory that was just made: no name in it, no extended attributes */
    struct attr attr;
    int64_t ctime_ns;
    uint64_t ino;
    uint32_t nlink;
    struct span handle;
};

/* A file, or a directory with all below it, is about to be deleted or to get another content. */
struct apply_loss {
    const struct record *record;
    struct span path;
    int dirfd;
    const char *name;
    const struct stat *st;
    bool replaced; /* by another content */
};

struct retain;

struct apply_store {
    const char *path;      /* the store's root */
    struct retain *retain; /* keeps what is deleted and overwritten; NULL: it is deleted */
};

struct apply;

/* Opens the stores, makes .mailtwin where it is missing (0700), clears stage/, reads the markers.
 * ERR_BUSY: another engine has one of them open. */
int apply_open(const struct apply_store *stores, size_t store_count, unsigned workers,
               struct apply **ret_apply, struct err *e) _must_check_;
void apply_free(struct apply **apply);

/* The newest marker in the stores, without an engine and its lock: while none is open. A store that
 * none was ever opened on has none: 0. */
int apply_newest_marker(const struct apply_store *stores, size_t store_count, uint64_t *ret_seq,
                        struct err *e) _must_check_;

/* The marker of a store: operations with a seq up to this one are done; late ones of a run that was
 * broken off may not be. */
uint64_t apply_marker(const struct apply *apply, uint16_t store);
uint64_t apply_newest(const struct apply *apply); /* marker of all stores */
/* The caller keeps what became of the records up to seq where a crash does not lose it, and will
 * not receive them again: what is noted about them (NEED) goes. */
void apply_confirmed(struct apply *apply, uint64_t seq);
/* Forgets the markers durably: another history starts at seq. A run in hand is given up. */
int apply_reset(struct apply *apply, uint64_t seq, struct err *e) _must_check_;

/* The next operation of the run; what it needs is copied. content DATA or DELTA: apply_data() and
 * apply_end() follow. A failure (ERR_NOSPACE, ERR_IO) spoils the run: apply_abort(), and receive it
 * again. */
int apply_rec(struct apply *apply, const struct wire_rec *rec, struct err *e) _must_check_;
int apply_data(struct apply *apply, const struct wire_data *data, struct err *e) _must_check_;
int apply_end(struct apply *apply, const struct wire_end *end, struct err *e) _must_check_;

/* Carries the run out. When it returns 0, everything is durable: data, names, directories. `done`
 * is called for each operation in order, right behind it: the tree is as it left it, and not yet
 * durable. -1: a prefix of the operations was carried out, `done` was called for it and the markers
 * say which; the run can be received again as a whole. */
int apply_commit(struct apply *apply, void (*done)(void *arg, const struct applied *applied),
                 void *arg, struct err *e) _must_check_;
void apply_abort(struct apply *apply);

/* The tree may differ from the one that the records were written for (a sync, names that were asked
 * for): from now on an operation wants to find the very object it speaks of. */
void apply_doubt(struct apply *apply, bool doubt);

/* Asked before anything is deleted or overwritten, in order with `done`. -1 ends apply_commit()
 * before that operation. */
void apply_guard(struct apply *apply,
                 int (*ask)(void *arg, const struct apply_loss *loss, struct err *e), void *arg);

/* Operations and content bytes waiting for apply_commit(). */
size_t apply_pending(const struct apply *apply);
uint64_t apply_pending_bytes(const struct apply *apply);

/* Streams the librsync signature of path to give(); 0 given, 1 there is no such regular file or its
 * disk does not give it. Looks at the tree with the committed operations only. */
int apply_signature(struct apply *apply, uint16_t store, struct span path,
                    int (*give)(void *arg, struct span bytes, struct err *e), void *arg,
                    struct err *e) _must_check_;

#endif
