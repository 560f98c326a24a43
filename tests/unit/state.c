#include "tests/unit/state_kit.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* --- transactions --- */

TEST(what_is_not_committed_leaves_no_trace)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct record r = db_put_record("a");
    state_meta(txn)->epoch = 4;
    db_must(db, state_append(txn, &r, &db->e));
    db_must(db, state_put(txn, "peer/b", span_str("here"), &db->e));
    db_make_dir(db, txn, 0, 0, "", "filesys:root");
    state_abort(&txn);
    CHECK(txn == NULL);
    state_abort(&txn);

    struct span value;
    txn = db_begin(db, false);
    CHECK_INT(state_meta(txn)->epoch, 0);
    CHECK_INT(state_meta(txn)->tail, 0);
    CHECK_INT(state_meta(txn)->oldest, 1);
    CHECK_INT(state_meta(txn)->next_dir, 1);
    CHECK_INT(state_get(txn, "peer/b", &value, &db->e), 0);
    CHECK_INT(state_root(txn, 0), 0);
    CHECK_INT(state_record(txn, 0, &r, &db->e), 0);
    state_abort(&txn);
    db_free(db);
}

TEST(all_of_the_node_s_row_comes_back)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct state_meta meta = { .role = WIRE_ROLE_STANDBY,
                               .epoch = 1,
                               .tail = 2,
                               .oldest = 3,
                               .log_bytes = 4,
                               .sync_base = 5,
                               .checkpoint = 6,
                               .clean = 1,
                               .next_dir = UINT64_MAX };
    memset(meta.history, 0xa5, sizeof(meta.history));
    memset(meta.boot_id, 0x5a, sizeof(meta.boot_id));
    memcpy(state_meta(txn), &meta, sizeof(meta));
    db_commit(db, txn);
    db_reopen(db);
    txn = db_begin(db, false);
    assert_memory_equal(state_meta(txn), &meta, sizeof(meta));
    state_abort(&txn);
    db_free(db);
}

TEST(a_reader_sees_one_moment_whatever_is_written_meanwhile)
{
    struct db *db = db_new(NULL);
    struct state_txn *before = db_begin(db, false);
    struct state_txn *txn = db_begin(db, true);
    struct record r = db_put_record("a");
    db_must(db, state_append(txn, &r, &db->e));
    db_must(db, state_put(txn, "k", span_str("new"), &db->e));
    db_commit(db, txn);

    struct span value;
    CHECK_INT(state_meta(before)->tail, 0);
    CHECK_INT(state_record(before, 1, &r, &db->e), 0);
    CHECK_INT(state_get(before, "k", &value, &db->e), 0);
    db_must(db, state_commit(&before, &db->e)); /* of a reader: only its end */
    txn = db_begin(db, false);
    CHECK_INT(state_meta(txn)->tail, 1);
    CHECK_INT(state_get(txn, "k", &value, &db->e), 1);
    CHECK(span_equal(value, span_str("new")));
    state_abort(&txn);
    db_free(db);
}

TEST(values_by_name_are_put_replaced_and_deleted)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct span value;
    CHECK_INT(state_del(txn, "none", &db->e), 0);
    db_must(db, state_put(txn, "a", span_str("1"), &db->e));
    db_must(db, state_put(txn, "ab", span_str("2"), &db->e));
    db_must(db, state_put(txn, "a", span_str("longer"), &db->e));
    db_must(db, state_del(txn, "ab", &db->e));
    db_commit(db, txn);
    txn = db_begin(db, false);
    CHECK_INT(state_get(txn, "a", &value, &db->e), 1);
    CHECK(span_equal(value, span_str("longer")));
    CHECK_INT(state_get(txn, "ab", &value, &db->e), 0);
    state_abort(&txn);
    db_free(db);
}

/* --- what cannot be opened --- */

TEST(a_folder_that_is_not_there_is_one_sentence)
{
    struct state_opts opts = { .map_size = 1 << 20 };
    struct state *none = NULL;
    struct err e = { 0 };
    CHECK_INT(state_open(-1, &opts, &none, &e), -1);
    CHECK(none == NULL);
    CHECK_INT(e.code, ERR_IO);
    CHECK_STR(e.text, "open the file in the state database: No such file or directory");
    CHECK_INT(e.sys, ENOENT);
}

TEST(a_file_that_is_no_database_is_corrupt)
{
    struct db *db = db_new(NULL);
    state_free(&db->state);
    int fd = openat(db->dirfd, "state", O_WRONLY);
    CHECK(fd >= 0);
    char noise[8192];
    memset(noise, 'x', sizeof(noise));
    CHECK_INT(write(fd, noise, sizeof(noise)), sizeof(noise));
    close(fd);
    CHECK_INT(state_open(db->dirfd, &db->opts, &db->state, &db->e), -1);
    CHECK_INT(db->e.code, ERR_CORRUPT);
    db->state = NULL;
    db_free(db);
}

static void
make_in(const char *path)
{
    struct state_opts opts = { .map_size = 1 << 20, .no_sync = true };
    struct state *state;
    struct err e;
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dirfd < 0 ? -1 : state_open(dirfd, &opts, &state, &e);
    _exit(rc == 0 ? 0 : 1);
}

TEST(a_database_whose_making_was_killed_is_made_again)
{
    struct db *db = db_new(NULL);
    for (unsigned i = 0; i < 300; i++) {
        state_free(&db->state);
        CHECK_INT(unlinkat(db->dirfd, "state", 0), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            make_in(db->path);
        usleep(i * 7);
        kill(pid, SIGKILL);
        CHECK_INT(waitpid(pid, NULL, 0), pid);
        db_open(db);
        CHECK_INT(faccessat(db->dirfd, "state.new", F_OK, 0), -1);
    }
    state_free(&db->state);
    CHECK_INT(unlinkat(db->dirfd, "state", 0), 0);
    int fd = openat(db->dirfd, "state.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK_INT(write(fd, "half a page", 11), 11);
    close(fd);
    db_open(db);
    db_free(db);
}

/* Changes the node's row behind the back of meta. */
static void
damage_node(struct db *db, size_t at, uint8_t xor, size_t len)
{
    struct state_txn *txn = db_begin(db, true);
    uint8_t row[128];
    struct span value;
    CHECK_INT(table_get(txn, TABLE_META, span_str("node"), &value, &db->e), 1);
    CHECK_INT(value.len, 96);
    memcpy(row, value.ptr, value.len);
    row[at] ^= xor;
    db_must(db, table_put(txn, TABLE_META, span_str("node"), span_of(row, len), &db->e));
    db_commit(db, txn);
}

TEST(every_wrong_byte_in_the_node_s_row_is_refused)
{
    for (size_t at = 0; at < 96; at++) {
        struct db *db = db_new(NULL);
        struct state_txn *txn = db_begin(db, true);
        state_meta(txn)->epoch = 3;
        db_commit(db, txn);
        damage_node(db, at, 0x10, 96);
        txn = NULL;
        CHECK_INT(state_begin(db->state, false, &txn, &db->e), -1);
        CHECK(txn == NULL);
        CHECK_INT(db->e.code, at == 91 ? ERR_UNSUITABLE : ERR_CORRUPT);
        db_free(db);
    }
}

TEST(another_version_and_another_length_are_told_apart)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    state_meta(txn)->epoch = 3;
    db_commit(db, txn);
    damage_node(db, 91, 3, 120);
    CHECK_INT(state_begin(db->state, true, &txn, &db->e), -1);
    CHECK_STR(db->e.text, "the state database is of version 2, this program reads version 1");
    db_free(db);

    db = db_new(NULL);
    txn = db_begin(db, true);
    state_meta(txn)->epoch = 3;
    db_commit(db, txn);
    damage_node(db, 0, 0, 95);
    CHECK_INT(state_begin(db->state, true, &txn, &db->e), -1);
    CHECK_STR(db->e.text, "the node's row in the state database has 95 bytes, not 96");
    db_free(db);
}

/* --- no room --- */

/* One transaction of `count` records with a row of the index each; -1 as it failed. */
static int
write_some(struct db *db, unsigned count)
{
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = state_root(txn, 0);
    if (root == 0)
        root = db_make_dir(db, txn, 0, 0, "", "filesys:root");
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%llu", (unsigned long long)state_meta(txn)->tail + 1);
        struct record r = db_put_record(name);
        struct state_entry entry = { .ino = state_meta(txn)->tail + 1, .nlink = 1 };
        if (state_append(txn, &r, &db->e) < 0 ||
            state_entry_put(txn, root, span_str(name), &entry, &db->e) < 0) {
            state_abort(&txn);
            return -1;
        }
    }
    return state_commit(&txn, &db->e);
}

/* Journal, index and the node's row agree; returns the tail. */
static uint64_t
check_agreement(struct db *db)
{
    struct state_txn *txn = db_begin(db, false);
    const struct state_meta *meta = state_meta(txn);
    uint64_t root = state_root(txn, 0);
    uint64_t bytes = 0;
    for (uint64_t seq = 1; seq <= meta->tail; seq++) {
        struct record r;
        struct span name;
        struct state_entry entry;
        CHECK_INT(state_record(txn, seq, &r, &db->e), 1);
        CHECK_INT(r.seq, seq);
        name = r.path;
        CHECK_INT(state_entry_get(txn, root, name, &entry, &db->e), 1);
        CHECK_INT(entry.ino, seq);
        _cleanup_buf_ struct buf row = { 0 };
        record_encode(&r, &row);
        bytes += row.len;
    }
    uint64_t tail = meta->tail;
    CHECK_INT(meta->log_bytes, bytes);
    CHECK_INT(meta->oldest, 1);
    CHECK_INT(db_count(txn, TABLE_RECORDS), tail);
    CHECK_INT(db_count(txn, TABLE_ENTRIES), tail);
    db_check_in_step(db, txn);
    state_abort(&txn);
    return tail;
}

TEST(a_full_map_refuses_a_transaction_as_a_whole)
{
    struct state_opts small = { .map_size = 512 << 10, .no_sync = true };
    struct db *db = db_new(&small);
    uint64_t written = 0;
    while (write_some(db, 100) == 0)
        written += 100;
    CHECK(written > 200);
    CHECK_INT(db->e.code, ERR_NOSPACE);
    CHECK_CONTAINS(db->e.text, "MDB_MAP_FULL");
    CHECK_INT(check_agreement(db), written);
    db->opts.map_size = 64 << 20;
    db_reopen(db);
    CHECK_INT(write_some(db, 100), 0);
    CHECK_INT(check_agreement(db), written + 100);
    db_free(db);
}

static bool
mount_small(struct db *db)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    snprintf(db->path, sizeof(db->path), "/tmp/mailtwin-state-XXXXXX");
    assert_non_null(mkdtemp(db->path));
    test_scratch(db->path);
    CHECK_INT(mount("none", db->path, "tmpfs", 0, "size=1m"), 0);
    return true;
}

/* Takes all room but `keep` bytes. */
static void
fill(const struct db *db, size_t keep)
{
    char block[4096] = { 0 };
    int fd = openat(db->dirfd, "filler", O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0);
    off_t size = 0;
    while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
        size += (off_t)sizeof(block);
    CHECK_INT(errno, ENOSPC);
    CHECK_INT(ftruncate(fd, size - (off_t)keep), 0);
    close(fd);
}

TEST(a_full_disk_refuses_a_transaction_as_a_whole)
{
    struct db db = { 0 };
    if (!mount_small(&db))
        skip(); /* needs root */
    db_in(&db, (struct state_opts){ .map_size = 64 << 20 });
    CHECK_INT(write_some(&db, 10), 0);
    for (size_t keep = 0; keep <= 100 << 10; keep += 20 << 10) {
        uint64_t tail = check_agreement(&db);
        fill(&db, keep);
        int rc;
        while ((rc = write_some(&db, 60)) == 0)
            tail += 60;
        CHECK_INT(rc, -1);
        CHECK_INT(db.e.code, ERR_NOSPACE);
        CHECK_INT(check_agreement(&db), tail);
        CHECK_INT(unlinkat(db.dirfd, "filler", 0), 0);
        CHECK_INT(write_some(&db, 60), 0);
        CHECK_INT(check_agreement(&db), tail + 60);
    }
    state_free(&db.state);
    close(db.dirfd);
    CHECK_INT(umount(db.path), 0);
    CHECK_INT(rmdir(db.path), 0);
}

/* --- sudden death --- */

/* Writes until it is killed; the tail of each commit that returned is told in *durable. */
static void
write_for_ever(struct db *db, atomic_uint_fast64_t *durable, unsigned seed)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    db_open(db);
    for (;;) {
        seed = seed * 1103515245u + 12345u;
        if (write_some(db, 1 + (seed >> 16) % 40) < 0)
            _exit(1);
        struct state_txn *txn = db_begin(db, false);
        atomic_store(durable, state_meta(txn)->tail);
        state_abort(&txn);
    }
}

TEST(a_writer_killed_at_any_moment_leaves_whole_transactions)
{
    struct state_opts opts = { .map_size = 64 << 20 };
    struct db *db = db_new(&opts);
    state_free(&db->state); /* LMDB forbids the use of an open one behind a fork */
    atomic_uint_fast64_t *durable = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(durable != MAP_FAILED);
    unsigned deaths = getenv("MAILTWIN_LONG") != NULL ? 200 : 15;
    for (unsigned i = 0; i < deaths; i++) {
        uint64_t until = atomic_load(durable) + 1 + i % 5;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            write_for_ever(db, durable, i);
        while (atomic_load(durable) < until) {
        }
        for (volatile unsigned spin = 0; spin < (i * 7919 % 40) * 20000; spin++) {
        }
        kill(child, SIGKILL);
        int status;
        CHECK_INT(waitpid(child, &status, 0), child);
        CHECK(WIFSIGNALED(status));
        db_open(db);
        CHECK(check_agreement(db) >= atomic_load(durable));
        state_free(&db->state);
    }
    munmap(durable, 4096);
    db_free(db);
}
