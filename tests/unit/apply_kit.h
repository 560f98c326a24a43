/* apply_kit.h - what the tests of the apply engine share: a store in a folder of its own, records
 * in a line each, and what became of them. */
#ifndef MAILTWIN_APPLY_KIT_H
#define MAILTWIN_APPLY_KIT_H

#include "lib/base/crc.h"
#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/file.h"
#include "replicator/apply.h"
#include "replicator/retain.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KIT_MTIME INT64_C(1700000000123456789)
#define KIT_MAX   300

struct kit_result {
    enum apply_result result;
    bool exists, certain;
    struct attr attr;
    uint64_t ino;
    uint32_t nlink;
    struct attrs_handle handle;
};

struct kit {
    char path[128]; /* the store's root */
    int root;
    struct retain *retain; /* NULL none */
    struct apply *apply;
    struct err e;
    struct kit_result got[KIT_MAX]; /* of the last commit */
    size_t count;
};

static inline void
kit_start(struct kit *kit)
{
    struct apply_store store = { .path = kit->path, .retain = kit->retain };
    if (apply_open(&store, 1, 2, &kit->apply, &kit->e) < 0)
        fail_msg("%s", kit->e.text);
}

static inline struct kit *
kit_new(void)
{
    struct kit *kit = calloc(1, sizeof(*kit));
    assert_non_null(kit);
    snprintf(kit->path, sizeof(kit->path), "%s/mailtwin-apply-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(kit->path));
    test_scratch(kit->path);
    kit->root = open(kit->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(kit->root >= 0);
    kit_start(kit);
    return kit;
}

static inline void
kit_restart(struct kit *kit)
{
    apply_free(&kit->apply);
    kit_start(kit);
}

static inline void
kit_free(struct kit *kit)
{
    apply_free(&kit->apply);
    retain_free(&kit->retain);
    close(kit->root);
    char command[256];
    snprintf(command, sizeof(command), "rm -rf '%s'", kit->path);
    assert_int_equal(system(command), 0);
    free(kit);
}

static inline mode_t
kit_type(enum record_op op)
{
    if (op == OP_MKDIR || op == OP_RMTREE)
        return S_IFDIR | 0700;
    if (op == OP_SYMLINK)
        return S_IFLNK | 0777;
    return op == OP_MKNOD ? S_IFIFO | 0600 : S_IFREG | 0600;
}

/* A record without content; seq 0 unless the caller sets it. */
static inline struct wire_rec
kit_rec(enum record_op op, const char *path, const char *other)
{
    struct wire_rec rec = { .record = { .op = op } };
    rec.record.path = span_str(path);
    rec.record.other = span_str(other == NULL ? "" : other);
    rec.record.attr = (struct attr){
        .mode = kit_type(op), .uid = geteuid(), .gid = getegid(), .mtime_ns = KIT_MTIME
    };
    if (op == OP_SYMLINK)
        rec.record.attr.size = rec.record.other.len;
    rec.now = rec.record.attr;
    return rec;
}

static inline struct wire_rec
kit_seq(uint64_t seq, struct wire_rec rec)
{
    rec.record.seq = seq;
    return rec;
}

/* As the source of a RENAME or LINK: what PUT with this content has made. */
static inline struct wire_rec
kit_of(struct wire_rec rec, const char *content)
{
    rec.record.attr.size = strlen(content);
    rec.now = rec.record.attr;
    return rec;
}

static inline struct wire_rec
kit_dir(struct wire_rec rec)
{
    rec.record.attr.mode = S_IFDIR | 0700;
    rec.now = rec.record.attr;
    return rec;
}

/* The record with its content in two pieces. */
static inline int
kit_send(struct kit *kit, struct wire_rec rec, struct span content)
{
    rec.content = WIRE_CONTENT_DATA;
    rec.record.attr.size = rec.now.size = content.len;
    if (apply_rec(kit->apply, &rec, &kit->e) < 0)
        return -1;
    size_t half = content.len / 2;
    struct wire_data data = { .offset = 0, .bytes = span_from(content, 0, half) };
    if (half > 0 && apply_data(kit->apply, &data, &kit->e) < 0)
        return -1;
    data = (struct wire_data){ .offset = half,
                               .bytes = span_from(content, half, content.len - half) };
    if (apply_data(kit->apply, &data, &kit->e) < 0)
        return -1;
    struct wire_end end = { .size = content.len, .crc = crc32c(content), .ok = 1 };
    return apply_end(kit->apply, &end, &kit->e);
}

static inline void
kit_must(const struct kit *kit, int r)
{
    if (r < 0)
        fail_msg("%s", kit->e.text);
}

static inline void
kit_put(struct kit *kit, uint64_t seq, const char *path, const char *content)
{
    kit_must(kit, kit_send(kit, kit_seq(seq, kit_rec(OP_PUT, path, NULL)), span_str(content)));
}

static inline void
kit_do(struct kit *kit, struct wire_rec rec)
{
    kit_must(kit, apply_rec(kit->apply, &rec, &kit->e));
}

static inline void
kit_keep(void *arg, const struct applied *applied)
{
    struct kit *kit = arg;
    assert_true(kit->count < KIT_MAX);
    struct kit_result *got = &kit->got[kit->count++];
    *got = (struct kit_result){ .result = applied->result, .exists = applied->exists };
    got->certain = applied->certain;
    if (!applied->exists)
        return;
    got->attr = applied->attr;
    got->ino = applied->ino;
    got->nlink = applied->nlink;
    memcpy(got->handle.bytes, applied->handle.ptr, applied->handle.len);
    got->handle.len = applied->handle.len;
}

static inline int
kit_try_commit(struct kit *kit)
{
    kit->count = 0;
    return apply_commit(kit->apply, kit_keep, kit, &kit->e);
}

static inline void
kit_commit(struct kit *kit)
{
    kit_must(kit, kit_try_commit(kit));
}

/* One operation as a run of its own. */
static inline enum apply_result
kit_run(struct kit *kit, struct wire_rec rec)
{
    kit_do(kit, rec);
    kit_commit(kit);
    return kit->got[0].result;
}

/* --- looking at the tree --- */

static inline struct stat
kit_stat(const struct kit *kit, const char *path)
{
    struct stat st = { 0 };
    if (fstatat(kit->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        st.st_mode = 0;
    return st;
}

static inline bool
kit_exists(const struct kit *kit, const char *path)
{
    return kit_stat(kit, path).st_mode != 0;
}

static inline void
kit_check_file(struct kit *kit, const char *path, const char *content)
{
    char *data = NULL;
    size_t len = 0;
    int r = file_read(kit->root, path, 1 << 20, &data, &len, &kit->e);
    if (r != 1)
        fail_msg("%s is not there: %s", path, kit->e.text);
    if (len != strlen(content) || memcmp(data, content, len) != 0)
        fail_msg("%s holds \"%s\", not \"%s\"", path, data, content);
    free(data);
}

static inline size_t
kit_count_names(const struct kit *kit, const char *path)
{
    char command[256];
    snprintf(command, sizeof(command), "ls -A '%s/%s' | wc -l", kit->path, path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t count = SIZE_MAX;
    assert_int_equal(fscanf(pipe, "%zu", &count), 1);
    assert_int_equal(pclose(pipe), 0);
    return count;
}

/* Deletion goes on in a thread; fails when it is not through after half a minute. */
static inline void
kit_wait_empty(const struct kit *kit, const char *path)
{
    for (int turns = 0; kit_count_names(kit, path) != 0; turns++) {
        assert_true(turns < 3000);
        usleep(10000);
    }
}

#endif
