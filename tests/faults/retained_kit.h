/* retained_kit.h - what a disturbed history must have retained: all that an undisturbed one keeps.
 */
#ifndef MAILTWIN_TEST_RETAINED_KIT_H
#define MAILTWIN_TEST_RETAINED_KIT_H

#include "replicator/retain.h"
#include "tests/faults/apply_history.h"

static inline struct retain *
retain_all(const char *path)
{
    struct retain_opts opts = {
        .path = path, .store = path, .kind = STORE_FILES, .keep_ms = 1000000, .max_percent = 50
    };
    struct retain *retain;
    assert_int_equal(retain_open(&opts, &retain, NULL), 0);
    return retain;
}

#define RETAINED_MAX 64

static char retained_once[RETAINED_MAX][HISTORY_PATH_MAX]; /* by a run that nothing disturbed */
static size_t retained_count;

struct found {
    bool first;
    bool has[RETAINED_MAX];
};

static inline int
find_retained(void *arg, const struct retained_object *object, struct err *e)
{
    struct found *found = arg;
    char line[HISTORY_PATH_MAX];
    (void)e;
    snprintf(line, sizeof(line), "%c%jx %.*s", (int)object->name.why, (uintmax_t)object->name.seq,
             (int)object->name.path.len, (const char *)object->name.path.ptr);
    if (found->first) {
        assert_true(retained_count < RETAINED_MAX);
        memcpy(retained_once[retained_count++], line, sizeof(line));
    }
    for (size_t i = 0; i < retained_count; i++)
        found->has[i] = found->has[i] || strcmp(retained_once[i], line) == 0;
    return 0;
}

/* Whatever failed: all is there that an undisturbed run keeps. Where a disk was full it may be
 * less.
 */
static inline void
check_retained(int root, bool full, const char *where)
{
    struct found found = { .first = retained_count == 0 };
    struct retained_read read = { .each = find_retained, .arg = &found };
    struct err e = { 0 };
    uint64_t strange = 0;
    _cleanup_close_ int fd = openat(root, ".mailtwin/retained", O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    if (retained_read(fd, &read, &strange, &e) != 0)
        fail_msg("%s: %s", where, e.text);
    assert_true(retained_count > 0 && strange == 0);
    for (size_t i = 0; !full && i < retained_count; i++) {
        if (!found.has[i])
            fail_msg("%s: \"%s\" is not retained", where, retained_once[i]);
    }
}

#endif
