/* replication.c - seeds of simulated replication, and the proof that each broken rule is noticed.
 * docs/simulation.md
 *
 * MAILTWIN_SEED=SEED,NODES,STEPS,WITHOUT,BROKEN replays one history and tells it step by step. */
#include "tests/unit/test.h"

#include "replicator/link.c" /* its rules are taken out one by one */
#include "tests/sim/chaos.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

bool sim_rows[1000];

void
sim_fail(struct world *w, const char *invariant, const char *fmt, ...)
{
    if (w->invariant != NULL)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(w->failed, sizeof(w->failed), fmt, args);
    va_end(args);
    w->invariant = invariant;
    sim_trace(w, "FAILED %s: %s", invariant, w->failed);
}

void
sim_trace(struct world *w, const char *fmt, ...)
{
    if (!w->opts.trace)
        return;
    va_list args;
    va_start(args, fmt);
    printf("%5u  ", w->now);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

/* --- what is broken on purpose --- */

static const struct {
    enum broken broken;
    unsigned row; /* a rule that is taken out; 0 something else */
    uint64_t seed;
    const char *name, *caught_by, *help;
} breaks[] = {
#define BROKEN(name, row, seed, caught_by, help) \
    { BROKEN_##name, row, seed, #name, caught_by, help },
#include "tests/sim/broken.def"
#undef BROKEN
};

static unsigned
row_taken_out(const struct world *w)
{
    for (size_t i = 0; i < ARRAY_LEN(breaks); i++)
        if (breaks[i].broken == w->opts.broken)
            return breaks[i].row;
    return 0;
}

/* As link_decide(), without one of its rules. */
static void
decide_without(unsigned row, const struct wire_hello *ours, const struct wire_hello *theirs,
               struct link_decision *ret_decision)
{
    bool we_send = is_upper(ours, theirs);
    const struct wire_hello *upper = we_send ? ours : theirs, *lower = we_send ? theirs : ours;
    struct link_facts f = facts_of(upper, lower);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct link_rule *r = &rules[i];
        if (r->row == row || !fits(r, &f))
            continue;
        *ret_decision = decision_of(r, &f, upper, lower, we_send);
        return;
    }
    *ret_decision = (struct link_decision){ .act = LINK_IDLE };
}

void
sim_decide(struct world *w, const struct wire_hello *ours, const struct wire_hello *theirs,
           struct link_decision *ret_decision)
{
    unsigned out = row_taken_out(w);
    if (out == 0)
        link_decide(ours, theirs, ret_decision);
    else
        decide_without(out, ours, theirs, ret_decision);
    if (w->opts.broken == BROKEN_NOTHING)
        sim_rows[ret_decision->row % ARRAY_LEN(sim_rows)] = true;
}

/* --- one simulated history --- */

static struct world *
world_new(const struct run_opts *opts)
{
    struct world *w = xcalloc(1, sizeof(*w));
    w->opts = *opts;
    w->random = opts->seed;
    w->truth = xcalloc(TRUTH_MAX, sizeof(*w->truth));
    tree_clear(&w->truth[0].tree);
    w->truth_count = 1;
    for (unsigned i = 0; i < opts->nodes; i++)
        node_init(w, i);
    node_promote(w, &w->nodes[0], false);
    return w;
}

static void
world_free(struct world *w)
{
    free(w->truth);
    free(w);
}

static void
world_step(struct world *w)
{
    w->now++;
    if (!w->calm)
        chaos_step(w);
    operators_step(w);
    for (unsigned i = 0; i < w->opts.nodes; i++)
        primary_step(w, &w->nodes[i]);
    links_step(w);
    check_step(w);
    for (unsigned i = 0; i < w->opts.nodes; i++)
        check_survival(w, &w->nodes[i]);
    if (w->now % 64 == 0)
        check_confirmed(w);
}

/* --- when the faults stop --- */

static struct node *
the_primary(struct world *w)
{
    for (unsigned i = 0; i < w->opts.nodes; i++)
        if (w->nodes[i].disk.role == WIRE_ROLE_PRIMARY)
            return &w->nodes[i];
    return NULL;
}

static bool
is_better(const struct node *a, const struct node *b)
{
    const struct state_of_node *x = &a->disk, *y = &b->disk;
    if (x->history != y->history)
        return x->history < y->history;
    return x->epoch != y->epoch ? x->epoch > y->epoch : x->tail > y->tail;
}

/* --force: there is nobody else. */
static void
operator_forces(struct world *w, struct node *n)
{
    n->mem.sync_base = 0;
    /* It shares no past with anybody. */
    n->mem.epoch_count = n->mem.truth = n->acked_truth = 0;
    node_promote(w, n, false);
    for (uint32_t obj = 1; obj <= w->obj_count; obj++)
        w->confirmed[obj] = false;
}

/* The same for what is held: it is given up. */
static void
operator_gives_up_held(struct world *w, struct node *n)
{
    for (unsigned i = 0; i < n->mem.held_count; i++) {
        const struct ent *e = tree_find(&n->mem.index, n->mem.held[i].path);
        if (e != NULL)
            w->confirmed[e->obj] = false;
    }
    n->mem.held_count = 0;
    n->sweep = true;
    node_commit(n);
}

/* What a power loss took may be on a node that follows another one; when it is on none that can be
 * asked, the operator gives it up. */
static void
operator_releases(struct world *w, struct node *p)
{
    bool chain = false;
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        chain = chain || w->nodes[i].follow >= 0;
        w->nodes[i].follow = -1;
    }
    if (!chain)
        operator_gives_up_held(w, p);
}

/* An operator sees to it that one node is primary: of several histories the older one's. */
static void
operator_chooses(struct world *w)
{
    struct node *best = NULL, *primary = NULL;
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        struct node *n = &w->nodes[i];
        if (n->disk.role == WIRE_ROLE_PRIMARY && (primary == NULL || is_better(n, primary)))
            primary = n;
        if (n->disk.history != 0 && can_promote(n) && (best == NULL || is_better(n, best)))
            best = n;
    }
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        struct node *n = &w->nodes[i];
        if (n->disk.role == WIRE_ROLE_PRIMARY && n->disk.history != primary->disk.history)
            node_demote(w, n);
    }
    for (unsigned i = 0; primary == NULL && best == NULL && i < w->opts.nodes; i++)
        if (w->nodes[i].disk.held_count > 0) {
            best = &w->nodes[i];
            operator_gives_up_held(w, best);
        }
    for (unsigned i = 0; primary == NULL && best == NULL && i < w->opts.nodes; i++)
        if (w->nodes[i].disk.history != 0)
            best = &w->nodes[i];
    if (primary == NULL && best != NULL && can_promote(best))
        node_promote(w, best, false);
    else if (primary == NULL && best != NULL)
        operator_forces(w, best);
}

/* A chain when there are three and chance wants it. */
static void
operator_sets_follow(struct world *w)
{
    struct node *p = the_primary(w);
    for (unsigned i = 0; i < w->opts.nodes; i++)
        w->nodes[i].follow = -1;
    if (p == NULL || w->opts.nodes < 3 || one_in(w, 2))
        return;
    w->nodes[(p->id + 1) % 3].follow = (int)(p->id + 2) % 3;
}

static void
all_is_well(struct world *w)
{
    w->calm = true;
    for (unsigned i = 0; i < CONNS_MAX; i++)
        w->conns[i].cut[0] = w->conns[i].cut[1] = false;
    for (unsigned i = 0; i < w->opts.nodes; i++) {
        struct node *n = &w->nodes[i];
        n->full = false;
        n->versions = n->cluster = n->stores = 0;
        if (!n->up)
            node_start(w, n);
    }
    operator_chooses(w);
    operator_sets_follow(w);
    for (unsigned i = 0; i < w->opts.nodes; i++)
        links_end(w, i, NULL);
}

static bool
is_level(struct node *n, struct node *p)
{
    if (n == p)
        return p->pending_count == 0 && !p->sweep && p->mem.held_count == 0;
    bool gives = n->kept_count > 0 && n->follow < 0 && p->live.count < GIVE_ROOM;
    return !gives && n->up && n->disk.sync_base == 0 && n->disk.history == p->disk.history &&
           n->disk.tail == p->disk.tail && tree_same(&n->live, &p->live);
}

static bool
all_level(struct world *w)
{
    struct node *p = the_primary(w);
    for (unsigned i = 0; p != NULL && i < w->opts.nodes; i++)
        if (!is_level(&w->nodes[i], p))
            return false;
    return p != NULL;
}

static uint64_t
true_fork(const struct world *w, unsigned a, unsigned b)
{
    while (a != b) {
        if (w->truth[a].seq >= w->truth[b].seq)
            a = w->truth[a].parent;
        else
            b = w->truth[b].parent;
    }
    return w->truth[a].seq;
}

/* 6: who is not level is held for a reason that can be seen, and the fork it is told is the fork.
 */
static void
check_held(struct world *w, struct node *n)
{
    struct node *p = the_primary(w);
    struct node *upper = n->follow < 0 ? p : &w->nodes[n->follow];
    struct conn *c = &w->conns[0]; /* all links are ended: for its HELLOs */
    c->node[0] = n->id;
    c->node[1] = upper->id;
    say_hello(w, c, 0);
    say_hello(w, c, 1);
    decide_permitted(w, c, 0);
    struct link_decision d = c->sess[0].decision;
    if (d.refusal == WIRE_REFUSE_DIVERGED &&
        d.fork != true_fork(w, n->disk.truth, upper->disk.truth))
        sim_fail(w, "6 held", "mx%u and mx%u fork at seq %u and are told %u", n->id + 1,
                 upper->id + 1, (unsigned)true_fork(w, n->disk.truth, upper->disk.truth),
                 (unsigned)d.fork);
    if (d.refusal == WIRE_REFUSE_DIVERGED && upper != p && d.fork == upper->disk.tail)
        sim_fail(w, "6 held", "mx%u is held, and only ahead of mx%u", n->id + 1, upper->id + 1);
    if (d.act == LINK_RECEIVE && is_level(upper, p))
        sim_fail(w, "6 level", "mx%u is not level with mx%u, and nothing stands in the way",
                 n->id + 1, upper->id + 1);
    sim_trace(w, "mx%u is held: row %u", n->id + 1, d.row);
    conn_clear(c);
    if (d.act == LINK_REFUSE)
        operator_resync(w, n);
}

static void
settle(struct world *w)
{
    all_is_well(w);
    for (unsigned round = 0; round < 6 && w->invariant == NULL; round++) {
        for (unsigned i = 0; i < 2500 && w->invariant == NULL; i++) {
            if (all_level(w))
                return;
            world_step(w);
        }
        struct node *p = the_primary(w);
        for (unsigned i = 0; i < w->opts.nodes; i++)
            links_end(w, i, NULL);
        if (p == NULL) {
            operator_chooses(w);
            continue;
        }
        for (unsigned i = 0; i < w->opts.nodes; i++)
            if (&w->nodes[i] != p && !is_level(&w->nodes[i], p) && p->mem.held_count == 0)
                check_held(w, &w->nodes[i]);
        if (p->mem.held_count > 0)
            operator_releases(w, p);
    }
    sim_fail(w, "6 level", "the nodes are not level");
}

static void
run_world(struct world *w)
{
    while (w->invariant == NULL && w->now < w->opts.steps && w->truth_count < TRUTH_MAX - 200)
        world_step(w);
    if (w->invariant == NULL)
        settle(w);
    check_confirmed(w);
}

struct outcome {
    const char *invariant; /* NULL: all held */
    char text[256];
    unsigned now;
};

static struct outcome
run(const struct run_opts *opts)
{
    struct world *w = world_new(opts);
    run_world(w);
    struct outcome out = { .invariant = w->invariant, .now = w->now };
    memcpy(out.text, w->failed, sizeof(out.text));
    world_free(w);
    return out;
}

/* --- seeds --- */

static struct run_opts
opts_of_seed(uint64_t seed)
{
    struct run_opts opts = { .seed = seed * 0x2545f4914f6cdd1du,
                             .nodes = 2 + (unsigned)(seed % 2) };
    opts.steps = 300 + (unsigned)(seed * 7919 % 1500);
    opts.without = seed % 4 == 3 ? 1u << (seed / 4 % FAULT_RETURN) : 0;
    return opts;
}

/* An operator decides what becomes of a node that is refused. */
static struct run_opts
by_hand(struct run_opts opts)
{
    opts.without |= 1u << FAULT_RETURN;
    return opts;
}

/* Fewer faults, fewer steps, fewer nodes, as long as something still breaks. */
static void
shrink(struct run_opts *opts)
{
    opts->steps = MIN(opts->steps, run(opts).now);
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        struct run_opts fewer = *opts;
        fewer.without |= 1u << i;
        struct outcome out = run(&fewer);
        if (out.invariant == NULL)
            continue;
        fewer.steps = MIN(fewer.steps, out.now);
        *opts = fewer;
    }
    for (unsigned cut = opts->steps / 2; cut > 0; cut /= 2) {
        struct run_opts fewer = *opts;
        fewer.steps -= cut;
        if (run(&fewer).invariant != NULL)
            *opts = fewer;
    }
}

static void
tell_failure(struct run_opts opts)
{
    shrink(&opts);
    struct outcome out = run(&opts);
    fail_msg("invariant %s: %s; replay with MAILTWIN_SEED=%" PRIu64 ",%u,%u,%u,%u", out.invariant,
             out.text, opts.seed, opts.nodes, opts.steps, opts.without, (unsigned)opts.broken);
}

/* Under the sanitizers, which take five times as long, a quarter: what the rules do is shown by the
 * other build. */
static unsigned
seed_count(unsigned normal)
{
#ifdef MAILTWIN_FAULTS
    normal /= 4;
#endif
    return getenv("MAILTWIN_LONG") != NULL ? 20 * normal : normal;
}

/* true: one history was asked for and told. */
static bool
replayed(void)
{
    struct run_opts opts = { .trace = true };
    unsigned which = 0;
    const char *text = getenv("MAILTWIN_SEED");
    if (text == NULL)
        return false;
    CHECK_INT(sscanf(text, "%" SCNu64 ",%u,%u,%u,%u", &opts.seed, &opts.nodes, &opts.steps,
                     &opts.without, &which),
              5);
    opts.broken = (enum broken)which;
    struct outcome out = run(&opts);
    if (out.invariant != NULL)
        fail_msg("invariant %s: %s", out.invariant, out.text);
    return true;
}

#define SEEDS       8000
#define BREAK_SEEDS 400000

/* Runs without faults until all nodes are level. */
static void
run_until_level(struct world *w)
{
    w->calm = true;
    while (!all_level(w) && w->now < 20000 && w->invariant == NULL)
        world_step(w);
    w->calm = false;
    CHECK(all_level(w));
}

/* Only nodes with different lists of nodes can take the same epoch. What follows must be told, and
 * nothing overwritten, until somebody decides. */
TEST(two_primaries_of_one_epoch_are_kept_apart)
{
    struct run_opts opts = { .seed = 7, .nodes = 2, .steps = 1, .without = UINT32_MAX };
    struct world *w = world_new(&opts);
    w->drift = true;
    run_until_level(w);
    for (unsigned i = 0; i < 40; i++)
        primary_step(w, &w->nodes[0]);
    node_promote(w, &w->nodes[1], true); /* as the first of its list, as mx1 is in its own */
    node_demote(w, &w->nodes[0]);
    node_promote(w, &w->nodes[0], false);
    CHECK_INT(w->nodes[0].mem.epoch, w->nodes[1].mem.epoch);
    for (unsigned i = 0; i < 2000; i++)
        world_step(w);
    CHECK(sim_rows[210]);
    CHECK(w->nodes[0].mem.role == WIRE_ROLE_PRIMARY && w->nodes[1].mem.role == WIRE_ROLE_PRIMARY);
    node_demote(w, &w->nodes[1]);
    for (unsigned i = 0; i < 2000; i++)
        world_step(w);
    CHECK(!all_level(w));
    operator_resync(w, &w->nodes[1]);
    run_until_level(w);
    CHECK(w->invariant == NULL);
    world_free(w);
}

/* It must be the break that is noticed: without it the same seed passes. */
static bool
notices(size_t which, uint64_t seed)
{
    bool salvage = strcmp(breaks[which].caught_by, "7 salvage") == 0;
    struct run_opts opts = opts_of_seed(seed);
    opts = salvage ? opts : by_hand(opts);
    opts.broken = breaks[which].broken;
    struct outcome out = run(&opts);
    if (out.invariant == NULL || strcmp(out.invariant, breaks[which].caught_by) != 0)
        return false;
    opts.broken = BROKEN_NOTHING;
    return run(&opts).invariant == NULL;
}

TEST(whatever_is_broken_is_noticed)
{
    unsigned missed = 0;
    for (size_t i = 0; i < ARRAY_LEN(breaks); i++) {
        if (notices(i, breaks[i].seed))
            continue;
        missed++;
        uint64_t seed = 1, end = getenv("MAILTWIN_LONG") != NULL ? BREAK_SEEDS : 1;
        while (seed < end && !notices(i, seed))
            seed++;
        if (seed < end)
            printf("%s: write seed %u into broken.def\n", breaks[i].name, (unsigned)seed);
        else
            printf("%s: %s, and \"%s\" does not notice it with seed %u; the long run looks for "
                   "another seed\n",
                   breaks[i].name, breaks[i].help, breaks[i].caught_by, (unsigned)breaks[i].seed);
    }
    CHECK_INT(missed, 0);
}

TEST(every_history_keeps_the_promises_and_every_rule_fires)
{
    if (replayed())
        return;
    link_rules_check();
    for (uint64_t seed = 1; seed <= seed_count(SEEDS); seed++) {
        struct run_opts opts = opts_of_seed(seed);
        if (run(&opts).invariant != NULL)
            tell_failure(opts);
        opts = by_hand(opts);
        if (run(&opts).invariant != NULL)
            tell_failure(opts);
    }
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (!sim_rows[rules[i].row] && rules[i].row != 210) /* that has a test of its own */
            fail_msg("row %u never fired", rules[i].row);
}
