/* retained.h - what was deleted or overwritten on the primary and is still kept on a standby: the
 * names of retained objects, and how they are read. Format: docs/formats/retained.md.
 *
 * There is no index beside them: the name of an object says all that is not in the object itself,
 * so one rename keeps it and tells of it, and no crash can part the two. */
#ifndef MAILTWIN_RETAINED_H
#define MAILTWIN_RETAINED_H

#include "lib/base/path.h"
#include "lib/os/file.h"

#define RETAINED_DIR         "retained" /* in .mailtwin of a store */
#define RETAINED_WRAP_PATH   "path"     /* in a wrap: the path, for which the name had no room */
#define RETAINED_WRAP_OBJECT "object"
#define RETAINED_BUCKET_MS   (60ull * 60 * 1000)
#define RETAINED_BUCKET_SIZE 9 /* of its name, with the NUL */

enum retained_why {
    RETAINED_DELETED = 'd',
    RETAINED_OVERWRITTEN = 'o', /* another object got its name */
    RETAINED_TREE = 't',        /* a directory with all that was in it */
};

struct retained_name {
    enum retained_why why;
    uint64_t seq;     /* of the record that took it from the store; 0 a fix-up of a sync */
    uint64_t epoch;   /* of that record */
    uint64_t time_ms; /* since 1970, when it happened on the primary, by its clock */
    uint64_t id;      /* tells it from all others of the store */
    bool wrapped;     /* it is a directory that holds the path and the object */
    struct span path; /* in the store; "" while it is wrapped and the path was not read */
};

/* Sets name->wrapped when the path does not fit. The path is a valid one and not "". */
void retained_name_encode(struct retained_name *name, char ret_text[PATH_NAME_MAX + 1]);
/* Exactly what encode wrote; the path is put into *path, which the span points into. ERR_CORRUPT
 * says what is wrong with it. */
int retained_name_decode(struct span text, struct buf *path, struct retained_name *ret_name,
                         struct err *e) _must_check_;

/* A path as one name: how it stands at the end of a retained name. false: it is too long. */
bool retained_path_text(struct span path, char ret_text[PATH_NAME_MAX + 1]);

/* Objects lie in buckets, one for each hour of the clock that retention goes by. */
void retained_bucket_name(uint64_t hour, char ret_text[RETAINED_BUCKET_SIZE]);
bool retained_bucket_hour(const char *text, uint64_t *ret_hour);
/* The bucket that follows `hour` downwards, or with up = true upwards: the newest below, the oldest
 * from it on. 1 found, 0 none. UINT64_MAX and 0 begin. */
int retained_bucket_next(int retained_fd, uint64_t hour, bool up, uint64_t *ret_hour,
                         struct err *e) _must_check_;

struct retained_object {
    struct retained_name name;
    uint64_t hour;
    int bucket_fd;
    const char *file; /* its name in the bucket */
    struct stat st;   /* of the object itself */
    int dirfd;        /* with `entry` leads to the object, also where it is wrapped */
    const char *entry;
};

/* Calls each() for every object, the newest bucket first, within one in no order, until it returns
 * something else than 0; returns that. A name that is none of ours is left out and counted in
 * *ret_strange. wanted() (NULL: all) is asked before the object is looked at, which is what takes
 * time. What expires meanwhile is left out. */
struct retained_read {
    bool (*wanted)(void *arg, const struct retained_name *name);
    int (*each)(void *arg, const struct retained_object *object, struct err *e);
    void *arg;
};
int retained_read(int retained_fd, const struct retained_read *read, uint64_t *ret_strange,
                  struct err *e) _must_check_;

#endif
