/* A name that a power loss took keeps what stands under it out of the journal, until no node can
 * have it: it hides nothing from the salvage of a primary that returns. Whole daemons, linked. */
#include "tests/unit/daemon_kit.h"

/* As a start after a power loss leaves it: nothing is under the name, and it is held. */
static void
hold(struct host *h, uint16_t store, const char *path)
{
    struct state_txn *txn;
    struct state_held held = { .kind = STATE_HELD_LOST };
    struct err e = { 0 };
    cap_open(h->c);
    pair_must(state_begin(h->c->node->state, true, &txn, &e), &e);
    CHECK_INT(state_resolve(txn, store, span_str(path), &held.dir, &held.name, &e), 1);
    held.seq = held.newest = state_meta(txn)->tail; /* whoever parted before has it not */
    pair_must(state_held_put(txn, &held, &e), &e);
    pair_must(state_commit(&txn, &e), &e);
    node_free(&h->c->node);
}

static void
check_hidden(struct host *h)
{
    _cleanup_buf_ struct buf records = { 0 };
    json_t *status = host_must(h, "status", NULL, NULL);
    CHECK_INT(json_integer_value(json_object_get(status, "held")), 1);
    json_decref(status);
    host_stop(h);
    cap_open(h->c);
    cap_records(h->c, &records);
    CHECK(strstr((const char *)records.ptr, "1.M1") != NULL);
    CHECK(strstr((const char *)records.ptr, "2.M1") == NULL);
    node_free(&h->c->node);
    host_start(h);
}

/* Nobody has heard of the third node since: it may have the name. */
TEST(what_moved_from_a_held_name_is_salvaged_whatever_another_node_may_have)
{
    for (size_t nodes = 2; nodes <= 3; nodes++) {
        struct daemons *n = daemons_new(nodes, 95);
        DAEMONS_NEEDED(n);
        struct host *old = &n->hosts[0], *new = &n->hosts[1];
        daemons_part(n);
        cap_sh(old->c, "echo alone >mail/ada/new/1.M1");
        json_decref(host_must(old, "barrier", "timeout_ms", json_integer(DAEMONS_WAIT_MS)));
        host_stop(old);
        cap_sh(old->c, "mv mail/ada/new/1.M1 mail/ada/new/2.M1");
        hold(old, 0, "ada/new/1.M1");
        host_start(old);
        check_hidden(old);
        json_decref(host_must(new, "promote", "force", json_true()));
        daemons_link(n, 0, 1);
        host_wait_peer(new, "mx1", "connected");
        host_safe_again(new);
        host_wait_salvage(old, "delivered", 1);
        cap_sh(new->c, "grep -q alone mail/ada/*/2.M1*");
        daemons_free(n);
    }
}

/* It is level, and handed over as planned: the new primary has the lost name. */
TEST(what_took_the_place_of_a_directory_with_held_names_is_kept_of_a_demoted_node_as_well)
{
    struct daemons *n = daemons_new(2, 96);
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0], *new = &n->hosts[1];
    daemons_part(n);
    cap_sh(old->c, "mkdir files/d && echo lost >files/d/n");
    daemons_link(n, 0, 1);
    host_wait_peer(old, "mx2", "connected");
    host_safe_again(old);
    daemons_cut(n, 0, 1);
    host_stop(old);
    cap_sh(old->c, "rm -r files/d && echo alone >files/d");
    hold(old, 1, "d/n");
    host_start(old);
    host_order(old, "demote");
    host_order(new, "promote");
    daemons_link(n, 0, 1);
    host_wait_peer(new, "mx1", "connected");
    host_safe_again(new);
    cap_sh(old->c, "grep -q alone files/.mailtwin/salvage/*/0000000? && grep -q lost files/d/n");
    cap_sh(new->c, "grep -q lost files/d/n");
    daemons_free(n);
}
