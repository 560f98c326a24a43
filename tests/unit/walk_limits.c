/* What a peer may make its sender hold, by what it lists. */
#include "tests/unit/pair_kit.h"

#define DIRS  12
#define NAMES 200

static void
make_names(struct pair *r)
{
    cap_sh(r->peer,
           "for d in $(seq %d); do mkdir mail/$d; done;"
           "for d in $(seq %d); do for n in $(seq %d); do : >mail/$d/$n; done; done",
           DIRS, DIRS, NAMES);
    cap_sh(r->c, "for d in $(seq %d); do mkdir mail/$d; done", DIRS);
}

static void
begin_walk(struct pair *r, size_t listed_max)
{
    struct walk_opts opts = { .mode = WALK_SYNC, .store = -1, .from = 1, .wake_fd = r->wake_fd };
    opts.listed_max = listed_max;
    r->ship.cursor = capture_tail(r->c->capture);
    r->walk = walk_new(r->c->node, &r->ship, &opts);
}

static void
step(struct pair *r)
{
    struct err e = { 0 };
    struct walk_orders orders = { .force = pair_force, .barrier = pair_barrier, .arg = r };
    if (r->ship.cursor < capture_tail(r->c->capture))
        pair_ship_tail(r);
    else if (walk_can_step(r->walk))
        pair_must(walk_step(r->walk, &orders, &e), &e);
    else
        pair_take(r);
}

/* 12 directories of which one or two fit: about 50 bytes a name. */
TEST(directories_that_do_not_fit_beside_each_other_come_one_after_the_other)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    make_names(r);
    pair_start(r);
    begin_walk(r, NAMES * 80);
    for (int turns = 0; !walk_done(r->walk); turns++) {
        CHECK(turns < 1000);
        step(r);
    }
    pair_wait_acks(r);
    walk_free(&r->walk);
    cap_barrier(r->c);
    pair_ship_all(r);
    cap_sh(r->peer, "test $(find mail -mindepth 1 -not -path '*/.mailtwin*' | wc -l) = %d", DIRS);
    pair_free(r);
}

/* The names that one answer lists, each time others. */
static struct span
lie(struct buf *packed, unsigned round)
{
    struct listing l = { 0 };
    size_t next;
    for (int i = 0; i < 100; i++) {
        char name[40];
        snprintf(name, sizeof(name), "%u.%d", round, i);
        struct wire_entry entry = { .name = span_str(name), .nlink = 1 };
        entry.attr.mode = S_IFREG | 0600;
        listing_add(&l, &entry);
    }
    listing_sort(&l);
    listing_pack(&l, 0, 100000, packed, &next);
    CHECK_INT(next, 100);
    listing_free(&l);
    return buf_span(packed);
}

TEST(a_peer_whose_list_has_no_end_is_refused)
{
    struct pair *r = pair_new(2);
    CAP_NEEDED(r);
    make_names(r);
    pair_start(r);
    begin_walk(r, 1024 * 1024);
    while (!walk_asked(r->walk))
        step(r);
    struct err e = { 0 };
    struct wire_digest_answer answer = { .dir = 1, .verdict = WIRE_DIR_DIFFERENT, .more = true };
    int rc = 0;
    unsigned round = 0;
    for (; rc == 0 && round < 1000; round++) {
        _cleanup_buf_ struct buf packed = { 0 };
        answer.entries = lie(&packed, round);
        answer.entry_count = 100;
        rc = walk_answer(r->walk, &answer, &e);
    }
    CHECK_INT(rc, -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK_CONTAINS(e.text, "the peer lists more than 1048576 bytes of names in ");
    CHECK(round > 100);
    pair_free(r);
}
