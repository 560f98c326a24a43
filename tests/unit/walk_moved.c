/* What leaves its directory while the walk goes on takes along what differs of it on the peer: its
 * extended attributes are compared all the same, wherever it is by then. */
#include "tests/unit/walk_kit.h"

#define NAMES "mail/b/dir mail/b/file"

/* What is in mail/b has attributes that the peer's has not. Directories beside it are level. */
static struct pair *
begin(void)
{
    struct pair *r = pair_new(1);
    if (r == NULL)
        return NULL;
    const char *tree = "mkdir -p mail/a mail/b/dir mail/c && echo x >mail/b/file && "
                       "touch -d 2001-01-01 mail/b/file";
    cap_sh(r->c, "%s && setfattr -n user.a -v 1 " NAMES, tree);
    cap_sh(r->peer, "%s", tree);
    pair_start(r);
    return r;
}

/* Names move before turn `at` of the walk and are in the journal `late` turns behind that; then
 * again. false: the walk had ended before. */
static bool
move_within(unsigned at, const char *move, const char *again, unsigned late)
{
    struct pair *r = begin();
    if (r == NULL) {
        skip();
        return false;
    }
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    r->walk = walk_new(r->c->node, &r->ship, &opts);
    turns(r, at);
    bool within = !walk_done(r->walk);
    if (late > 0)
        cap_hold(r->c);
    cap_sh(r->c, "%s", move);
    turns(r, late);
    if (late > 0)
        cap_release(r->c);
    cap_barrier(r->c);
    cap_sh(r->c, "%s", again);
    cap_barrier(r->c);
    turns(r, 10000);
    CHECK(walk_done(r->walk));
    cap_barrier(r->c);
    pair_ship_all(r);
    check_same(r);
    pair_free(r);
    return within;
}

TEST(what_differs_of_a_name_that_moves_during_the_walk_is_made_level)
{
    static const char *const moves[][2] = {
        { "mv " NAMES " mail/a", "true" },
        { "mv " NAMES " mail/c", "mv mail/c/dir mail/c/dir2 && mv mail/c/file mail/c/file2" },
        { "mv mail/b/dir mail/b/dir2 && mv mail/b/file mail/b/file2", "true" },
        { "mv " NAMES " mail/a", "mv mail/a mail/c/a" },
    };
    for (size_t i = 0; i < ARRAY_LEN(moves); i++) {
        for (unsigned late = 0; late < 4; late += 3) {
            unsigned at = 0;
            while (move_within(at, moves[i][0], moves[i][1], late))
                at++;
            CHECK(at == 0 || at > 3); /* 0: skipped */
        }
    }
}

/* What was level may be so no more: a walk that breaks off now begins where it began. */
TEST(where_something_moved_to_is_not_level_before_it_is_fixed)
{
    struct pair *r = begin();
    CAP_NEEDED(r);
    struct walk_progress progress;
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    r->walk = walk_new(r->c->node, &r->ship, &opts);
    turns(r, 10000);
    walk_progress(r->walk, &progress);
    CHECK(progress.done && progress.next > opts.from);
    cap_sh(r->c, "mv " NAMES " mail/a");
    cap_barrier(r->c);
    pair_ship_tail(r);
    walk_progress(r->walk, &progress);
    CHECK(!progress.done);
    CHECK_INT(progress.next, opts.from);
    turns(r, 10000);
    walk_progress(r->walk, &progress);
    CHECK(progress.done && progress.next > opts.from);
    pair_ship_all(r);
    check_same(r);
    pair_free(r);
}
