/* hand_kit.h - a compare driven by hand on the state of a capture that has stopped: what is looked
 * at when is the test's choice. */
#ifndef MAILTWIN_TEST_HAND_KIT_H
#define MAILTWIN_TEST_HAND_KIT_H

#include "replicator/compare.h"
#include "tests/unit/capture_kit.h"

/* ada has a mailbox with a message, bob an empty one. */
static inline struct cap *
begin_mailboxes(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c, "cd mail && mkdir -p ada/cur ada/new ada/tmp bob/cur bob/new bob/tmp && "
              "echo hello >ada/cur/1 && echo list >ada/dovecot-uidlist");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    return c;
}

/* In the middle of a batch: the directory is open. */
struct by_hand {
    struct compare compare;
    struct state_txn *txn;
    struct place *root;
};

static inline void
by_hand_begin(struct by_hand *h, struct cap *c)
{
    cap_open(c);
    compare_init(&h->compare, c->node);
    CHECK_INT(state_begin(c->node->state, true, &h->txn, &c->e), 0);
    compare_batch(&h->compare, h->txn, look_now_ns());
    CHECK_INT(places_get(h->compare.places, h->txn, state_root(h->txn, 0), &h->root, &c->e), 1);
}

static inline void
by_hand_end(struct by_hand *h, struct cap *c)
{
    compare_free(&h->compare);
    state_abort(&h->txn);
    c->e = (struct err){ 0 };
}

/* The id of the directory with this name, 0 none. */
static inline uint64_t
by_hand_dir(struct by_hand *h, struct cap *c, const char *name)
{
    struct state_dir row;
    for (uint64_t id = 1; state_dir_next(h->txn, id, &row, &c->e) > 0; id = row.id + 1) {
        if (span_equal(row.name, span_str(name)))
            return row.id;
    }
    return 0;
}

#endif
