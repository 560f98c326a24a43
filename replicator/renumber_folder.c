/* renumber_folder.c - one folder of a node that becomes primary: its numbers are raised, and what
 * Dovecot has cached of an earlier time goes.
 *
 * Whatever the moment of a crash, a list of UIDs is the old one, or the old one with a whole line
 * more, or the new one; a half line is an append that was cut off, which Dovecot passes over. */
#include "replicator/renumber_private.h"

#include "lib/os/attrs.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"
#include "lib/store/uidlist.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define UIDLIST_NAME  "dovecot-uidlist"
#define COURIER_NAME  "courierimapuiddb"
#define SIZES_NAME    "courierpop3dsizelist"
#define LOG_NAME      RENUMBER_LOG
#define TEMP_NAME     "mailtwin-identity.lock" /* no store replicates a name of the kind */
#define LIST_MAX      (256 * 1024 * 1024)
#define LOCK_STALE_S  120 /* as Dovecot has it */
#define LOCK_TRIES    50
#define LOCK_WAIT_US  20000
#define HOST_SIZE     256
#define LOCK_TEXT_MAX 288  /* process and host */
#define PERMISSIONS   0666 /* of what Dovecot makes */
#define CLOCK_SLACK_S 2
#define READ_SIZE     8192

struct job {
    const struct renumber_folder *folder;
    const struct renumber_order *order;
    bool live;
    bool has_lock; /* some file of the name of a lock is there */
    bool has_log;
    bool look;             /* nothing is removed */
    bool stale;            /* ... but should be */
    uint32_t marker;       /* the largest in the name of a marker of UIDVALIDITY, 0 none */
    unsigned raised, busy; /* as in renumber_result */
};

/* --- files --- */

static int
open_file(const struct job *j, const char *name, int flags, struct err *e)
{
    return file_open_beneath(j->folder->fd, span_str(name), flags, 0, e);
}

static int
remove_name(const struct job *j, const char *name, struct err *e)
{
    if ((fault("unlink") < 0 || unlinkat(j->folder->fd, name, 0) < 0) && errno != ENOENT)
        return err_sys(e, ERR_IO, "remove %s", name);
    return 0;
}

/* Only what differs: there may be a hundred thousand of them. */
static int
give_to_owner(int fd, const struct attr *owner, mode_t mode, struct err *e)
{
    if (owner->uid != geteuid() || owner->gid != getegid()) {
        if (attrs_set_owner(fd, owner->uid, owner->gid, e) < 0)
            return -1;
    }
    return (mode & ~(mode_t)0600) == 0 ? 0 : attrs_set_mode(fd, mode, e);
}

/* A new file that belongs to whom the folder's list belongs. */
static int
create(const struct job *j, const char *name, mode_t mode, struct span data, int *ret_fd,
       struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    mode &= PERMISSIONS;
    _cleanup_close_ int fd = fault("open") < 0 ? -1 : openat(j->folder->fd, name, flags, mode);
    if (fd < 0)
        return err_sys(e, ERR_IO, "create %s", name);
    if (file_write_full(fd, data, e) < 0 || give_to_owner(fd, &j->folder->owner, mode, e) < 0) {
        struct err ignored = { 0 };
        if (remove_name(j, name, &ignored) < 0) /* half of it is worse than nothing */
            return err_wrap(e, "write %s, and remove it again", name);
        return err_wrap(e, "write %s", name);
    }
    if (ret_fd != NULL) {
        *ret_fd = fd;
        fd = -1;
    }
    return 0;
}

/* Whole, durably, and never less than the old one. */
static int
replace(const struct job *j, const char *name, struct span text, struct err *e)
{
    _cleanup_close_ int fd = -1;
    if (remove_name(j, TEMP_NAME, e) < 0 ||
        create(j, TEMP_NAME, j->folder->owner.mode, text, &fd, e) < 0 || file_sync(fd, e) < 0)
        return -1;
    return file_rename(j->folder->fd, TEMP_NAME, j->folder->fd, name, false, e);
}

/* --- Dovecot's lock of the list --- */

static void
host_name(char host[HOST_SIZE])
{
    if (gethostname(host, HOST_SIZE - 1) < 0)
        host[0] = '\0';
    host[HOST_SIZE - 1] = '\0';
}

/* It names a process of this host, and there is no such. A process of this very number that is not
 * this one had it before this one was started. */
static bool
holder_is_dead(const struct job *j, const char *name, const struct stat *st)
{
    char host[HOST_SIZE];
    uint8_t text[LOCK_TEXT_MAX];
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    if (!S_ISREG(st->st_mode) || st->st_size <= 0 || st->st_size > LOCK_TEXT_MAX)
        return false;
    _cleanup_close_ int fd = openat(j->folder->fd, name, flags);
    ssize_t len = fd < 0 ? -1 : file_pread_full(fd, text, sizeof(text), 0, NULL);
    host_name(host);
    pid_t pid = len < 0 ? 0 : (pid_t)identity_lock_pid(span_of(text, (size_t)len), host);
    if (pid == getpid())
        return attrs_ns(&st->st_mtim) < j->folder->locks_since_ns;
    return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

/* Who held it is gone, as Dovecot sees it as well. */
static bool
lock_is_stale(const struct job *j, const char *name)
{
    struct stat st;
    return fstatat(j->folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (st.st_mtime + LOCK_STALE_S < time(NULL) || holder_is_dead(j, name, &st));
}

/* As Dovecot's: one that a crash of this process leaves is nobody's at once. */
static int
lock_make(const struct job *j, const char *name, struct err *e)
{
    char host[HOST_SIZE];
    char text[LOCK_TEXT_MAX];
    host_name(host);
    int len = snprintf(text, sizeof(text), "%ld:%s", (long)getpid(), host);
    return create(j, name, PERMISSIONS, span_of(text, (size_t)len), NULL, e);
}

static int
lock_wait(const struct job *j, const char *name, struct err *e)
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (lock_make(j, name, e) == 0)
            return 0;
        if (e->sys != EEXIST)
            return -1;
        err_clear(e);
        if (lock_is_stale(j, name) && remove_name(j, name, e) < 0)
            return -1;
        usleep(LOCK_WAIT_US);
    }
    return err_set(e, ERR_BUSY, "a mail server holds %s; stop it on this node", name);
}

/* Where no mail server runs a lock is not taken, but looked for: one that runs all the same, on a
 * standby, must not have its list changed under its hands. */
static int
lock(const struct job *j, const char *name, struct err *e)
{
    if (j->live)
        return lock_wait(j, name, e);
    if (!j->has_lock || faccessat(j->folder->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ||
        lock_is_stale(j, name))
        return 0;
    return err_set(e, ERR_BUSY, "there is a %s: a mail server uses the folder on this node", name);
}

static int
unlock(const struct job *j, const char *name, struct err *e)
{
    return j->live ? remove_name(j, name, e) : 0;
}

/* --- lists of UIDs --- */

/* What it begins and ends with; the size of a short one is told by that. */
static int
read_windows(int fd, uint8_t *head, uint8_t *tail, struct span *ret_head, struct span *ret_tail,
             uint64_t *ret_size, struct err *e)
{
    struct stat st;
    ssize_t len = file_pread_full(fd, head, UIDLIST_WINDOW, 0, e);
    if (len < 0)
        return -1;
    *ret_head = span_of(head, (size_t)len);
    *ret_tail = *ret_head;
    *ret_size = (uint64_t)len;
    if (len < UIDLIST_WINDOW)
        return 0;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the list");
    *ret_size = (uint64_t)st.st_size;
    len = file_pread_full(fd, tail, UIDLIST_WINDOW, *ret_size - UIDLIST_WINDOW, e);
    *ret_tail = span_of(tail, len < 0 ? 0 : (size_t)len);
    return len < 0 ? -1 : 0;
}

static int
cut(int fd, uint64_t size, struct err *e)
{
    if (fault("ftruncate") < 0 || ftruncate(fd, (off_t)size) < 0)
        return err_sys(e, ERR_IO, "cut the list to %llu bytes", (unsigned long long)size);
    return 0;
}

/* A line that could not be written whole is cut off again; where that fails as well it has no end,
 * which is read as nothing. */
static int
append(int fd, uint64_t size, const struct uidlist_gap *gap, struct err *e)
{
    struct err ignored = { 0 };
    if (gap->torn > 0 && cut(fd, size - gap->torn, e) < 0)
        return -1;
    if (file_pwrite_full(fd, span_of(gap->line, gap->len), size - gap->torn, e) == 0)
        return 0;
    return cut(fd, size - gap->torn, &ignored) < 0 ? err_wrap(e, "and leave half a line") : -1;
}

static int
rewrite(const struct job *j, const char *name, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_buf_ struct buf raised = { 0 };
    size_t len;
    uint32_t next;
    int found = file_read(j->folder->fd, name, LIST_MAX, &text, &len, e);
    if (found <= 0)
        return found;
    int rc = strcmp(name, SIZES_NAME) == 0
                 ? identity_raise_sizes(span_of(text, len), j->order->gap, &raised, e)
                 : uidlist_raise(span_of(text, len), j->order->gap, &raised, &next, e);
    return rc < 0 || replace(j, name, buf_span(&raised), e) < 0 ? -1 : 1;
}

/* To note when it was read is a write to the disk, a hundred thousand times. */
static int
open_list(const struct job *j)
{
    int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
    if (fault("open") < 0)
        return -1;
    int fd = openat(j->folder->fd, UIDLIST_NAME, flags | O_NOATIME);
    return fd < 0 && errno == EPERM ? openat(j->folder->fd, UIDLIST_NAME, flags) : fd;
}

/* 1 raised, 0 there is none, -1. */
static int
raise_dovecots(const struct job *j, struct err *e)
{
    uint8_t head[UIDLIST_WINDOW];
    uint8_t tail[UIDLIST_WINDOW];
    struct span first, last;
    struct uidlist_gap gap;
    uint64_t size;
    _cleanup_close_ int fd = open_list(j);
    if (fd < 0 && errno == ENOENT)
        return 0; /* the index is ahead; the sweep will tell it */
    if (fd < 0)
        return err_sys(e, ERR_IO, "open it");
    if (read_windows(fd, head, tail, &first, &last, &size, e) < 0)
        return -1;
    int got = uidlist_gap(first, last, j->order->gap, &gap, e);
    if (got == 0)
        return rewrite(j, UIDLIST_NAME, e);
    return got < 0 || append(fd, size, &gap, e) < 0 ? -1 : 1;
}

static int
raise_list(struct job *j, const char *name, const char *lock_name,
           int (*raise)(const struct job *j, struct err *e), struct err *e)
{
    struct err why = { 0 };
    if (lock(j, lock_name, e) < 0)
        return err_wrap(e, "raise the next UID in %s", name);
    int rc = raise == NULL ? rewrite(j, name, e) : raise(j, e);
    if (unlock(j, lock_name, rc < 0 ? &why : e) < 0)
        rc = -1;
    j->raised += rc > 0;
    return rc < 0 ? err_wrap(e, "raise the next UID in %s", name) : 0;
}

/* --- UIDVALIDITY of folders to be made --- */

static int
read_validity(const struct job *j, uint32_t *ret_value, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    int found = file_read(j->folder->fd, IDENTITY_VALIDITY_FILE, 64, &text, &len, e);
    *ret_value = found > 0 ? identity_validity(span_of(text, len)) : 0;
    return found;
}

static int
move_marker(const struct job *j, uint32_t from, uint32_t to, struct err *e)
{
    char old[64];
    char new[64];
    snprintf(old, sizeof(old), IDENTITY_VALIDITY_FILE ".%08x", from);
    snprintf(new, sizeof(new), IDENTITY_VALIDITY_FILE ".%08x", to);
    if (from != 0 && file_rename(j->folder->fd, old, j->folder->fd, new, true, e) == 0)
        return 0;
    if (from != 0 && e->sys != ENOENT)
        return -1;
    err_clear(e);
    return create(j, new, 0444, (struct span){ 0 }, NULL, e);
}

/* The marker first: where the two differ Dovecot takes the larger marker. */
static int
raise_validity(const struct job *j, struct err *e)
{
    char text[16];
    uint32_t file, next;
    if (read_validity(j, &file, e) < 0)
        return -1;
    if (file == 0 && j->marker == 0)
        return 0; /* neither says anything; Dovecot begins with the time of day */
    if (identity_next_validity(file, j->marker, j->order->validity_gap, &next, e) < 0 ||
        move_marker(j, j->marker, next, e) < 0)
        return -1;
    if (file == 0)
        return 0;
    _cleanup_close_ int fd = open_file(j, IDENTITY_VALIDITY_FILE, O_WRONLY, e);
    snprintf(text, sizeof(text), "%08x", next);
    return fd < 0 ? -1 : file_pwrite_full(fd, span_of(text, IDENTITY_VALIDITY_SIZE), 0, e);
}

/* --- what is cached --- */

static bool
is_lock(const char *name)
{
    static const char suffix[] = ".lock";
    size_t len = strlen(name);
    return len >= sizeof(suffix) && strcmp(name + len - sizeof(suffix) + 1, suffix) == 0;
}

/* On a standby no mail server runs. What one held that was killed on this machine, when it was the
 * primary, would be waited for by the next one for minutes. What is of the future was made before a
 * clock was set back. */
static int
see_lock(struct job *j, const char *name, struct err *e)
{
    struct stat st;
    bool old = !j->live && fstatat(j->folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               S_ISREG(st.st_mode) &&
               (attrs_ns(&st.st_mtim) < j->folder->locks_since_ns ||
                st.st_mtime > time(NULL) + CLOCK_SLACK_S || holder_is_dead(j, name, &st));
    j->has_lock |= !old;
    return old ? remove_name(j, name, e) : 0;
}

static int
drop_one(struct job *j, const char *name, struct err *e)
{
    if (!j->look && is_lock(name) && see_lock(j, name, e) < 0)
        return -1;
    bool log = j->folder->messages && strcmp(name, LOG_NAME) == 0;
    j->marker = MAX(j->marker, identity_marker(span_str(name)));
    j->has_log |= log; /* is written over: making a file costs ten times as much */
    bool stale = !log && identity_is_stale(name);
    j->stale |= stale || is_lock(name) || j->marker > j->folder->marker;
    return stale && !j->look ? remove_name(j, name, e) : 0;
}

/* The whole directory is read once, by its own descriptor. */
static int
drop_stale(struct job *j, struct err *e)
{
    _Alignas(struct dirent64) char room[READ_SIZE];
    for (;;) {
        ssize_t len = getdents64(j->folder->fd, room, sizeof(room));
        if (len <= 0)
            return len < 0 ? err_sys(e, ERR_IO, "read the directory") : 0;
        for (ssize_t at = 0; at < len;) {
            const struct dirent64 *entry = (const void *)(room + at);
            if (drop_one(j, entry->d_name, e) < 0)
                return -1;
            at += entry->d_reclen;
        }
    }
}

/* Behind its header nothing may be left of what it had: the index that it belonged to is gone. An
 * empty one, as a standby prepares it, is written without a block being read. */
static int
write_over(int fd, struct span image, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at " LOG_NAME);
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
        return err_set(e, ERR_CORRUPT, LOG_NAME " is no file, or has other names as well");
    if (st.st_size != 0 && (uint64_t)st.st_size != image.len &&
        (fault("ftruncate") < 0 || ftruncate(fd, 0) < 0))
        return err_sys(e, ERR_IO, "empty " LOG_NAME);
    return file_pwrite_full(fd, image, 0, e);
}

static int
seed(const struct job *j, struct err *e)
{
    uint8_t image[IDENTITY_SEED_SIZE];
    struct err why = { 0 };
    int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
    identity_seed(j->order->modseq, (uint32_t)time(NULL), image);
    struct span all = span_of(image, sizeof(image));
    _cleanup_close_ int fd = !j->has_log || fault("open") < 0
                                 ? -1
                                 : openat(j->folder->fd, LOG_NAME, flags);
    if (fd >= 0 && write_over(fd, all, &why) == 0)
        return 0;
    if (j->has_log && remove_name(j, LOG_NAME, e) < 0)
        return -1;
    return create(j, LOG_NAME, j->folder->owner.mode, all, NULL, e);
}

static int
renew_index(struct job *j, struct err *e)
{
    if (drop_stale(j, e) < 0) {
        j->has_lock = true; /* nobody knows */
        return err_wrap(e, "remove what Dovecot cached of an earlier time");
    }
    if (j->folder->messages && seed(j, e) < 0)
        return err_wrap(e, "begin its modification sequence");
    return 0;
}

/* --- beforehand --- */

/* What the promotion reads of its list is in memory then, if there is room. */
static void
warm(const struct job *j)
{
    uint8_t head[UIDLIST_WINDOW];
    uint8_t tail[UIDLIST_WINDOW];
    struct span first, last;
    uint64_t size;
    struct err ignored = { 0 };
    _cleanup_close_ int fd = j->folder->uidlist ? open_list(j) : -1;
    if (fd >= 0 && read_windows(fd, head, tail, &first, &last, &size, &ignored) < 0)
        err_clear(&ignored); /* it is told at the promotion */
}

/* With an empty log it does not count as prepared. */
int
renumber_prepare_folder(const struct renumber_folder *folder,
                        const struct renumber_prepared *prepared, bool *ret_made, struct err *e)
{
    static const struct renumber_order none;
    struct job j = { .folder = folder, .order = &none, .look = true };
    uint8_t bytes[IDENTITY_SEED_SIZE];
    *ret_made = false;
    warm(&j);
    if (renumber_is_prepared(folder, prepared))
        return 0;
    if (drop_stale(&j, e) < 0)
        return -1;
    identity_seed(identity_modseq(prepared->base_s, 0), (uint32_t)time(NULL), bytes);
    struct span image = span_of(bytes, j.stale ? 0 : sizeof(bytes));
    if (!j.has_log) {
        int rc = create(&j, LOG_NAME, folder->owner.mode, image, NULL, e);
        *ret_made = rc == 0;
        return rc;
    }
    _cleanup_close_ int fd = open_file(&j, LOG_NAME, O_RDWR, e);
    int wrote = fd < 0 ? -1 : renumber_write_log(fd, prepared, image, e);
    *ret_made = wrote > 0;
    return wrote < 0 ? -1 : 0;
}

/* --- all of it --- */

static int
raise_lists(struct job *j, unsigned lists, struct err all[3])
{
    int rc = 0;
    if (lists & RENUMBER_UIDLIST)
        rc |= raise_list(j, UIDLIST_NAME, UIDLIST_NAME ".lock", raise_dovecots, &all[0]);
    if (lists & RENUMBER_COURIER)
        rc |= raise_list(j, COURIER_NAME, COURIER_NAME ".lock", NULL, &all[1]);
    if (lists & RENUMBER_SIZES)
        rc |= raise_list(j, SIZES_NAME, SIZES_NAME ".lock", NULL, &all[2]);
    for (unsigned i = 0; i < 3; i++)
        j->busy |= all[i].code == ERR_BUSY ? 1U << i : 0;
    return rc;
}

/* The first failure; what a moment may mend comes last. */
static int
first_of(const struct err *all, size_t count, struct err *e)
{
    const struct err *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (all[i].code != ERR_NONE &&
            (first == NULL || (first->code == ERR_BUSY && all[i].code != ERR_BUSY)))
            first = &all[i];
    }
    if (first == NULL)
        return 0;
    *e = *first;
    return -1;
}

static unsigned
lists_of(const struct renumber_folder *folder)
{
    return (folder->uidlist ? RENUMBER_UIDLIST : 0U) | (folder->courier ? RENUMBER_COURIER : 0U) |
           (folder->sizes ? RENUMBER_SIZES : 0U);
}

int
renumber_folder(const struct renumber_folder *folder, const struct renumber_order *order,
                bool prepared, bool live, struct renumber_result *ret_result, struct err *e)
{
    struct job j = { .folder = folder, .order = order, .live = live };
    struct err all[5] = { 0 };
    bool gap = order->gap > 0;
    int rc = prepared ? 0 : renew_index(&j, &all[4]);
    if (prepared)
        j.marker = folder->marker;
    if (gap)
        rc |= raise_lists(&j, lists_of(folder), all);
    if (gap && (folder->validity || j.marker != 0) && raise_validity(&j, &all[3]) < 0)
        rc = err_wrap(&all[3], "raise the next UIDVALIDITY");
    *ret_result = (struct renumber_result){ .raised = j.raised, .busy = j.busy };
    return rc < 0 ? first_of(all, ARRAY_LEN(all), e) : 0;
}

int
renumber_again(const struct renumber_folder *folder, const struct renumber_order *order,
               unsigned lists, struct renumber_result *ret_result, struct err *e)
{
    struct job j = { .folder = folder, .order = order, .has_lock = true };
    struct err all[3] = { 0 };
    int rc = raise_lists(&j, lists & lists_of(folder), all);
    *ret_result = (struct renumber_result){ .raised = j.raised, .busy = j.busy };
    return rc < 0 ? first_of(all, ARRAY_LEN(all), e) : 0;
}
