/* The samples of the rows of the state database, version 1: what is written now has these bytes,
 * and these bytes are read for ever. They were written from docs/formats/journal.md. */
#include "tests/golden/sample.h"

#include "lib/data/state.h"

#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MTIME   1700000000123456789
#define CTIME   1700000001000000000
#define INO     ((1ULL << 35) + 7)
#define NAME    "1.M1\xff\n:2,S"
#define ROOT_ID 299
#define CUR_ID  300

static const uint8_t file_handle[] = { 1, 0, 0, 0, 0xde, 0xad, 0, 0, 0xbe, 0xef, 7, 0 };
static const uint8_t root_handle[] = { 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 1, 0,
                                       0,    0,    0xde, 0xad, 0,    0,    0xbe, 0xef, 7, 0 };
static const uint8_t cur_handle[] = { 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 1,    0,
                                      0,    0,    2,    0,    0,    0,    0xaa, 0xbb, 0xcc, 0xdd };
#define FSID_SIZE 8

static const struct {
    const char *name, *table;
    size_t key_len;
} rows[] = {
    { "state-node", "meta", 4 },          { "state-root", "meta", 6 },
    { "state-dir-root", "dirs", 8 },      { "state-dir", "dirs", 8 },
    { "state-handle", "handles", 20 },    { "state-entry", "entries", 18 },
    { "state-entry-dir", "entries", 11 }, { "state-inode", "inodes", 10 },
    { "state-held", "held", 18 },         { "state-newest-epoch", "meta", 12 },
};

struct place {
    char path[64];
    int fd;
    MDB_env *env;
};

static void
place_begin(struct place *p)
{
    snprintf(p->path, sizeof(p->path), "/tmp/mailtwin-golden-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    test_scratch(p->path);
    p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(p->fd >= 0);
}

static void
place_end(struct place *p)
{
    CHECK_INT(unlinkat(p->fd, "state", 0), 0);
    CHECK_INT(unlinkat(p->fd, "state-lock", 0), 0);
    close(p->fd);
    CHECK_INT(rmdir(p->path), 0);
}

static struct state *
open_state(const struct place *p)
{
    struct state *db;
    struct state_opts opts = { .map_size = 1 << 20, .no_sync = true };
    struct err e = { 0 };
    if (state_open(p->fd, &opts, &db, &e) < 0)
        fail_msg("%s", e.text);
    return db;
}

/* The file as LMDB alone sees it. */
static MDB_txn *
raw_begin(struct place *p, unsigned flags)
{
    char path[96];
    MDB_txn *txn;
    snprintf(path, sizeof(path), "%s/state", p->path);
    CHECK_INT(mdb_env_create(&p->env), 0);
    CHECK_INT(mdb_env_set_maxdbs(p->env, 8), 0);
    CHECK_INT(mdb_env_open(p->env, path, MDB_NOSUBDIR | flags, 0600), 0);
    CHECK_INT(mdb_txn_begin(p->env, NULL, flags, &txn), 0);
    return txn;
}

static void
raw_split(size_t row, const struct buf *sample, MDB_val *key, MDB_val *value)
{
    CHECK(sample->len > rows[row].key_len);
    *key = (MDB_val){ rows[row].key_len, sample->ptr };
    *value = (MDB_val){ sample->len - key->mv_size, sample->ptr + key->mv_size };
}

static void
raw_check(MDB_txn *txn, const char *table, MDB_val *key, const MDB_val *expected)
{
    MDB_dbi dbi;
    MDB_val got;
    CHECK_INT(mdb_dbi_open(txn, table, 0, &dbi), 0);
    CHECK_INT(mdb_get(txn, dbi, key, &got), 0);
    CHECK(span_equal(span_of(got.mv_data, got.mv_size),
                     span_of(expected->mv_data, expected->mv_size)));
}

/* --- what the samples say --- */

static const struct state_meta meta_sample = {
    .history = { 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad,
                 0xae, 0xaf },
    .role = WIRE_ROLE_PRIMARY,
    .epoch = 3,
    .tail = 1200,
    .oldest = 258,
    .log_bytes = 1ULL << 33,
    .sync_base = 1100,
    .checkpoint = 1190,
    .boot_id = { 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 },
    .clean = 1,
    .indexed = 1,
    .next_dir = 300,
};

static struct state_dir
root_sample(void)
{
    return (struct state_dir){
        .id = ROOT_ID,
        .store = 2,
        .attr = { .mode = S_IFDIR | 0750, .gid = 5001 },
        .handle = span_of(root_handle, sizeof(root_handle)),
    };
}

static struct state_dir
cur_sample(void)
{
    return (struct state_dir){
        .id = CUR_ID,
        .parent = ROOT_ID,
        .store = 2,
        .mtime_ns = MTIME,
        .ctime_ns = CTIME,
        .xattrs = 0x1122334455667788,
        .attr = { .mode = S_IFDIR | 0700, .uid = 5000, .gid = 5001 },
        .name = span_str("cur"),
        .handle = span_of(cur_handle, sizeof(cur_handle)),
    };
}

static struct state_entry
cur_entry_sample(void)
{
    return (struct state_entry){
        .attr = { S_IFDIR | 0700, 5000, 5001, 0, -1500000000 },
        .ino = 12,
        .nlink = 1,
        .dir = CUR_ID,
        .handle = span_of(cur_handle + FSID_SIZE, sizeof(cur_handle) - FSID_SIZE),
    };
}

static struct state_entry
mail_sample(void)
{
    return (struct state_entry){
        .attr = { S_IFREG | 0600, 5000, 5001, 1234, MTIME },
        .ctime_ns = CTIME,
        .ino = INO,
        .nlink = 2,
        .handle = span_of(file_handle, sizeof(file_handle)),
    };
}

static const uint8_t without[] = { 3, 0, 'm', 'x', '2', 2, 0, 'd', 'r' };

static struct state_held
held_sample(void)
{
    return (struct state_held){
        .dir = CUR_ID,
        .name = span_str(NAME),
        .kind = STATE_HELD_LOST,
        .seq = 1176,
        .newest = 1187,
        .size = 1234,
        .mtime_ns = MTIME,
        .left = span_of(file_handle, sizeof(file_handle)),
        .without = span_of(without, sizeof(without)),
    };
}

static void
check_dir(struct state_txn *txn, const struct state_dir *expected)
{
    struct state_dir got;
    CHECK_INT(state_dir_get(txn, expected->id, &got, NULL), 1);
    CHECK_INT(got.parent, expected->parent);
    CHECK_INT(got.store, expected->store);
    CHECK_INT(got.mtime_ns, expected->mtime_ns);
    CHECK_INT(got.ctime_ns, expected->ctime_ns);
    CHECK_INT(got.xattrs, expected->xattrs);
    CHECK_INT(got.attr.mode, expected->attr.mode);
    CHECK_INT(got.attr.uid, expected->attr.uid);
    CHECK_INT(got.attr.gid, expected->attr.gid);
    CHECK(span_equal(got.name, expected->name));
    CHECK(span_equal(got.handle, expected->handle));
}

static void
check_entry(struct state_txn *txn, uint64_t dir, const char *name,
            const struct state_entry *expected)
{
    struct state_entry got;
    CHECK_INT(state_entry_get(txn, dir, span_str(name), &got, NULL), 1);
    CHECK_INT(got.attr.mode, expected->attr.mode);
    CHECK_INT(got.attr.uid, expected->attr.uid);
    CHECK_INT(got.attr.gid, expected->attr.gid);
    CHECK_INT(got.attr.size, expected->attr.size);
    CHECK_INT(got.attr.mtime_ns, expected->attr.mtime_ns);
    CHECK_INT(got.ctime_ns, expected->ctime_ns);
    CHECK_INT(got.ino, expected->ino);
    CHECK_INT(got.nlink, expected->nlink);
    CHECK_INT(got.dir, expected->dir);
    CHECK(span_equal(got.handle, expected->handle));
}

/* --- writing --- */

static void
must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

static void
write_samples(struct state *db)
{
    struct state_txn *txn;
    struct err e = { 0 };
    must(state_begin(db, true, &txn, &e), &e);
    struct state_meta *meta = state_meta(txn);
    meta->next_dir = ROOT_ID;
    struct state_dir root = root_sample();
    struct state_dir cur = cur_sample();
    root.id = 0;
    struct state_entry cur_entry = cur_entry_sample();
    struct state_entry mail = mail_sample();
    must(state_dir_put(txn, &root, &e), &e);
    must(state_dir_put(txn, &cur, &e), &e);
    must(state_entry_put(txn, ROOT_ID, span_str("cur"), &cur_entry, &e), &e);
    must(state_entry_put(txn, CUR_ID, span_str(NAME), &mail, &e), &e);
    must(state_entry_put(txn, CUR_ID, span_str("2.M2"), &mail, &e), &e);
    struct state_held held = held_sample();
    must(state_held_put(txn, &held, &e), &e);
    must(state_epoch_hear(txn, 258, &e), &e);
    must(state_epoch_hear(txn, 257, &e), &e);
    *meta = meta_sample;
    must(state_commit(&txn, &e), &e);
}

TEST(rows_are_written_as_in_the_samples)
{
    struct place p = { 0 };
    place_begin(&p);
    struct state *db = open_state(&p);
    write_samples(db);
    state_free(&db);
    MDB_txn *txn = raw_begin(&p, MDB_RDONLY);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf sample = { 0 };
        MDB_val key;
        MDB_val value;
        print_message("%s\n", rows[i].name);
        sample_load(rows[i].name, &sample);
        raw_split(i, &sample, &key, &value);
        raw_check(txn, rows[i].table, &key, &value);
    }
    mdb_txn_abort(txn);
    mdb_env_close(p.env);
    place_end(&p);
}

TEST(a_journal_row_is_the_encoded_record_under_its_number)
{
    static const char *const names[] = { "record-mkdir", "record-put", "record-rename" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_buf_ struct buf sample = { 0 };
        struct record record;
        struct err e = { 0 };
        struct place p = { 0 };
        struct state_txn *txn;
        sample_load(names[i], &sample);
        must(record_decode(buf_span(&sample), &record, &e), &e);
        place_begin(&p);
        struct state *db = open_state(&p);
        must(state_begin(db, true, &txn, &e), &e);
        must(state_append(txn, &record, &e), &e);
        must(state_commit(&txn, &e), &e);
        state_free(&db);
        MDB_txn *raw = raw_begin(&p, MDB_RDONLY);
        uint8_t number[] = { 0, 0, 0, 0, 0, 0, 1, 2 };
        MDB_val key = { sizeof(number), number };
        MDB_val value = { sample.len, sample.ptr };
        raw_check(raw, "records", &key, &value);
        mdb_txn_abort(raw);
        mdb_env_close(p.env);
        place_end(&p);
    }
}

/* --- reading --- */

static void
put_samples(struct place *p)
{
    MDB_txn *txn = raw_begin(p, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_buf_ struct buf sample = { 0 };
        MDB_dbi dbi;
        MDB_val key;
        MDB_val value;
        sample_load(rows[i].name, &sample);
        raw_split(i, &sample, &key, &value);
        CHECK_INT(mdb_dbi_open(txn, rows[i].table, 0, &dbi), 0);
        CHECK_INT(mdb_put(txn, dbi, &key, &value, 0), 0);
    }
    CHECK_INT(mdb_txn_commit(txn), 0);
    mdb_env_close(p->env);
}

static void
check_held(struct state_txn *txn)
{
    struct state_held expected = held_sample();
    struct state_held got;
    CHECK_INT(state_held_next(txn, 0, span_str(""), &got, NULL), 1);
    CHECK_INT(got.dir, expected.dir);
    CHECK(span_equal(got.name, expected.name));
    CHECK_INT(got.kind, expected.kind);
    CHECK_INT(got.seq, expected.seq);
    CHECK_INT(got.newest, expected.newest);
    CHECK_INT(got.size, expected.size);
    CHECK_INT(got.mtime_ns, expected.mtime_ns);
    CHECK(span_equal(got.left, expected.left));
    CHECK(span_equal(got.without, expected.without));
}

static void
check_samples(struct state_txn *txn)
{
    const struct state_meta *meta = state_meta(txn);
    struct state_dir root = root_sample();
    struct state_dir cur = cur_sample();
    struct state_entry cur_entry = cur_entry_sample();
    struct state_entry mail = mail_sample();
    uint64_t id;
    uint64_t heard;
    struct span name;
    assert_memory_equal(meta->history, meta_sample.history, sizeof(meta->history));
    assert_memory_equal(meta->boot_id, meta_sample.boot_id, sizeof(meta->boot_id));
    CHECK_INT(meta->role, meta_sample.role);
    CHECK_INT(meta->epoch, meta_sample.epoch);
    CHECK_INT(meta->tail, meta_sample.tail);
    CHECK_INT(meta->oldest, meta_sample.oldest);
    CHECK_INT(meta->log_bytes, meta_sample.log_bytes);
    CHECK_INT(meta->sync_base, meta_sample.sync_base);
    CHECK_INT(meta->checkpoint, meta_sample.checkpoint);
    CHECK_INT(meta->clean, 1);
    CHECK_INT(meta->indexed, 1);
    CHECK_INT(meta->next_dir, meta_sample.next_dir);
    CHECK_INT(state_root(txn, 2), ROOT_ID);
    CHECK_INT(state_epoch_heard(txn, &heard, NULL), 0);
    CHECK_INT(heard, 258);
    CHECK_INT(state_dir_find(txn, cur.handle, &id, NULL), 1);
    CHECK_INT(id, CUR_ID);
    check_dir(txn, &root);
    check_dir(txn, &cur);
    check_entry(txn, ROOT_ID, "cur", &cur_entry);
    check_entry(txn, CUR_ID, NAME, &mail);
    CHECK_INT(state_name_of(txn, 2, INO, 0, &id, &name, NULL), 1);
    CHECK_INT(id, CUR_ID);
    CHECK(span_equal(name, span_str(NAME)));
    check_held(txn);
}

TEST(rows_of_the_samples_are_read)
{
    struct place p = { 0 };
    struct state_txn *txn;
    struct err e = { 0 };
    place_begin(&p);
    struct state *db = open_state(&p); /* makes the tables */
    state_free(&db);
    put_samples(&p);
    db = open_state(&p);
    must(state_begin(db, false, &txn, &e), &e);
    check_samples(txn);
    state_abort(&txn);
    state_free(&db);
    place_end(&p);
}
