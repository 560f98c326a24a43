#include "replicator/link.h"

#include <string.h>

/* Which of the two would send to the other, if one of them would. */
enum link_pair {
    PAIR_PRIMARIES = 1, /* both are primary; upper is the one with the newer epoch */
    PAIR_SERVED = 2,    /* upper is primary, and lower follows it */
    PAIR_ELSEWHERE = 4, /* upper is primary, and lower follows another node */
    PAIR_FED = 8,       /* no primary: upper is a standby, and lower follows it */
    PAIR_MUTUAL = 16,   /* a standby and another node that follow each other */
    PAIR_APART = 32,    /* neither has to do with the other */
    PAIR_ONE = PAIR_SERVED | PAIR_ELSEWHERE,
    PAIR_ANY = 63
};

enum link_lineage {
    LINEAGE_SAME = 1,
    LINEAGE_FOREIGN = 2,
    LINEAGE_EMPTY = 4,   /* lower has no data of any history */
    LINEAGE_UNREADY = 8, /* upper has none */
    LINEAGE_ANY = 15
};

/* All that the rules may know. The same on both sides, whoever looks. */
struct link_facts {
    enum link_pair pair;
    enum link_lineage lineage;
    bool versions_fit, cluster_same, stores_same;
    bool upper_newer, lower_newer; /* by epoch; not both */
    bool upper_behind;             /* upper is a true beginning of lower */
    bool beyond;                   /* lower's tail lies behind the last seq both share */
    bool in_reach;                 /* upper's journal has all that lower lacks */
    bool upper_syncing, lower_syncing;
    bool lower_accepts;
};

enum link_from {
    FROM_NOWHERE,
    FROM_OUR_TAIL,
    FROM_ITS_TAIL
};

struct link_rule {
    unsigned row;
    unsigned pairs, lineages; /* masks */
    bool (*guard)(const struct link_facts *f);
    enum link_act upper, lower;
    unsigned refusal;
    enum link_from from;
    const char *because;
};

static bool
always(const struct link_facts *f)
{
    (void)f;
    return true;
}

static bool
versions_apart(const struct link_facts *f)
{
    return !f->versions_fit;
}

static bool
clusters_differ(const struct link_facts *f)
{
    return !f->cluster_same;
}

static bool
stores_differ(const struct link_facts *f)
{
    return !f->stores_same;
}

static bool
upper_newer(const struct link_facts *f)
{
    return f->upper_newer;
}

static bool
lower_newer(const struct link_facts *f)
{
    return f->lower_newer;
}

static bool
upper_behind(const struct link_facts *f)
{
    return f->upper_behind;
}

static bool
upper_syncing(const struct link_facts *f)
{
    return f->upper_syncing;
}

static bool
lower_syncing(const struct link_facts *f)
{
    return f->lower_syncing;
}

static bool
lower_accepts(const struct link_facts *f)
{
    return f->lower_accepts;
}

static bool
beyond(const struct link_facts *f)
{
    return f->beyond;
}

static bool
beyond_accepts(const struct link_facts *f)
{
    return f->beyond && f->lower_accepts;
}

static bool
behind_journal(const struct link_facts *f)
{
    return !f->in_reach;
}

enum {
    WIRE_REFUSE_NONE = 0
};

static const struct link_rule rules[] = {
#define RULE(row, pair, lineage, guard, upper, lower, refusal, from, because)       \
    { row,          PAIR_##pair,           LINEAGE_##lineage, guard,  LINK_##upper, \
      LINK_##lower, WIRE_REFUSE_##refusal, FROM_##from,       because },
#include "replicator/link.def"
#undef RULE
};

static bool
fits(const struct link_rule *r, const struct link_facts *f)
{
    return (r->pairs & f->pair) != 0 && (r->lineages & f->lineage) != 0 && r->guard(f);
}

static const struct link_rule *
match(const struct link_facts *f)
{
    const struct link_rule *rule = rules;
    while (!fits(rule, f)) {
        rule++;
        ASSERT(rule < rules + ARRAY_LEN(rules)); /* link_rules_check() looks at every case */
    }
    return rule;
}

/* --- facts --- */

static bool
span_same(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static bool
stores_same(const struct wire_hello *a, const struct wire_hello *b)
{
    if (a->store_count != b->store_count)
        return false;
    for (size_t i = 0; i < a->store_count; i++)
        if (!span_same(a->stores[i].name, b->stores[i].name) ||
            a->stores[i].kind != b->stores[i].kind)
            return false;
    return true;
}

static bool
history_none(const struct wire_hello *h)
{
    return span_is_zero(span_of(h->history, WIRE_HISTORY_SIZE));
}

static enum link_lineage
lineage_of(const struct wire_hello *upper, const struct wire_hello *lower)
{
    if (history_none(upper))
        return LINEAGE_UNREADY;
    if (history_none(lower))
        return LINEAGE_EMPTY;
    return memcmp(upper->history, lower->history, WIRE_HISTORY_SIZE) == 0 ? LINEAGE_SAME
                                                                          : LINEAGE_FOREIGN;
}

static bool
names(const struct wire_hello *a, const struct wire_hello *b)
{
    return a->follow.len > 0 && span_same(a->follow, b->node);
}

/* A node without a role has stopped serving: it may follow, and feeds nobody. */
static bool
follows(const struct wire_hello *lower, const struct wire_hello *upper)
{
    return upper->role == WIRE_ROLE_STANDBY && names(lower, upper);
}

static bool
newer(const struct wire_hello *a, const struct wire_hello *b)
{
    return a->epoch > b->epoch;
}

static bool
comes_first(const struct wire_hello *a, const struct wire_hello *b)
{
    if (newer(a, b) || newer(b, a))
        return newer(a, b);
    int order = memcmp(a->node.ptr, b->node.ptr, MIN(a->node.len, b->node.len));
    return order != 0 ? order < 0 : a->node.len <= b->node.len;
}

/* Is `a` the one that would send? The answer must not depend on who asks. */
static bool
is_upper(const struct wire_hello *a, const struct wire_hello *b)
{
    bool a_primary = a->role == WIRE_ROLE_PRIMARY, b_primary = b->role == WIRE_ROLE_PRIMARY;
    if (a_primary != b_primary)
        return a_primary;
    bool a_fed = !a_primary && follows(a, b), b_fed = !a_primary && follows(b, a);
    return a_fed != b_fed ? b_fed : comes_first(a, b);
}

static enum link_pair
pair_of(const struct wire_hello *upper, const struct wire_hello *lower)
{
    if (lower->role == WIRE_ROLE_PRIMARY)
        return PAIR_PRIMARIES;
    if (upper->role == WIRE_ROLE_PRIMARY)
        return lower->follow.len == 0 || names(lower, upper) ? PAIR_SERVED : PAIR_ELSEWHERE;
    if (!follows(lower, upper))
        return PAIR_APART;
    return names(upper, lower) ? PAIR_MUTUAL : PAIR_FED;
}

/* The last seq of an epoch of the list, as far as the node has come. */
static uint64_t
epoch_end(const struct wire_hello *h, size_t i)
{
    if (i + 1 >= h->epoch_count || h->epochs[i + 1].first_seq == 0)
        return h->tail;
    return MIN(h->tail, h->epochs[i + 1].first_seq - 1);
}

uint64_t
link_fork(const struct wire_hello *ours, const struct wire_hello *theirs)
{
    size_t i = ours->epoch_count, j = theirs->epoch_count;
    while (i > 0 && j > 0) {
        const struct wire_epoch *a = &ours->epochs[i - 1], *b = &theirs->epochs[j - 1];
        if (a->epoch == b->epoch && a->first_seq == b->first_seq)
            return MIN(epoch_end(ours, i - 1), epoch_end(theirs, j - 1));
        if (a->epoch >= b->epoch)
            i--;
        if (b->epoch >= a->epoch)
            j--;
    }
    return 0;
}

static struct link_facts
facts_of(const struct wire_hello *upper, const struct wire_hello *lower)
{
    uint64_t fork = link_fork(upper, lower);
    return (struct link_facts){
        .pair = pair_of(upper, lower),
        .lineage = lineage_of(upper, lower),
        .versions_fit = upper->version_min <= lower->version_max &&
                        lower->version_min <= upper->version_max,
        .cluster_same = span_same(upper->cluster, lower->cluster),
        .stores_same = stores_same(upper, lower),
        .upper_newer = newer(upper, lower),
        .lower_newer = newer(lower, upper),
        .upper_behind = upper->tail == fork && lower->tail > fork,
        .beyond = lower->tail > fork,
        .in_reach = upper->oldest == 0 || upper->oldest - 1 <= lower->tail,
        .upper_syncing = upper->sync_base != 0,
        .lower_syncing = lower->sync_base != 0,
        .lower_accepts = lower->accept_sync != 0,
    };
}

/* --- decisions --- */

static uint64_t
from_of(enum link_from from, const struct wire_hello *upper, const struct wire_hello *lower)
{
    if (from == FROM_OUR_TAIL)
        return upper->tail;
    return from == FROM_ITS_TAIL ? lower->tail : 0;
}

static struct link_decision
decision_of(const struct link_rule *rule, const struct link_facts *f,
            const struct wire_hello *upper, const struct wire_hello *lower, bool we_send)
{
    return (struct link_decision){
        .act = we_send ? rule->upper : rule->lower,
        .row = rule->row,
        .because = rule->because,
        .from = from_of(rule->from, upper, lower),
        .again = rule->upper == LINK_SYNC && rule->from == FROM_ITS_TAIL,
        .refusal = (enum wire_refusal)rule->refusal,
        .fork = f->lineage == LINEAGE_SAME ? link_fork(upper, lower) : 0,
    };
}

void
link_decide(const struct wire_hello *ours, const struct wire_hello *theirs,
            struct link_decision *ret_decision)
{
    bool we_send = is_upper(ours, theirs);
    const struct wire_hello *upper = we_send ? ours : theirs, *lower = we_send ? theirs : ours;
    struct link_facts facts = facts_of(upper, lower);
    const struct link_rule *rule = match(&facts);
    *ret_decision = decision_of(rule, &facts, upper, lower, we_send);
}

size_t
link_epoch_index(uint64_t epoch, size_t node_count)
{
    return (size_t)((epoch - 1) % node_count);
}

uint64_t
link_next_epoch(uint64_t seen, size_t index, size_t node_count)
{
    ASSERT(index < node_count);
    uint64_t epoch = seen + 1;
    while (link_epoch_index(epoch, node_count) != index)
        epoch++;
    return epoch;
}

/* --- the table itself --- */

/* The number-th combination of facts; false when there are no more. */
static bool
facts_number(unsigned number, struct link_facts *ret_facts)
{
    bool *flags[] = {
        &ret_facts->versions_fit,  &ret_facts->cluster_same,  &ret_facts->stores_same,
        &ret_facts->upper_newer,   &ret_facts->lower_newer,   &ret_facts->upper_behind,
        &ret_facts->beyond,        &ret_facts->in_reach,      &ret_facts->upper_syncing,
        &ret_facts->lower_syncing, &ret_facts->lower_accepts,
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++, number /= 2)
        *flags[i] = number % 2 != 0;
    ret_facts->lineage = (enum link_lineage)(1u << number % 4);
    ret_facts->pair = (enum link_pair)(1u << number / 4 % 6);
    return number < 4 * 6;
}

/* Two acts that can face each other: who sends has one who receives, nobody waits in vain. */
static bool
acts_match(const struct link_rule *r)
{
    static const struct {
        enum link_act upper, lower;
        bool begins, refuses;
    } pairs[] = {
        { LINK_SEND, LINK_RECEIVE, true, false },     { LINK_SYNC, LINK_RECEIVE, true, false },
        { LINK_IDLE, LINK_IDLE, false, false },       { LINK_REFUSE, LINK_REFUSE, false, true },
        { LINK_REFUSE, LINK_STEP_DOWN, false, true }, { LINK_STEP_DOWN, LINK_REFUSE, false, true },
    };
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        found |= r->upper == pairs[i].upper && r->lower == pairs[i].lower &&
                 (r->from != FROM_NOWHERE) == pairs[i].begins &&
                 (r->refusal != WIRE_REFUSE_NONE) == pairs[i].refuses;
    return found;
}

void
link_rules_check(void)
{
    bool fired[ARRAY_LEN(rules)] = { false };
    struct link_facts facts;
    for (unsigned n = 0; facts_number(n, &facts); n++) {
        const struct link_rule *rule = match(&facts);
        fired[rule - rules] = true;
    }
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        ASSERT(fired[i]); /* a row that the rows above it hide */
        ASSERT(acts_match(&rules[i]));
        ASSERT(i == 0 || rules[i - 1].row < rules[i].row);
    }
}

/* --- the schedule --- */

/* A run first: everything else is asked or told of the tree at the tail of the caller's snapshot,
 * and the peer must have come as far. A lost name is asked for under the name it has there; fix-ups
 * bring the peer what the snapshot's index says. The caller asks again with the same snapshot after
 * a run and takes a new one after anything else, so a steady stream of records does not starve
 * them. While the peer answers at length nothing but further questions goes to it: two who both
 * talk would wait for each other. */
enum link_work
link_next(const struct link_view *view)
{
    bool level = view->cursor >= view->durable_tail;
    bool window_open = view->window_bytes < view->window_max;
    if (view->answers_due)
        return level && view->sync_pending && !view->sync_waiting ? LINK_WORK_SYNC : LINK_WORK_WAIT;
    if (!level)
        return window_open ? LINK_WORK_RUN : LINK_WORK_WAIT;
    if (view->recover_pending)
        return LINK_WORK_RECOVER;
    if (!window_open)
        return LINK_WORK_WAIT;
    if (view->sync_pending && !view->sync_waiting)
        return LINK_WORK_SYNC;
    if (view->verify_pending && !view->verify_waiting)
        return LINK_WORK_VERIFY;
    return LINK_WORK_WAIT;
}
