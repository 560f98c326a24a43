/* capture_kit.h - what the tests of capture share: stores on a filesystem of their own in a mount
 * namespace, a capture that runs or stands still, what it recorded in a line each, and whether its
 * index is the tree. Root only: begins with cap_new() and CAP_NEEDED(). */
#ifndef MAILTWIN_TEST_CAPTURE_KIT_H
#define MAILTWIN_TEST_CAPTURE_KIT_H

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/capture.h"
#include "replicator/look.h"
#include "tests/unit/test.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define CAP_STORES 2
#define CAP_NODES  3 /* mx1 is this one; then mx2, dr */

struct cap {
    char base[64]; /* a tmpfs: state/ run/ s/ (another filesystem with mail/ files/ out/) */
    bool loop;     /* s is an image on a loop device */
    char paths[2 + CAP_STORES][96];
    struct conf_store stores[CAP_STORES];
    char node_names[CAP_NODES][8];
    struct conf_node nodes[CAP_NODES];
    struct conf conf;
    struct node *node;
    struct capture *capture;
    uint64_t seen; /* records up to here were looked at */
    struct err e;
    sem_t held, go; /* the capture thread stands still between the two */
};

__attribute__((format(printf, 2, 3))) static inline void
cap_sh(const struct cap *c, const char *fmt, ...)
{
    char command[1024];
    int at = snprintf(command, sizeof(command), "cd '%s/s' && ", c->base);
    va_list args;
    va_start(args, fmt);
    vsnprintf(command + at, sizeof(command) - (size_t)at, fmt, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static inline void
cap_conf(struct cap *c)
{
    static const char *const names[CAP_STORES] = { "mail", "files" };
    static char *const no_exclude[] = { NULL };
    static char lock[] = "*.lck";
    static char *const exclude[] = { lock, NULL };
    snprintf(c->paths[0], sizeof(c->paths[0]), "%s/state", c->base);
    snprintf(c->paths[1], sizeof(c->paths[1]), "%s/run", c->base);
    c->conf = (struct conf){ .state_dir = c->paths[0], .run_dir = c->paths[1] };
    c->conf.nodes = c->nodes;
    c->conf.node_count = CAP_NODES;
    for (size_t i = 0; i < CAP_NODES; i++)
        c->nodes[i].name = c->node_names[i];
    snprintf(c->node_names[0], sizeof(c->node_names[0]), "mx1");
    snprintf(c->node_names[1], sizeof(c->node_names[1]), "mx2");
    snprintf(c->node_names[2], sizeof(c->node_names[2]), "dr");
    c->conf.self = c->node_names[0];
    c->conf.stores = c->stores;
    c->conf.store_count = CAP_STORES;
    for (size_t i = 0; i < CAP_STORES; i++) {
        snprintf(c->paths[2 + i], sizeof(c->paths[0]), "%s/s/%s", c->base, names[i]);
        c->stores[i].name = xstrdup(names[i]);
        c->stores[i].path = c->paths[2 + i];
        c->stores[i].kind = i == 0 ? STORE_MAILDIR : STORE_FILES;
        c->stores[i].mass_limit = 100; /* none: tests delete without end */
        size_t count = i == 0 ? ARRAY_LEN(no_exclude) : ARRAY_LEN(exclude);
        c->stores[i].exclude = xcalloc(count, sizeof(char *));
        memcpy(c->stores[i].exclude, i == 0 ? no_exclude : exclude, count * sizeof(char *));
    }
}

static inline void
cap_mount(struct cap *c, const char *image_mb)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/s", c->base);
    assert_int_equal(mkdir(path, 0755), 0);
    c->loop = image_mb != NULL;
    if (c->loop)
        cap_sh(c,
               "truncate -s %sM ../image && mkfs.ext4 -q -E lazy_itable_init=0 ../image && "
               "mount -o loop,noatime ../image .",
               image_mb);
    else
        assert_int_equal(mount("none", path, "tmpfs", 0, NULL), 0);
    cap_sh(c, "mkdir -m 700 mail files out");
}

/* NULL without the rights. image_mb: the stores lie on ext4, else on tmpfs. */
static inline struct cap *
cap_new_on(const char *image_mb)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("SKIP: needs root\n");
        return NULL;
    }
    event_init("test", EVENT_CRIT);
    struct cap *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    snprintf(c->base, sizeof(c->base), "/tmp/mailtwin-capture-XXXXXX");
    assert_non_null(mkdtemp(c->base));
    test_scratch(c->base);
    assert_int_equal(mount("none", c->base, "tmpfs", 0, NULL), 0);
    cap_conf(c);
    assert_int_equal(mkdir(c->paths[0], 0700), 0);
    assert_int_equal(mkdir(c->paths[1], 0700), 0);
    cap_mount(c, image_mb);
    sem_init(&c->held, 0, 0);
    sem_init(&c->go, 0, 0);
    return c;
}

static inline struct cap *
cap_new(void)
{
    return cap_new_on(NULL);
}

/* Two names of the first store change objects. */
static inline void
cap_exchange(const struct cap *c, const char *a, const char *b)
{
    char from[160];
    char to[160];
    snprintf(from, sizeof(from), "%s/%s", c->stores[0].path, a);
    snprintf(to, sizeof(to), "%s/%s", c->stores[0].path, b);
    CHECK_INT(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE), 0);
}

static inline void
cap_open(struct cap *c)
{
    if (node_open(&c->conf, &c->node, &c->e) < 0)
        fail_msg("%s", c->e.text);
}

static inline void
cap_wait(sem_t *sem)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    if (sem_timedwait(sem, &until) < 0)
        fail_msg("the capture did not answer within a minute");
}

/* --- the capture: running, answering, standing still --- */

static inline void
cap_answered(void *arg, uint64_t seq)
{
    (void)seq;
    sem_post(arg);
}

/* Until all that happened so far is recorded. */
static inline void
cap_barrier(struct cap *c)
{
    sem_t answered;
    sem_init(&answered, 0, 0);
    capture_barrier(c->capture, cap_answered, &answered);
    cap_wait(&answered);
    sem_destroy(&answered);
}

static inline void
cap_start(struct cap *c)
{
    if (c->node == NULL)
        cap_open(c);
    if (capture_start(c->node, -1, NULL, NULL, &c->capture, &c->e) < 0)
        fail_msg("%s", c->e.text);
}

static inline void
cap_stand(void *arg, uint64_t seq)
{
    (void)seq;
    struct cap *c = arg;
    sem_post(&c->held);
    sem_wait(&c->go);
}

/* For the first lines of a test. */
#define CAP_NEEDED(c)      \
    do {                   \
        if ((c) == NULL) { \
            skip();        \
            return;        \
        }                  \
    } while (0)

/* What happens between the two is seen at once. */
static inline void
cap_hold(struct cap *c)
{
    capture_barrier(c->capture, cap_stand, c);
    cap_wait(&c->held);
}

static inline void
cap_release(struct cap *c)
{
    sem_post(&c->go);
    cap_barrier(c);
}

static inline void
cap_stop(struct cap *c)
{
    capture_stop(&c->capture);
    node_free(&c->node);
}

static inline void
cap_free(struct cap *c)
{
    cap_stop(c);
    char path[96];
    snprintf(path, sizeof(path), "%s/s", c->base);
    assert_int_equal(umount2(path, 0), 0);
    assert_int_equal(umount2(c->base, 0), 0);
    assert_int_equal(rmdir(c->base), 0);
    for (size_t i = 0; i < CAP_STORES; i++) {
        free(c->stores[i].name);
        free(c->stores[i].exclude);
    }
    free(c);
}

/* Change times that a look takes for young prove nothing: waits until none is. */
static inline void
cap_grow_old(void)
{
    int64_t begin = look_now_ns();
    while (look_time_is_young(begin, look_now_ns()))
        usleep(1000);
}

/* --- what was recorded --- */

/* The number in the name of what stands aside for a moment. */
static inline void
cap_hide_number(char *line)
{
    static const char prefix[] = "-parked-";
    char *at = strstr(line, prefix);
    if (at == NULL)
        return;
    at += sizeof(prefix) - 1;
    memmove(at + 1, at + 16, strlen(at + 16) + 1);
    *at = 'N';
}

static inline void
cap_add_record(const struct cap *c, const struct record *r, struct buf *out)
{
    char line[1024];
    bool two = (record_op_flags(r->op) & OP_F_TWO) != 0;
    snprintf(line, sizeof(line), "%s%s%s%s %.*s%s%.*s\n", r->late ? "late " : "",
             r->store == 0 ? "" : c->stores[r->store].name, r->store == 0 ? "" : ": ",
             record_op_word(r->op), (int)r->other.len, (const char *)r->other.ptr, two ? " > " : "",
             (int)r->path.len, (const char *)r->path.ptr);
    cap_hide_number(line);
    buf_add(out, line, strlen(line));
}

/* The records since the last call: "rename OLD > NEW", "put NAME"; with a NUL behind them. */
static inline void
cap_records(struct cap *c, struct buf *ret_text)
{
    struct state_txn *txn;
    assert_int_equal(state_begin(c->node->state, false, &txn, &c->e), 0);
    buf_reset(ret_text);
    struct record r;
    for (; state_record(txn, c->seen + 1, &r, &c->e) > 0; c->seen = r.seq)
        cap_add_record(c, &r, ret_text);
    state_abort(&txn);
    buf_add_u8(ret_text, 0);
}

static inline void
cap_check_records(struct cap *c, const char *expected)
{
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    assert_string_equal((const char *)text.ptr, expected);
}

/* --- is the index the tree? --- */

struct cap_tree {
    struct cap *c;
    struct state_txn *txn;
    size_t names;
};

static inline void
cap_differs(const struct cap_tree *t, uint64_t dir, const char *name, const char *what)
{
    _cleanup_buf_ struct buf path = { 0 };
    assert_int_equal(state_dir_path(t->txn, dir, &path, &t->c->e), 0);
    fail_msg("the index of %s has %s %s in \"%.*s\"", t->c->base, what, name, (int)path.len,
             (const char *)path.ptr);
}

static inline void
cap_check_entry(const struct cap_tree *t, uint64_t dir, const char *name, const struct look *look,
                const struct state_entry *entry)
{
    const struct attr *a = &look->attr;
    const struct attr *b = &entry->attr;
    if (!look_same_object(look, entry))
        cap_differs(t, dir, name, "another object as");
    if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid)
        cap_differs(t, dir, name, "another owner or mode of");
    if (!S_ISDIR(a->mode) && (a->size != b->size || a->mtime_ns != b->mtime_ns))
        cap_differs(t, dir, name, "another size or time of");
}

static inline bool
cap_counts(const struct store_rules *rules, struct span dir, const struct dirent *d, bool is_tmp)
{
    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 || d->d_type == DT_SOCK)
        return false;
    return store_class_of(rules, dir, span_str(d->d_name), is_tmp) != CLASS_IGNORE;
}

static inline void cap_check_dir(struct cap_tree *t, uint16_t store, uint64_t id, int fd,
                                 bool is_tmp);

static inline void
cap_check_name(struct cap_tree *t, uint16_t store, uint64_t dir, int fd, const char *name)
{
    struct look look;
    struct known known;
    assert_int_equal(look_at(fd, name, &look, &t->c->e), 0);
    if (known_get(t->txn, dir, span_str(name), &known, &t->c->e) != 1)
        cap_differs(t, dir, name, "no");
    cap_check_entry(t, dir, name, &look, &known.entry);
    t->names++;
    if (!S_ISDIR(look.attr.mode))
        return;
    int sub = openat(fd, name, O_RDONLY | O_DIRECTORY);
    assert_true(sub >= 0);
    bool maildir = faccessat(fd, "cur", F_OK, 0) == 0 || faccessat(fd, "new", F_OK, 0) == 0;
    cap_check_dir(t, store, known.entry.dir, sub,
                  store_dir_is_tmp(&t->c->node->stores[store].rules, span_str(name), maildir));
}

/* Does an event from there find its directory? */
static inline void
cap_check_handle(const struct cap_tree *t, uint64_t id, int fd)
{
    struct state_dir row;
    struct look look;
    uint64_t found = 0;
    assert_int_equal(state_dir_get(t->txn, id, &row, &t->c->e), 1);
    assert_int_equal(look_at(fd, "", &look, &t->c->e), 0);
    struct span handle = span_from(row.handle, WATCH_FSID_SIZE, row.handle.len - WATCH_FSID_SIZE);
    if (!span_equal(handle, attrs_handle_span(&look.handle)) ||
        state_dir_find(t->txn, row.handle, &found, &t->c->e) != 1 || found != id)
        cap_differs(t, id, "itself", "another handle of");
}

/* Takes fd over. */
static inline void
cap_check_dir(struct cap_tree *t, uint16_t store, uint64_t id, int fd, bool is_tmp)
{
    const struct store_rules *rules = &t->c->node->stores[store].rules;
    _cleanup_buf_ struct buf path = { 0 };
    assert_int_equal(state_dir_path(t->txn, id, &path, &t->c->e), 0);
    cap_check_handle(t, id, fd);
    DIR *stream = fdopendir(fd);
    assert_non_null(stream);
    size_t on_disk = 0;
    for (const struct dirent *d; (d = readdir(stream)) != NULL;) {
        if (!cap_counts(rules, buf_span(&path), d, is_tmp))
            continue;
        on_disk++;
        cap_check_name(t, store, id, fd, d->d_name);
    }
    closedir(stream);
    uint8_t after[PATH_NAME_MAX];
    struct span at = { 0 };
    struct state_entry entry;
    size_t in_index = 0;
    for (; state_entry_next(t->txn, id, at, &at, &entry, &t->c->e) > 0; in_index++) {
        memcpy(after, at.ptr, at.len);
        at.ptr = after;
    }
    if (in_index != on_disk)
        fail_msg("%.*s has %zu names in the index, %zu on the disk", (int)path.len,
                 (const char *)path.ptr, in_index, on_disk);
}

/* Returns how many names there are. */
static inline size_t
cap_check_index(struct cap *c)
{
    struct cap_tree t = { .c = c };
    assert_int_equal(state_begin(c->node->state, false, &t.txn, &c->e), 0);
    for (uint16_t i = 0; i < CAP_STORES; i++) {
        int fd = open(c->stores[i].path, O_RDONLY | O_DIRECTORY);
        assert_true(fd >= 0);
        cap_check_dir(&t, i, state_root(t.txn, i), fd, false);
    }
    state_abort(&t.txn);
    return t.names;
}

#endif
