/* walk_kit.h - a sender's turns, for tests of the walk. */
#ifndef MAILTWIN_TEST_WALK_KIT_H
#define MAILTWIN_TEST_WALK_KIT_H

#include "tests/unit/pair_kit.h"

static inline struct walk_opts
opts_of(struct pair *r, enum walk_mode mode)
{
    struct state_txn *txn;
    pair_must(state_begin(r->c->node->state, false, &txn, &r->c->e), &r->c->e);
    struct walk_opts opts = { .mode = mode, .store = -1, .from = 1, .wake_fd = r->wake_fd };
    if (mode == WALK_VERIFY)
        opts.limit = state_meta(txn)->next_dir - 1;
    opts.base = state_meta(txn)->tail;
    state_abort(&txn);
    return opts;
}

/* One turn of what a sender does: records first, then the walk, then waiting. */
static inline void
turn(struct pair *r)
{
    struct err e = { 0 };
    struct walk_orders orders = { .force = pair_force, .barrier = pair_barrier, .arg = r };
    if (r->ship.cursor < capture_tail(r->c->capture)) {
        pair_ship_tail(r);
    } else if (walk_can_step(r->walk)) {
        pair_must(walk_step(r->walk, &orders, &e), &e);
        pair_wait_acks(r);
    } else {
        pair_take(r);
    }
}

/* Until this many turns have passed, or the walk has ended. */
static inline void
turns(struct pair *r, unsigned count)
{
    for (; count > 0 && !walk_done(r->walk); count--)
        turn(r);
}

#endif
