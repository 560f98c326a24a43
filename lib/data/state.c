#include "lib/base/crc.h"
#include "lib/data/state_private.h"
#include "lib/os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef MAP_SIZE_DEFAULT /* the Makefile gives tsan a smaller one */
#define MAP_SIZE_DEFAULT (1ULL << 40)
#endif
#define READERS_MAX      256
#define ROOM_MIN         (64 << 10) /* free bytes: less is a full disk */
#define META_KEY         "node"
#define NEWEST_EPOCH     "newest_epoch"
#define META_SIZE        96
#define META_VERSION     1
#define META_OFF_VERSION 91
#define META_OFF_CRC     92

static const struct {
    const char *name;
    unsigned flags;
} tables[TABLE_COUNT] = {
    [TABLE_META] = { "meta", 0 },       [TABLE_RECORDS] = { "records", 0 },
    [TABLE_DIRS] = { "dirs", 0 },       [TABLE_HANDLES] = { "handles", 0 },
    [TABLE_ENTRIES] = { "entries", 0 }, [TABLE_INODES] = { "inodes", MDB_DUPSORT },
    [TABLE_HELD] = { "held", 0 },
};

/* LMDB answers EIO to a write that was cut short, which is what a filesystem does first when it
 * becomes full. */
static bool
was_cut_short(const struct state *state, int rc)
{
    int fd;
    struct statvfs fs;
    if (rc != EIO || mdb_env_get_fd(state->env, &fd) != 0 || fstatvfs(fd, &fs) < 0)
        return false;
    return fs.f_bavail * fs.f_frsize < ROOM_MIN;
}

int
state_failed(struct err *e, struct state *state, int rc, const char *doing)
{
    enum err_code code = ERR_IO;
    if (was_cut_short(state, rc))
        rc = ENOSPC;
    if (rc == MDB_PANIC)
        atomic_store(&state->broken, true);
    if (rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL)
        code = ERR_NOSPACE;
    else if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_PANIC)
        code = ERR_CORRUPT;
    err_set(e, code, "%s in the state database: %s", doing, mdb_strerror(rc));
    if (e != NULL && rc > 0)
        e->sys = rc;
    return -1;
}

static int
open_tables(struct state *state, struct err *e)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(state->env, NULL, 0, &txn);
    if (rc != 0)
        return state_failed(e, state, rc, "begin the first transaction");
    for (int i = 0; rc == 0 && i < TABLE_COUNT; i++)
        rc = mdb_dbi_open(txn, tables[i].name, MDB_CREATE | tables[i].flags, &state->tables[i]);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return state_failed(e, state, rc, "open a table");
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? 0 : state_failed(e, state, rc, "create the tables");
}

static int
open_env(struct state *state, int dirfd, const char *name, const struct state_opts *opts,
         struct err *e)
{
    int rc = mdb_env_create(&state->env);
    if (rc != 0)
        return state_failed(e, state, rc, "set up");
    mdb_env_set_maxdbs(state->env, TABLE_COUNT);
    mdb_env_set_maxreaders(state->env, READERS_MAX);
    mdb_env_set_mapsize(state->env, opts->map_size != 0 ? opts->map_size : MAP_SIZE_DEFAULT);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
    /* NOTLS: a reading transaction belongs to its session, not to whichever thread runs it. */
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | (opts->no_sync ? MDB_NOSYNC : 0u);
    rc = mdb_env_open(state->env, path, flags, 0600);
    return rc == 0 ? 0 : state_failed(e, state, rc, "open the file");
}

static int
open_named(int dirfd, const char *name, const struct state_opts *opts, struct state **ret_state,
           struct err *e)
{
    struct state *state = xcalloc(1, sizeof(*state));
    state->journal_max = opts->journal_max;
    if (open_env(state, dirfd, name, opts, e) < 0 || open_tables(state, e) < 0) {
        state_free(&state);
        return -1;
    }
    *ret_state = state;
    return 0;
}

static int
remove_new(int dirfd, struct err *e)
{
    static const char *const names[] = { "state.new", "state.new-lock" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (unlinkat(dirfd, names[i], 0) < 0 && errno != ENOENT)
            return err_sys(e, ERR_IO, "remove %s", names[i]);
    }
    return 0;
}

/* The database gets its name when it is whole: LMDB refuses one whose first pages were not all
 * written. */
static int
create(int dirfd, const struct state_opts *opts, struct err *e)
{
    struct state *state;
    if (remove_new(dirfd, e) < 0 || open_named(dirfd, "state.new", opts, &state, e) < 0)
        return -1;
    state_free(&state);
    if (file_rename(dirfd, "state.new", dirfd, "state", false, e) < 0)
        return -1;
    return file_sync(dirfd, e);
}

int
state_open(int dirfd, const struct state_opts *opts, struct state **ret_state, struct err *e)
{
    bool is_new = faccessat(dirfd, "state", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
    if (is_new && create(dirfd, opts, e) < 0)
        return err_wrap(e, "create the state database");
    if (open_named(dirfd, "state", opts, ret_state, e) < 0)
        return -1;
    if (remove_new(dirfd, e) < 0) {
        state_free(ret_state);
        return -1;
    }
    int dead;
    mdb_reader_check((*ret_state)->env, &dead);
    return 0;
}

void
state_free(struct state **state)
{
    if (*state == NULL)
        return;
    if ((*state)->env != NULL)
        mdb_env_close((*state)->env);
    free(*state);
    *state = NULL;
}

static void
meta_encode(const struct state_meta *m, uint8_t raw[META_SIZE])
{
    memcpy(raw, m->history, WIRE_HISTORY_SIZE);
    put_le64(raw + 16, m->epoch);
    put_le64(raw + 24, m->tail);
    put_le64(raw + 32, m->oldest);
    put_le64(raw + 40, m->log_bytes);
    put_le64(raw + 48, m->sync_base);
    put_le64(raw + 56, m->checkpoint);
    put_le64(raw + 64, m->next_dir);
    memcpy(raw + 72, m->boot_id, sizeof(m->boot_id));
    raw[88] = m->role;
    raw[89] = m->clean;
    raw[90] = m->indexed;
    raw[META_OFF_VERSION] = META_VERSION;
    put_le32(raw + META_OFF_CRC, crc32c(span_of(raw, META_OFF_CRC)));
}

/* Any version has its number in the same place, and says so before its other rules count. */
static int
meta_check(struct span value, struct err *e)
{
    if (value.len > META_OFF_VERSION && value.ptr[META_OFF_VERSION] != META_VERSION)
        return err_set(e, ERR_UNSUITABLE,
                       "the state database is of version %u, this program reads version %d",
                       value.ptr[META_OFF_VERSION], META_VERSION);
    if (value.len != META_SIZE)
        return err_set(e, ERR_CORRUPT, "the node's row in the state database has %zu bytes, not %d",
                       value.len, META_SIZE);
    if (crc32c(span_of(value.ptr, META_OFF_CRC)) != get_le32(value.ptr + META_OFF_CRC))
        return err_set(e, ERR_CORRUPT, "the node's row in the state database fails its checksum");
    return 0;
}

static int
meta_decode(struct span value, struct state_meta *ret_meta, struct err *e)
{
    if (meta_check(value, e) < 0)
        return -1;
    const uint8_t *raw = value.ptr;
    memcpy(ret_meta->history, raw, WIRE_HISTORY_SIZE);
    ret_meta->epoch = get_le64(raw + 16);
    ret_meta->tail = get_le64(raw + 24);
    ret_meta->oldest = get_le64(raw + 32);
    ret_meta->log_bytes = get_le64(raw + 40);
    ret_meta->sync_base = get_le64(raw + 48);
    ret_meta->checkpoint = get_le64(raw + 56);
    ret_meta->next_dir = get_le64(raw + 64);
    memcpy(ret_meta->boot_id, raw + 72, sizeof(ret_meta->boot_id));
    ret_meta->role = raw[88];
    ret_meta->clean = raw[89];
    ret_meta->indexed = raw[90];
    return 0;
}

static int
meta_load(struct state_txn *txn, struct err *e)
{
    struct span value;
    memset(&txn->meta, 0, sizeof(txn->meta)); /* padding too: compared as bytes */
    txn->meta.oldest = 1;
    txn->meta.next_dir = 1;
    int found = table_get(txn, TABLE_META, span_str(META_KEY), &value, e);
    if (found > 0 && meta_decode(value, &txn->meta, e) < 0)
        found = -1;
    txn->stored = txn->meta;
    return found < 0 ? -1 : 0;
}

int
state_begin(struct state *state, bool write, struct state_txn **ret_txn, struct err *e)
{
    struct state_txn *txn = xcalloc(1, sizeof(*txn));
    txn->state = state;
    txn->write = write;
    int rc = mdb_txn_begin(state->env, NULL, write ? 0 : MDB_RDONLY, &txn->mdb);
    if (rc != 0) {
        free(txn);
        return state_failed(e, state, rc, "begin a transaction");
    }
    if (meta_load(txn, e) < 0) {
        state_abort(&txn);
        return -1;
    }
    *ret_txn = txn;
    return 0;
}

static void
txn_free(struct state_txn **txn)
{
    buf_free(&(*txn)->scratch);
    buf_free(&(*txn)->heirs);
    buf_free(&(*txn)->bereaved);
    free(*txn);
    *txn = NULL;
}

static int
meta_store(struct state_txn *txn, struct err *e)
{
    uint8_t stored[META_SIZE];
    uint8_t raw[META_SIZE];
    meta_encode(&txn->stored, stored);
    meta_encode(&txn->meta, raw);
    if (memcmp(raw, stored, sizeof(raw)) == 0)
        return 0;
    return table_put(txn, TABLE_META, span_str(META_KEY), span_of(raw, sizeof(raw)), e);
}

int
state_commit(struct state_txn **txn, struct err *e)
{
    struct state_txn *t = *txn;
    struct state *state = t->state;
    if (!t->write) {
        state_abort(txn);
        return 0;
    }
    if (meta_store(t, e) < 0) {
        state_abort(txn);
        return -1;
    }
    int rc = mdb_txn_commit(t->mdb); /* frees it either way */
    txn_free(txn);
    return rc == 0 ? 0 : state_failed(e, state, rc, "commit");
}

void
state_abort(struct state_txn **txn)
{
    if (*txn == NULL)
        return;
    mdb_txn_abort((*txn)->mdb);
    txn_free(txn);
}

struct state_meta *
state_meta(struct state_txn *txn)
{
    return &txn->meta;
}

int
table_get(struct state_txn *txn, enum state_table table, struct span key, struct span *ret_value,
          struct err *e)
{
    MDB_val k = val_of(key);
    MDB_val v;
    int rc = mdb_get(txn->mdb, txn->state->tables[table], &k, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return state_failed(e, txn->state, rc, "read a row");
    *ret_value = span_of_val(v);
    return 1;
}

int
table_put(struct state_txn *txn, enum state_table table, struct span key, struct span value,
          struct err *e)
{
    MDB_val k = val_of(key);
    MDB_val v = val_of(value);
    int rc = mdb_put(txn->mdb, txn->state->tables[table], &k, &v, 0);
    return rc == 0 ? 0 : state_failed(e, txn->state, rc, "write a row");
}

int
table_del(struct state_txn *txn, enum state_table table, struct span key, struct err *e)
{
    MDB_val k = val_of(key);
    int rc = mdb_del(txn->mdb, txn->state->tables[table], &k, NULL);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : state_failed(e, txn->state, rc, "delete a row");
}

int
table_seek(struct state_txn *txn, enum state_table table, struct span from, struct span *ret_key,
           struct span *ret_value, struct err *e)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn->mdb, txn->state->tables[table], &cursor);
    if (rc != 0)
        return state_failed(e, txn->state, rc, "open a cursor");
    MDB_val k = val_of(from);
    MDB_val v;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return state_failed(e, txn->state, rc, "seek a row");
    *ret_key = span_of_val(k);
    *ret_value = span_of_val(v);
    return 1;
}

int
state_get(struct state_txn *txn, const char *key, struct span *ret_value, struct err *e)
{
    ASSERT(strcmp(key, META_KEY) != 0);
    return table_get(txn, TABLE_META, span_str(key), ret_value, e);
}

int
state_put(struct state_txn *txn, const char *key, struct span value, struct err *e)
{
    ASSERT(strcmp(key, META_KEY) != 0);
    return table_put(txn, TABLE_META, span_str(key), value, e);
}

int
state_del(struct state_txn *txn, const char *key, struct err *e)
{
    return table_del(txn, TABLE_META, span_str(key), e);
}

int
state_epoch_heard(struct state_txn *txn, uint64_t *ret_epoch, struct err *e)
{
    struct span row;
    int found = state_get(txn, NEWEST_EPOCH, &row, e);
    if (found > 0 && row.len != 8)
        return err_set(e, ERR_CORRUPT, "the row " NEWEST_EPOCH " has %zu bytes", row.len);
    *ret_epoch = found > 0 ? get_le64(row.ptr) : 0;
    return found < 0 ? -1 : 0;
}

int
state_epoch_hear(struct state_txn *txn, uint64_t epoch, struct err *e)
{
    uint64_t heard;
    uint8_t row[8];
    if (state_epoch_heard(txn, &heard, e) < 0)
        return -1;
    put_le64(row, MAX(heard, epoch));
    return state_put(txn, NEWEST_EPOCH, span_of(row, sizeof(row)), e);
}

int
state_epoch_forget(struct state_txn *txn, struct err *e)
{
    return state_del(txn, NEWEST_EPOCH, e);
}

bool
state_is_broken(const struct state *state)
{
    return atomic_load(&state->broken);
}
