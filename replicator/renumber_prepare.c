/* renumber_prepare.c - what a standby does beforehand, folder by folder, and when that counts. */
#include "replicator/renumber_private.h"

#include "lib/os/fault.h"
#include "lib/os/file.h"
#include "replicator/handover.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK        256        /* directory ids looked at with one transaction */
#define CLOCK_MAX_NS 1000000000 /* a clock that was moved by more was set */
#define SETTLE_S     2 /* of a primary's time, before a sequence is made that lies above its */

/* As filesystems take their times. */
static int64_t
now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t
clock_ns(void)
{
    return now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME);
}

/* --- when it counts --- */

int
renumber_clock(struct state_txn *txn, uint64_t *ret_s, struct err *e)
{
    struct record r;
    int found = state_record(txn, state_meta(txn)->tail, &r, e);
    *ret_s = identity_clock((uint64_t)time(NULL), found > 0 ? r.time_ns : 0);
    return found < 0 ? -1 : 0;
}

static bool
is_of(const struct renumber_prepared *p, const struct state_meta *meta)
{
    int64_t moved_ns = clock_ns() - p->clock_ns;
    return p->since_s != 0 && p->epoch == meta->epoch &&
           memcmp(p->history, meta->history, sizeof(p->history)) == 0 && moved_ns < CLOCK_MAX_NS &&
           moved_ns > -CLOCK_MAX_NS;
}

bool
renumber_prepared_holds(struct node *node, const struct renumber_prepared *prepared)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t now_s;
    return prepared->seen_ns != 0 && state_begin(node->state, false, &txn, NULL) == 0 &&
           renumber_clock(txn, &now_s, NULL) == 0 && is_of(prepared, state_meta(txn)) &&
           identity_seed_holds(prepared->since_s, prepared->base_s, now_s);
}

/* A node that was the last primary itself may have a mail server running yet. */
static int
follows_another(struct state_txn *txn, struct err *e)
{
    struct span row;
    const struct state_meta *meta = state_meta(txn);
    int found = state_get(txn, HANDOVER_SERVED, &row, e);
    if (found < 0)
        return -1;
    bool own = found > 0 && row.len == 8 && get_le64(row.ptr) == meta->epoch;
    return meta->role == WIRE_ROLE_STANDBY && !own;
}

/* Of another primary nothing is known yet; or half of the time is over that a sequence holds for. 0
 * it is too early to make one. */
static int
begin_pass(struct node *node, struct renumber_prepared *p, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t now_s;
    if (state_begin(node->state, false, &txn, e) < 0 || renumber_clock(txn, &now_s, e) < 0)
        return -1;
    int follows = follows_another(txn, e);
    if (follows <= 0)
        return follows;
    const struct state_meta *meta = state_meta(txn);
    if (!is_of(p, meta) || now_s < p->base_s) {
        *p = (struct renumber_prepared){ .epoch = meta->epoch,
                                         .since_s = now_s,
                                         .clock_ns = clock_ns() };
        memcpy(p->history, meta->history, sizeof(p->history));
    }
    if (now_s < p->since_s + SETTLE_S)
        return 0;
    uint64_t later_s = now_s + (now_s - p->base_s); /* twice as old */
    if (identity_seed_holds(p->since_s, p->base_s, later_s))
        return 1;
    p->base_s = now_s;
    p->wrote_ns = now_ns(CLOCK_REALTIME_COARSE) / 1000000000 * 1000000000;
    p->seen_ns = 0;
    return 1;
}

/* --- a folder --- */

static int64_t
time_ns(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static bool
is_prepared_log(const struct stat *log, const struct renumber_prepared *prepared)
{
    return S_ISREG(log->st_mode) && log->st_nlink == 1 && log->st_size == IDENTITY_SEED_SIZE &&
           time_ns(&log->st_mtim) >= prepared->wrote_ns;
}

/* A filesystem may keep whole seconds. */
bool
renumber_is_prepared(const struct renumber_folder *folder, const struct renumber_prepared *prepared)
{
    struct stat dir, log;
    return folder->messages && !folder->courier && !folder->sizes && fstat(folder->fd, &dir) == 0 &&
           time_ns(&dir.st_ctim) + 1000000000 < prepared->seen_ns &&
           fstatat(folder->fd, RENUMBER_LOG, &log, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_prepared_log(&log, prepared);
}

int
renumber_write_log(int fd, const struct renumber_prepared *prepared, struct span image,
                   struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at " RENUMBER_LOG);
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1 ||
        (st.st_size != 0 && st.st_size != IDENTITY_SEED_SIZE))
        return 0;
    if ((uint64_t)st.st_size == image.len && (image.len == 0 || is_prepared_log(&st, prepared)))
        return 0;
    if (image.len == 0 && (fault("ftruncate") < 0 || ftruncate(fd, 0) < 0))
        return err_sys(e, ERR_IO, "empty " RENUMBER_LOG);
    if (image.len == 0)
        return 0;
    return file_pwrite_full(fd, image, 0, e) < 0 ? -1 : 1;
}

/* --- a pass --- */

struct pass {
    uint64_t made, failed;
    struct err why; /* the first failed */
};

static int
prepare_dir(struct node *node, struct state_txn *txn, const struct state_dir *dir,
            const struct renumber_prepared *prepared, struct pass *pass, struct err *e)
{
    struct renumber_folder folder;
    struct err why = { 0 };
    bool is_new = false;
    int found = !renumber_is_maildir(node, dir) ? 0 : renumber_names(txn, dir, &folder, e);
    if (found <= 0 || !folder.messages)
        return found < 0 ? -1 : 0;
    folder.fd = renumber_open(node, txn, dir, O_NOATIME, &why);
    int rc = folder.fd < 0 ? -1 : renumber_prepare_folder(&folder, prepared, &is_new, &why);
    pass->made += is_new;
    if (rc < 0 && why.sys != ENOENT && pass->failed++ == 0) /* else it is gone by now */
        pass->why = why;
    file_closep(&folder.fd);
    return 0;
}

/* A transaction that is kept open for long keeps the database from using its pages again. */
static int
prepare_chunk(struct node *node, const struct renumber_prepared *prepared, uint64_t from,
              const atomic_bool *stop, uint64_t *ret_end, struct pass *pass, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(node->state, false, &txn, e) < 0)
        return -1;
    *ret_end = state_meta(txn)->next_dir;
    for (uint64_t id = from; id < from + CHUNK && !atomic_load(stop);) {
        struct state_dir dir;
        int found = state_dir_next(txn, id, &dir, e);
        if (found <= 0 || dir.id >= from + CHUNK)
            return found < 0 ? -1 : 0;
        id = dir.id + 1;
        if (prepare_dir(node, txn, &dir, prepared, pass, e) < 0)
            return -1;
    }
    return 0;
}

int
renumber_prepare(struct node *node, struct renumber_prepared *prepared, const atomic_bool *stop,
                 uint64_t *ret_made, struct err *e)
{
    uint64_t from = 1, end = 0;
    struct pass pass = { 0 };
    *ret_made = 0;
    int begun = begin_pass(node, prepared, e);
    if (begun <= 0)
        return begun;
    int64_t began_ns = now_ns(CLOCK_REALTIME_COARSE);
    do {
        if (prepare_chunk(node, prepared, from, stop, &end, &pass, e) < 0)
            return -1;
        *ret_made = pass.made;
        if (atomic_load(stop))
            return 0;
        from += CHUNK;
    } while (from < end);
    if (pass.failed > 0) { /* something may have been put there that was not seen */
        *e = pass.why;
        return err_wrap(e, "prepare %llu folders", (unsigned long long)pass.failed);
    }
    prepared->seen_ns = began_ns;
    return 0;
}
