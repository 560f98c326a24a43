/* Comparisons, by order and by schedule: whole daemons, and what they answer over their sockets. */
#include "tests/unit/daemon_kit.h"

/* The differences that a verify found. */
static json_int_t
verify(struct host *h, bool repair)
{
    json_t *reply = host_must(h, "verify", "repair", json_boolean(repair));
    json_int_t differences = json_integer_value(json_object_get(reply, "differences"));
    json_decref(reply);
    return differences;
}

TEST(verify_finds_and_repairs_what_somebody_did_on_the_standby)
{
    struct daemons *n = daemons_pair(4);
    DAEMONS_NEEDED(n);
    struct host *primary = &n->hosts[0];
    cap_sh(primary->c, "mkdir mail/box && echo one >mail/box/one && echo two >mail/box/two");
    host_safe(primary);
    CHECK_INT(verify(primary, false), 0);
    cap_sh(n->hosts[1].c, "rm mail/box/one && echo longer >>mail/box/two && echo x >mail/box/x");
    CHECK_INT(verify(primary, false), 3);
    CHECK_INT(verify(primary, true), 3);
    host_safe(primary);
    CHECK_INT(verify(primary, false), 0);
    daemons_same(n, 0, 1);
    daemons_free(n);
}

struct asking {
    struct host *h;
    json_t *reply;
    struct err e;
    atomic_bool ended;
};

static void *
ask_for_contents(void *arg)
{
    struct asking *asking = arg;
    asking->reply = host_ask(asking->h, "verify", "content", json_true(), &asking->e);
    atomic_store(&asking->ended, true);
    return NULL;
}

/* A file that takes two minutes to read at this rate: on the primary first, then on the standby. */
TEST(records_do_not_wait_for_a_comparison)
{
    for (size_t reader = 0; reader < 2; reader++) {
        struct daemons *n = daemons_new(2, 40);
        DAEMONS_NEEDED(n);
        n->hosts[reader].c->conf.verify_rate = 64 * 1024;
        for (size_t i = 0; i < 2; i++)
            host_start(&n->hosts[i]);
        host_order(&n->hosts[0], "promote");
        daemons_link(n, 0, 1);
        cap_sh(n->hosts[0].c, "head -c 8M /dev/urandom >files/large");
        host_wait_peer(&n->hosts[0], "mx2", "connected");
        host_safe(&n->hosts[0]);
        struct asking asking = { .h = &n->hosts[0] };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, ask_for_contents, &asking), 0);
        for (unsigned round = 0; round < 20; round++) {
            host_work(n, 0, 20);
            host_safe(&n->hosts[0]);
            usleep(10000);
        }
        CHECK(!atomic_load(&asking.ended));
        daemons_same(n, 0, 1);
        daemons_cut(n, 0, 1); /* and its end waits for no file */
        assert_int_equal(pthread_join(thread, NULL), 0);
        CHECK(asking.reply == NULL && asking.e.code == ERR_PEER);
        daemons_free(n);
    }
}

static bool
compares(struct host *h)
{
    json_t *status = host_must(h, "status", NULL, NULL);
    json_t *store = json_array_get(json_object_get(status, "stores"), 0);
    bool compares = json_is_object(json_object_get(store, "verify"));
    json_decref(status);
    return compares;
}

static void
wait_for_comparison(struct host *h)
{
    for (unsigned ms = 0; !compares(h); ms += 5) {
        assert_true(ms < DAEMONS_WAIT_MS);
        control_post(h->d.control, daemons_tick, &h->d);
        usleep(5000);
    }
}

/* A scheduled one that would take two minutes. */
TEST(an_ordered_comparison_does_not_wait_for_the_schedule)
{
    struct daemons *n = daemons_new(2, 41);
    DAEMONS_NEEDED(n);
    struct host *primary = &n->hosts[0];
    primary->c->conf.verify_rate = 64 * 1024;
    for (size_t i = 0; i < CAP_STORES; i++) {
        primary->c->stores[i].verify_every_ms = 1;
        primary->c->stores[i].verify_contents_ms = 1;
    }
    for (size_t i = 0; i < 2; i++)
        host_start(&n->hosts[i]);
    host_order(primary, "promote");
    daemons_link(n, 0, 1);
    cap_sh(primary->c, "head -c 8M /dev/urandom >mail/large && cp -p mail/large files/large");
    host_wait_peer(primary, "mx2", "connected");
    host_safe(primary);
    cap_sh(n->hosts[1].c, "rm mail/large");
    wait_for_comparison(primary);
    CHECK_INT(verify(primary, false), 1);
    daemons_cut(n, 0, 1);
    daemons_free(n);
}

static json_int_t
last_differences(struct host *h)
{
    json_t *status = host_must(h, "status", NULL, NULL);
    json_t *store = json_array_get(json_object_get(status, "stores"), 0);
    json_t *last = json_object_get(store, "last_verify");
    json_int_t found = json_is_object(last)
                           ? json_integer_value(json_object_get(last, "differences"))
                           : -1;
    json_decref(status);
    return found;
}

TEST(a_schedule_that_met_no_standby_proves_nothing)
{
    struct daemons *n = daemons_new(2, 46);
    DAEMONS_NEEDED(n);
    struct host *primary = &n->hosts[0];
    primary->c->stores[0].verify_every_ms = 1;
    for (size_t i = 0; i < 2; i++)
        host_start(&n->hosts[i]);
    host_order(primary, "promote");
    cap_sh(primary->c, "mkdir mail/box && echo one >mail/box/one");
    for (unsigned i = 0; i < 5; i++) {
        control_post(primary->d.control, daemons_tick, &primary->d);
        host_order(primary, "status"); /* behind the tick */
        usleep(2000);
    }
    CHECK(primary->d.verify[0].tried_ms > 0);
    CHECK_INT(last_differences(primary), -1);
    daemons_link(n, 0, 1);
    host_wait_peer(primary, "mx2", "connected");
    host_safe(primary);
    cap_sh(n->hosts[1].c, "rm mail/box/one");
    for (unsigned ms = 0; last_differences(primary) < 0; ms += 5) {
        assert_true(ms < DAEMONS_WAIT_MS);
        control_post(primary->d.control, daemons_tick, &primary->d);
        usleep(5000);
    }
    CHECK_INT(last_differences(primary), 1);
    daemons_free(n);
}

static atomic_bool work_done;

/* Copies by hard link, as Dovecot's; a file that is long being written; folders that are renamed.
 */
static void *
copy_and_write(void *arg)
{
    struct cap *c = arg;
    for (unsigned i = 0; !atomic_load(&work_done); i++)
        cap_sh(c,
               "for m in 1 2 3 4 5 6 7 8; do ln mail/from/cur/$m mail/to/cur/%u.$m; done; "
               "head -c 300000 /dev/zero >>files/long; mv mail/to mail/to%u; mv mail/to%u mail/to; "
               "rm -f mail/to/cur/%u.*; test %u -lt 200 || : >files/long",
               i, i, i, i - 3, i % 250);
    return NULL;
}

TEST(a_comparison_finds_nothing_while_mail_is_copied_and_files_are_written)
{
    struct daemons *n = daemons_pair(47);
    DAEMONS_NEEDED(n);
    pthread_t thread;
    cap_sh(n->hosts[0].c, "mkdir -p mail/from/cur mail/to/cur && for m in 1 2 3 4 5 6 7 8; do "
                          "echo $m >mail/from/cur/$m; done");
    atomic_store(&work_done, false);
    assert_int_equal(pthread_create(&thread, NULL, copy_and_write, n->hosts[0].c), 0);
    for (unsigned round = 0; round < 15; round++) {
        json_t *reply = host_must(&n->hosts[0], "verify", "content", json_boolean(round % 2 == 0));
        char *text = json_dumps(reply, 0);
        if (json_integer_value(json_object_get(reply, "differences")) != 0)
            fail_msg("%s", text);
        free(text);
        json_decref(reply);
    }
    atomic_store(&work_done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    daemons_same(n, 0, 1);
    daemons_free(n);
}
