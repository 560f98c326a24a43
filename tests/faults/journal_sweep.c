/* The journal on a disk that loses its power, or refuses.
 *
 * Power cuts: after every write and every sync that LMDB makes, with what was not
 * synced kept, dropped, kept in part or torn.
 *
 * The writes go to the disk, and are noted on their way: this program's pwrite, writev and
 * fdatasync take the place of the C library's. Then, for each moment, the file is put together as
 * the power cut could have left it, and opened. Sectors of 512 bytes are written whole or not at
 * all. */
#include "tests/unit/state_kit.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define COMMITS     24
#define SECTOR      512u
#define JOURNAL_MAX 6000 /* bytes: old records are trimmed, their pages used again */

enum kind {
    WRITTEN, /* on its way */
    SYNCED,  /* all that was written before is on the disk */
    COMMITTED
};

struct step {
    enum kind kind;
    bool at_once; /* written through: on the disk when the call returns */
    uint64_t at;
    struct buf bytes;
    uint64_t tail; /* COMMITTED: what the caller was told */
};

static struct tape {
    bool runs;
    unsigned fail_at; /* this call fails, counted down; 0 none */
    int errnum;
    int fd; /* of the file, not written through: what is synced is a matter of the tape */
    ino_t file;
    struct buf start; /* the file as it was */
    struct step *steps;
    size_t count, cap;
} tape;

/* --- what LMDB does is noted --- */

static struct step *
add_step(enum kind kind)
{
    if (tape.count == tape.cap) {
        tape.cap = MAX(tape.cap * 2, (size_t)64);
        tape.steps = xrealloc(tape.steps, tape.cap * sizeof(tape.steps[0]));
    }
    struct step *step = &tape.steps[tape.count++];
    *step = (struct step){ .kind = kind };
    return step;
}

static bool
is_noted(int fd)
{
    struct stat st;
    return tape.runs && fstat(fd, &st) == 0 && st.st_ino == tape.file;
}

/* Is it this call's turn to fail? */
static bool
fails(void)
{
    if (tape.fail_at == 0 || --tape.fail_at > 0)
        return false;
    errno = tape.errnum;
    return true;
}

static void
note_write(int fd, const void *bytes, size_t len, uint64_t at)
{
    struct step *step = add_step(WRITTEN);
    step->at = at;
    step->at_once = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    buf_add(&step->bytes, bytes, len);
}

ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    bool noted = is_noted(fd);
    if (noted && fails())
        return -1;
    if (noted)
        note_write(fd, bytes, len, (uint64_t)at);
    return syscall(SYS_pwrite64, noted ? tape.fd : fd, bytes, len, at);
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
    if (!is_noted(fd))
        return syscall(SYS_writev, fd, parts, count);
    if (fails())
        return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t wrote = 0;
    for (int i = 0; i < count; wrote += (ssize_t)parts[i++].iov_len) {
        note_write(fd, parts[i].iov_base, parts[i].iov_len, (uint64_t)(at + wrote));
        if (syscall(SYS_pwrite64, tape.fd, parts[i].iov_base, parts[i].iov_len, at + wrote) < 0)
            return -1;
    }
    return wrote;
}

int
fdatasync(int fd)
{
    if (!is_noted(fd))
        return (int)syscall(SYS_fdatasync, fd);
    if (fails())
        return -1;
    add_step(SYNCED);
    return 0;
}

static void
begin_tape(int dirfd, struct buf *out)
{
    struct stat st;
    int fd = openat(dirfd, "state", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    buf_reserve(out, (size_t)st.st_size);
    assert_int_equal(read(fd, out->ptr, (size_t)st.st_size), st.st_size);
    out->len = (size_t)st.st_size;
    tape.file = st.st_ino;
    tape.fd = fd;
}

static void
tape_free(void)
{
    for (size_t i = 0; i < tape.count; i++)
        buf_free(&tape.steps[i].bytes);
    free(tape.steps);
    close(tape.fd);
    buf_free(&tape.start);
    tape = (struct tape){ 0 };
}

/* --- the history --- */

static void
record_name(uint64_t seq, char ret_name[160])
{
    snprintf(ret_name, 160, "u%llu/cur/%0*llu", (unsigned long long)seq % 7,
             (int)(10 + seq * 37 % 120), (unsigned long long)seq);
}

/* A few records, their names in the index, and the count of all under a key: one commit. */
static void
commit_some(struct db *db, unsigned round)
{
    struct state_txn *txn = db_begin(db, true);
    for (unsigned i = 0; i < 1 + round * 7 % 11; i++) {
        char name[160], old[160];
        uint64_t seq = state_meta(txn)->tail + 1;
        record_name(seq, name);
        struct record r = db_put_record(name);
        db_must(db, state_append(txn, &r, &db->e));
        db_put_entry(db, txn, STATE_ROOT_DIR, name + strlen(name) - 5, 1000 + seq, 0);
        record_name(seq - 9, old);
        if (seq > 9)
            db_must(db,
                    state_entry_del(txn, STATE_ROOT_DIR, span_str(old + strlen(old) - 5), &db->e));
    }
    uint8_t count[8];
    put_le64(count, state_meta(txn)->tail);
    db_must(db, state_put(txn, "count", span_of(count, sizeof(count)), &db->e));
    uint64_t tail = state_meta(txn)->tail;
    db_commit(db, txn);
    if (tape.runs)
        add_step(COMMITTED)->tail = tail;
}

static struct db *
begin_history(const struct state_opts *opts)
{
    struct db *db = db_new(opts);
    struct state_txn *txn = db_begin(db, true);
    db_make_dir(db, txn, 0, 0, "", "filesys:root");
    db_commit(db, txn);
    begin_tape(db->dirfd, &tape.start);
    tape.runs = true;
    return db;
}

static void
play(bool no_sync)
{
    struct state_opts opts = { .map_size = 64 << 20,
                               .journal_max = JOURNAL_MAX,
                               .no_sync = no_sync };
    struct db *db = begin_history(&opts);
    for (unsigned round = 0; round < COMMITS; round++)
        commit_some(db, round);
    tape.runs = false;
    db_free(db);
}

/* --- what the power cut leaves --- */

enum manner {
    DROPPED,
    KEPT,
    SOME_WRITES,
    SOME_SECTORS, /* and torn */
    MANNERS
};

static uint64_t dice;

static bool
toss(void)
{
    dice = dice * 6364136223846793005ull + 1442695040888963407ull;
    return (dice >> 40 & 1) != 0;
}

static void
put_part(struct buf *file, uint64_t at, const uint8_t *bytes, size_t len)
{
    if (at + len > file->len) {
        buf_reserve(file, (size_t)(at + len) - file->len);
        memset(file->ptr + file->len, 0, (size_t)(at + len) - file->len);
        file->len = (size_t)(at + len);
    }
    memcpy(file->ptr + at, bytes, len);
}

static void
put_write(struct buf *file, const struct step *step, enum manner manner)
{
    const struct buf *b = &step->bytes;
    if (manner == DROPPED || (manner == SOME_WRITES && toss()))
        return;
    for (size_t i = 0; i < b->len;) {
        size_t len = b->len - i;
        if (manner == SOME_SECTORS)
            len = MIN(len, SECTOR - (size_t)(step->at + i) % SECTOR);
        if (manner != SOME_SECTORS || toss())
            put_part(file, step->at + i, b->ptr + i, len);
        i += len;
    }
}

/* The file when the power goes right behind step `end`. */
static void
build(size_t end, enum manner manner, struct buf *file)
{
    size_t synced = 0;
    buf_reset(file);
    buf_add(file, tape.start.ptr, tape.start.len);
    for (size_t i = 0; i < end; i++)
        synced = tape.steps[i].kind == SYNCED ? i : synced;
    for (size_t i = 0; i < end; i++) {
        const struct step *step = &tape.steps[i];
        bool sure = i < synced || (step->at_once && i + 1 < end);
        if (step->kind == WRITTEN)
            put_write(file, step, sure ? KEPT : manner);
    }
}

static uint64_t
promised(size_t end)
{
    uint64_t tail = 0;
    for (size_t i = 0; i < end; i++)
        tail = tape.steps[i].kind == COMMITTED ? tape.steps[i].tail : tail;
    return tail;
}

static void
check_records(struct db *db, struct state_txn *txn)
{
    const struct state_meta *meta = state_meta(txn);
    struct span count;
    CHECK_INT(state_get(txn, "count", &count, &db->e), meta->tail > 0);
    CHECK_INT(meta->tail == 0 ? 0 : get_le64(count.ptr), meta->tail);
    for (uint64_t seq = meta->oldest; seq <= meta->tail; seq++) {
        struct record r;
        char name[160];
        record_name(seq, name);
        CHECK_INT(state_record(txn, seq, &r, &db->e), 1);
        CHECK_INT(r.seq, seq);
        CHECK(span_equal(r.path, span_str(name)));
    }
}

/* Opens what is left; its tail. What is there must be whole, and take another commit. */
static uint64_t
survive(const char *path, const struct buf *file)
{
    struct db db = { .opts = {
                         .map_size = 64 << 20, .journal_max = JOURNAL_MAX, .no_sync = true } };
    db.dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(db.dirfd, "state", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, file->ptr, file->len), file->len);
    close(fd);
    db_open(&db);
    struct state_txn *txn = db_begin(&db, false);
    uint64_t tail = state_meta(txn)->tail;
    check_records(&db, txn);
    db_check_in_step(&db, txn);
    state_abort(&txn);
    commit_some(&db, 3);
    txn = db_begin(&db, false);
    check_records(&db, txn);
    state_abort(&txn);
    state_free(&db.state);
    close(db.dirfd);
    return tail;
}

TEST(what_was_committed_survives_a_power_cut_at_every_write)
{
    char path[] = "/tmp/mailtwin-cut-XXXXXX", command[64];
    struct buf file = { 0 };
    dice = 1;
    play(false);
    print_message("%zu writes, syncs and commits\n", tape.count);
    assert_non_null(mkdtemp(path));
    test_scratch(path);
    for (size_t end = 1; end <= tape.count; end++) {
        for (enum manner manner = DROPPED; manner < MANNERS; manner++) {
            build(end, manner, &file);
            uint64_t tail = survive(path, &file);
            CHECK(tail >= promised(end) && tail <= promised(tape.count));
        }
    }
    buf_free(&file);
    snprintf(command, sizeof(command), "rm -r %s", path);
    assert_int_equal(system(command), 0);
    tape_free();
}

/* What the sweep rests on: the writes come by here, and none of them counts before its sync. */
TEST(a_commit_that_is_not_synced_is_not_on_the_disk)
{
    struct buf file = { 0 };
    play(true);
    CHECK(promised(tape.count) > 0);
    build(tape.count, DROPPED, &file);
    CHECK(span_equal(buf_span(&file), buf_span(&tape.start)));
    build(tape.count, KEPT, &file);
    CHECK(file.len > tape.start.len);
    buf_free(&file);
    tape_free();
}

/* --- a disk that refuses a write or a sync --- */

/* One record; -1 refused. */
static int
try_commit(struct db *db)
{
    char name[160];
    struct state_txn *txn = NULL;
    if (state_begin(db->state, true, &txn, &db->e) < 0)
        return -1;
    record_name(state_meta(txn)->tail + 1, name);
    struct record r = db_put_record(name);
    uint8_t count[8];
    put_le64(count, state_meta(txn)->tail + 1);
    if (state_append(txn, &r, &db->e) < 0 ||
        state_put(txn, "count", span_of(count, sizeof(count)), &db->e) < 0) {
        state_abort(&txn);
        return -1;
    }
    return state_commit(&txn, &db->e);
}

/* The at-th call fails. True: there was one. */
static bool
refuse(unsigned at, int errnum)
{
    struct state_opts opts = { .map_size = 64 << 20, .journal_max = JOURNAL_MAX };
    struct db *db = begin_history(&opts);
    tape.fail_at = at;
    tape.errnum = errnum;
    uint64_t done = 0;
    bool refused = false;
    for (unsigned round = 0; round < 20; round++) {
        bool ok = try_commit(db) == 0;
        CHECK(ok || !refused || state_is_broken(db->state)); /* once; then it goes on */
        refused |= !ok;
        done += ok;
        if (state_is_broken(db->state))
            db_reopen(db);
    }
    tape.runs = false;
    db_reopen(db);
    struct state_txn *txn = db_begin(db, false);
    CHECK(state_meta(txn)->tail >= done); /* what was refused may be there, never less */
    CHECK(state_meta(txn)->tail <= 20);
    check_records(db, txn);
    state_abort(&txn);
    db_free(db);
    tape_free();
    return refused;
}

TEST(a_write_or_a_sync_that_is_refused_costs_no_commit_that_was_told)
{
    static const int errnums[] = { EIO, ENOSPC, EDQUOT };
    for (size_t i = 0; i < ARRAY_LEN(errnums); i++) {
        unsigned at = 1;
        while (refuse(at, errnums[i]))
            at++;
        CHECK(at > 40);
    }
}
