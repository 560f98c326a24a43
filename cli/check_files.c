/* check_files.c - the filesystems of stores and state. */
#include "cli/check.h"
#include "lib/os/file.h"
#include "lib/os/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SYNCS      16
#define SYNC_BYTES 4096
#define SLOW_MS    20.0
#define FUSE_MAGIC 0x65735546

/* Marks may work there, and yet not every change is reported. By the names of watch_fs_name(). */
static const struct {
    const char *name, *shown, *why;
} unseen[] = {
    { "overlayfs", "overlayfs",
      "its directories have no lasting handles; put the store on a volume of its own" },
    { "nfs", "NFS", "other hosts change it unseen; run mailtwin on the file server" },
    { "cifs", "CIFS", "other hosts change it unseen; run mailtwin on the file server" },
    { "0xfe534d42", "SMB", "other hosts change it unseen; run mailtwin on the file server" },
    { "0xc36400", "Ceph", "other hosts change it unseen" },
    { "0x1021997", "9p", "the host below changes it unseen" },
    { "fuse", "FUSE", "what changes behind it is not reported" },
};

static bool
changes_unseen(struct check *check, const struct conf_store *store, const char *filesystem)
{
    for (size_t i = 0; i < ARRAY_LEN(unseen); i++) {
        if (strcmp(unseen[i].name, filesystem) != 0)
            continue;
        check_found(check, FINDING_FAIL, "store", "%s: %s lies on %s, which cannot be watched: %s",
                    store->name, store->path, unseen[i].shown, unseen[i].why);
        return true;
    }
    return false;
}

/* The proof: the same mark that the daemon is going to set. */
static int
try_watch(const struct conf_store *store, int fd, struct err *e)
{
    _cleanup_(watch_free) struct watch *watch = NULL;
    if (watch_new(&watch, e) < 0)
        return -1;
    return watch_add(watch, fd, store->path, e);
}

static void
check_watch(struct check *check, const struct conf_store *store, int fd)
{
    struct err e = { 0 };
    const char *filesystem = watch_fs_name(fd);
    if (changes_unseen(check, store, filesystem))
        return;
    if (try_watch(store, fd, &e) == 0)
        check_found(check, FINDING_OK, "store", "%s: %s lies on %s and can be watched", store->name,
                    store->path, filesystem);
    else if (e.sys == EPERM)
        check_found(check, FINDING_WARN, "store",
                    "%s: %s lies on %s; only root can try whether it can be watched", store->name,
                    store->path, filesystem);
    else
        check_found(check, FINDING_FAIL, "store", "%s: %s", store->name, e.text);
}

static void
check_store(struct check *check, const struct conf_store *store)
{
    struct stat st;
    _cleanup_close_ int fd = open(store->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && store_kind_is_spool(store->kind))
        return; /* the daemon makes it at its first start */
    if (fd < 0)
        check_found(check, FINDING_FAIL, "store", "%s: %s: %s", store->name, store->path,
                    errno == ENOTDIR ? "it is no directory" : strerror(errno));
    else if (fstat(fd, &st) == 0 && (st.st_mode & S_IWOTH))
        check_found(check, FINDING_FAIL, "store", "%s: %s may be written by everybody", store->name,
                    store->path);
    else
        check_watch(check, store, fd);
}

void
check_stores(struct check *check)
{
    if (check->conf->not_built[0] != '\0')
        check_found(check, FINDING_WARN, "configuration",
                    "designed, but not built yet, so nothing is done for: %s",
                    check->conf->not_built);
    if (check->conf->store_count == 0)
        check_found(check, FINDING_WARN, "store", "no store that is replicated is configured");
    for (size_t i = 0; i < check->conf->store_count; i++)
        check_store(check, &check->conf->stores[i]);
}

static double
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of some small durable writes, which is what each barrier waits for twice. */
static int
measure_sync(int dirfd, double *ret_ms, struct err *e)
{
    static const char block[SYNC_BYTES];
    double took[SYNCS];
    _cleanup_close_ int fd = openat(dirfd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "write a file");
    for (int i = 0; i < SYNCS; i++) {
        double begun = now_ms();
        if (file_write_full(fd, span_of(block, sizeof(block)), e) < 0 || file_sync(fd, e) < 0)
            return -1;
        took[i] = now_ms() - begun;
    }
    qsort(took, SYNCS, sizeof(took[0]), by_size);
    *ret_ms = took[SYNCS / 2];
    return 0;
}

static void
check_latency(struct check *check, int fd)
{
    double ms;
    struct err e = { 0 };
    if (measure_sync(fd, &ms, &e) < 0)
        check_found(check, FINDING_FAIL, "state-dir", "%s: %s", check->conf->state_dir, e.text);
    else if (ms > SLOW_MS)
        check_found(check, FINDING_WARN, "storage",
                    "a durable write takes %.1f ms: every barrier waits for two of them", ms);
    else
        check_found(check, FINDING_OK, "storage", "a durable write takes %.2f ms", ms);
}

/* What is not there yet is made by the daemon or by systemd: its parent tells whether that works.
 */
static int
open_existing(const char *path, bool *ret_exists)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_exists = fd >= 0;
    if (fd >= 0 || errno != ENOENT)
        return fd;
    _cleanup_free_ char *parent = xstrdup(path);
    char *slash = strrchr(parent, '/');
    slash[slash == parent] = '\0';
    return open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
check_directory(struct check *check, const char *key, const char *path)
{
    bool exists;
    struct stat st;
    int fd = open_existing(path, &exists);
    if (fd < 0 || faccessat(fd, ".", W_OK, AT_EACCESS) < 0)
        check_found(check, FINDING_FAIL, key, "%s: %s", path, strerror(errno));
    else if (exists && fstat(fd, &st) == 0 && (st.st_mode & S_IWOTH))
        check_found(check, FINDING_FAIL, key, "%s may be written by everybody", path);
    else
        check_found(check, FINDING_OK, key, "%s%s", path, exists ? "" : " will be made");
    return fd;
}

void
check_directories(struct check *check)
{
    _cleanup_close_ int state = check_directory(check, "state-dir", check->conf->state_dir);
    if (state >= 0)
        check_latency(check, state);
    _cleanup_close_ int run = check_directory(check, "run-dir", check->conf->run_dir);
    (void)run;
}
