/* What a returned node has given to the new primary is kept until it has come back: two disks had
 * it, and two have it before one of them gives it up. Whole daemons, linked. */
#include "tests/unit/daemon_kit.h"

#define KEPT "mail/.mailtwin/salvage/*/0000000?"

/* mx1 was replaced by mx2, took a mail alone, is level again and has given nothing yet. */
static struct daemons *
returned(uint64_t seed)
{
    struct daemons *n = daemons_new(2, seed);
    if (n == NULL)
        return NULL;
    for (size_t i = 0; i < 2; i++)
        host_start(&n->hosts[i]);
    host_order(&n->hosts[0], "promote");
    cap_sh(n->hosts[0].c, "mkdir -p mail/ada/cur mail/ada/new mail/ada/tmp");
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[0], "mx2", "connected");
    host_safe(&n->hosts[0]);
    daemons_cut(n, 0, 1);
    host_wait_peer(&n->hosts[1], "mx1", "connecting");
    cap_sh(n->hosts[0].c, "echo alone >mail/ada/new/1.M1");
    json_decref(host_must(&n->hosts[1], "promote", "force", json_true()));
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    host_safe_again(&n->hosts[1]);
    cap_sh(n->hosts[0].c, "test ! -e mail/ada/new/1.M1 && test -e " KEPT);
    return n;
}

/* Both in one answer; other "" none. */
static json_int_t
count_both(struct host *h, const char *what, const char *other)
{
    control_post(h->d.control, daemons_tick, &h->d);
    json_t *status = host_must(h, "status", NULL, NULL);
    const json_t *salvage = json_object_get(status, "salvage");
    json_int_t n = json_integer_value(json_object_get(salvage, what)) +
                   json_integer_value(json_object_get(salvage, other));
    json_decref(status);
    return n;
}

static json_int_t
count(struct host *h, const char *what)
{
    return count_both(h, what, "");
}

static void
wait_count(struct host *h, const char *what, json_int_t wanted)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    while (count(h, what) != wanted) {
        if (session_now_ms() > until)
            fail_msg("never %lld %s", (long long)wanted, what);
        usleep(5000);
    }
}

/* All that was to be given is with the primary, and here again. */
static void
wait_back(struct host *h)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    while (count_both(h, "waiting", "unconfirmed") > 0) {
        if (session_now_ms() > until)
            fail_msg("it never came back");
        usleep(5000);
    }
}

/* The new primary takes it, and its journal is not to be had: nobody else can have it. */
static struct state_txn *
give_to_one(struct daemons *n)
{
    struct state_txn *txn;
    struct err e = { 0 };
    pair_must(state_begin(n->hosts[1].d.node->state, true, &txn, &e), &e);
    wait_count(&n->hosts[0], "delivered", 1);
    cap_sh(n->hosts[1].c, "grep -q alone mail/ada/*/1.M1*");
    CHECK_INT(count(&n->hosts[0], "unconfirmed"), 1);
    return txn;
}

static void
check_once(struct host *h)
{
    cap_sh(h->c, "test $(ls mail/ada/cur mail/ada/new | grep -c 1.M1) = 1");
}

TEST(what_was_delivered_is_kept_until_it_has_come_back)
{
    struct daemons *n = returned(71);
    DAEMONS_NEEDED(n);
    struct err e = { 0 };
    struct state_txn *txn = give_to_one(n);
    cap_sh(n->hosts[0].c, "grep -q alone " KEPT);
    CHECK(host_ask(&n->hosts[0], "salvage-drop", NULL, NULL, &e) == NULL);
    CHECK_INT(e.code, ERR_BUSY);
    cap_sh(n->hosts[0].c, "grep -q alone " KEPT);
    state_abort(&txn);
    wait_back(&n->hosts[0]);
    CHECK_INT(count(&n->hosts[0], "delivered"), 1);
    check_once(&n->hosts[0]); /* it is here: only then */
    cap_sh(n->hosts[0].c, "test ! -e " KEPT);
    daemons_free(n);
}

/* mx1 takes over from the only node that has the mail, and is replaced by it again. */
static void
check_taken_over(uint64_t seed, bool lost)
{
    struct daemons *n = returned(seed);
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0], *new = &n->hosts[1];
    struct state_txn *txn = give_to_one(n);
    daemons_cut(n, 0, 1);
    host_wait_peer(old, "mx2", "connecting");
    if (lost) /* with its disk */
        cap_sh(new->c, "rm mail/ada/*/1.M1*");
    state_abort(&txn);
    json_decref(host_must(old, "promote", "force", json_true()));
    cap_sh(old->c,
           "test $(ls mail/ada/cur mail/ada/new | grep -c 1.M1) = 0 && grep -q alone " KEPT);
    json_t *list = host_must(old, "salvage", NULL, NULL);
    json_t *item = json_array_get(json_object_get(list, "items"), 0);
    CHECK_STR(json_string_value(json_object_get(item, "state")), "unconfirmed");
    json_decref(list);
    host_stop(old);
    host_start(old);
    CHECK_INT(count(old, "unconfirmed"), 1);
    daemons_link(n, 0, 1);
    host_wait_peer(old, "mx2", "connected");
    wait_count(new, "delivered", lost ? 0 : 1); /* what it took it brings itself */
    host_safe_again(old);
    host_order(old, "demote");
    host_order(new, "promote");
    host_wait_peer(new, "mx1", "connected");
    host_safe_again(new);
    wait_back(old);
    check_once(new);
    check_once(old);
    daemons_free(n);
}

TEST(what_only_a_dead_primary_took_is_kept_and_given_to_the_next)
{
    check_taken_over(72, true);
}

TEST(what_a_primary_took_and_brings_back_itself_is_there_once)
{
    check_taken_over(74, false);
}

/* The node is told nothing more: what it knows of the delivery is on its disk. */
TEST(a_restart_in_between_neither_gives_again_nor_gives_up)
{
    struct daemons *n = returned(73);
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0], *new = &n->hosts[1];
    struct state_txn *txn = give_to_one(n);
    daemons_cut(n, 0, 1);
    host_wait_peer(old, "mx2", "connecting");
    cap_sh(new->c, "rm mail/ada/*/1.M1*"); /* its reader has deleted it */
    host_stop(old);
    host_start(old);
    cap_sh(old->c, "grep -q alone " KEPT);
    state_abort(&txn);
    daemons_link(n, 0, 1);
    host_wait_peer(new, "mx1", "connected");
    wait_back(old);
    host_safe_again(new);
    cap_sh(new->c, "test $(ls mail/ada/cur mail/ada/new | grep -c 1.M1) = 0");
    cap_sh(old->c, "test ! -e " KEPT);
    daemons_free(n);
}
