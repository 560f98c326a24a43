/* When a node may keep what it has alone, and who may overwrite it then. */
#include "replicator/salvage_core.h"
#include "tests/unit/test.h"

/* Promoted in epoch 1, and again at seq `first` in epoch 2. */
static struct wire_hello
node(enum wire_role role, uint64_t epoch, uint64_t first, uint64_t tail)
{
    struct wire_hello h = { .role = (uint8_t)role, .history = { 1 }, .epoch = epoch, .tail = tail };
    h.epoch_count = (uint16_t)epoch;
    h.epochs[0] = (struct wire_epoch){ 1, 1 };
    h.epochs[1] = (struct wire_epoch){ 2, first };
    return h;
}

TEST(who_was_replaced_keeps_what_lies_behind_the_fork)
{
    struct wire_hello ours = node(WIRE_ROLE_NONE, 1, 0, 120);
    struct wire_hello theirs = node(WIRE_ROLE_PRIMARY, 2, 101, 150);
    struct link_decision refused = { .refusal = WIRE_REFUSE_DIVERGED, .fork = 100 };
    CHECK(salvage_is_due(&ours, &theirs, &refused, 0));
    CHECK(salvage_is_due(&ours, &theirs, &refused, 130)); /* its journal is completed first */
    ours.role = WIRE_ROLE_STANDBY;
    CHECK(salvage_is_due(&ours, &theirs, &refused, 120));
    CHECK(!salvage_is_due(&ours, &theirs, &refused, 121)); /* no record names it */
    ours.role = WIRE_ROLE_PRIMARY;
    CHECK(!salvage_is_due(&ours, &theirs, &refused, 0));
}

TEST(nothing_is_kept_for_who_is_no_newer_primary)
{
    struct wire_hello ours = node(WIRE_ROLE_NONE, 1, 0, 120);
    struct wire_hello theirs = node(WIRE_ROLE_PRIMARY, 2, 101, 150);
    struct link_decision refused = { .refusal = WIRE_REFUSE_FOREIGN, .fork = 100 };
    CHECK(!salvage_is_due(&ours, &theirs, &refused, 0));
    refused.refusal = WIRE_REFUSE_DIVERGED;
    refused.fork = 120; /* there is nothing behind it */
    CHECK(!salvage_is_due(&ours, &theirs, &refused, 0));
    refused.fork = 100;
    theirs.epoch = 1;
    CHECK(!salvage_is_due(&ours, &theirs, &refused, 0));
    theirs.epoch = 2;
    theirs.role = WIRE_ROLE_STANDBY;
    CHECK(!salvage_is_due(&ours, &theirs, &refused, 0));
}

TEST(a_salvage_permits_who_shares_all_that_came_before_it)
{
    struct wire_hello ours = node(WIRE_ROLE_NONE, 1, 0, 120);
    struct wire_hello theirs = node(WIRE_ROLE_PRIMARY, 2, 101, 150);
    struct salvage_permission kept = { true, 100, 120 };
    CHECK(salvage_permits(&kept, &ours, &theirs));
    kept.fork = 90;
    CHECK(salvage_permits(&kept, &ours, &theirs));
    kept.fork = 101; /* seq 101 would be nowhere */
    CHECK(!salvage_permits(&kept, &ours, &theirs));
    kept = (struct salvage_permission){ true, 100, 119 }; /* seq 120 */
    CHECK(!salvage_permits(&kept, &ours, &theirs));
    kept = (struct salvage_permission){ true, 0, 120 };
    theirs.history[0] = 2;
    CHECK(!salvage_permits(&kept, &ours, &theirs));
    kept.bound = false;
    CHECK(salvage_permits(&kept, &ours, &theirs));
}
