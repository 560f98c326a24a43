#include "tests/unit/test.h"

#include "lib/base/buf.h"
#include "replicator/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* mx1 is the primary of one history in its second epoch, mx2 follows level with it: RESUME. */
static struct wire_hello mx1, mx2;

static const uint8_t ours_id[WIRE_HISTORY_SIZE] = { 1 }, other_id[WIRE_HISTORY_SIZE] = { 2 };

static struct wire_hello
node_hello(const char *name, enum wire_role role)
{
    struct wire_hello h = {
        .version_min = 1,
        .version_max = 1,
        .cluster = span_str("example"),
        .node = span_str(name),
        .role = (uint8_t)role,
        .epoch = 3,
        .tail = 200,
        .oldest = 50,
        .epoch_count = 2,
        .store_count = 2,
        .epochs = { { 1, 1 }, { 3, 101 } },
        .stores = { { span_str("mail"), 1 }, { span_str("sieve"), 2 } },
    };
    memcpy(h.history, ours_id, WIRE_HISTORY_SIZE);
    return h;
}

static void
pair_start(void)
{
    mx1 = node_hello("mx1", WIRE_ROLE_PRIMARY);
    mx2 = node_hello("mx2", WIRE_ROLE_STANDBY);
}

static void
history_clear(struct wire_hello *h)
{
    memset(h->history, 0, WIRE_HISTORY_SIZE);
    h->epoch_count = 0;
    h->epoch = h->tail = h->oldest = 0;
}

static bool
acts_match(enum link_act a, enum link_act b)
{
    switch (a) {
    case LINK_SEND:
    case LINK_SYNC:
        return b == LINK_RECEIVE;
    case LINK_RECEIVE:
        return b == LINK_SEND || b == LINK_SYNC;
    case LINK_IDLE:
        return b == LINK_IDLE;
    case LINK_REFUSE:
        return b == LINK_REFUSE || b == LINK_STEP_DOWN;
    case LINK_STEP_DOWN:
        return b == LINK_REFUSE;
    }
    return false;
}

static struct link_decision
decide_both(enum link_act mx1_does, enum link_act mx2_does)
{
    struct link_decision a, b;
    link_decide(&mx1, &mx2, &a);
    link_decide(&mx2, &mx1, &b);
    CHECK_INT(a.row, b.row);
    CHECK_INT(a.act, mx1_does);
    CHECK_INT(b.act, mx2_does);
    CHECK(strlen(a.because) > 0);
    return a;
}

static struct link_decision
refused(enum wire_refusal code)
{
    struct link_decision d = decide_both(LINK_REFUSE, LINK_REFUSE);
    CHECK_INT(d.refusal, code);
    return d;
}

TEST(every_combination_of_facts_has_a_row_and_every_row_a_combination)
{
    link_rules_check();
}

TEST(a_standby_in_reach_goes_on_where_it_stopped)
{
    pair_start();
    mx2.tail = 150;
    struct link_decision d = decide_both(LINK_SEND, LINK_RECEIVE);
    CHECK_INT(d.from, 150);
    CHECK_INT(d.row, 530);
    CHECK_INT(d.refusal, 0);
    mx2.tail = 49; /* the last one in reach: the journal begins at 50 */
    CHECK_INT(decide_both(LINK_SEND, LINK_RECEIVE).from, 49);
    mx2.role = WIRE_ROLE_NONE; /* a deposed node whose data is a beginning */
    CHECK_INT(decide_both(LINK_SEND, LINK_RECEIVE).from, 49);
}

TEST(a_standby_behind_the_journal_is_synchronised_anew)
{
    pair_start();
    mx2.tail = 48;
    struct link_decision d = decide_both(LINK_SYNC, LINK_RECEIVE);
    CHECK_INT(d.from, 200);
    CHECK(!d.again);
    mx2.sync_base = 40; /* its walk is worthless: changes between are lost */
    d = decide_both(LINK_SYNC, LINK_RECEIVE);
    CHECK_INT(d.from, 200);
    CHECK(!d.again);
}

TEST(an_interrupted_sync_goes_on)
{
    pair_start();
    mx2.tail = 150;
    mx2.sync_base = 120;
    struct link_decision d = decide_both(LINK_SYNC, LINK_RECEIVE);
    CHECK_INT(d.from, 150);
    CHECK(d.again);
    mx2.accept_sync = 1;
    CHECK(decide_both(LINK_SYNC, LINK_RECEIVE).again);
    mx2.sync_base = 0; /* told to resync, and not begun */
    d = decide_both(LINK_SYNC, LINK_RECEIVE);
    CHECK(!d.again);
    CHECK_INT(d.from, 200);
}

TEST(a_node_without_data_gets_everything_only_when_it_may_be_overwritten)
{
    pair_start();
    history_clear(&mx2);
    CHECK_INT(refused(WIRE_REFUSE_NOT_EMPTY).row, 430);
    mx2.accept_sync = 1;
    CHECK_INT(decide_both(LINK_SYNC, LINK_RECEIVE).from, 200);
}

TEST(data_of_another_history_is_overwritten_only_when_told)
{
    pair_start();
    memcpy(mx2.history, other_id, WIRE_HISTORY_SIZE);
    mx2.epoch = 9; /* of the other history: says nothing here */
    CHECK_INT(refused(WIRE_REFUSE_FOREIGN).fork, 0);
    mx2.accept_sync = 1;
    CHECK_INT(decide_both(LINK_SYNC, LINK_RECEIVE).from, 200);
}

TEST(changes_behind_the_fork_are_held_and_the_fork_is_named)
{
    pair_start();
    mx2.epoch = 1; /* was primary up to 105; mx1 was promoted at 100 */
    mx2.epoch_count = 1;
    mx2.tail = 105;
    CHECK_INT(refused(WIRE_REFUSE_DIVERGED).fork, 100);
    mx2.role = WIRE_ROLE_NONE;
    CHECK_INT(refused(WIRE_REFUSE_DIVERGED).fork, 100);
    mx2.accept_sync = 1;
    CHECK_INT(decide_both(LINK_SYNC, LINK_RECEIVE).from, 200);
}

TEST(a_node_of_an_earlier_epoch_that_kept_to_the_past_is_compared_as_a_whole)
{
    pair_start();
    mx2.role = WIRE_ROLE_NONE;
    mx2.epoch = mx2.epoch_count = 1;
    mx2.tail = 100; /* up to the fork */
    CHECK_INT(decide_both(LINK_SYNC, LINK_RECEIVE).row, 505);
    mx2.sync_base = 90; /* a sync of the earlier epoch does not go on */
    struct link_decision d = decide_both(LINK_SYNC, LINK_RECEIVE);
    CHECK(!d.again);
    CHECK_INT(d.from, 200);
}

TEST(a_standby_that_is_ahead_of_a_primary_is_held)
{
    pair_start();
    mx2.tail = 201; /* the primary lost its newest changes: a restored disk */
    CHECK_INT(refused(WIRE_REFUSE_DIVERGED).fork, 200);
}

TEST(of_two_primaries_the_older_steps_down)
{
    pair_start();
    mx2.role = WIRE_ROLE_PRIMARY;
    mx2.epoch = 1;
    CHECK_INT(decide_both(LINK_REFUSE, LINK_STEP_DOWN).refusal, WIRE_REFUSE_OLD_EPOCH);
    mx2.store_count = 1; /* whatever else differs */
    decide_both(LINK_REFUSE, LINK_STEP_DOWN);
    mx2.epoch = mx1.epoch;
    CHECK_INT(refused(WIRE_REFUSE_DIVERGED).row, 210);
    mx2.accept_sync = mx1.accept_sync = 1; /* never overwritten as a primary */
    CHECK_INT(refused(WIRE_REFUSE_DIVERGED).row, 210);
    memcpy(mx2.history, other_id, WIRE_HISTORY_SIZE);
    CHECK_INT(refused(WIRE_REFUSE_FOREIGN).row, 220);
}

TEST(a_primary_older_than_what_its_peer_has_seen_steps_down)
{
    pair_start();
    mx2.epoch = 4;
    CHECK_INT(decide_both(LINK_STEP_DOWN, LINK_REFUSE).refusal, WIRE_REFUSE_OLD_EPOCH);
    mx2.role = WIRE_ROLE_NONE;
    mx2.follow = span_str("dr");
    decide_both(LINK_STEP_DOWN, LINK_REFUSE);
}

TEST(versions_clusters_and_stores_must_agree)
{
    pair_start();
    mx2.version_min = mx2.version_max = 2;
    refused(WIRE_REFUSE_VERSION);
    mx1.version_max = 2;
    decide_both(LINK_SEND, LINK_RECEIVE);
    mx2.cluster = span_str("exam");
    refused(WIRE_REFUSE_CLUSTER);
    pair_start();
    mx2.stores[1].kind = 1;
    refused(WIRE_REFUSE_STORES);
    pair_start();
    mx2.stores[0].name = span_str("sieve");
    refused(WIRE_REFUSE_STORES);
    mx2.store_count = 1;
    refused(WIRE_REFUSE_STORES);
}

TEST(a_standby_follows_the_node_it_names_and_feeds_who_names_it)
{
    pair_start();
    mx2.follow = span_str("mx1");
    decide_both(LINK_SEND, LINK_RECEIVE);
    mx2.follow = span_str("dr");
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 330);
    mx1.role = WIRE_ROLE_STANDBY;
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 310);
    mx2.follow = span_str("mx1");
    decide_both(LINK_SEND, LINK_RECEIVE);
    mx1.role = WIRE_ROLE_NONE;
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 310);
    mx1.role = WIRE_ROLE_STANDBY;
    mx1.follow = span_str("mx2");
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 320);
    mx2.role = WIRE_ROLE_NONE; /* it would be a standby as soon as it received */
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 320);
    mx2.role = WIRE_ROLE_STANDBY;
    mx2.follow = span_str("");
    decide_both(LINK_RECEIVE, LINK_SEND);
}

TEST(a_standby_feeds_only_what_it_has)
{
    pair_start();
    mx1.role = WIRE_ROLE_STANDBY;
    mx2.follow = span_str("mx1");
    mx1.sync_base = 100;
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 350);
    mx1.sync_base = 0;
    mx2.epoch = 4;
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 360);
    mx2.epoch = 3;
    mx2.tail = 201;
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 370);
    mx2.tail = 105; /* not ahead but beside it */
    mx2.epoch = 1;
    mx2.epoch_count = 1;
    CHECK_INT(refused(WIRE_REFUSE_DIVERGED).fork, 100);
    history_clear(&mx1);
    CHECK_INT(decide_both(LINK_IDLE, LINK_IDLE).row, 340);
}

TEST(the_fork_is_the_last_seq_both_have)
{
    pair_start();
    CHECK_INT(link_fork(&mx1, &mx2), 200);
    mx2.tail = 90; /* has heard of epoch 3, has none of its records yet */
    CHECK_INT(link_fork(&mx1, &mx2), 90);
    mx2.tail = 170;
    mx2.epochs[1] = (struct wire_epoch){ 2, 151 }; /* two promotions out of epoch 1 */
    CHECK_INT(link_fork(&mx1, &mx2), 100);
    CHECK_INT(link_fork(&mx2, &mx1), 100);
    mx2.epochs[1] = (struct wire_epoch){ 3, 151 }; /* one number, two promotions */
    CHECK_INT(link_fork(&mx1, &mx2), 100);
    mx1.epochs[0].first_seq = 7; /* nothing in common */
    CHECK_INT(link_fork(&mx1, &mx2), 0);
    mx1.epoch_count = mx2.epoch_count = 0;
    CHECK_INT(link_fork(&mx1, &mx2), 0);
}

TEST(promotions_of_two_nodes_never_share_an_epoch)
{
    CHECK_INT(link_next_epoch(0, 0, 2), 1);
    CHECK_INT(link_next_epoch(0, 1, 2), 2);
    CHECK_INT(link_next_epoch(1, 0, 2), 3);
    for (size_t nodes = 1; nodes < 6; nodes++)
        for (uint64_t seen = 0; seen < 60; seen++)
            for (size_t i = 0; i < nodes; i++) {
                uint64_t epoch = link_next_epoch(seen, i, nodes);
                CHECK(epoch > seen && epoch <= seen + nodes);
                for (size_t j = 0; j < i; j++)
                    CHECK(link_next_epoch(seen, j, nodes) != epoch);
            }
}

/* --- promises over all pairs of nodes, made from digits of a number --- */

struct digits {
    unsigned rest;
};

static unsigned
digit(struct digits *d, unsigned base)
{
    unsigned value = d->rest % base;
    d->rest /= base;
    return value;
}

/* 3 roles, 3 histories, 5 positions, 3 to follow, 2 accept_sync, 2 sync_base */
#define HELLOS (3 * 3 * 5 * 3 * 2 * 2)

static void
hello_number(unsigned number, const char *name, struct wire_hello *ret_hello)
{
    static const char *const follow[] = { "", "mx1", "mx2" };
    struct digits d = { number };
    *ret_hello = node_hello(name, (enum wire_role)digit(&d, 3));
    ret_hello->history[0] = (uint8_t)digit(&d, 3);
    switch (digit(&d, 5)) {
    case 0: /* before the fork, in epoch 1 */
        ret_hello->epoch = ret_hello->epoch_count = 1;
        ret_hello->tail = 90;
        break;
    case 1: /* behind the fork, in epoch 1 */
        ret_hello->epoch = ret_hello->epoch_count = 1;
        ret_hello->tail = 300;
        break;
    case 2: /* behind everybody's journal */
        ret_hello->epoch = ret_hello->epoch_count = 1;
        ret_hello->tail = ret_hello->oldest = 20;
        break;
    case 3: /* a third epoch */
        ret_hello->epochs[ret_hello->epoch_count++] = (struct wire_epoch){ 4, 151 };
        ret_hello->epoch = 4;
        break;
    }
    ret_hello->follow = span_str(follow[digit(&d, 3)]);
    ret_hello->accept_sync = (uint8_t)digit(&d, 2);
    ret_hello->sync_base = digit(&d, 2) * 10;
}

static bool
same_history(const struct wire_hello *a, const struct wire_hello *b)
{
    return memcmp(a->history, b->history, WIRE_HISTORY_SIZE) == 0;
}

/* The sender's view of a decision to send. */
static void
check_sending(const struct wire_hello *ours, const struct wire_hello *theirs,
              const struct link_decision *d)
{
    CHECK(theirs->role != WIRE_ROLE_PRIMARY);
    CHECK(ours->role == WIRE_ROLE_PRIMARY || ours->role == WIRE_ROLE_STANDBY);
    CHECK(ours->sync_base == 0);
    CHECK(ours->history[0] != 0);
    bool same = same_history(ours, theirs);
    CHECK(!same || ours->epoch >= theirs->epoch);
    CHECK(theirs->accept_sync || (same && theirs->tail <= link_fork(ours, theirs)));
    CHECK(d->from == ours->tail || d->from == theirs->tail);
    CHECK(d->from == ours->tail || (same && d->from + 1 >= ours->oldest && d->from <= d->fork));
    CHECK(d->act != LINK_SEND || (same && theirs->sync_base == 0 && ours->epoch == theirs->epoch));
    CHECK(!d->again || (d->act == LINK_SYNC && d->from == theirs->tail && same &&
                        theirs->sync_base != 0 && ours->epoch == theirs->epoch));
}

static void
check_pair(void)
{
    struct link_decision a, b;
    link_decide(&mx1, &mx2, &a);
    link_decide(&mx2, &mx1, &b);
    CHECK_INT(a.row, b.row);
    CHECK_INT(a.from, b.from);
    CHECK_INT(a.fork, b.fork);
    CHECK_INT(a.refusal, b.refusal);
    CHECK(acts_match(a.act, b.act));
    if (a.act == LINK_SEND || a.act == LINK_SYNC)
        check_sending(&mx1, &mx2, &a);
    if (b.act == LINK_SEND || b.act == LINK_SYNC)
        check_sending(&mx2, &mx1, &b);
    CHECK(a.act != LINK_STEP_DOWN || mx1.role == WIRE_ROLE_PRIMARY);
    CHECK(b.act != LINK_STEP_DOWN || mx2.role == WIRE_ROLE_PRIMARY);
}

TEST(both_sides_come_to_matching_answers_and_never_overwrite_unasked)
{
    for (unsigned i = 0; i < HELLOS; i++) {
        hello_number(i, "mx1", &mx1);
        for (unsigned j = 0; j < HELLOS; j++) {
            hello_number(j, "mx2", &mx2);
            check_pair();
        }
    }
}

/* --- the schedule --- */

TEST(everything_but_a_run_waits_until_the_peer_has_all_records)
{
    struct link_view v = { .durable_tail = 9, .cursor = 5, .window_max = 100 };
    CHECK_INT(link_next(&v), LINK_WORK_RUN);
    v.sync_pending = v.verify_pending = v.recover_pending = true;
    CHECK_INT(link_next(&v), LINK_WORK_RUN);
    v.cursor = 9;
    CHECK_INT(link_next(&v), LINK_WORK_RECOVER);
    v.recover_pending = false;
    CHECK_INT(link_next(&v), LINK_WORK_SYNC);
    v.sync_waiting = true;
    CHECK_INT(link_next(&v), LINK_WORK_VERIFY);
    v.verify_waiting = true;
    CHECK_INT(link_next(&v), LINK_WORK_WAIT);
    v.sync_pending = v.sync_waiting = v.verify_waiting = false;
    CHECK_INT(link_next(&v), LINK_WORK_VERIFY);
    v.verify_pending = false;
    CHECK_INT(link_next(&v), LINK_WORK_WAIT);
}

TEST(a_peer_that_answers_at_length_gets_nothing_but_questions)
{
    struct link_view v = { .durable_tail = 9, .cursor = 5, .window_max = 100, .answers_due = true };
    v.sync_pending = v.verify_pending = v.recover_pending = true;
    CHECK_INT(link_next(&v), LINK_WORK_WAIT); /* or the records would wait for ever */
    v.cursor = 9;
    CHECK_INT(link_next(&v), LINK_WORK_SYNC);
    v.sync_waiting = true;
    CHECK_INT(link_next(&v), LINK_WORK_WAIT);
}

TEST(a_full_window_stops_what_ships_contents)
{
    struct link_view v = { .durable_tail = 9, .cursor = 5, .window_bytes = 100, .window_max = 100 };
    v.sync_pending = v.verify_pending = v.recover_pending = true;
    CHECK_INT(link_next(&v), LINK_WORK_WAIT);
    v.cursor = 9; /* a question ships none */
    CHECK_INT(link_next(&v), LINK_WORK_RECOVER);
    v.recover_pending = false;
    CHECK_INT(link_next(&v), LINK_WORK_WAIT);
    v.window_bytes = 99;
    CHECK_INT(link_next(&v), LINK_WORK_SYNC);
}

/* --- the page --- */

#define PAGE "docs/link-rules.md"

static const struct page_row {
    int row;
    const char *pair, *lineage, *guard, *upper, *lower, *refusal, *from, *because;
} page_rows[] = {
#define RULE(row, pair, lineage, guard, upper, lower, refusal, from, because) \
    { row, #pair, #lineage, #guard, #upper, #lower, #refusal, #from, because },
#include "replicator/link.def"
#undef RULE
};

static void
page_write(FILE *out)
{
    fputs(
        "# What two nodes do with each other\n\n"
        "Made from `replicator/link.def` by `MAILTWIN_WRITE=1 build/gcc/tests/unit/link`; do not "
        "edit.\n\n"
        "When two nodes meet, both read these rows from the top, with the same facts, and do what "
        "the first fitting row says. The *upper* node is the one that would send: the primary, "
        "or the standby that the other one follows; of two primaries the one with the newer "
        "epoch. Logs and `mailtwin status` name the row.\n\n"
        "| row | pair | history | when | upper | lower | refusal | because |\n"
        "|---|---|---|---|---|---|---|---|\n",
        out);
    for (size_t i = 0; i < sizeof(page_rows) / sizeof(page_rows[0]); i++) {
        const struct page_row *r = &page_rows[i];
        bool from = strcmp(r->from, "NOWHERE") != 0;
        fprintf(out, "| %d | %s | %s | %s | %s%s%s | %s | %s | %s |\n", r->row, r->pair, r->lineage,
                r->guard, r->upper, from ? " from " : "", from ? r->from : "", r->lower,
                strcmp(r->refusal, "NONE") == 0 ? "" : r->refusal, r->because);
    }
    fputs("\nPairs: PRIMARIES both are primary, SERVED a primary and a node that follows it, "
          "ELSEWHERE a primary and a node that follows another, ONE either of these two, FED a "
          "standby and a node that follows it, MUTUAL two nodes that follow each other, APART "
          "none of these. History, of the lower node: SAME as the upper's, FOREIGN, EMPTY it has "
          "none; UNREADY the upper has none. OUR_TAIL is the upper's newest change, ITS_TAIL the "
          "lower's.\n",
          out);
}

TEST(the_page_of_rules_is_the_table)
{
    if (getenv("MAILTWIN_WRITE") != NULL) {
        FILE *page = fopen(PAGE, "w");
        CHECK(page != NULL);
        page_write(page);
        CHECK_INT(fclose(page), 0);
    }
    char *made = NULL, *kept = NULL;
    size_t made_len = 0, kept_len = 0;
    FILE *out = open_memstream(&made, &made_len);
    page_write(out);
    fclose(out);
    FILE *page = fopen(PAGE, "r");
    if (page == NULL)
        fail_msg("%s is missing (tests run in the project's folder)", PAGE);
    ssize_t len = getdelim(&kept, &kept_len, '\0', page);
    fclose(page);
    CHECK_INT(len, (ssize_t)made_len);
    CHECK_STR(kept, made);
    free(made);
    free(kept);
}
