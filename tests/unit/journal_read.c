/* A journal is read by another process while the daemon has it open. */
#include "lib/data/journal_read.h"
#include "tests/unit/state_kit.h"

#include <sys/wait.h>

#define RECORDS 9000 /* more than are read in one transaction */

static void
append(struct db *db, struct state_txn *txn, const char *path)
{
    struct record r = db_put_record(path);
    db_must(db, state_append(txn, &r, &db->e));
}

static struct db *
make(void)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    state_meta(txn)->epoch = 3;
    for (unsigned i = 1; i <= RECORDS; i++) {
        char path[40];
        snprintf(path, sizeof(path), "ada/cur/%u", i);
        append(db, txn, path);
    }
    db_commit(db, txn);
    return db;
}

struct seen {
    uint64_t records, damaged, last, damaged_seq;
    char why[ERR_TEXT_MAX];
};

/* Up to `most` rows. */
static void
see(struct journal_read *read, uint64_t most, struct seen *seen)
{
    struct record r;
    struct err e = { 0 };
    uint64_t seq;
    int found = 1;
    while (most-- > 0 && (found = journal_read_next(read, &seq, &r, &e)) > 0) {
        if (found == JOURNAL_READ_DAMAGED) {
            seen->damaged++;
            seen->damaged_seq = seq;
            snprintf(seen->why, sizeof(seen->why), "%s", e.text);
            continue;
        }
        CHECK(r.seq == seq && seq > seen->last);
        seen->last = seq;
        seen->records++;
    }
    if (found < 0)
        fail_msg("%s", e.text);
}

/* LMDB opens a file once in a process. pause_at: waits there for a byte in go_fd. */
static void
read_in_child(const struct db *db, uint64_t pause_at, int told_fd, int go_fd, struct seen *ret_seen)
{
    char path[100], byte = 0;
    struct journal_read *read_it;
    struct err e = { 0 };
    snprintf(path, sizeof(path), "%s/state", db->path);
    if (journal_read_open(path, &read_it, &e) < 0)
        fail_msg("%s", e.text);
    see(read_it, pause_at, ret_seen);
    if (pause_at != UINT64_MAX) {
        CHECK(write(told_fd, "p", 1) == 1 && read(go_fd, &byte, 1) == 1);
        see(read_it, UINT64_MAX, ret_seen);
    }
    journal_read_free(&read_it);
}

/* between() runs here, beside the reader, when it has read pause_at rows. */
static struct seen
read_beside(struct db *db, uint64_t pause_at, void (*between)(struct db *db))
{
    int told[2], go[2], result[2];
    struct seen seen = { 0 };
    char byte;
    CHECK(pipe(told) == 0 && pipe(go) == 0 && pipe(result) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        read_in_child(db, pause_at, told[1], go[0], &seen);
        _exit(write(result[1], &seen, sizeof(seen)) == sizeof(seen) ? 0 : 1);
    }
    close(told[1]);
    close(result[1]);
    if (between != NULL && read(told[0], &byte, 1) == 1) {
        between(db);
        CHECK_INT(write(go[1], "g", 1), 1);
    }
    CHECK_INT(read(result[0], &seen, sizeof(seen)), sizeof(seen));
    CHECK_INT(waitpid(child, NULL, 0), child);
    int fds[] = { told[0], go[0], go[1], result[0] };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    return seen;
}

TEST(all_records_are_read_beside_the_daemon)
{
    struct db *db = make();
    struct seen seen = read_beside(db, UINT64_MAX, NULL);
    CHECK_INT(seen.records, RECORDS);
    CHECK_INT(seen.last, RECORDS);
    CHECK_INT(seen.damaged, 0);
    db_free(db);
}

/* What the reader's next row was is gone, and there is more at the end. */
static void
go_on(struct db *db)
{
    struct state_txn *txn = db_begin(db, true);
    for (uint64_t seq = 1; seq <= 6000; seq++)
        db_must(db, table_del(txn, TABLE_RECORDS, KEY64(seq), &db->e));
    append(db, txn, "new");
    db_commit(db, txn);
}

TEST(a_reader_sees_what_comes_and_does_not_miss_what_goes)
{
    struct db *db = make();
    struct seen seen = read_beside(db, 4096, go_on); /* it begins anew there */
    CHECK_INT(seen.last, RECORDS + 1);
    CHECK_INT(seen.records, 4096 + RECORDS + 1 - 6000);
    db_free(db);
}

static void
damage(struct db *db, uint64_t seq, struct span row)
{
    struct state_txn *txn = db_begin(db, true);
    db_must(db, table_put(txn, TABLE_RECORDS, KEY64(seq), row, &db->e));
    db_commit(db, txn);
}

TEST(a_damaged_record_is_told_in_its_place_and_the_others_follow)
{
    struct db *db = make();
    damage(db, 77,
           span_str("no record at all, by any means, whatever one may think of it, or not"));
    struct seen seen = read_beside(db, UINT64_MAX, NULL);
    CHECK_INT(seen.records, RECORDS - 1);
    CHECK_INT(seen.last, RECORDS);
    CHECK_INT(seen.damaged, 1);
    CHECK_INT(seen.damaged_seq, 77);
    CHECK(seen.why[0] != '\0');
    struct record r = db_put_record("elsewhere");
    _cleanup_buf_ struct buf row = { 0 };
    r.seq = 5;
    r.epoch = 3;
    record_encode(&r, &row);
    damage(db, 78, buf_span(&row));
    seen = read_beside(db, UINT64_MAX, NULL);
    CHECK_INT(seen.damaged, 2);
    CHECK_INT(seen.damaged_seq, 78);
    CHECK_STR(seen.why, "it is record 5, in the place of another");
    db_free(db);
}

TEST(what_is_no_state_database_is_told)
{
    struct db *db = make();
    struct journal_read *read_it;
    struct err e = { 0 };
    char path[100];
    uint8_t start[64] = { 0 };
    CHECK(!journal_read_knows(span_of(start, sizeof(start))));
    int fd = openat(db->dirfd, "state", O_RDONLY);
    CHECK_INT(read(fd, start, sizeof(start)), sizeof(start));
    close(fd);
    CHECK(journal_read_knows(span_of(start, sizeof(start))));
    CHECK(!journal_read_knows(span_of(start, 19)));
    snprintf(path, sizeof(path), "%s/none", db->path);
    CHECK_INT(journal_read_open(path, &read_it, &e), -1);
    CHECK_CONTAINS(e.text, "No such file");
    db_free(db);
}
