/* What only this node has is kept, or this node may not be overwritten: the keeping fails, or dies,
 * at its n-th call to the operating system, n rising until it goes through untouched. */
#include "tests/unit/capture_kit.h"

#ifndef MAILTWIN_FAULTS

TEST(no_failure_of_a_call_gives_up_what_is_not_kept)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

#include "lib/os/fault.h"
#include "replicator/receiver.h"
#include "replicator/salvage_box.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A primary that took mail after the fork, and was deposed. */
static struct cap *
leave(uint64_t *ret_fork)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c,
           "mkdir -p mail/ada/cur mail/ada/new mail/ada/tmp && printf old >mail/ada/cur/0.M0:2,");
    cap_start(c);
    cap_barrier(c);
    *ret_fork = capture_tail(c->capture);
    cap_sh(c, "printf one >mail/ada/tmp/1.M1 && mv mail/ada/tmp/1.M1 mail/ada/new && "
              "mv mail/ada/cur/0.M0:2, mail/ada/cur/0.M0:2,S && printf two >files/f");
    cap_barrier(c);
    cap_stop(c);
    return c;
}

/* One session that was refused as diverged. */
static int
keep(struct cap *c, uint64_t seq, struct err *e)
{
    int fds[2];
    struct daemon d = { .conf = &c->conf, .node = c->node };
    struct peer peer = { .daemon = &d, .conf = &c->nodes[1] };
    struct wire_hello *hellos = xcalloc(2, sizeof(*hellos));
    struct session s = { .daemon = &d, .peer = &peer, .ours = hellos, .theirs = hellos + 1 };
    turn_init(&d.turn);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    s.io = link_io_new(fds[0]);
    s.ours->role = WIRE_ROLE_NONE;
    s.ours->epoch = 1;
    s.ours->tail = seq + 1;
    s.theirs->role = WIRE_ROLE_PRIMARY;
    s.theirs->epoch = 2;
    s.decision = (struct link_decision){ .act = LINK_REFUSE,
                                         .refusal = WIRE_REFUSE_DIVERGED,
                                         .fork = seq };
    int rc = salvage_keep(&s, e);
    link_io_free(&s.io);
    close(fds[1]);
    turn_destroy(&d.turn);
    free(hellos);
    return rc;
}

static bool
is_permitted(struct cap *c)
{
    struct state_txn *txn;
    struct span row;
    struct err e = { 0 };
    CHECK_INT(state_begin(c->node->state, false, &txn, &e), 0);
    int found = state_get(txn, LEDGER_ACCEPT_SYNC, &row, &e);
    state_abort(&txn);
    CHECK(found >= 0);
    return found > 0;
}

static const char *the_id; /* of the salvage that was found last */
static char id_room[SALVAGE_ID_SIZE];

static void
note_id(void *arg, const struct node_store *store, const char *name)
{
    (void)arg;
    (void)store;
    snprintf(id_room, sizeof(id_room), "%s", name);
    the_id = id_room;
}

static void
check_item(const struct salvage_box *box, uint32_t number, enum salvage_kind kind, const char *path,
           const char *bytes)
{
    struct salvage_item item;
    char got[16] = "";
    struct err e = { 0 };
    salvage_box_item(box, number, &item);
    CHECK_INT(item.kind, kind);
    CHECK(span_equal(item.path, span_str(path)));
    if (bytes == NULL)
        return;
    _cleanup_close_ int fd = salvage_box_content(box, number, &e);
    CHECK_INT(file_pread_full(fd, got, sizeof(got) - 1, 0, &e), strlen(bytes));
    CHECK_STR(got, bytes);
}

static void
check_kept(struct cap *c)
{
    for (size_t i = 0; i < c->node->store_count; i++) {
        struct salvage_box box;
        struct err e = { 0 };
        the_id = "none";
        CHECK_INT(salvage_box_names(&c->node->stores[i], note_id, NULL, &e), 0);
        if (salvage_box_open(&c->node->stores[i], the_id, &box, &e) != 1)
            fail_msg("not kept: %s %s", the_id, e.text);
        CHECK_INT(box.head.count, i == 0 ? 2 : 1);
        if (i == 0) {
            check_item(&box, 0, SALVAGE_MESSAGE, "ada/new/1.M1", "one");
            check_item(&box, 1, SALVAGE_FLAGS, "ada/cur/0.M0:2,S", NULL);
        } else {
            check_item(&box, 0, SALVAGE_FILE, "f", "two");
        }
        salvage_box_close(&box);
    }
}

/* Whatever became of the first attempt: permitted means kept, and the next one goes through. */
static void
check_after(struct cap *c, uint64_t seq)
{
    struct err e = { 0 };
    if (is_permitted(c))
        check_kept(c);
    cap_sh(c, "test \"$(cat mail/ada/new/1.M1 files/f)\" = onetwo");
    if (keep(c, seq, &e) != 1)
        fail_msg("%s", e.text);
    CHECK(is_permitted(c));
    check_kept(c);
    cap_free(c);
}

static bool
fails_at(uint64_t at)
{
    uint64_t seq = 0;
    struct cap *c = leave(&seq);
    const char *where;
    struct err e = { 0 };
    struct fault_plan plan = { .kind = FAULT_ERRNO, .at = at, .errnum = EIO };
    cap_open(c);
    fault_arm(&plan);
    int rc = keep(c, seq, &e);
    fault_disarm(&where);
    CHECK(rc == 1 || where != NULL);
    CHECK(rc != 1 || is_permitted(c));
    node_free(&c->node);
    cap_open(c);
    check_after(c, seq);
    return where != NULL;
}

static void
die_here(const char *where)
{
    (void)where;
    raise(SIGKILL);
}

static bool
dies_at(uint64_t at)
{
    uint64_t seq = 0;
    struct cap *c = leave(&seq);
    pid_t child = fork();
    if (child == 0) {
        struct err e = { 0 };
        struct fault_plan plan = { .kind = FAULT_HOOK, .at = at, .hook = die_here };
        cap_open(c);
        fault_arm(&plan);
        _exit(keep(c, seq, &e) == 1 ? 0 : 1);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    cap_open(c);
    check_after(c, seq);
    return WIFSIGNALED(status);
}

static void
sweep(bool (*goes_on)(uint64_t at))
{
    uint64_t seq = 0, at = 1;
    struct cap *c = leave(&seq);
    CAP_NEEDED(c);
    cap_open(c);
    check_after(c, seq);
    while (goes_on(at))
        at++;
    print_message("%llu calls\n", (unsigned long long)at);
    CHECK(at > 12);
}

TEST(no_failure_of_a_call_gives_up_what_is_not_kept)
{
    sweep(fails_at);
}

TEST(a_crash_at_any_call_gives_up_nothing_that_is_not_kept)
{
    sweep(dies_at);
}

#endif
