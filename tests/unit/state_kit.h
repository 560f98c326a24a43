/* state_kit.h - what the tests of the state database share: a database in a folder of its own, rows
 * in a line each, and the rules of docs/formats/journal.md that hold between its tables. */
#ifndef MAILTWIN_TEST_STATE_KIT_H
#define MAILTWIN_TEST_STATE_KIT_H

#include "lib/data/state_private.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct db {
    char path[64];
    int dirfd;
    struct state_opts opts;
    struct state *state;
    struct err e;
};

static inline void
db_open(struct db *db)
{
    if (state_open(db->dirfd, &db->opts, &db->state, &db->e) < 0)
        fail_msg("%s", db->e.text);
}

static inline void
db_in(struct db *db, struct state_opts opts)
{
    db->dirfd = open(db->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(db->dirfd >= 0);
    db->opts = opts;
    db_open(db);
}

/* In a new folder; without syncing unless opts are given. */
static inline struct db *
db_new(const struct state_opts *opts)
{
    static const struct state_opts fast = { .map_size = 256 << 20, .no_sync = true };
    struct db *db = calloc(1, sizeof(*db));
    assert_non_null(db);
    snprintf(db->path, sizeof(db->path), "/tmp/mailtwin-state-XXXXXX");
    assert_non_null(mkdtemp(db->path));
    test_scratch(db->path);
    db_in(db, opts != NULL ? *opts : fast);
    return db;
}

static inline void
db_reopen(struct db *db)
{
    state_free(&db->state);
    db_open(db);
}

static inline void
db_free(struct db *db)
{
    state_free(&db->state);
    unlinkat(db->dirfd, "state", 0);
    unlinkat(db->dirfd, "state-lock", 0);
    close(db->dirfd);
    assert_int_equal(rmdir(db->path), 0);
    free(db);
}

static inline void
db_must(const struct db *db, int rc)
{
    if (rc < 0)
        fail_msg("%s", db->e.text);
}

static inline struct state_txn *
db_begin(struct db *db, bool write)
{
    struct state_txn *txn = NULL;
    db_must(db, state_begin(db->state, write, &txn, &db->e));
    return txn;
}

static inline void
db_commit(struct db *db, struct state_txn *txn)
{
    db_must(db, state_commit(&txn, &db->e));
}

/* --- rows --- */

static inline struct record
db_put_record(const char *path)
{
    return (struct record){ .op = OP_PUT,
                            .path = span_str(path),
                            .attr = { .mode = S_IFREG | 0600, .size = 7 },
                            .handle = span_of("\1\0\0\0handle", 10) };
}

static inline uint64_t
db_make_dir(struct db *db, struct state_txn *txn, uint16_t store, uint64_t parent, const char *name,
            const char *handle)
{
    struct state_dir dir = { .parent = parent, .store = store };
    dir.attr.mode = S_IFDIR | 0700;
    dir.name = span_str(name);
    dir.handle = span_str(handle);
    db_must(db, state_dir_put(txn, &dir, &db->e));
    return dir.id;
}

static inline void
db_put_entry(struct db *db, struct state_txn *txn, uint64_t dir, const char *name, uint64_t ino,
             uint64_t self)
{
    struct state_entry entry = { .ino = ino, .nlink = 1, .dir = self };
    entry.attr.mode = self != 0 ? S_IFDIR | 0700 : S_IFREG | 0600;
    entry.handle = span_str("object");
    db_must(db, state_entry_put(txn, dir, span_str(name), &entry, &db->e));
}

/* A directory with its row in its parent. */
static inline uint64_t
db_mkdir(struct db *db, struct state_txn *txn, uint16_t store, uint64_t parent, const char *name,
         uint64_t ino)
{
    char handle[32];
    snprintf(handle, sizeof(handle), "filesys:%llu", (unsigned long long)ino);
    uint64_t id = db_make_dir(db, txn, store, parent, name, handle);
    db_put_entry(db, txn, parent, name, ino, id);
    return id;
}

static inline bool
db_has(struct db *db, struct state_txn *txn, uint64_t dir, const char *name)
{
    struct state_entry entry;
    int found = state_entry_get(txn, dir, span_str(name), &entry, &db->e);
    db_must(db, found);
    return found > 0;
}

/* --- what holds between the tables --- */

static inline size_t
db_count(struct state_txn *txn, enum state_table table)
{
    MDB_stat stat;
    assert_int_equal(mdb_stat(txn->mdb, txn->state->tables[table], &stat), 0);
    return stat.ms_entries;
}

static inline void
db_check_names(struct db *db, struct state_txn *txn, uint16_t store, uint64_t dir, struct span name,
               const struct state_entry *entry)
{
    uint32_t names = 0;
    bool listed = false;
    uint64_t other;
    struct span other_name;
    for (;; names++) {
        int found = state_name_of(txn, store, entry->ino, names, &other, &other_name, &db->e);
        db_must(db, found);
        if (found == 0)
            break;
        listed |= other == dir && span_equal(other_name, name);
    }
    CHECK(listed);
    CHECK_INT(names, entry->nlink);
}

static inline void
db_check_subdir(struct db *db, struct state_txn *txn, uint64_t parent, struct span name,
                uint64_t id)
{
    struct state_dir row;
    CHECK_INT(state_dir_get(txn, id, &row, &db->e), 1);
    CHECK_INT(row.parent, parent);
    CHECK(span_equal(row.name, name));
}

/* Returns how many names the directory has. */
static inline size_t
db_check_dir(struct db *db, struct state_txn *txn, const struct state_dir *dir, size_t *subdirs)
{
    uint8_t after[255];
    size_t after_len = 0;
    size_t count = 0;
    uint64_t id;
    CHECK_INT(state_dir_find(txn, dir->handle, &id, &db->e), 1);
    CHECK_INT(id, dir->id);
    for (;; count++) {
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(txn, dir->id, span_of(after, after_len), &name, &entry,
                                     &db->e);
        db_must(db, found);
        if (found == 0)
            return count;
        CHECK(span_compare(span_of(after, after_len), name) < 0);
        memcpy(after, name.ptr, name.len);
        after_len = name.len;
        db_check_names(db, txn, dir->store, dir->id, name, &entry);
        if (entry.dir == 0)
            continue;
        db_check_subdir(db, txn, dir->id, name, entry.dir);
        ++*subdirs;
    }
}

/* All of "In step" of docs/formats/journal.md. */
static inline void
db_check_in_step(struct db *db, struct state_txn *txn)
{
    size_t roots = 0;
    size_t subdirs = 0;
    size_t entries = 0;
    struct state_dir dir;
    for (uint64_t from = 1; state_dir_next(txn, from, &dir, &db->e) > 0; from = dir.id + 1) {
        CHECK(dir.id < state_meta(txn)->next_dir);
        roots += dir.parent == 0;
        entries += db_check_dir(db, txn, &dir, &subdirs);
    }
    CHECK_INT(db_count(txn, TABLE_DIRS), roots + subdirs);
    CHECK_INT(db_count(txn, TABLE_HANDLES), roots + subdirs);
    CHECK_INT(db_count(txn, TABLE_ENTRIES), entries);
    CHECK_INT(db_count(txn, TABLE_INODES), entries);
}

#endif
