/* What a primary keeps of how far its standbys are. */
#include "tests/unit/capture_kit.h"
#include "tests/unit/lone_kit.h"

#include "replicator/peer.h"
#include "replicator/protection.h"

struct guarded {
    struct cap *c;
    struct daemon daemon;
    struct peer standby;
};

static bool
guarded_begin(struct guarded *g)
{
    struct err e = { 0 };
    *g = (struct guarded){ 0 };
    g->c = cap_new();
    if (g->c == NULL)
        return false;
    cap_start(g->c);
    cap_barrier(g->c);
    g->daemon = (struct daemon){ .conf = &g->c->conf, .node = g->c->node };
    g->daemon.role = WIRE_ROLE_PRIMARY;
    g->daemon.capture = g->c->capture;
    peer_init(&g->standby, &g->daemon, &g->c->nodes[1]);
    g->standby.facts.sending = true;
    g->standby.facts.state = PEER_CONNECTED;
    g->daemon.peers = &g->standby;
    g->daemon.peer_count = 1;
    if (protection_begin(&g->daemon, &e) < 0)
        fail_msg("%s", e.text);
    return true;
}

static void
acknowledge(struct guarded *g, uint64_t seq)
{
    g->standby.facts.durable = seq;
    protection_update(&g->daemon);
}

/* What the next start would know. */
static uint64_t
kept_seq(struct guarded *g)
{
    struct err e = { 0 };
    struct span row;
    _cleanup_txn_ struct state_txn *txn = NULL;
    cap_barrier(g->c); /* a turn behind what was asked */
    if (state_begin(g->c->node->state, false, &txn, &e) < 0)
        fail_msg("%s", e.text);
    return state_get(txn, "protection", &row, &e) > 0 ? get_le64(row.ptr + 8) : 0;
}

static void
guarded_end(struct guarded *g)
{
    peer_destroy(&g->standby);
    cap_free(g->c);
}

TEST(how_far_a_standby_is_is_kept_once_in_a_while_and_at_the_end)
{
    struct guarded g;
    if (!guarded_begin(&g)) {
        skip();
        return;
    }
    acknowledge(&g, 5);
    CHECK_INT(kept_seq(&g), 5);
    g.daemon.protection.kept_ms += 3600 * 1000; /* a moment ago, for the whole of this test */
    for (uint64_t seq = 6; seq < 100; seq++)
        acknowledge(&g, seq);
    CHECK_INT(g.daemon.protection.safe, 99);
    CHECK_INT(kept_seq(&g), 5);
    protection_end(&g.daemon);
    CHECK_INT(kept_seq(&g), 99);
    g.daemon.protection.kept_ms = 0; /* long ago */
    acknowledge(&g, 100);
    CHECK_INT(kept_seq(&g), 100);
    guarded_end(&g);
}

TEST(when_protection_was_lost_is_kept_at_once)
{
    struct guarded g;
    if (!guarded_begin(&g)) {
        skip();
        return;
    }
    g.c->stores[0].durability = DURABILITY_DURABLE;
    g.c->nodes[1].durability = DURABILITY_DURABLE;
    acknowledge(&g, 5);
    g.daemon.protection.kept_ms += 3600 * 1000;
    g.standby.facts.durable = 7;
    g.standby.facts.sending = false;
    protection_update(&g.daemon);
    CHECK(g.daemon.protection.degraded_since != 0);
    CHECK_INT(kept_seq(&g), 5);
    struct err e = { 0 };
    g.daemon.protection = (struct protection_facts){ 0 };
    CHECK_INT(protection_begin(&g.daemon, &e), 0);
    CHECK(g.daemon.protection.degraded_since != 0);
    guarded_end(&g);
}
