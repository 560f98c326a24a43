/* retain_tend.c - what is retained goes again: by age, and where space is short. */
#include "lib/os/attrs.h"
#include "lib/os/dir.h"
#include "lib/os/event.h"
#include "lib/os/proc.h"
#include "replicator/retain_private.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define TEND_MS       60000
#define SAVE_CLOCK_MS (10 * 60 * 1000)
#define DEPTH_MAX     64  /* of directories whose size is counted */
#define SPARE_PART    100 /* of the filesystem stays free: one part of so many */

uint64_t
retain_clock_next(uint64_t clock_ms, uint64_t wall_ms, uint64_t passed_ms)
{
    uint64_t furthest = clock_ms + MIN(passed_ms, UINT64_MAX / 4) * 2;
    return MIN(wall_ms, furthest);
}

/* --- how much it is --- */

struct retain_bucket *
retain_bucket(struct retain *r, uint64_t hour)
{
    for (size_t i = r->bucket_count; i > 0; i--) {
        if (r->buckets[i - 1].hour == hour)
            return &r->buckets[i - 1];
    }
    if (r->bucket_count == r->bucket_cap) {
        r->bucket_cap = MAX(r->bucket_cap * 2, (size_t)16);
        r->buckets = xrealloc(r->buckets, r->bucket_cap * sizeof(r->buckets[0]));
    }
    r->buckets[r->bucket_count] = (struct retain_bucket){ .hour = hour };
    return &r->buckets[r->bucket_count++];
}

static uint64_t count_tree(const struct retain *r, int at, const char *name, unsigned depth);

static uint64_t
count_name(const struct retain *r, int dirfd, const char *name, unsigned depth)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    return S_ISDIR(st.st_mode) ? bytes + count_tree(r, dirfd, name, depth) : bytes;
}

/* Blocks of all that is in it; of what goes deeper, nothing. It is a bound, not an account. */
static uint64_t
count_tree(const struct retain *r, int at, const char *name, unsigned depth)
{
    _cleanup_dir_ DIR *dir = depth >= DEPTH_MAX ? NULL : dir_open(at, name, NULL);
    const struct dirent *item;
    uint64_t bytes = 0;
    while (dir != NULL && !atomic_load(&r->stop) && dir_next(dir, &item, NULL) > 0)
        bytes += count_name(r, dirfd(dir), item->d_name, depth + 1);
    return bytes;
}

/* An hour whose size is not known, and how it is called. */
static bool
next_uncounted(struct retain *r, uint64_t from, uint64_t *ret_hour)
{
    while (retained_bucket_next(r->fd, from, true, ret_hour, NULL) > 0) {
        pthread_mutex_lock(&r->lock);
        struct retain_bucket *bucket = retain_bucket(r, *ret_hour);
        bool found = !bucket->counted;
        if (found)
            *bucket = (struct retain_bucket){ .hour = *ret_hour, .counted = true };
        pthread_mutex_unlock(&r->lock);
        if (found)
            return true;
        from = *ret_hour + 1;
    }
    return false;
}

/* Objects that come meanwhile are counted by who brings them, or twice. */
static void
count_buckets(struct retain *r)
{
    uint64_t hour = 0;
    for (uint64_t from = 0; next_uncounted(r, from, &hour) && !atomic_load(&r->stop);
         from = hour + 1) {
        char name[RETAINED_BUCKET_SIZE];
        retained_bucket_name(hour, name);
        uint64_t bytes = count_tree(r, r->fd, name, 0);
        pthread_mutex_lock(&r->lock);
        retain_bucket(r, hour)->bytes += bytes;
        pthread_mutex_unlock(&r->lock);
    }
}

static uint64_t
total_bytes(struct retain *r)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->bucket_count; i++)
        bytes += r->buckets[i].bytes;
    pthread_mutex_unlock(&r->lock);
    return bytes;
}

void
retain_usage(struct retain *retain, struct retain_usage *ret_usage)
{
    struct retain *r = retain;
    ret_usage->bytes = total_bytes(r);
    ret_usage->oldest_ms = 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->bucket_count; i++) {
        uint64_t ms = r->buckets[i].hour * RETAINED_BUCKET_MS;
        if (ret_usage->oldest_ms == 0 || ms < ret_usage->oldest_ms)
            ret_usage->oldest_ms = ms;
    }
    pthread_mutex_unlock(&r->lock);
}

/* --- what goes --- */

static void
forget_bucket(struct retain *r, uint64_t hour)
{
    for (size_t i = 0; i < r->bucket_count; i++) {
        if (r->buckets[i].hour == hour)
            r->buckets[i] = r->buckets[--r->bucket_count];
    }
    if (r->bucket_fd >= 0 && r->bucket_hour == hour)
        file_closep(&r->bucket_fd);
}

/* Not synced: what a power loss brings back goes again. */
static int
drop_bucket(struct retain *r, uint64_t hour, struct err *e)
{
    char name[RETAINED_BUCKET_SIZE];
    retained_bucket_name(hour, name);
    pthread_mutex_lock(&r->lock);
    int rc = trash_take(&r->gone, r->fd, name, e);
    if (rc == 0)
        forget_bucket(r, hour);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static int
clear(struct retain *r, struct err *e)
{
    pthread_mutex_lock(&r->clearing);
    int rc = trash_clear(&r->gone, e);
    pthread_mutex_unlock(&r->clearing);
    return rc;
}

static int
expire(struct retain *r, struct err *e)
{
    uint64_t hour;
    int found;
    while ((found = retained_bucket_next(r->fd, 0, true, &hour, e)) > 0) {
        uint64_t ends = (hour + 1) * RETAINED_BUCKET_MS;
        bool young = ends > r->clock_ms || r->clock_ms - ends < r->keep_ms;
        if (young && r->keep_ms > 0)
            return 0;
        if (drop_bucket(r, hour, e) < 0)
            return -1;
    }
    return found;
}

int
retain_yield(struct retain *retain, struct err *e)
{
    uint64_t hour;
    pthread_mutex_lock(&retain->lock);
    int found = retain_folders(retain, false, e);
    pthread_mutex_unlock(&retain->lock);
    if (found > 0 && atomic_load(&retain->pinned))
        return 0;
    if (found > 0)
        found = retained_bucket_next(retain->fd, 0, true, &hour, e);
    if (found <= 0)
        return found;
    return drop_bucket(retain, hour, e) < 0 || clear(retain, e) < 0 ? -1 : 1;
}

bool
retain_give_way(struct retain *const *list, size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct err e = { 0 };
        int went = list[i] == NULL ? 0 : retain_yield(list[i], &e);
        if (went < 0)
            event(EV_RETAINED_STUCK, F_ERR(&e));
        if (went > 0)
            event(EV_RETAINED_GAVE_WAY, F_STR("store", list[i]->store), F_U64("hours", 1));
        any = any || went > 0;
    }
    return any;
}

/* Is it more than it may be, or its filesystem nearly full? */
static bool
must_give_way(struct retain *r)
{
    struct statvfs fs;
    if (fstatvfs(r->root_fd, &fs) < 0)
        return false;
    uint64_t size = (uint64_t)fs.f_blocks * fs.f_frsize;
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    return total_bytes(r) > size / 100 * r->max_percent || left < size / SPARE_PART;
}

static int
make_room(struct retain *r, struct err *e)
{
    unsigned dropped = 0;
    int went = 1;
    uint64_t before = total_bytes(r);
    while (went > 0 && !atomic_load(&r->stop) && !atomic_load(&r->pinned) && must_give_way(r)) {
        went = retain_yield(r, e);
        dropped += went > 0;
    }
    if (dropped > 0)
        event(EV_RETAINED_GAVE_WAY, F_STR("store", r->store), F_U64("hours", dropped),
              F_U64("bytes", before - MIN(before, total_bytes(r))));
    return went < 0 ? -1 : 0;
}

static int
save_clock(struct retain *r, struct err *e)
{
    char text[32];
    if (r->clock_ms >= r->clock_saved_ms && r->clock_ms - r->clock_saved_ms < SAVE_CLOCK_MS)
        return 0;
    int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", r->clock_ms);
    if (file_replace(r->fd, RETAIN_CLOCK, span_of(text, (size_t)len), 0600, e) < 0)
        return -1;
    r->clock_saved_ms = r->clock_ms;
    return 0;
}

static void
tell_unkept(struct retain *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t count = r->unkept;
    r->unkept = 0;
    pthread_mutex_unlock(&r->lock);
    if (count > 0)
        event(EV_RETAINED_NO_ROOM, F_STR("store", r->store), F_U64("objects", count));
}

static int
tend(struct retain *r, struct err *e)
{
    tell_unkept(r);
    if (save_clock(r, e) < 0)
        return -1;
    if (!atomic_load(&r->pinned)) {
        if (expire(r, e) < 0)
            return -1;
        count_buckets(r);
        if (make_room(r, e) < 0)
            return -1;
    }
    return clear(r, e);
}

int
retain_tend(struct retain *retain, uint64_t wall_ms, uint64_t passed_ms, struct err *e)
{
    struct retain *r = retain;
    pthread_mutex_lock(&r->lock);
    r->clock_ms = retain_clock_next(r->clock_ms, wall_ms, passed_ms);
    int there = retain_folders(r, false, e);
    pthread_mutex_unlock(&r->lock);
    if (there > 0)
        there = tend(r, e);
    return there < 0 ? err_wrap(e, "store %s: retained objects", r->store) : 0;
}

/* --- the thread --- */

struct retain_keeper {
    struct retain *const *list;
    size_t count;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    pthread_t thread;
};

static uint64_t
clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
tend_all(struct retain_keeper *k, uint64_t passed_ms)
{
    for (size_t i = 0; i < k->count; i++) {
        struct err e = { 0 };
        if (k->list[i] != NULL &&
            retain_tend(k->list[i], clock_ms(CLOCK_REALTIME), passed_ms, &e) < 0)
            event(EV_RETAINED_STUCK, F_ERR(&e));
    }
}

static void *
run(void *arg)
{
    struct retain_keeper *k = arg;
    uint64_t last = clock_ms(CLOCK_BOOTTIME);
    proc_be_last();
    pthread_mutex_lock(&k->lock);
    while (!k->stop) {
        pthread_mutex_unlock(&k->lock);
        uint64_t now = clock_ms(CLOCK_BOOTTIME);
        tend_all(k, now - last);
        last = now;
        pthread_mutex_lock(&k->lock);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += TEND_MS / 1000;
        if (!k->stop)
            pthread_cond_timedwait(&k->wake, &k->lock, &until);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int
retain_keeper_new(struct retain *const *list, size_t count, struct retain_keeper **ret_keeper,
                  struct err *e)
{
    struct retain_keeper *k = xcalloc(1, sizeof(*k));
    pthread_condattr_t attr;
    k->list = list;
    k->count = count;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &attr);
    pthread_condattr_destroy(&attr);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&k->thread, NULL, run, k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0) {
        *ret_keeper = k;
        return 0;
    }
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
    return err_errnum(e, ERR_NOMEM, r, "start the thread that expires what is retained");
}

void
retain_keeper_free(struct retain_keeper **keeper)
{
    struct retain_keeper *k = *keeper;
    *keeper = NULL;
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->count; i++) {
        if (k->list[i] != NULL)
            atomic_store(&k->list[i]->stop, true);
    }
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
