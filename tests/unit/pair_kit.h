/* pair_kit.h - two nodes and the way between them: a primary whose capture runs, a peer that
 * applies, answers questions about its directories and keeps its own journal and index; and random
 * work for the stores. */
#ifndef MAILTWIN_TEST_PAIR_KIT_H
#define MAILTWIN_TEST_PAIR_KIT_H

#include "replicator/listing.h"
#include "replicator/needs.h"
#include "replicator/receiver.h"
#include "replicator/relay.h"
#include "replicator/walk.h"
#include "tests/unit/capture_kit.h"
#include "tests/unit/link_kit.h"

#include <ftw.h>
#include <sys/eventfd.h>

struct pair {
    struct cap *c;
    struct cap *peer; /* its stores and state; no capture runs there */
    struct link_ends link;
    struct ship ship;
    struct walk *walk;   /* NULL none */
    int wake_fd;         /* of a walk that verifies */
    struct relay *relay; /* answers what the peer asks for; NULL: the capture does */
    struct apply *apply;
    struct ledger ledger;
    pthread_t thread; /* the peer */
    pthread_mutex_t lock;
    struct needs needs; /* names the peer asked for and has not got */
    uint64_t seed;
    bool mails_stay; /* and what has a name in a cur or new, as mail servers do */
};

static unsigned pair_done[16]; /* of each kind of work, in all histories */

static inline uint64_t
draw(struct pair *r, uint64_t below)
{
    r->seed = r->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (r->seed >> 33) % below;
}

/* --- the peer --- */

static inline void
peer_ask(void *arg, const struct wire_need *need)
{
    struct pair *r = arg;
    struct err e = { 0 };
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_NEED;
    msg->need = *need;
    if (link_io_send(r->link.from, msg, &e) < 0) {
        print_error("the peer: %s\n", e.text);
        abort();
    }
    free(msg);
}

static inline void
peer_applied(void *arg, const struct applied *a)
{
    struct pair *r = arg;
    struct err e = { 0 };
    needs_note(&r->needs, a, true);
    if (ledger_note(&r->ledger, a, &e) < 0) {
        print_error("the peer: %s\n", e.text);
        abort();
    }
}

static inline int
peer_commit(struct pair *r, const struct wire_commit *commit, struct err *e)
{
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    apply_doubt(r->apply, true);
    if (apply_commit(r->apply, peer_applied, r, e) < 0 || ledger_run_end(&r->ledger, e) < 0 ||
        ledger_commit(&r->ledger, e) < 0)
        return -1;
    msg->type = WIRE_ACK;
    msg->ack = (struct wire_ack){ commit->run, commit->seq, commit->seq };
    int rc = link_io_send(r->link.from, msg, e);
    free(msg);
    return rc < 0 ? -1 : link_io_flush(r->link.from, e);
}

static inline int
peer_list(struct pair *r, const struct wire_digest_ask *ask, const struct wire_dir *dir,
          struct wire_msg *msg, struct buf *packed, struct err *e)
{
    struct node_store *store = &r->peer->node->stores[ask->store];
    struct wire_digest_answer *answer = &msg->digest_answer;
    _cleanup_listing_ struct listing ours = { 0 };
    uint8_t digest[WIRE_DIGEST_SIZE];
    size_t next;
    _cleanup_close_ int fd = file_open_beneath(store->root_fd, dir->path, O_RDONLY | O_DIRECTORY, 0,
                                               NULL);
    *answer = (struct wire_digest_answer){ .id = ask->id, .dir = dir->dir };
    answer->verdict = WIRE_DIR_ABSENT;
    if (fd < 0)
        return 0;
    if (listing_read(&store->rules, fd, dir->path, (ask->flags & WIRE_DIGEST_CONTENT) != 0, NULL,
                     &ours, e) < 0)
        return -1;
    listing_sort(&ours);
    if (ledger_see(&r->ledger, ask->store, dir->path, fd, &ours, e) < 0)
        return -1;
    listing_digest(&ours, digest);
    answer->self = ours.self;
    bool same = memcmp(digest, dir->digest, sizeof(digest)) == 0;
    answer->verdict = same ? WIRE_DIR_SAME : WIRE_DIR_DIFFERENT;
    if (same)
        return 0;
    listing_pack(&ours, 0, 400000, packed, &next);
    answer->entry_count = (uint32_t)next;
    answer->entries = buf_span(packed);
    return next == ours.count ? 0 : err_set(e, ERR_IO, "a directory too large for the test");
}

static inline int
peer_answer(struct pair *r, const struct wire_digest_ask *ask, struct err *e)
{
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    int rc = 0;
    msg->type = WIRE_DIGEST_ANSWER;
    for (uint16_t i = 0; rc == 0 && i < ask->count; i++) {
        _cleanup_buf_ struct buf packed = { 0 };
        rc = peer_list(r, ask, &ask->dirs[i], msg, &packed, e);
        if (rc == 0)
            rc = link_io_send(r->link.from, msg, e);
    }
    free(msg);
    return rc < 0 ? -1 : link_io_flush(r->link.from, e);
}

static inline int
peer_take(struct pair *r, const struct wire_msg *msg, struct err *e)
{
    switch (msg->type) {
    case WIRE_REC:
        return apply_rec(r->apply, &msg->rec, e);
    case WIRE_DATA:
        return apply_data(r->apply, &msg->data, e);
    case WIRE_END:
        return apply_end(r->apply, &msg->end, e);
    case WIRE_COMMIT:
        return peer_commit(r, &msg->commit, e);
    case WIRE_DIGEST_ASK:
        return peer_answer(r, &msg->digest_ask, e);
    default:
        return err_set(e, ERR_PROTOCOL, "message %d", (int)msg->type);
    }
}

static inline void *
peer_run(void *arg)
{
    struct pair *r = arg;
    for (;;) {
        const struct wire_msg *msg;
        struct err e = { 0 };
        int got = link_io_receive(r->link.from, -1, -1, &msg, &e);
        if (got == 1 && peer_take(r, msg, &e) >= 0)
            continue;
        if (e.code == ERR_PEER) {    /* the end of the test */
            ledger_free(&r->ledger); /* a transaction belongs to its thread */
            return NULL;
        }
        print_error("the peer: %s\n", e.text);
        abort();
    }
}

/* --- the primary --- */

static inline uint64_t
pair_settle(void *owner)
{
    struct pair *r = owner;
    return capture_settle(r->c->capture, true);
}

static inline int
pair_no_signature(void *owner, const struct record *record, struct buf *ret, struct err *e)
{
    (void)owner;
    (void)record;
    (void)ret;
    (void)e;
    return 0;
}

static inline void
pair_unreadable(void *owner, const struct record *record)
{
    (void)owner;
    fail_msg("%.*s cannot be read", (int)record->path.len, (const char *)record->path.ptr);
}

static inline void
pair_touched(void *owner, const struct record *record)
{
    struct pair *r = owner;
    if (r->walk != NULL)
        walk_touch(r->walk, record);
}

static inline void
pair_must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

/* Waits for a message of the peer, or for what a walk reads here. */
static inline void
pair_take(struct pair *r)
{
    const struct wire_msg *msg;
    struct err e = { 0 };
    uint64_t count;
    int got = link_io_receive(r->link.to, 60000, r->wake_fd, &msg, &e);
    pair_must(got, &e);
    if (got == 0 && read(r->wake_fd, &count, sizeof(count)) == sizeof(count))
        return;
    assert_int_equal(got, 1);
    if (msg->type == WIRE_ACK)
        ship_acked(&r->ship, &msg->ack);
    else if (msg->type == WIRE_NEED && r->relay != NULL)
        pair_must(relay_add(r->relay, &msg->need, &e), &e);
    else if (msg->type == WIRE_NEED)
        pair_must(capture_need(r->c->capture, &msg->need, &e), &e);
    else if (msg->type == WIRE_DIGEST_ANSWER)
        pair_must(walk_answer(r->walk, &msg->digest_answer, &e), &e);
    else
        fail_msg("message %d", (int)msg->type);
}

static inline void
pair_wait_acks(struct pair *r)
{
    while (r->ship.acked_run < r->ship.run)
        pair_take(r);
}

static inline void
pair_ship_tail(struct pair *r)
{
    struct err e = { 0 };
    while (r->ship.cursor < capture_tail(r->c->capture)) {
        pair_must(ship_run(&r->ship, capture_tail(r->c->capture), &e), &e);
        pair_wait_acks(r);
    }
}

static inline void
pair_force(void *arg, uint64_t dir, struct span name, bool is_dir)
{
    struct pair *r = arg;
    capture_force(r->c->capture, dir, name, is_dir);
}

static inline void
pair_barrier(void *arg, void (*done)(void *arg, uint64_t seq), void *done_arg)
{
    struct pair *r = arg;
    capture_barrier(r->c->capture, done, done_arg);
}

/* What the peer lacked is shipped again; each round asks for less. */
static inline void
pair_ship_all(struct pair *r)
{
    for (unsigned round = 0; r->ship.cursor < capture_tail(r->c->capture); round++) {
        assert_true(round < 50);
        pair_ship_tail(r);
        cap_barrier(r->c);
    }
}

/* --- both --- */

static inline void
pair_open_peer(struct pair *r)
{
    struct apply_store stores[CAP_STORES] = { 0 };
    struct err e = { 0 };
    struct wire_start start = { .mode = WIRE_MODE_SYNC };
    for (size_t i = 0; i < CAP_STORES; i++)
        stores[i].path = r->peer->stores[i].path;
    pair_must(apply_open(stores, CAP_STORES, 1, &r->apply, &e), &e);
    pair_must(ledger_open(&r->ledger, r->peer->node, &e), &e);
    pair_must(ledger_start(&r->ledger, &start, true, apply_newest(r->apply), &e), &e);
    assert_int_equal(pthread_create(&r->thread, NULL, peer_run, r), 0);
}

/* NULL without the rights. The stores of both are empty, and nothing runs yet. image_mb: those of
 * the primary lie on ext4. */
static inline struct pair *
pair_new_on(uint64_t seed, const char *image_mb)
{
    struct cap *c = cap_new_on(image_mb);
    if (c == NULL)
        return NULL;
    struct pair *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->c = c;
    r->peer = cap_new();
    r->seed = seed;
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(r->wake_fd >= 0);
    r->needs.ask = peer_ask;
    r->needs.arg = r;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static inline struct pair *
pair_new(uint64_t seed)
{
    return pair_new_on(seed, NULL);
}

static inline void
pair_start(struct pair *r)
{
    cap_start(r->c);
    cap_barrier(r->c);
    cap_open(r->peer);
    link_ends_open(&r->link);
    r->ship = (struct ship){ .node = r->c->node, .io = r->link.to, .owner = r };
    r->ship.settle = pair_settle;
    r->ship.signature = pair_no_signature;
    r->ship.touched = pair_touched;
    r->ship.unreadable = pair_unreadable;
    pair_open_peer(r);
}

static inline void
pair_free(struct pair *r)
{
    link_io_free(&r->link.to);
    assert_int_equal(pthread_join(r->thread, NULL), 0);
    link_ends_close(&r->link);
    apply_free(&r->apply);
    ship_free(&r->ship);
    walk_free(&r->walk);
    needs_free(&r->needs);
    cap_free(r->peer);
    cap_free(r->c);
    close(r->wake_fd); /* a barrier may have opened behind the end of its walk */
    free(r);
}

/* --- random work --- */

static inline void
draw_path(struct pair *r, char path[256])
{
    static const char *const tops[] = { "files", "files", "files", "mail", "mail", "out" };
    static const char *const names[] = {
        "a", "b", "c", "d", "e", "f", "cur", "new", "dovecot-uidlist", "dovecot-keywords"
    };
    int at = snprintf(path, 256, "%s/s/%s", r->c->base, tops[draw(r, ARRAY_LEN(tops))]);
    for (uint64_t depth = 1 + draw(r, 4); depth > 0; depth--)
        at += snprintf(path + at, 256 - (size_t)at, "/%s", names[draw(r, ARRAY_LEN(names))]);
}

static inline int
do_write(struct pair *r, const char *path, int flags)
{
    char text[200];
    memset(text, 'a' + (int)draw(r, 26), sizeof(text));
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
    if (fd < 0)
        return -1;
    ssize_t wrote = write(fd, text, draw(r, sizeof(text)));
    close(fd);
    return wrote < 0 ? -1 : 0;
}

static inline int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline int
linked_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)type;
    (void)at;
    return !S_ISDIR(st->st_mode) && st->st_nlink > 1;
}

/* What is written through a name outside of a store is told of that name alone: no object may have
 * names in two places. */
static inline bool
may_leave(const struct pair *r, const char *a, const char *b)
{
    size_t base = strlen(r->c->base) + 3;
    if (a[base] == b[base]) /* mail, files or out */
        return true;
    return nftw(a, linked_one, 8, FTW_PHYS) == 0 && nftw(b, linked_one, 8, FTW_PHYS) <= 0;
}

static inline int
link_here(const struct pair *r, const char *a, const char *b)
{
    size_t base = strlen(r->c->base) + 3;
    return a[base] == b[base] ? link(a, b) : -1;
}

static inline int
do_times(struct pair *r, const char *path)
{
    struct timespec times[2] = { { .tv_sec = (time_t)draw(r, 2000000000) },
                                 { .tv_sec = (time_t)draw(r, 2000000000) } };
    return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static inline int
do_attr(struct pair *r, const char *path)
{
    if (draw(r, 2) == 0)
        return fchmodat(AT_FDCWD, path, (mode_t)(0600 + draw(r, 64)), 0);
    char value[8] = { 0 };
    snprintf(value, sizeof(value), "%u", (unsigned)draw(r, 1000));
    return lsetxattr(path, "user.a", value, strlen(value), 0);
}

/* A mail never changes, it only gets other names. */
static inline bool
may_change(const struct pair *r, const char *path)
{
    const char *name = strrchr(path, '/');
    bool mail = strncmp(name - 4, "/cur", 4) == 0 || strncmp(name - 4, "/new", 4) == 0;
    return !r->mails_stay || !mail || access(path, F_OK) < 0;
}

static inline int
do_one(struct pair *r, unsigned act)
{
    char a[256];
    char b[256];
    draw_path(r, a);
    draw_path(r, b);
    if ((act == 1 || act == 2 || act == 8 || act == 9) && !may_change(r, a))
        return -1;
    switch (act) {
    case 0:
        return mkdir(a, 0700);
    case 1:
        return do_write(r, a, O_TRUNC);
    case 2:
        return do_write(r, a, O_APPEND);
    case 3:
        return may_leave(r, a, b) ? rename(a, b) : -1;
    case 4:
        return may_leave(r, a, b) ? renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) : -1;
    case 5:
        return link_here(r, a, b);
    case 6:
        return unlink(a);
    case 7:
        return draw(r, 4) == 0 ? nftw(a, remove_one, 8, FTW_DEPTH | FTW_PHYS) : rmdir(a);
    case 8:
        return do_attr(r, a);
    case 9:
        return do_times(r, a);
    case 10:
        return symlink(b + 5, a);
    default:
        return mkfifo(a, 0600);
    }
}

static inline void
work(struct pair *r, unsigned steps)
{
    /* what makes is drawn more often than what breaks */
    static const unsigned acts[] = {
        0, 0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11
    };
    while (steps > 0) {
        unsigned act = acts[draw(r, ARRAY_LEN(acts))];
        bool ok = do_one(r, act) == 0;
        pair_done[act] += ok;
        steps -= ok;
    }
}

/* --- are they the same? --- */

/* Of each name, and of the root, type, mode, owner, size, mtime, target, content and xattrs with
 * ACLs, and which names are one file; as text. */
static inline void
describe(const struct cap *c, const char *store, const char *out)
{
/* not into .mailtwin: what is deleted there meanwhile would end the search. Logs of Dovecot's are
 * what a standby makes for itself. */
#define ALL "find . -mindepth 1 -path ./.mailtwin -prune -o -name dovecot.index.log -prune -o"
    cap_sh(c,
           "cd %s && (" ALL " ! -type d -printf '%%p %%y %%m %%U:%%G %%s %%T@ %%l\n'; " ALL
           " -type d -printf '%%p %%y %%m %%U:%%G\n'; " ALL " -type f -exec cksum {} +; " ALL
           " ! -type l ! -type p -exec getfattr -d -m '^(user|system.posix_acl)' {} + | tr '\\n' ' "
           "' | "
           "sed 's/# file/\\n&/g'; echo; "
           "find . -maxdepth 0 -printf '%%m %%U:%%G\n' -exec getfattr -d -m - {} +; " ALL
           " -type f -printf '%%p %%i\n' | sort | awk '{ if (!($2 in first)) first[$2] = $1; "
           "print $1, \"is\", first[$2] }') | sort >%s",
           store, out);
#undef ALL
}

/* diff: the command that compares the two; its status is the answer. */
static inline bool
compare_stores(struct pair *r, const char *diff)
{
    char ours[160];
    char theirs[160];
    char command[400];
    bool same = true;
    for (size_t i = 0; i < CAP_STORES; i++) {
        snprintf(ours, sizeof(ours), "%s/run/%zu", r->c->base, i);
        snprintf(theirs, sizeof(theirs), "%s/run/%zu", r->peer->base, i);
        describe(r->c, r->c->stores[i].name, ours);
        describe(r->peer, r->peer->stores[i].name, theirs);
        snprintf(command, sizeof(command), "%s %s %s >&2", diff, ours, theirs);
        same = system(command) == 0 && same;
    }
    return same;
}

static inline bool
is_same(struct pair *r)
{
    return compare_stores(r, "cmp -s");
}

static inline void
check_same(struct pair *r)
{
    CHECK(compare_stores(r, "diff"));
}

#endif
