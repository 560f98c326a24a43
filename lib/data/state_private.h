/* state_private.h - what state.c, journal.c, index.c and held.c share. Format:
 * docs/formats/journal.md. */
#ifndef MAILTWIN_STATE_PRIVATE_H
#define MAILTWIN_STATE_PRIVATE_H

#include "lib/base/path.h"
#include "lib/data/state.h"

#include <lmdb.h>
#include <stdatomic.h>
#include <string.h>

enum state_table {
    TABLE_META,
    TABLE_RECORDS,
    TABLE_DIRS,
    TABLE_HANDLES,
    TABLE_ENTRIES,
    TABLE_INODES,
    TABLE_HELD
};
enum {
    TABLE_COUNT = TABLE_HELD + 1
};

struct state {
    MDB_env *env;
    MDB_dbi tables[TABLE_COUNT];
    uint64_t journal_max;
    atomic_bool broken;
};

struct state_txn {
    struct state *state;
    MDB_txn *mdb;
    bool write;
    struct state_meta meta;
    struct state_meta stored; /* as it lies in the table */
    struct buf scratch;       /* encodes one value at a time */
    struct buf heirs;         /* u64 ids for state_heir() */
    struct buf bereaved;      /* u64 inode numbers for state_bereaved() */
};

/* The sentence for an LMDB return code; a full disk or map is ERR_NOSPACE. */
int state_failed(struct err *e, struct state *state, int rc, const char *doing);

/* Thin and total: 1 found, 0 none, -1. */
int table_get(struct state_txn *txn, enum state_table table, struct span key,
              struct span *ret_value, struct err *e) _must_check_;
int table_put(struct state_txn *txn, enum state_table table, struct span key, struct span value,
              struct err *e) _must_check_;
/* Missing is fine. */
int table_del(struct state_txn *txn, enum state_table table, struct span key,
              struct err *e) _must_check_;
/* The first pair with a key >= from. */
int table_seek(struct state_txn *txn, enum state_table table, struct span from,
               struct span *ret_key, struct span *ret_value, struct err *e) _must_check_;

/* The held row of a name goes with its entry: to another name, or away when `to` is empty. */
int held_follow(struct state_txn *txn, struct span from, struct span to,
                struct err *e) _must_check_;

/* Removes the row of a directory whose entry (with this inode) is gone. */
int index_dir_del(struct state_txn *txn, uint64_t id, uint64_t ino, struct err *e) _must_check_;

static inline MDB_val
val_of(struct span s)
{
    union {
        const uint8_t *in;
        void *out;
    } ptr = { .in = s.ptr };
    return (MDB_val){ .mv_size = s.len, .mv_data = ptr.out };
}

static inline struct span
span_of_val(MDB_val v)
{
    return span_of(v.mv_data, v.mv_size);
}

struct key64 {
    uint8_t raw[8];
};

static inline struct key64
key64_of(uint64_t number)
{
    struct key64 key;
    put_be64(key.raw, number);
    return key;
}

#define KEY64(number) span_of(key64_of(number).raw, 8)

/* Key of a name in entries and held. */
#define ENTRY_KEY_MAX (8 + PATH_NAME_MAX)

struct entry_key {
    uint8_t raw[ENTRY_KEY_MAX];
    size_t len;
};

static inline struct span
entry_key(struct entry_key *key, uint64_t dir, struct span name)
{
    ASSERT(name.len <= PATH_NAME_MAX);
    put_be64(key->raw, dir);
    if (name.len > 0)
        memcpy(key->raw + 8, name.ptr, name.len);
    key->len = 8 + name.len;
    return span_of(key->raw, key->len);
}

/* Where to seek for what comes behind that name; "": for the directory's first. The smallest key
 * above a name is the name with a NUL behind it; names hold no NUL. */
static inline struct span
entry_key_above(uint8_t from[ENTRY_KEY_MAX + 1], uint64_t dir, struct span after)
{
    struct entry_key key;
    struct span start = entry_key(&key, dir, after);
    memcpy(from, start.ptr, start.len);
    from[start.len] = '\0';
    return span_of(from, start.len + (after.len > 0 ? 1 : 0));
}

#endif
