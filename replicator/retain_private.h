/* retain_private.h - what retain.c (keeping) and retain_tend.c (expiry) share. */
#ifndef MAILTWIN_RETAIN_PRIVATE_H
#define MAILTWIN_RETAIN_PRIVATE_H

#include "replicator/folder.h"
#include "replicator/retain.h"

#include <pthread.h>

#define RETAIN_VERSIONS 4096    /* slots for paths of which a version was kept lately */
#define RETAIN_CLOCK    "clock" /* in retained: the clock by which objects expire, in ms */

struct retain_bucket {
    uint64_t hour;
    uint64_t bytes;
    bool counted;
};

struct retain {
    char *path, *store, *users;
    enum store_kind kind;
    uint64_t keep_ms;
    unsigned max_percent;
    atomic_bool stop, pinned;

    pthread_mutex_t clearing; /* who deletes */
    pthread_mutex_t lock;     /* what follows; held for each object, never while one is deleted */
    int root_fd, fd, gone_fd, was_fd; /* -1: not there yet */
    int bucket_fd;                    /* of bucket_hour, -1 none */
    uint64_t bucket_hour;
    uint64_t next_id;
    uint64_t clock_ms, clock_saved_ms;
    struct trash gone;
    struct retain_bucket *buckets; /* what is known of them */
    size_t bucket_count, bucket_cap;
    uint64_t unkept; /* since the last look: there was no room */
    struct {
        uint64_t path; /* its hash */
        uint64_t time_ms;
    } versions[RETAIN_VERSIONS];
};

/* With the lock held. make: 1 there now; else 1 there, 0 not. */
int retain_folders(struct retain *r, bool make, struct err *e) _must_check_;
struct retain_bucket *retain_bucket(struct retain *r, uint64_t hour);

#endif
