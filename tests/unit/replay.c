/* The strongest promise of capture: carried out in order, the records make the same tree on another
 * node. Random work on the stores while the capture runs, shipped by the sender's own code, applied
 * by the engine, and noted in a second node's index. */
#include "tests/unit/pair_kit.h"

/* The peer becomes primary: its index is its tree. */
static void
check_promoted(struct pair *r)
{
    cap_start(r->peer);
    cap_barrier(r->peer);
    cap_check_index(r->peer);
    check_same(r);
}

static void
check_did_everything(void)
{
    for (unsigned act = 0; act < 12; act++) {
        if (pair_done[act] == 0)
            fail_msg("nothing of kind %u was done", act);
    }
}

static bool
play(uint64_t seed, unsigned rounds)
{
    struct pair *r = pair_new(seed);
    if (r == NULL)
        return false;
    pair_start(r);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < rounds; i++) {
        work(r, 1 + (unsigned)draw(r, 200));
        cap_barrier(r->c);
        cap_check_index(r->c);
        pair_ship_all(r);
        check_same(r);
    }
    check_promoted(r);
    pair_free(r);
    return true;
}

TEST(records_make_the_same_tree_on_another_node)
{
    bool long_run = getenv("MAILTWIN_LONG") != NULL;
    const char *only = getenv("MAILTWIN_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : long_run ? 100 : 4;
    for (uint64_t seed = first; seed <= last; seed++) {
        if (!play(seed, long_run ? 30 : 12)) {
            skip();
            return;
        }
    }
    check_did_everything();
}
