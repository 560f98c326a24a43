/* The walk brings any peer level, or tells what differs: over the sender's and the engine's own
 * code, with a peer that answers from its directories. */
#include "tests/unit/walk_kit.h"

static void
swap_nodes(struct pair *r)
{
    struct cap *c = r->c;
    r->c = r->peer;
    r->peer = c;
}

/* Two trees that have nothing to do with each other, made before anything runs. */
static struct pair *
begin(uint64_t seed, unsigned ours, unsigned theirs)
{
    struct pair *r = pair_new(seed);
    if (r == NULL)
        return NULL;
    print_message("seed %llu\n", (unsigned long long)seed);
    work(r, ours);
    swap_nodes(r);
    work(r, theirs);
    swap_nodes(r);
    pair_start(r);
    return r;
}

/* Work goes on meanwhile: `busy` steps before each turn. */
static struct walk_progress
walk_through(struct pair *r, const struct walk_opts *opts, unsigned busy)
{
    struct walk_progress progress;
    walk_free(&r->walk);
    r->ship.cursor = MAX(r->ship.cursor, opts->base);
    r->walk = walk_new(r->c->node, &r->ship, opts);
    for (unsigned turns = 0; !walk_done(r->walk); turns++) {
        assert_true(turns < 100000);
        if (busy > 0 && turns < 200)
            work(r, busy);
        turn(r);
    }
    walk_progress(r->walk, &progress);
    CHECK(progress.done);
    walk_free(&r->walk);
    cap_barrier(r->c); /* what was ordered to be removed there */
    pair_ship_all(r);
    if (opts->mode == WALK_SYNC)
        cap_check_index(r->peer); /* a standby's index is its tree, without a sweep */
    return progress;
}

/* MAILTWIN_SEED=n plays one alone. */
static uint64_t
first_seed(void)
{
    const char *only = getenv("MAILTWIN_SEED");
    return only != NULL ? strtoull(only, NULL, 10) : 1;
}

static uint64_t
seeds(void)
{
    if (getenv("MAILTWIN_SEED") != NULL)
        return first_seed();
    return getenv("MAILTWIN_LONG") != NULL ? 60 : 4;
}

TEST(an_empty_peer_gets_everything_without_a_question)
{
    for (uint64_t seed = first_seed(); seed <= seeds(); seed++) {
        struct pair *r = begin(seed, 300, 0);
        CAP_NEEDED(r);
        struct walk_opts opts = opts_of(r, WALK_SYNC);
        opts.peer_empty = true;
        walk_through(r, &opts, 0);
        check_same(r);
        pair_free(r);
    }
}

TEST(any_peer_is_brought_level)
{
    for (uint64_t seed = first_seed(); seed <= seeds(); seed++) {
        struct pair *r = begin(100 + seed, 300, 300);
        CAP_NEEDED(r);
        struct walk_opts opts = opts_of(r, WALK_SYNC);
        CHECK(walk_through(r, &opts, 0).differences > 10);
        check_same(r);
        struct walk_progress again = walk_through(r, &opts, 0);
        CHECK_INT(again.differences, 0);
        pair_free(r);
    }
}

TEST(a_peer_is_brought_level_while_work_goes_on)
{
    for (uint64_t seed = first_seed(); seed <= seeds(); seed++) {
        struct pair *r = begin(200 + seed, 300, 100);
        CAP_NEEDED(r);
        struct walk_opts opts = opts_of(r, WALK_SYNC);
        walk_through(r, &opts, 3);
        check_same(r);
        pair_free(r);
    }
}

TEST(a_walk_that_broke_off_goes_on_where_it_was)
{
    struct pair *r = begin(300, 400, 100);
    CAP_NEEDED(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    struct walk_progress progress = { 0 };
    r->walk = walk_new(r->c->node, &r->ship, &opts);
    while (!walk_done(r->walk) && progress.next < 20) {
        turn(r);
        walk_progress(r->walk, &progress);
    }
    while (!walk_done(r->walk) && !walk_can_step(r->walk))
        pair_take(r); /* nothing of the old walk is left on the link */
    walk_progress(r->walk, &progress);
    opts.from = progress.next;
    CHECK(opts.from > 1);
    walk_through(r, &opts, 0);
    check_same(r);
    pair_free(r);
}

/* --- directories that change their place during the walk --- */

static void
touched_by_name(void *owner, const struct record *record)
{
    bool removes = record->op == OP_UNLINK || record->op == OP_RMTREE;
    if (record->seq == 0 && removes)
        fail_msg("no record names the removal of %.*s", (int)record->path.len,
                 (const char *)record->path.ptr);
    pair_touched(owner, record);
}

/* What was removed by a record is in the list, " a b ". */
static void
check_removed(struct cap *c, const char *list)
{
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    char *rest = (char *)text.ptr;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char name[300];
        if (sscanf(line, "unlink %297s", name) == 1 || sscanf(line, "rmtree %297s", name) == 1) {
            size_t len = strlen(name);
            memmove(name + 1, name, len);
            memcpy(name + len + 1, " ", 2);
            name[0] = ' ';
            CHECK_CONTAINS(list, name);
        }
    }
}

/* Trees that differ in mail/d and around it. The primary changes before turn `at` of the walk, and
 * again `later` turns behind that. False: the walk had ended before. */
static bool
change_within(unsigned at, const char *change, unsigned later, const char *again,
              const char *removed)
{
    struct pair *r = pair_new(1);
    if (r == NULL) {
        skip();
        return false;
    }
    cap_sh(r->c, "mkdir -p mail/d/sub mail/e && echo a >mail/d/a && echo x >mail/d/sub/x");
    cap_sh(r->peer, "mkdir -p mail/d/sub mail/d/old mail/z/sub && echo longer >mail/d/a && "
                    "echo s >mail/d/stale && echo o >mail/d/sub/o && echo n >mail/d/old/n && "
                    "echo s >mail/z/s && echo y >mail/z/sub/y");
    pair_start(r);
    r->ship.touched = touched_by_name;
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    r->walk = walk_new(r->c->node, &r->ship, &opts);
    turns(r, at);
    bool within = !walk_done(r->walk);
    cap_sh(r->c, "%s", change);
    cap_barrier(r->c);
    turns(r, later);
    cap_sh(r->c, "%s", again);
    cap_barrier(r->c);
    turns(r, 10000);
    CHECK(walk_done(r->walk));
    cap_barrier(r->c);
    pair_ship_all(r);
    check_same(r);
    check_removed(r->c, removed);
    cap_check_index(r->c);
    cap_check_index(r->peer);
    pair_free(r);
    return within;
}

TEST(a_directory_made_anew_under_the_same_name_during_the_walk_ends_level)
{
    static const struct {
        const char *change, *removed; /* by itself, or because only the peer had it */
    } rows[] = {
        { "rm -r mail/d && mkdir -p mail/d/sub && echo new >mail/d/a && echo s2 >mail/d/stale && "
          "echo new >mail/d/sub/x",
          " d d/a d/sub d/sub/x d/stale d/old d/sub/o z " },
        { "rm -r mail/d && mkdir mail/d && echo b >mail/d/b",
          " d d/a d/sub d/sub/x d/stale d/old d/sub/o z " },
        { "mv mail/d mail/e/d && mkdir -p mail/d/old && echo s2 >mail/d/stale && "
          "echo n2 >mail/d/old/n",
          " d/stale d/old d/sub/o e/d/stale e/d/old e/d/sub/o z " },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned at = 0;
        while (change_within(at, rows[i].change, 0, "true", rows[i].removed))
            at++;
        CHECK(at == 0 || at > 3); /* 0: skipped */
    }
}

TEST(a_directory_moved_away_and_back_during_the_walk_ends_level)
{
    static const struct {
        const char *away, *back;
    } rows[] = {
        { "mv mail/d mail/z", "mv mail/z mail/d" },
        { "mv mail/d mail/z && mkdir mail/d && echo i >mail/d/stale",
          "mv mail/d mail/e/i && mv mail/z mail/d" },
        { "mv mail/d mail/e/d && mkdir mail/z", "mv mail/e/d mail/z/d && mv mail/z/d mail/d" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (unsigned later = 0; later < 3; later += 2) {
            unsigned at = 0;
            while (change_within(at, rows[i].away, later, rows[i].back,
                                 " d/stale d/old d/sub/o z z/s z/sub z/stale z/old z/sub/o "
                                 "z/sub/y e/d/stale e/d/old e/d/sub/o "))
                at++;
            CHECK(at == 0 || at > 3);
        }
    }
}

static bool stands; /* the capture */

/* A directory comes to be under a name that only the peer has, before the capture has carried out
 * the order to remove it there. */
static void
make_before_the_order(struct pair *r)
{
    if (!stands)
        return;
    stands = false;
    cap_sh(r->c, "mkdir mail/z && echo new >mail/z/new");
    cap_release(r->c);
}

static uint64_t
settle_behind_it(void *owner)
{
    make_before_the_order(owner);
    return pair_settle(owner);
}

TEST(a_walk_ends_when_its_orders_are_carried_out)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    cap_sh(r->peer, "mkdir mail/z && echo s >mail/z/s");
    pair_start(r);
    r->ship.settle = settle_behind_it;
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    r->walk = walk_new(r->c->node, &r->ship, &opts);
    cap_hold(r->c);
    stands = true;
    turns(r, 10000);
    CHECK(walk_done(r->walk));
    make_before_the_order(r); /* at the latest */
    pair_ship_all(r);
    check_same(r);
    pair_free(r);
}

/* --- verify --- */

TEST(a_verify_finds_nothing_where_all_is_level_however_busy)
{
    struct pair *r = begin(400, 200, 0);
    CAP_NEEDED(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    opts.peer_empty = true;
    walk_through(r, &opts, 0);
    for (unsigned content = 0; content < 2; content++) {
        opts = opts_of(r, WALK_VERIFY);
        opts.content = content != 0;
        CHECK_INT(walk_through(r, &opts, 0).differences, 0);
    }
    pair_free(r);
}

/* Names come and go, directories move, while one side or the other is being read. */
TEST(a_verify_finds_nothing_while_work_goes_on)
{
    for (uint64_t seed = first_seed(); seed <= seeds(); seed++) {
        struct pair *r = begin(600 + seed, 300, 0);
        CAP_NEEDED(r);
        struct walk_opts opts = opts_of(r, WALK_SYNC);
        opts.peer_empty = true;
        walk_through(r, &opts, 0);
        for (unsigned content = 0; content < 2; content++) {
            opts = opts_of(r, WALK_VERIFY);
            opts.content = content != 0;
            CHECK_INT(walk_through(r, &opts, 3).differences, 0);
        }
        check_same(r);
        pair_free(r);
    }
}

/* Parts of directories: each of all of them is in one. */
TEST(contents_are_compared_in_parts)
{
    enum {
        PARTS = 4
    };
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    cap_sh(r->c, "cd mail && for i in 1 2 3 4 5 6 7 8 9; do mkdir d$i && echo hello >d$i/a; done");
    pair_start(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    opts.peer_empty = true;
    walk_through(r, &opts, 0);
    cap_sh(r->peer, "for f in mail/d*/a; do echo HELLO >t; touch -r $f t; cat t >$f; "
                    "touch -r t $f; done; rm t");
    uint64_t found = 0;
    for (uint32_t part = 0; part < PARTS; part++) {
        opts = opts_of(r, WALK_VERIFY);
        opts.content = true;
        opts.parts = PARTS;
        opts.part = part;
        uint64_t here = walk_through(r, &opts, 0).differences;
        CHECK(here > 0 && here < 9);
        found += here;
    }
    CHECK_INT(found, 9);
    pair_free(r);
}

/* Names, sizes and times are equal on both sides. */
TEST(a_sync_finds_where_attributes_alone_differ)
{
    static const char *const rows[] = {
        "setfattr -n user.a -v 2 mail/box/a",
        "setfattr -x user.d mail/box/a",
        "setfattr -n user.a -v 2 mail/box",
        "setfattr -x user.d mail/box",
        "setfattr -n user.a -v 2 mail",
        "setfattr -x user.d mail",
        "setfacl -m u:1:rw mail/box/a",
        "rm mail/box/c; setfattr -n user.d -v 2 mail/box/b",
        "rm mail/box/b; setfattr -n user.d -v 2 mail/box/c",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair *r = pair_new(1);
        CAP_NEEDED(r);
        print_message("%s\n", rows[i]);
        cap_sh(r->c, "mkdir mail/box && echo hello >mail/box/a && setfacl -m u:1:r mail/box/a && "
                     "echo b >mail/box/b && ln mail/box/b mail/box/c && "
                     "setfattr -n user.d -v 1 mail mail/box mail/box/a mail/box/b");
        pair_start(r);
        struct walk_opts opts = opts_of(r, WALK_SYNC);
        opts.peer_empty = true;
        walk_through(r, &opts, 0);
        cap_sh(r->peer, "%s", rows[i]);
        opts.peer_empty = false;
        walk_through(r, &opts, 0);
        check_same(r);
        pair_free(r);
    }
}

static bool
tells(const struct walk_progress *progress, const char *example)
{
    for (size_t i = 0; i < progress->example_count; i++) {
        if (strcmp(progress->examples[i], example) == 0)
            return true;
    }
    return false;
}

TEST(a_verify_finds_each_difference_and_repairs_it)
{
    static const struct {
        const char *damage; /* on the peer */
        const char *told;
        bool content; /* only the bytes tell */
    } rows[] = {
        { "rm mail/box/a", "mail: box/a: missing on the peer", false },
        { "echo x >mail/box/more", "mail: box/more: only on the peer", false },
        { "mkdir mail/box/extra", "mail: box/extra: only on the peer", false },
        { "echo longer >mail/box/a", "mail: box/a: another size", false },
        { "touch -d 2001-01-01 mail/box/a", "mail: box/a: another modification time", false },
        { "chmod 400 mail/box/a", "mail: box/a: another owner or mode", false },
        { "rm mail/box/a; mkdir mail/box/a", "mail: box/a: another type of object", false },
        { "cp -p mail/box/b t; mv t mail/box/b", "mail: box/b: other hard links", false },
        { "ln -sfn elsewhere mail/box/l", "mail: box/l: another size", false },
        { "rm -r mail/sub", "mail: sub: missing on the peer", false },
        { "echo HELLO >t; touch -r mail/box/a t; cat t >mail/box/a; touch -r t mail/box/a",
          "mail: box/a: another content", true },
        { "setfattr -n user.a -v 2 mail/box/a", "mail: box/a: other extended attributes", false },
        { "setfattr -n user.a -v 2 mail/box", "mail: box: other extended attributes", false },
        { "setfattr -x user.d mail/box", "mail: box: other extended attributes", false },
        { "setfacl -d -m u:1:rwx mail/box", "mail: box: other extended attributes", false },
        { "setfacl -d -m u:1:rwx mail", "mail: : other extended attributes of the directory",
          false },
        { "setfattr -x user.d mail", "mail: : other extended attributes of the directory", false },
        { "chmod 755 mail; setfattr -x user.d mail",
          "mail: : another owner or mode of the directory", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair *r = pair_new(1);
        CAP_NEEDED(r);
        print_message("%s\n", rows[i].damage);
        cap_sh(r->c, "mkdir mail/box mail/sub && echo hello >mail/box/a && echo b >mail/box/b && "
                     "ln mail/box/b mail/box/c && ln -s target mail/box/l && echo s >mail/sub/s && "
                     "setfattr -n user.d -v 1 mail mail/box && setfacl -m u:1:r mail/box");
        pair_start(r);
        struct walk_opts opts = opts_of(r, WALK_SYNC);
        opts.peer_empty = true;
        walk_through(r, &opts, 0);
        check_same(r);
        cap_sh(r->peer, "%s", rows[i].damage);
        opts = opts_of(r, WALK_VERIFY);
        struct walk_progress progress = walk_through(r, &opts, 0);
        CHECK_INT(progress.differences > 0, !rows[i].content);
        CHECK(rows[i].content || tells(&progress, rows[i].told));
        opts.content = true;
        opts.repair = true;
        progress = walk_through(r, &opts, 0);
        CHECK(progress.differences > 0);
        CHECK_INT(progress.repaired, progress.differences);
        CHECK(!rows[i].content || tells(&progress, rows[i].told));
        check_same(r);
        pair_free(r);
    }
}

/* As they happen, and what a stopped daemon finds; of roots and of directories below. */
TEST(links_that_are_not_replicated_are_no_difference)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    cap_sh(r->c, "mkdir -p mail/box/cur mail/box/new mail/box/tmp && echo 1 >mail/box/cur/1 && "
                 "ln mail/box/cur/1 mail/box/tmp/1 && echo 2 >mail/box/cur/2 && "
                 "ln mail/box/cur/2 out/2 && ln mail/box/cur/2 mail/box/new/2");
    pair_start(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    opts.peer_empty = true;
    walk_through(r, &opts, 0);
    for (unsigned content = 0; content < 2; content++) {
        opts = opts_of(r, WALK_VERIFY);
        opts.content = content != 0;
        CHECK_INT(walk_through(r, &opts, 0).differences, 0);
    }
    pair_free(r);
}

TEST(extended_attributes_and_acls_of_directories_arrive)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    cap_sh(r->c, "mkdir mail/a mail/b && setfattr -n user.a -v 1 mail/a mail");
    pair_start(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    opts.peer_empty = true;
    walk_through(r, &opts, 0);
    check_same(r);
    static const char *const changes[] = {
        "setfattr -n user.a -v 2 mail/a mail",       "setfacl -m u:1:r mail/b mail",
        "setfacl -d -m u:1:rwx mail/a mail files",   "setfattr -x user.a mail/a mail",
        "setfacl -k mail/a mail && setfacl -b mail",
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        cap_sh(r->c, "%s", changes[i]);
        cap_barrier(r->c);
        pair_ship_all(r);
        check_same(r);
    }
    pair_free(r);
}

TEST(times_beyond_what_a_record_holds_travel_as_the_nearest_and_differ_no_more)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    cap_sh(r->c, "cd mail && for t in 1850-01-01 1901-12-13T20:45:52Z 1969-12-31T23:59:59.5Z "
                 "2038-02-01 2262-04-11T23:47:16Z 2300-01-01 2554-08-01 9999-12-31; do "
                 "touch -d $t $t; done; mkdir d; touch -d 9999-12-31 d");
    pair_start(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    opts.peer_empty = true;
    walk_through(r, &opts, 0);
    cap_sh(r->c, "cd mail && echo x >later && touch -d 2600-01-01 later && touch -d 1850-01-01 "
                 "2038-02-01 && touch -d 2700-01-01 2300-01-01");
    cap_barrier(r->c);
    pair_ship_all(r);
    cap_check_index(r->c);
    cap_sh(r->peer, "cd mail && test $(stat -c %%Y 1850-01-01) = -2147483648 && "
                    "test $(stat -c %%Y 2038-02-01) = -2147483648 && "
                    "test $(stat -c %%Y later) = 9223372036 && "
                    "test $(stat -c %%Y 2262-04-11T23:47:16Z) = 9223372036");
    opts = opts_of(r, WALK_VERIFY);
    CHECK_INT(walk_through(r, &opts, 0).differences, 0);
    pair_free(r);
}

/* --- a peer that misbehaves --- */

TEST(answers_that_were_not_asked_for_are_refused)
{
    struct pair *r = begin(500, 50, 0);
    CAP_NEEDED(r);
    struct walk_opts opts = opts_of(r, WALK_SYNC);
    struct err e = { 0 };
    struct walk_orders orders = { .force = pair_force, .barrier = pair_barrier, .arg = r };
    struct wire_digest_answer answer = { .dir = 1, .verdict = WIRE_DIR_SAME };
    r->walk = walk_new(r->c->node, &r->ship, &opts);
    CHECK_INT(walk_answer(r->walk, &answer, &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    pair_must(walk_step(r->walk, &orders, &e), &e); /* asks */
    answer.verdict = WIRE_DIR_FAILED;
    CHECK_INT(walk_answer(r->walk, &answer, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
    answer.verdict = WIRE_DIR_SAME;
    CHECK_INT(walk_answer(r->walk, &answer, &e), 0);
    CHECK_INT(walk_answer(r->walk, &answer, &e), -1); /* once is enough */
    pair_free(r);
}
