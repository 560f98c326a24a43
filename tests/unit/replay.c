/* The strongest promise of capture: carried out in order, the records make the same tree on another
 * node. Random work on the stores while the capture runs, shipped by the sender's own code, applied
 * by the engine, and noted in a second node's index. */
#include "tests/unit/capture_kit.h"

#include "replicator/receiver.h"
#include "replicator/ship.h"

#include <ftw.h>
#include <sys/socket.h>

#define NEEDS_MAX 4096

struct replay {
    struct cap *c;
    struct cap *peer; /* its stores and state; no capture runs there */
    struct ship ship;
    struct link_io *to, *from;
    struct apply *apply;
    struct ledger ledger;
    struct reclist needs; /* names the peer asked for */
    uint64_t seed;
};

static unsigned done[16]; /* of each kind, in all histories */

static uint64_t
draw(struct replay *r, uint64_t below)
{
    r->seed = r->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (r->seed >> 33) % below;
}

/* --- the way to the peer --- */

static uint64_t
settle(void *owner)
{
    struct replay *r = owner;
    return capture_settle(r->c->capture);
}

static int
no_signature(void *owner, const struct record *record, struct buf *ret, struct err *e)
{
    (void)owner;
    (void)record;
    (void)ret;
    (void)e;
    return 0;
}

static void
touched(void *owner, const struct record *record)
{
    (void)owner;
    (void)record;
}

static void
applied(void *arg, const struct applied *a)
{
    struct replay *r = arg;
    struct err e = { 0 };
    if (a->result == APPLY_NEED)
        reclist_add(&r->needs, a->record);
    if (ledger_note(&r->ledger, a, &e) < 0)
        fail_msg("%s", e.text);
}

static int
take(struct replay *r, const struct wire_msg *msg, bool *ret_end, struct err *e)
{
    switch (msg->type) {
    case WIRE_REC:
        return apply_rec(r->apply, &msg->rec, e);
    case WIRE_DATA:
        return apply_data(r->apply, &msg->data, e);
    case WIRE_END:
        return apply_end(r->apply, &msg->end, e);
    case WIRE_COMMIT:
        *ret_end = true;
        if (apply_commit(r->apply, applied, r, e) < 0 || ledger_run_end(&r->ledger, e) < 0 ||
            ledger_commit(&r->ledger, e) < 0)
            return -1;
        return 0;
    default:
        return err_set(e, ERR_PROTOCOL, "message %d", (int)msg->type);
    }
}

/* The peer, until a run is complete. */
static void *
receive(void *arg)
{
    struct replay *r = arg;
    struct err e = { 0 };
    bool end = false;
    while (!end) {
        const struct wire_msg *msg;
        int got = link_io_receive(r->from, 60000, -1, &msg, &e);
        if (got == 1 && take(r, msg, &end, &e) >= 0)
            continue;
        print_error("the peer: %s\n", e.text);
        return arg;
    }
    return NULL;
}

static void
ship_one_run(struct replay *r)
{
    pthread_t thread;
    void *failed;
    struct err e = { 0 };
    CHECK_INT(pthread_create(&thread, NULL, receive, r), 0);
    int rc = ship_run(&r->ship, capture_tail(r->c->capture), &e);
    CHECK_INT(pthread_join(thread, &failed), 0);
    if (rc < 0 || failed != NULL)
        fail_msg("%s", e.text);
    struct wire_ack ack = { r->ship.run, r->ship.cursor, r->ship.cursor };
    ship_acked(&r->ship, &ack);
}

/* What the peer lacked is shipped again; each round asks for less. */
static void
ship_all(struct replay *r)
{
    for (unsigned round = 0; r->ship.cursor < capture_tail(r->c->capture); round++) {
        CHECK(round < 50);
        while (r->ship.cursor < capture_tail(r->c->capture))
            ship_one_run(r);
        for (size_t i = 0; i < reclist_count(&r->needs); i++) {
            struct record need;
            reclist_get(&r->needs, i, &need);
            capture_force(r->c->capture, need.store, need.path, S_ISDIR(need.attr.mode));
        }
        reclist_clear(&r->needs);
        cap_barrier(r->c);
    }
}

/* --- random work --- */

static void
draw_path(struct replay *r, char path[256])
{
    static const char *const tops[] = { "files", "files", "files", "mail", "mail", "out" };
    static const char *const names[] = {
        "a", "b", "c", "d", "e", "f", "cur", "new", "dovecot-uidlist", "dovecot-keywords"
    };
    int at = snprintf(path, 256, "%s/s/%s", r->c->base, tops[draw(r, ARRAY_LEN(tops))]);
    for (uint64_t depth = 1 + draw(r, 4); depth > 0; depth--)
        at += snprintf(path + at, 256 - (size_t)at, "/%s", names[draw(r, ARRAY_LEN(names))]);
}

static int
do_write(struct replay *r, const char *path, int flags)
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

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int
linked_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)type;
    (void)at;
    return !S_ISDIR(st->st_mode) && st->st_nlink > 1;
}

/* What is written through a name outside of a store is told of that name alone: no object may have
 * names in two places. */
static bool
may_leave(const struct replay *r, const char *a, const char *b)
{
    size_t base = strlen(r->c->base) + 3;
    if (a[base] == b[base]) /* mail, files or out */
        return true;
    return nftw(a, linked_one, 8, FTW_PHYS) == 0 && nftw(b, linked_one, 8, FTW_PHYS) <= 0;
}

static int
link_here(const struct replay *r, const char *a, const char *b)
{
    size_t base = strlen(r->c->base) + 3;
    return a[base] == b[base] ? link(a, b) : -1;
}

static int
do_times(struct replay *r, const char *path)
{
    struct timespec times[2] = { { .tv_sec = (time_t)draw(r, 2000000000) },
                                 { .tv_sec = (time_t)draw(r, 2000000000) } };
    return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static int
do_attr(struct replay *r, const char *path)
{
    if (draw(r, 2) == 0)
        return fchmodat(AT_FDCWD, path, (mode_t)(0600 + draw(r, 64)), 0);
    char value[8] = { 0 };
    snprintf(value, sizeof(value), "%u", (unsigned)draw(r, 1000));
    return lsetxattr(path, "user.a", value, strlen(value), 0);
}

static int
do_one(struct replay *r, unsigned act)
{
    char a[256];
    char b[256];
    draw_path(r, a);
    draw_path(r, b);
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

static void
work(struct replay *r, unsigned steps)
{
    /* what makes is drawn more often than what breaks */
    static const unsigned acts[] = {
        0, 0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11
    };
    while (steps > 0) {
        unsigned act = acts[draw(r, ARRAY_LEN(acts))];
        bool ok = do_one(r, act) == 0;
        done[act] += ok;
        steps -= ok;
    }
}

/* --- are they the same? --- */

/* Of each name type, mode, owner, size, mtime, target, content and xattrs, and which names are one
 * file; as text. */
static void
describe(const struct cap *c, const char *store, const char *out)
{
#define ALL "find . -mindepth 1 ! -path './.mailtwin*'"
    cap_sh(c,
           "cd %s && (" ALL " ! -type d -printf '%%p %%y %%m %%U:%%G %%s %%T@ %%l\n'; " ALL
           " -type d -printf '%%p %%y %%m %%U:%%G\n'; " ALL " -type f -exec cksum {} +; " ALL
           " ! -type l ! -type p -exec getfattr -d {} +; " ALL
           " -type f -printf '%%p %%i\n' | sort | awk '{ if (!($2 in first)) first[$2] = $1; "
           "print $1, \"is\", first[$2] }') | sort >%s",
           store, out);
#undef ALL
}

static void
check_same(struct replay *r)
{
    char ours[160];
    char theirs[160];
    for (size_t i = 0; i < CAP_STORES; i++) {
        snprintf(ours, sizeof(ours), "%s/run/%zu", r->c->base, i);
        snprintf(theirs, sizeof(theirs), "%s/run/%zu", r->peer->base, i);
        describe(r->c, r->c->stores[i].name, ours);
        describe(r->peer, r->peer->stores[i].name, theirs);
        cap_sh(r->c, "diff %s %s >&2", ours, theirs);
    }
}

/* --- a pair of nodes --- */

static struct replay *
begin(uint64_t seed)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    struct replay *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->c = c;
    r->peer = cap_new();
    r->seed = seed;
    cap_start(r->c);
    cap_barrier(r->c);
    cap_open(r->peer);
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    r->to = link_io_new(fds[0]);
    r->from = link_io_new(fds[1]);
    r->ship = (struct ship){ .node = r->c->node, .io = r->to, .owner = r };
    r->ship.settle = settle;
    r->ship.signature = no_signature;
    r->ship.touched = touched;
    struct apply_store stores[CAP_STORES];
    for (size_t i = 0; i < CAP_STORES; i++)
        stores[i].path = r->peer->stores[i].path;
    struct err e = { 0 };
    struct wire_start start = { .mode = WIRE_MODE_SYNC };
    if (apply_open(stores, CAP_STORES, 1, &r->apply, &e) < 0 ||
        ledger_open(&r->ledger, r->peer->node, &e) < 0 ||
        ledger_start(&r->ledger, &start, true, &e) < 0)
        fail_msg("%s", e.text);
    return r;
}

static void
end(struct replay *r)
{
    ledger_free(&r->ledger);
    apply_free(&r->apply);
    link_io_free(&r->to);
    link_io_free(&r->from);
    ship_free(&r->ship);
    reclist_free(&r->needs);
    cap_free(r->peer);
    cap_free(r->c);
    free(r);
}

/* The peer becomes primary: its index is its tree. */
static void
check_promoted(struct replay *r)
{
    cap_start(r->peer);
    cap_barrier(r->peer);
    cap_check_index(r->peer);
    check_same(r);
}

static void
check_did_everything(void)
{
    for (unsigned act = 0; act < 12; act++) {
        if (done[act] == 0)
            fail_msg("nothing of kind %u was done", act);
    }
}

static bool
play(uint64_t seed, unsigned rounds)
{
    struct replay *r = begin(seed);
    if (r == NULL)
        return false;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < rounds; i++) {
        work(r, 1 + (unsigned)draw(r, 200));
        cap_barrier(r->c);
        cap_check_index(r->c);
        ship_all(r);
        check_same(r);
    }
    check_promoted(r);
    end(r);
    return true;
}

TEST(records_make_the_same_tree_on_another_node)
{
    bool long_run = getenv("MAILTWIN_LONG") != NULL;
    const char *only = getenv("MAILTWIN_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : long_run ? 100 : 4;
    for (uint64_t seed = first; seed <= last; seed++) {
        if (!play(seed, long_run ? 30 : 12)) {
            skip();
            return;
        }
    }
    check_did_everything();
}
