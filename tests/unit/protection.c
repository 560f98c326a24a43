/* What a primary keeps of how far its standbys are. */
#include "tests/unit/capture_kit.h"
#include "tests/unit/lone_kit.h"

#include "lib/os/when.h"
#include "replicator/peer.h"
#include "replicator/protection.h"

#define HOUR_MS (3600 * 1000)

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

/* --- what is told, and when --- */

static struct {
    unsigned count;
    enum event_id last;
    char line[1024];
} told;

static void
hear(enum event_id id, const char *line, void *arg)
{
    (void)arg;
    if (id != EV_DEGRADED && id != EV_REFUSING && id != EV_PROTECTED)
        return;
    told.count++;
    told.last = id;
    snprintf(told.line, sizeof(told.line), "%s", line);
}

/* Both stores wait for the standby, which follows. */
static bool
told_begin(struct guarded *g, enum conf_alone mail, enum conf_alone files)
{
    memset(&told, 0, sizeof(told));
    if (!guarded_begin(g))
        return false;
    event_init("test", EVENT_INFO);
    event_tap(hear, NULL);
    for (size_t i = 0; i < CAP_STORES; i++)
        g->c->stores[i].durability = DURABILITY_DURABLE;
    g->c->stores[0].when_alone = mail;
    g->c->stores[1].when_alone = files;
    g->c->nodes[1].durability = DURABILITY_DURABLE;
    protection_update(&g->daemon);
    CHECK_INT(told.count, 0);
    return true;
}

static void
told_end(struct guarded *g)
{
    event_tap(NULL, NULL);
    guarded_end(g);
}

static void
standby_follows(struct guarded *g, bool follows)
{
    g->standby.facts.state = follows ? PEER_CONNECTED : PEER_CONNECTING;
    protection_update(&g->daemon);
}

static void
check_told(unsigned count, enum event_id id, const char *key, uint64_t seconds)
{
    char since[WHEN_SIZE], field[64];
    snprintf(field, sizeof(field), " %s=%s", key, when_text(seconds, since));
    CHECK_INT(told.count, count);
    CHECK_INT(told.last, id);
    CHECK_CONTAINS(told.line, field);
}

static void
check_now(uint64_t date, uint64_t from)
{
    CHECK(date >= from);
    CHECK(date <= (uint64_t)time(NULL));
}

TEST(protection_that_is_lost_and_regained_is_told_once_with_its_date)
{
    static const struct {
        enum conf_alone mail, files;
        enum event_id event;
        const char *fields; /* never refused while some store lets in what it is given */
    } rows[] = {
        { ALONE_CONTINUE, ALONE_CONTINUE, EV_DEGRADED, " refused=\"\" accepted=mail,files" },
        { ALONE_REFUSE, ALONE_REFUSE, EV_REFUSING, " refused=mail,files accepted=\"\"" },
        { ALONE_CONTINUE, ALONE_REFUSE, EV_DEGRADED, " refused=files accepted=mail" },
        { ALONE_REFUSE, ALONE_CONTINUE, EV_DEGRADED, " refused=mail accepted=files" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct guarded g;
        if (!told_begin(&g, rows[i].mail, rows[i].files)) {
            skip();
            return;
        }
        const struct protection_facts *p = &g.daemon.protection;
        uint64_t begun = (uint64_t)time(NULL);
        standby_follows(&g, false);
        check_told(1, rows[i].event, "since", p->degraded_since);
        CHECK_CONTAINS(told.line, rows[i].fields);
        check_now(p->degraded_since, begun);
        CHECK_INT(p->protected_since, 0);
        g.daemon.protection.degraded_since = 1000;
        standby_follows(&g, false);
        CHECK_INT(told.count, 1);
        standby_follows(&g, true);
        check_told(2, EV_PROTECTED, "alone_since", 1000);
        check_now(p->protected_since, begun);
        CHECK_INT(p->degraded_since, 0);
        standby_follows(&g, true);
        CHECK_INT(told.count, 2);
        told_end(&g);
    }
}

TEST(an_alarm_is_told_again_each_hour_that_it_lasts_with_the_date_of_the_loss)
{
    struct guarded g;
    if (!told_begin(&g, ALONE_CONTINUE, ALONE_CONTINUE)) {
        skip();
        return;
    }
    standby_follows(&g, false);
    g.daemon.protection.degraded_since = 1000;
    for (unsigned hour = 2; hour < 5; hour++) {
        g.daemon.protection.told_ms = capture_now_ms() - HOUR_MS / 2;
        standby_follows(&g, false);
        CHECK_INT(told.count, hour - 1);
        g.daemon.protection.told_ms = capture_now_ms() - HOUR_MS;
        standby_follows(&g, false);
        check_told(hour, EV_DEGRADED, "since", 1000);
    }
    told_end(&g);
}

TEST(a_primary_that_restarts_alone_tells_it_again_with_the_date_of_the_loss)
{
    struct guarded g;
    struct err e = { 0 };
    if (!told_begin(&g, ALONE_REFUSE, ALONE_REFUSE)) {
        skip();
        return;
    }
    standby_follows(&g, false);
    uint64_t since = g.daemon.protection.degraded_since;
    (void)kept_seq(&g);
    CHECK_INT(protection_begin(&g.daemon, &e), 0);
    g.daemon.protection.told_ms = capture_now_ms(); /* its clock began a moment ago */
    protection_update(&g.daemon);
    check_told(2, EV_REFUSING, "since", since);
    CHECK_INT(g.daemon.protection.degraded_since, since);
    CHECK_INT(g.daemon.protection.no_standby_since, since);
    told_end(&g);
}

/* The row of a version that knew no no_standby_since. */
TEST(how_long_a_primary_is_alone_outlives_an_update)
{
    struct guarded g;
    struct err e = { 0 };
    struct span row;
    struct state_txn *txn = NULL;
    uint8_t old[32];
    if (!told_begin(&g, ALONE_CONTINUE, ALONE_CONTINUE)) {
        skip();
        return;
    }
    standby_follows(&g, false);
    (void)kept_seq(&g);
    CHECK_INT(state_begin(g.c->node->state, true, &txn, &e), 0);
    CHECK_INT(state_get(txn, "protection", &row, &e), 1);
    CHECK(row.len > sizeof(old));
    memcpy(old, row.ptr, sizeof(old));
    put_le64(old + 16, 1000);
    CHECK_INT(state_put(txn, "protection", span_of(old, sizeof(old)), &e), 0);
    CHECK_INT(state_commit(&txn, &e), 0);
    CHECK_INT(protection_begin(&g.daemon, &e), 0);
    CHECK_INT(g.daemon.protection.degraded_since, 1000);
    CHECK_INT(g.daemon.protection.no_standby_since, 0);
    told_end(&g);
}

/* No standby was promised: there is a date, and no alarm. */
TEST(without_a_store_that_waits_the_loss_of_the_standby_has_a_date_and_is_no_alarm)
{
    struct guarded g;
    struct err e = { 0 };
    if (!told_begin(&g, ALONE_CONTINUE, ALONE_REFUSE)) {
        skip();
        return;
    }
    const struct protection_facts *p = &g.daemon.protection;
    for (size_t i = 0; i < CAP_STORES; i++)
        g.c->stores[i].durability = DURABILITY_ASYNC;
    standby_follows(&g, true);
    CHECK_INT(protection_of_node(&g.daemon), SAFETY_ASYNC);
    CHECK_INT(p->no_standby_since, 0);
    uint64_t begun = (uint64_t)time(NULL);
    standby_follows(&g, false);
    CHECK_INT(protection_of_node(&g.daemon), SAFETY_ASYNC);
    check_now(p->no_standby_since, begun);
    CHECK_INT(p->degraded_since, 0);
    uint64_t since = p->no_standby_since;
    (void)kept_seq(&g);
    g.daemon.protection = (struct protection_facts){ 0 };
    CHECK_INT(protection_begin(&g.daemon, &e), 0);
    CHECK_INT(p->no_standby_since, since);
    g.standby.facts.paused = true; /* what is held back there is on no other node */
    standby_follows(&g, true);
    CHECK_INT(p->no_standby_since, since);
    g.standby.facts.paused = false;
    standby_follows(&g, true);
    CHECK_INT(p->no_standby_since, 0);
    CHECK_INT(p->protected_since, 0);
    CHECK_INT(told.count, 0);
    told_end(&g);
}

/* The configuration was changed while it was alone: nobody protects it now. */
TEST(who_waits_for_no_standby_any_more_is_not_told_that_one_protects)
{
    struct guarded g;
    if (!told_begin(&g, ALONE_CONTINUE, ALONE_CONTINUE)) {
        skip();
        return;
    }
    standby_follows(&g, false);
    CHECK_INT(told.count, 1);
    for (size_t i = 0; i < CAP_STORES; i++)
        g.c->stores[i].durability = DURABILITY_ASYNC;
    standby_follows(&g, false);
    CHECK_INT(told.count, 1);
    CHECK_INT(g.daemon.protection.degraded_since, 0);
    CHECK_INT(g.daemon.protection.protected_since, 0);
    told_end(&g);
}

TEST(each_store_says_for_itself_what_becomes_of_its_mail_without_a_standby)
{
    struct guarded g;
    if (!told_begin(&g, ALONE_CONTINUE, ALONE_REFUSE)) {
        skip();
        return;
    }
    CHECK_INT(protection_of_store(&g.daemon, 0), SAFETY_PROTECTED);
    CHECK_INT(protection_of_store(&g.daemon, 1), SAFETY_PROTECTED);
    standby_follows(&g, false);
    CHECK_INT(protection_of_store(&g.daemon, 0), SAFETY_DEGRADED);
    CHECK_INT(protection_of_store(&g.daemon, 1), SAFETY_REFUSING);
    CHECK_INT(protection_of_node(&g.daemon), SAFETY_DEGRADED);
    CHECK_INT(protection_alone(&g.daemon, -1), ALONE_REFUSE); /* a barrier of both */
    told_end(&g);
}

/* A follower far away is not the one that serves next. */
TEST(a_node_marked_async_has_taken_everything_over_only_where_no_other_could)
{
    struct guarded g;
    if (!told_begin(&g, ALONE_CONTINUE, ALONE_CONTINUE)) {
        skip();
        return;
    }
    g.standby.facts.received = 9;
    g.standby.facts.durable = 8;
    CHECK_INT(protection_handed_over(&g.daemon, 8), PROTECTED);
    CHECK_INT(protection_handed_over(&g.daemon, 9), PROTECTION_PENDING);
    g.c->nodes[1].durability = DURABILITY_ASYNC;
    CHECK_INT(protection_handed_over(&g.daemon, 8), PROTECTED);
    struct peer two[2] = { g.standby, g.standby };
    two[1].conf = &g.c->nodes[2];
    g.c->nodes[2].durability = DURABILITY_DURABLE;
    two[1].facts.durable = 7;
    g.daemon.peers = two;
    g.daemon.peer_count = 2;
    CHECK_INT(protection_handed_over(&g.daemon, 8), PROTECTION_PENDING);
    CHECK_INT(protection_handed_over(&g.daemon, 7), PROTECTED);
    told_end(&g);
}
