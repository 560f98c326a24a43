/* apply_history.h - a scripted history of runs for the apply engine, and the tree that each step
 * must lead to, told by a model that knows nothing of files. */
#ifndef MAILTWIN_APPLY_HISTORY_H
#define MAILTWIN_APPLY_HISTORY_H

#include "lib/base/crc.h"
#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/file.h"
#include "replicator/apply.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HISTORY_MTIME     INT64_C(1700000000000000000)
#define HISTORY_NODES_MAX 48
#define HISTORY_PATH_MAX  64

struct step {
    unsigned run; /* from 1; the steps of a run stand together */
    enum record_op op;
    const char *path, *other;
    unsigned id; /* PUT: which content; META: which time */
    bool late;
};

static const struct step history[] = {
    /* mail arrives */
    { 1, OP_MKDIR, "u", NULL, 0, false },
    { 1, OP_MKDIR, "u/new", NULL, 0, false },
    { 1, OP_MKDIR, "u/cur", NULL, 0, false },
    { 1, OP_PUT, "u/new/m1", NULL, 1, false },
    { 1, OP_PUT, "u/new/m2", NULL, 2, false },
    { 1, OP_PUT, "u/new/m3", NULL, 3, false },
    { 1, OP_PUT, "u/dovecot-uidlist", NULL, 4, true },
    /* is read, deleted, and more arrives */
    { 2, OP_RENAME, "u/cur/m1:2,S", "u/new/m1", 0, false },
    { 2, OP_PUT, "u/new/m4", NULL, 5, false },
    { 2, OP_RENAME, "u/cur/m2:2,", "u/new/m2", 0, false },
    { 2, OP_UNLINK, "u/cur/m2:2,", NULL, 0, false },
    { 2, OP_META, "u/cur/m1:2,S", NULL, 6, false },
    { 2, OP_PUT, "u/dovecot-keywords", NULL, 7, true },
    { 2, OP_PUT, "u/dovecot-uidlist", NULL, 8, true },
    /* a name is used again and again: what a second rename would destroy */
    { 3, OP_PUT, "a", NULL, 9, false },
    { 3, OP_RENAME, "b", "a", 0, false },
    { 3, OP_PUT, "a", NULL, 10, false },
    { 3, OP_RENAME, "c", "b", 0, false },
    { 3, OP_RENAME, "b", "a", 0, false },
    { 3, OP_PUT, "a", NULL, 11, false },
    { 3, OP_RENAME, "b", "a", 0, false },
    { 3, OP_PUT, "a", NULL, 12, false },
    /* folders are renamed, and their names used again */
    { 4, OP_MKDIR, "u/.F", NULL, 0, false },
    { 4, OP_PUT, "u/.F/x", NULL, 13, false },
    { 4, OP_RENAME, "u/.G", "u/.F", 0, false },
    { 4, OP_MKDIR, "u/.F", NULL, 0, false },
    { 4, OP_PUT, "u/.F/x", NULL, 14, false },
    { 4, OP_RMTREE, "u/.G", NULL, 0, false },
    { 4, OP_RENAME, "u/.G", "u/.F", 0, false },
    { 4, OP_MKDIR, "u/.F", NULL, 0, false },
    { 4, OP_PUT, "u/.F/y", NULL, 15, false },
    /* links, symlinks, replacing */
    { 5, OP_LINK, "l", "c", 0, false },
    { 5, OP_PUT, "c", NULL, 16, false },
    { 5, OP_LINK, "a", "l", 0, false },
    { 5, OP_SYMLINK, "s", "b", 0, false },
    { 5, OP_SYMLINK, "s", "c", 0, false },
    { 5, OP_UNLINK, "l", NULL, 0, false },
    { 5, OP_RENAME, "u/cur/m1:2,S", "u/new/m3", 0, false },
    /* a folder in the way that is not empty; a late rename whose source's name comes again */
    { 6, OP_RENAME, "u/.F", "u/.G", 0, false },
    { 6, OP_PUT, "u/list.tmp", NULL, 17, false },
    { 6, OP_RENAME, "u/dovecot-uidlist", "u/list.tmp", 0, true },
    { 7, OP_PUT, "u/list.tmp", NULL, 18, false },
    { 7, OP_UNLINK, "u/new/m4", NULL, 0, false },
    { 7, OP_RENAME, "u/dovecot-uidlist", "u/list.tmp", 0, true },
    { 7, OP_PUT, "u/list.tmp", NULL, 19, true },
    { 8, OP_RMTREE, "u/.F", NULL, 0, false },
    { 8, OP_UNLINK, "u/list.tmp", NULL, 0, false },
    { 8, OP_PUT, "end", NULL, 20, false },
};
#define HISTORY_STEPS ARRAY_LEN(history)
#define HISTORY_RUNS  8

/* --- the model --- */

struct node {
    char path[HISTORY_PATH_MAX];
    mode_t mode;
    unsigned id;   /* of the content */
    int64_t mtime; /* not of directories */
    char target[16];
};

struct tree {
    struct node nodes[HISTORY_NODES_MAX];
    size_t count;
};

static inline struct node *
tree_find(struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (strcmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    }
    return NULL;
}

static inline void
tree_remove(struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count;) {
        if (path_is_below(span_str(tree->nodes[i].path), span_str(path)))
            tree->nodes[i] = tree->nodes[--tree->count];
        else
            i++;
    }
}

static inline void
tree_add(struct tree *tree, const char *path, struct node node)
{
    tree_remove(tree, path);
    assert_true(tree->count < HISTORY_NODES_MAX);
    struct node *added = &tree->nodes[tree->count++];
    *added = node;
    snprintf(added->path, sizeof(added->path), "%s", path);
}

static inline void
tree_move(struct tree *tree, const char *path, const char *other)
{
    tree_remove(tree, path);
    for (size_t i = 0; i < tree->count; i++) {
        struct node *node = &tree->nodes[i];
        if (!path_is_below(span_str(node->path), span_str(other)))
            continue;
        char moved[HISTORY_PATH_MAX];
        int len = snprintf(moved, sizeof(moved), "%s%s", path, node->path + strlen(other));
        assert_true(len < HISTORY_PATH_MAX);
        memcpy(node->path, moved, sizeof(moved));
    }
}

static inline void
tree_set_meta(struct node *node, unsigned id)
{
    if (!S_ISLNK(node->mode))
        node->mode = (node->mode & S_IFMT) | 0710;
    if (!S_ISDIR(node->mode))
        node->mtime = HISTORY_MTIME + id;
}

static inline void
tree_step(struct tree *tree, const struct step *step)
{
    struct node node = { .mode = S_IFREG | 0600, .id = step->id };
    node.mtime = HISTORY_MTIME + step->id;
    switch (step->op) {
    case OP_MKDIR:
        node = (struct node){ .mode = S_IFDIR | 0750 };
        tree_add(tree, step->path, node);
        break;
    case OP_PUT:
        tree_add(tree, step->path, node);
        break;
    case OP_SYMLINK:
        node.mode = S_IFLNK | 0777;
        snprintf(node.target, sizeof(node.target), "%s", step->other);
        tree_add(tree, step->path, node);
        break;
    case OP_META:
        tree_set_meta(tree_find(tree, step->path), step->id);
        break;
    case OP_LINK:
        tree_add(tree, step->path, *tree_find(tree, step->other));
        break;
    case OP_RENAME:
        tree_move(tree, step->path, step->other);
        break;
    case OP_UNLINK:
    case OP_RMTREE:
        tree_remove(tree, step->path);
        break;
    case OP_EPOCH:
    case OP_MKNOD:
        fail_msg("not in this history");
    }
}

/* As it must be after so many steps. */
static inline struct tree
tree_after(size_t steps)
{
    struct tree tree = { .count = 0 };
    for (size_t i = 0; i < steps; i++)
        tree_step(&tree, &history[i]);
    return tree;
}

/* --- contents: the id, then noise of a length of its own --- */

static inline struct buf
content_of(unsigned id)
{
    struct buf b = { 0 };
    uint64_t x = 88172645463325252u + id;
    buf_add_le64(&b, id);
    for (unsigned i = 0; i < 500 + id * 700 % 3000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        buf_add_le64(&b, x);
    }
    return b;
}

/* The id of a whole content, 0 for anything else. */
static inline unsigned
content_id(struct span bytes)
{
    if (bytes.len < 8 || get_le64(bytes.ptr) == 0 || get_le64(bytes.ptr) > 1000)
        return 0;
    unsigned id = (unsigned)get_le64(bytes.ptr);
    _cleanup_buf_ struct buf whole = content_of(id);
    return span_equal(bytes, buf_span(&whole)) ? id : 0;
}

/* --- the tree as it is --- */

static inline struct node
tree_look(int dirfd, const char *name, const struct stat *st)
{
    struct node node = { .mode = st->st_mode };
    struct err e;
    if (S_ISDIR(st->st_mode))
        return node;
    node.mtime = attrs_ns(&st->st_mtim);
    if (S_ISLNK(st->st_mode))
        assert_true(readlinkat(dirfd, name, node.target, sizeof(node.target) - 1) > 0);
    if (!S_ISREG(st->st_mode))
        return node;
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(file_read(dirfd, name, 1 << 20, &data, &len, &e), 1);
    node.id = content_id(span_of(data, len));
    if (node.id == 0)
        fail_msg("%s is a partial message of %zu bytes", name, len);
    free(data);
    return node;
}

static inline void
tree_read(int dirfd, const char *prefix, struct tree *tree)
{
    DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".mailtwin") == 0 ||
            strcmp(name, "lost+found") == 0)
            continue;
        struct stat st;
        assert_int_equal(fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        char path[HISTORY_PATH_MAX + 256];
        snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix == '\0' ? "" : "/", name);
        assert_true(strlen(path) < HISTORY_PATH_MAX);
        tree_add(tree, path, tree_look(dirfd, name, &st));
        if (!S_ISDIR(st.st_mode))
            continue;
        int below = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        tree_read(below, path, tree);
        close(below);
    }
    closedir(dir);
}

/* strict: mode and time too, which some operations set after the name is there. */
static inline bool
node_same(const struct node *x, const struct node *y, bool strict)
{
    if ((x->mode & S_IFMT) != (y->mode & S_IFMT) || strcmp(x->target, y->target) != 0)
        return false;
    if (x->id != y->id && S_ISREG(x->mode))
        return false;
    return !strict || (x->mode == y->mode && x->mtime == y->mtime);
}

static inline bool
tree_same(struct tree *x, struct tree *y, bool strict)
{
    bool same = x->count == y->count;
    for (size_t i = 0; same && i < x->count; i++) {
        struct node *other = tree_find(y, x->nodes[i].path);
        same = other != NULL && node_same(&x->nodes[i], other, strict);
    }
    return same;
}

static inline void
tree_print(const char *title, const struct tree *tree)
{
    print_message("%s:\n", title);
    for (size_t i = 0; i < tree->count; i++) {
        const struct node *n = &tree->nodes[i];
        print_message("  %-24s mode %o id %u time %jd %s\n", n->path, n->mode, n->id,
                      (intmax_t)(n->mtime - HISTORY_MTIME), n->target);
    }
}

static inline void
tree_check_end(int root, const char *where)
{
    struct tree want = tree_after(HISTORY_STEPS);
    struct tree got = { .count = 0 };
    tree_read(root, "", &got);
    if (tree_same(&want, &got, true))
        return;
    tree_print("expected", &want);
    tree_print("found", &got);
    fail_msg("%s: the tree is not what the history leads to", where);
}

/* --- sending --- */

/* Late records stand last in their run but have lower numbers than the others. */
static inline uint64_t
step_seq(size_t i)
{
    return history[i].run * 1000u + (history[i].late ? 0 : 500) + (unsigned)i;
}

static inline struct attr
node_attr(const struct node *node)
{
    _cleanup_buf_ struct buf content = { 0 };
    if (S_ISREG(node->mode))
        content = content_of(node->id);
    return (struct attr){ .mode = node->mode,
                          .uid = geteuid(),
                          .gid = getegid(),
                          .size = S_ISLNK(node->mode) ? strlen(node->target) : content.len,
                          .mtime_ns = node->mtime };
}

static inline int
send_content(struct apply *apply, const struct wire_rec *rec, unsigned id, struct err *e)
{
    _cleanup_buf_ struct buf content = content_of(id);
    struct wire_data data = { .offset = 0, .bytes = buf_span(&content) };
    struct wire_end end = { .size = content.len, .crc = crc32c(data.bytes), .ok = 1 };
    if (apply_rec(apply, rec, e) < 0 || apply_data(apply, &data, e) < 0)
        return -1;
    return apply_end(apply, &end, e);
}

/* One step, from the tree before it to the tree after it. */
static inline int
send_step(struct apply *apply, const struct step *step, uint64_t seq, struct tree *before,
          struct tree *after, struct err *e)
{
    bool removes = step->op == OP_UNLINK || step->op == OP_RMTREE;
    struct wire_rec rec = { .record = { .seq = seq, .op = step->op, .late = step->late } };
    rec.record.path = span_str(step->path);
    rec.record.other = span_str(step->other == NULL ? "" : step->other);
    rec.now = rec.record.attr = node_attr(tree_find(removes ? before : after, step->path));
    if (step->op != OP_PUT)
        return apply_rec(apply, &rec, e);
    rec.content = WIRE_CONTENT_DATA;
    return send_content(apply, &rec, step->id, e);
}

static inline int
send_run(struct apply *apply, unsigned run, void (*done)(void *arg, const struct applied *applied),
         void *arg, struct err *e)
{
    for (size_t i = 0; i < HISTORY_STEPS; i++) {
        struct tree before = tree_after(i), after = tree_after(i + 1);
        if (history[i].run == run &&
            send_step(apply, &history[i], step_seq(i), &before, &after, e) < 0)
            return -1;
    }
    return apply_commit(apply, done, arg, e);
}

/* In this history nothing is ever lacking. */
static inline void
check_not_needed(void *arg, const struct applied *applied)
{
    (void)arg;
    if (applied->result == APPLY_NEED)
        fail_msg("NEED of %.*s", (int)applied->record->path.len,
                 (const char *)applied->record->path.ptr);
}

#endif
