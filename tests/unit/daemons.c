/* Whole daemons, linked: initial sync, streaming, cuts, verify, changes of roles, a standby that
 * feeds another. All threads of a real node run here; tests/cluster has the network and the
 * processes too. */
#include "tests/unit/daemon_kit.h"
#include "tests/unit/stuck_kit.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/un.h>

TEST(an_empty_standby_is_brought_level_and_follows)
{
    struct daemons *n = daemons_pair(1);
    DAEMONS_NEEDED(n);
    daemons_same(n, 0, 1);
    for (unsigned round = 0; round < 5; round++) {
        host_work(n, 0, 100);
        host_safe(&n->hosts[0]);
        daemons_same(n, 0, 1);
    }
    daemons_free(n);
}

TEST(links_that_break_under_work_lose_nothing)
{
    struct daemons *n = daemons_pair(2);
    DAEMONS_NEEDED(n);
    for (unsigned round = 0; round < 10; round++) {
        host_work(n, 0, 50);
        daemons_cut(n, 0, 1);
        host_work(n, 0, 50);
        daemons_link(n, 0, 1);
        host_work(n, 0, 50);
    }
    host_safe_again(&n->hosts[0]);
    daemons_same(n, 0, 1);
    daemons_free(n);
}

static double
ack_seconds(struct host *h)
{
    json_t *status = host_must(h, "status", NULL, NULL);
    json_t *peer = json_array_get(json_object_get(status, "peers"), 0);
    double seconds = json_number_value(json_object_get(peer, "ack_seconds"));
    json_decref(status);
    return seconds;
}

TEST(the_status_tells_what_the_last_records_took)
{
    struct daemons *n = daemons_pair(42);
    DAEMONS_NEEDED(n);
    double before = ack_seconds(&n->hosts[0]);
    cap_sh(n->hosts[0].c, "echo x >mail/x");
    host_safe(&n->hosts[0]);
    double seconds = ack_seconds(&n->hosts[0]);
    CHECK(seconds > 0 && seconds < 60);
    CHECK(seconds < before || seconds > before);
    CHECK(ack_seconds(&n->hosts[0]) <= seconds && ack_seconds(&n->hosts[0]) >= seconds);
    daemons_free(n);
}

/* What happens to mail while no daemon looks: a mail file changes its name, never its content. */
static void
mail_goes_on(struct cap *c, unsigned round)
{
    cap_sh(
        c,
        "mkdir -p mail/u/cur mail/u/new files/kd && r=%u && echo $r >mail/u/new/$r && "
        "echo a$r >mail/u/cur/a$r && echo l >>mail/u/dovecot-uidlist && echo $r >>files/kept && "
        "ln files/kept files/kd/$r && if test -e mail/u/cur/a$((r - 1)); then "
        "mv mail/u/cur/a$((r - 1)) mail/u/cur/b$((r - 1)):2,S && rm -f mail/u/new/$((r - 2)); fi",
        round);
}

TEST(restarts_on_both_sides_lose_nothing)
{
    struct daemons *n = daemons_pair(3);
    DAEMONS_NEEDED(n);
    for (unsigned round = 0; round < 8; round++) {
        struct host *h = &n->hosts[round % 2];
        host_work(n, 0, 50);
        host_stop(h);
        mail_goes_on(n->hosts[0].c, round);
        host_start(h);
    }
    host_safe_again(&n->hosts[0]);
    daemons_same(n, 0, 1);
    daemons_free(n);
}

static void
check_barrier(struct host *h, unsigned timeout_ms, const char *state)
{
    json_t *reply = host_must(h, "barrier", "timeout_ms", json_integer(timeout_ms));
    CHECK_STR(json_string_value(json_object_get(reply, "state")), state);
    bool async = h->c->stores[0].durability == DURABILITY_ASYNC;
    CHECK(async == json_is_true(json_object_get(reply, "async")));
    json_decref(reply);
}

/* For a change of roles. */
static void
check_handover(struct host *h, unsigned timeout_ms, const char *state)
{
    struct err e = { 0 };
    json_t *request = json_pack("{s:s, s:b, s:i}", "do", "barrier", "handover", true, "timeout_ms",
                                (int)timeout_ms);
    json_t *reply = NULL;
    pair_must(control_ask(h->c->conf.run_dir, CONTROL_SOCKET, request, DAEMONS_WAIT_MS, NULL, NULL,
                          &reply, &e),
              &e);
    json_decref(request);
    CHECK_STR(json_string_value(json_object_get(reply, "state")), state);
    json_decref(reply);
}

static bool
all_is_durable(struct host *h)
{
    json_t *status = host_must(h, "status", NULL, NULL);
    json_t *peer = json_array_get(json_object_get(status, "peers"), 0);
    json_int_t durable = json_integer_value(json_object_get(peer, "durable_seq"));
    json_int_t tail = json_integer_value(
        json_object_get(json_object_get(status, "journal"), "tail"));
    json_decref(status);
    return durable == tail;
}

/* Then the standby's session has nothing left to write. */
static void
wait_for_all_durable(struct host *h)
{
    for (unsigned ms = 0; !all_is_durable(h); ms += 5) {
        assert_true(ms < DAEMONS_WAIT_MS);
        usleep(5000);
    }
}

/* The standby gets a change into its memory, and cannot write its journal before state_abort() of
 * *ret_txn. NULL without the rights. */
static struct daemons *
change_that_is_received(enum conf_durability stores, enum conf_durability node,
                        struct state_txn **ret_txn)
{
    struct daemons *n = daemons_new(2, 43);
    struct err e = { 0 };
    if (n == NULL)
        return NULL;
    for (size_t host = 0; host < 2; host++) {
        n->hosts[host].nodes[1].durability = node;
        for (size_t store = 0; store < CAP_STORES; store++)
            n->hosts[host].c->stores[store].durability = stores;
        host_start(&n->hosts[host]);
    }
    host_order(&n->hosts[0], "promote");
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[0], "mx2", "connected");
    wait_for_all_durable(&n->hosts[0]);
    pair_must(state_begin(n->hosts[1].d.node->state, true, ret_txn, &e), &e);
    cap_sh(n->hosts[0].c, "mkdir mail/d"); /* one record: what follows one waits for it */
    return n;
}

TEST(a_barrier_waits_for_what_store_and_node_are_configured_for)
{
    static const struct {
        enum conf_durability store, node;
        const char *state;
    } rows[] = {
        { DURABILITY_DURABLE, DURABILITY_DURABLE, "late" },
        { DURABILITY_RECEIVED, DURABILITY_DURABLE, "safe" },
        { DURABILITY_DURABLE, DURABILITY_RECEIVED, "safe" },
        { DURABILITY_ASYNC, DURABILITY_DURABLE, "safe" },
        { DURABILITY_DURABLE, DURABILITY_ASYNC, "degraded" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct state_txn *txn;
        struct daemons *n = change_that_is_received(rows[i].store, rows[i].node, &txn);
        DAEMONS_NEEDED(n);
        bool waits = strcmp(rows[i].state, "late") != 0;
        check_barrier(&n->hosts[0], waits ? DAEMONS_WAIT_MS : 1000, rows[i].state);
        state_abort(&txn);
        daemons_free(n);
    }
}

TEST(a_handover_waits_for_the_standbys_disk_whatever_barriers_wait_for)
{
    static const struct {
        enum conf_durability store, node;
    } rows[] = {
        { DURABILITY_ASYNC, DURABILITY_DURABLE },
        { DURABILITY_RECEIVED, DURABILITY_DURABLE },
        { DURABILITY_DURABLE, DURABILITY_RECEIVED },
        { DURABILITY_ASYNC, DURABILITY_ASYNC },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct state_txn *txn;
        struct daemons *n = change_that_is_received(rows[i].store, rows[i].node, &txn);
        DAEMONS_NEEDED(n);
        check_handover(&n->hosts[0], 300, "late");
        state_abort(&txn);
        check_handover(&n->hosts[0], DAEMONS_WAIT_MS, "safe");
        CHECK(all_is_durable(&n->hosts[0]));
        host_stop(&n->hosts[1]);
        host_wait_peer(&n->hosts[0], "mx2", "connecting"); /* until then it is safe */
        check_handover(&n->hosts[0], DAEMONS_WAIT_MS, "degraded");
        daemons_free(n);
    }
}

TEST(a_primary_alone_goes_on_or_refuses_as_configured)
{
    for (int refuse = 0; refuse < 2; refuse++) {
        struct daemons *n = daemons_new(1, 44);
        DAEMONS_NEEDED(n);
        n->hosts[0].c->stores[0].when_alone = refuse != 0 ? ALONE_REFUSE : ALONE_CONTINUE;
        host_start(&n->hosts[0]);
        host_order(&n->hosts[0], "promote");
        cap_sh(n->hosts[0].c, "echo x >mail/x");
        check_barrier(&n->hosts[0], DAEMONS_WAIT_MS, refuse != 0 ? "alone" : "degraded");
        daemons_free(n);
    }
}

/* --- a disk that refuses the last word of a commit --- */

static _Atomic dev_t refusing; /* the disk where the next commit fails; 0 none */

/* In the place of the C library's: LMDB writes its meta pages, the first two, through a descriptor
 * of their own that syncs. */
ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    struct stat st;
    bool meta = at < 8192 && (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    if (meta && fstat(fd, &st) == 0 && st.st_dev == atomic_load(&refusing)) {
        atomic_store(&refusing, 0);
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, len, at);
}

static void
check_ends_and_goes_on(struct daemons *n, struct host *h)
{
    struct stat st;
    CHECK_INT(fstatat(h->d.node->state_dirfd, "state", &st, 0), 0);
    atomic_store(&refusing, st.st_dev);
    cap_sh(n->hosts[0].c, "echo x >>mail/x");
    for (unsigned ms = 0; !state_is_broken(h->d.node->state); ms += 5) {
        assert_true(ms < DAEMONS_WAIT_MS);
        usleep(5000);
    }
    control_post(h->d.control, daemons_tick, &h->d);
    host_ended(h);
    CHECK_INT(h->d.failure.code, ERR_IO);
    CHECK_CONTAINS(h->d.failure.text, "opened anew");
    host_start(h);
}

TEST(a_daemon_whose_database_is_broken_ends_and_goes_on_when_it_is_started_again)
{
    for (size_t host = 0; host < 2; host++) {
        struct daemons *n = daemons_pair(45);
        DAEMONS_NEEDED(n);
        check_ends_and_goes_on(n, &n->hosts[host]);
        host_safe_again(&n->hosts[0]);
        daemons_same(n, 0, 1);
        daemons_free(n);
    }
}

/* --- roles --- */

TEST(roles_change_there_and_back)
{
    struct daemons *n = daemons_pair(5);
    DAEMONS_NEEDED(n);
    for (unsigned round = 0; round < 6; round++) {
        size_t from = round % 2, to = 1 - from;
        host_work(n, from, 50);
        host_safe(&n->hosts[from]);
        host_order(&n->hosts[from], "demote");
        host_order(&n->hosts[to], "promote");
        host_wait_peer(&n->hosts[to], host_names[from], "connected");
        host_work(n, to, 50);
        host_safe_again(&n->hosts[to]);
        daemons_same(n, to, from);
    }
    daemons_free(n);
}

TEST(a_primary_that_was_replaced_steps_down_and_keeps_what_it_has_alone)
{
    struct daemons *n = daemons_pair(6);
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0], *new = &n->hosts[1];
    daemons_cut(n, 0, 1);
    host_wait_peer(new, "mx1", "connecting");
    cap_sh(old->c, "echo alone >mail/alone");
    json_decref(host_must(new, "promote", "force", json_true()));
    cap_sh(new->c, "echo more >mail/more");
    daemons_link(n, 0, 1);
    host_wait_peer(new, "mx1", "refused");
    host_wait_peer(old, "mx2", "refused");
    json_t *status = host_must(old, "status", NULL, NULL);
    CHECK_STR(json_string_value(json_object_get(status, "role")), "none");
    json_decref(status);
    struct err e = { 0 };
    CHECK(host_ask(old, "promote", NULL, NULL, &e) == NULL); /* not without force */
    CHECK_INT(e.code, ERR_REFUSED);
    /* still in its place, or kept and overwritten by now */
    cap_sh(old->c, "test -e mail/alone || test -e mail/.mailtwin/salvage");
    host_order(old, "resync"); /* the operator gives it up */
    host_safe_again(new);
    daemons_same(n, 1, 0);
    daemons_free(n);
}

/* In the loop, which does not come back to what is posted here. */
static void
say_last(void *arg)
{
    struct link_up *up = arg;
    struct daemon *d = up->d;
    uv_stop(d->loop);
    daemon_step_down(d, "mx2", 99);
    control_post(d->control, link_up_main, up);
}

TEST(what_sessions_said_last_is_heard_before_a_daemon_ends_and_none_begins_any_more)
{
    struct daemons *n = daemons_pair(46);
    DAEMONS_NEEDED(n);
    struct host *h = &n->hosts[0];
    int fds[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct link_up *up = calloc(1, sizeof(*up));
    assert_non_null(up);
    *up = (struct link_up){ &h->d, "mx2", fds[0] };
    control_post(h->d.control, say_last, up);
    host_ended(h);
    CHECK_INT(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0); /* closed, and nobody said anything */
    close(fds[1]);
    host_start(h);
    json_t *status = host_must(h, "status", NULL, NULL);
    CHECK_STR(json_string_value(json_object_get(status, "role")), "none");
    json_decref(status);
    daemons_free(n);
}

TEST(a_promotion_says_how_many_folders_it_left_as_they_were)
{
    struct daemons *n = daemons_pair(5);
    DAEMONS_NEEDED(n);
    cap_sh(n->hosts[0].c, "mkdir -p mail/x/cur && echo garbage >mail/x/dovecot-uidlist");
    host_safe(&n->hosts[0]);
    n->hosts[1].c->conf.uid_gap = 1000;
    daemons_cut(n, 0, 1);
    event_tap(count_stuck, NULL);
    for (unsigned orders = 0; orders < 2; orders++) { /* nobody mended it in between */
        json_t *reply = host_must(&n->hosts[1], "promote", "force", json_true());
        CHECK(atomic_load(&stuck) > 0); /* the work may have made such a list as well */
        CHECK_INT(json_integer_value(json_object_get(reply, "folders_failed")),
                  atomic_load(&stuck));
        json_decref(reply);
    }
    event_tap(NULL, NULL);
    daemons_free(n);
}

TEST(promoting_beside_a_primary_that_answers_is_refused)
{
    struct daemons *n = daemons_pair(7);
    DAEMONS_NEEDED(n);
    struct err e = { 0 };
    json_t *plan = host_must(&n->hosts[1], "promote", "plan", json_true());
    CHECK_CONTAINS(json_string_value(json_object_get(plan, "refused")), "a primary serves");
    CHECK_INT(json_integer_value(json_object_get(plan, "epoch")), 2);
    json_decref(plan);
    CHECK(host_ask(&n->hosts[1], "promote", NULL, NULL, &e) == NULL);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK(host_ask(&n->hosts[1], "demote", NULL, NULL, &e) == NULL);
    CHECK(host_ask(&n->hosts[1], "barrier", NULL, NULL, &e) == NULL);
    CHECK(host_ask(&n->hosts[1], "verify", NULL, NULL, &e) == NULL);
    CHECK(host_ask(&n->hosts[0], "resync", NULL, NULL, &e) == NULL);
    CHECK(host_ask(&n->hosts[0], "verify", "store", json_string("no"), &e) == NULL);
    CHECK_INT(e.code, ERR_USAGE);
    CHECK(host_ask(&n->hosts[0], "dance", NULL, NULL, &e) == NULL);
    CHECK_INT(e.code, ERR_USAGE);
    daemons_free(n);
}

/* An order whose answer is heard later, by then on its way for good. */
static int
begin_promotion(struct host *h)
{
    static const char line[] = "{\"do\":\"promote\"}\n";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = DAEMONS_WAIT_MS / 1000 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONTROL_SOCKET, h->c->conf.run_dir);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
    json_decref(host_must(h, "status", NULL, NULL)); /* what came before it has been read */
    return fd;
}

/* The answer, which ends in a newline. */
static void
check_promotion(int fd, const char *part)
{
    char text[1024] = "";
    size_t len = 0;
    while (len < sizeof(text) - 1 && recv(fd, text + len, 1, 0) == 1 && text[len] != '\n')
        len++;
    close(fd);
    CHECK_CONTAINS(text, part);
}

static void
check_role(struct host *h, const char *role)
{
    json_t *status = host_must(h, "status", NULL, NULL);
    CHECK_STR(json_string_value(json_object_get(status, "role")), role);
    json_decref(status);
}

TEST(a_promotion_waits_until_the_demotion_is_heard_of)
{
    struct daemons *n = daemons_pair(14);
    DAEMONS_NEEDED(n);
    struct err e = { 0 };
    int order = begin_promotion(&n->hosts[1]);
    CHECK(host_ask(&n->hosts[1], "promote", NULL, NULL, &e) == NULL);
    CHECK_INT(e.code, ERR_BUSY); /* one waits already */
    check_role(&n->hosts[1], "standby");
    host_order(&n->hosts[0], "demote");
    check_promotion(order, "\"ok\":true");
    check_role(&n->hosts[1], "primary");
    host_safe_again(&n->hosts[1]);
    daemons_same(n, 1, 0);
    daemons_free(n);
}

TEST(a_connection_that_ends_is_no_demotion)
{
    struct daemons *n = daemons_pair(15);
    DAEMONS_NEEDED(n);
    int order = begin_promotion(&n->hosts[1]);
    daemons_cut(n, 0, 1);
    daemons_link(n, 0, 1);
    check_promotion(order, "--force");
    check_role(&n->hosts[1], "standby");
    host_safe_again(&n->hosts[0]);
    daemons_same(n, 0, 1);
    daemons_free(n);
}

TEST(a_primary_that_does_not_come_back_is_waited_for_a_moment)
{
    struct daemons *n = daemons_pair(16);
    DAEMONS_NEEDED(n);
    int order = begin_promotion(&n->hosts[1]);
    daemons_cut(n, 0, 1);
    check_promotion(order, "\"ok\":true");
    check_role(&n->hosts[1], "primary");
    daemons_free(n);
}

TEST(a_promotion_whose_client_hung_up_is_given_up)
{
    struct daemons *n = daemons_pair(17);
    DAEMONS_NEEDED(n);
    close(begin_promotion(&n->hosts[1]));
    host_order(&n->hosts[0], "demote");
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    check_role(&n->hosts[1], "standby");
    host_order(&n->hosts[0], "promote");
    host_safe_again(&n->hosts[0]);
    check_role(&n->hosts[0], "primary");
    check_role(&n->hosts[1], "standby");
    daemons_free(n);
}

TEST(a_daemon_that_stops_answers_the_promotion_that_waits)
{
    struct daemons *n = daemons_pair(18);
    DAEMONS_NEEDED(n);
    int order = begin_promotion(&n->hosts[1]);
    host_stop(&n->hosts[1]);
    check_promotion(order, "the daemon stops");
    daemons_free(n);
}

TEST(one_daemon_for_one_state_directory)
{
    struct daemons *n = daemons_pair(8);
    DAEMONS_NEEDED(n);
    struct daemon second = { .conf = n->hosts[0].d.conf, .lock_fd = -1 };
    struct err e = { 0 };
    CHECK_INT(daemon_open(&second, &e), -1);
    CHECK_INT(e.code, ERR_BUSY);
    node_free(&second.node);
    daemons_free(n);
}

/* --- three nodes --- */

TEST(a_standby_feeds_another)
{
    struct daemons *n = daemons_new(3, 9);
    DAEMONS_NEEDED(n);
    for (size_t i = 0; i < 3; i++) {
        n->hosts[i].nodes[2].follow = xstrdup("mx2");
        host_start(&n->hosts[i]);
    }
    host_work(n, 0, 100);
    host_order(&n->hosts[0], "promote");
    daemons_link(n, 0, 1);
    daemons_link(n, 1, 2);
    daemons_link(n, 0, 2);
    host_wait_peer(&n->hosts[0], "mx2", "connected");
    host_wait_peer(&n->hosts[1], "mx3", "connected");
    for (unsigned round = 0; round < 6; round++) {
        host_work(n, 0, 50);
        daemons_cut(n, 1, 2);
        host_work(n, 0, 50);
        daemons_link(n, 1, 2);
        host_safe(&n->hosts[0]);
    }
    daemons_same(n, 0, 1);
    host_wait_peer(&n->hosts[1], "mx3", "connected");
    daemons_same(n, 0, 2);
    daemons_free(n);
}
