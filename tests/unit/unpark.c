/* What a primary was moving when it died stands hidden on its standby's disk: when that is primary,
 * it has a visible name again, whatever it is and whatever happened to its place. */
#include "tests/unit/pair_kit.h"
#include "tests/unit/unpark_kit.h"

/* Up to now nothing counts. */
static void
skip_records(struct cap *c)
{
    _cleanup_buf_ struct buf before = { 0 };
    cap_open(c);
    cap_records(c, &before);
}

/* The start as primary; `there`: files that must be, each with its content ("cur/1=text"). */
static void
check_start(struct cap *c, unsigned count, const char *records, const char *there)
{
    skip_records(c);
    cap_start(c);
    CHECK(capture_tail(c->capture) >= c->seen + count); /* at once, not behind the sweep */
    check_visible(c);
    cap_sh(c, "for f in %s; do test \"$(cat \"${f%%=*}\")\" = \"${f#*=}\" || exit 1; done", there);
    cap_barrier(c);
    check_records(c, records);
    cap_check_index(c);
    CHECK_INT(atomic_load(&unparked), count);
    CHECK_INT(atomic_load(&stuck), 0);
    cap_stop(c); /* once is enough */
    cap_start(c);
    cap_barrier(c);
    check_records(c, "");
    CHECK_INT(atomic_load(&unparked), count);
}

TEST(a_hidden_object_is_called_as_before_where_that_name_is_free)
{
    static const struct {
        uint16_t store;
        const char *origin, *records, *there;
    } rows[] = {
        { 0, "ada", "rename .mailtwin-parked-N > ada\n", "mail/ada/cur/1:2,S=ada" },
        { 0, "ada/cur/1:2,S", "rename .mailtwin-parked-N > ada/cur/1:2,S\n",
          "mail/ada/cur/1:2,S=ada" },
        { 1, "d", "files: rename .mailtwin-parked-N > d\n", "files/d/f=f" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        applied_rename(c, rows[i].store, rows[i].origin, P1, true);
        check_start(c, 1, rows[i].records, rows[i].there);
        cap_free(c);
    }
}

/* What the journal does not tell, what is taken or gone: `meanwhile` happened to the place. */
TEST(a_hidden_object_replaces_nothing_and_gets_a_name_beside_or_in_the_root)
{
    static const struct {
        const char *origin;
        bool told;
        const char *meanwhile, *name, *there;
    } rows[] = {
        { "ada", true, "mkdir ada", "ada-aside-a1", "mail/ada-aside-a1/cur/1:2,S=ada" },
        { "ada", true, "echo x >ada", "ada-aside-a1",
          "mail/ada=x mail/ada-aside-a1/cur/1:2,S=ada" },
        { "ada/cur/1:2,S", true, "echo x >ada/cur/1:2,S", "ada/cur/1-aside-a1:2,S",
          "mail/ada/cur/1:2,S=x mail/ada/cur/1-aside-a1:2,S=ada" },
        { "ada", true, "mkdir ada ada-aside-a1", "ada-aside-a1-1",
          "mail/ada-aside-a1-1/cur/1:2,S=ada" },
        { "ada", true, "mkdir ada ada-aside-a1 ada-aside-a1-1 aside-a1", "aside-a1-1",
          "mail/aside-a1-1/cur/1:2,S=ada" },
        { "ada/cur/1:2,S", true, "rm -r ada", "aside-a1", "mail/aside-a1=ada" },
        { "ada/cur/1:2,S", true, "rm -r ada && echo x >ada", "aside-a1", "mail/aside-a1=ada" },
        /* out of the store nothing is reached */
        { "ada/cur/1:2,S", true, "rm -r ada && mkdir ../out/cur && ln -s ../out ada", "aside-a1",
          "mail/aside-a1=ada" },
        { "ada", false, ":", "aside-a1", "mail/aside-a1/cur/1:2,S=ada" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cap *c = begin();
        char first[128];
        CAP_NEEDED(c);
        print_message("%s, %s\n", rows[i].origin, rows[i].meanwhile);
        applied_rename(c, 0, rows[i].origin, P1, rows[i].told);
        cap_sh(c, "cd mail && %s", rows[i].meanwhile);
        skip_records(c);
        cap_start(c);
        cap_sh(c, "for f in %s; do test \"$(cat \"${f%%=*}\")\" = \"${f#*=}\" || exit 1; done",
               rows[i].there);
        cap_barrier(c);
        _cleanup_buf_ struct buf text = { 0 };
        cap_records(c, &text);
        snprintf(first, sizeof(first), "rename .mailtwin-parked-N > %s\n", rows[i].name);
        CHECK(strncmp((const char *)text.ptr, first, strlen(first)) == 0);
        check_visible(c);
        cap_check_index(c);
        CHECK_INT(atomic_load(&unparked), 1);
        cap_free(c);
    }
}

/* --- several, and what happened to the places meanwhile --- */

/* What a power loss took is asked back from a standby under that name. */
TEST(a_hidden_object_does_not_take_a_name_that_the_index_has_for_another)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "ada/cur/1:2,S", P1, true);
    applied_rename(c, 0, "bob/cur/1:2,S", "ada/cur/1:2,S", true);
    cap_sh(c, "rm mail/ada/cur/1:2,S");
    cap_start(c);
    cap_barrier(c);
    cap_sh(c, "test \"$(cat mail/ada/cur/1-aside-a1:2,S)\" = ada");
    cap_free(c);
}

TEST(a_hidden_object_goes_where_its_directory_is_called_so_now)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "ada/cur/1:2,S", P1, true);
    applied_rename(c, 0, "ada", "eve", true);
    applied_rename(c, 0, "bob", "ada", true); /* another directory of that name */
    check_start(c, 1, "rename .mailtwin-parked-N > eve/cur/1:2,S\n", "mail/eve/cur/1:2,S=ada");
    cap_free(c);
}

TEST(a_hidden_objects_old_name_is_not_that_of_what_had_it_since)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "ada", P1, true);
    applied_rename(c, 0, "bob", "ada", true);
    applied_rename(c, 0, "ada", "eve", true);
    applied_rename(c, 1, "d", P1, true); /* the same number in another store */
    check_start(c, 2, "rename .mailtwin-parked-N > ada\nfiles: rename .mailtwin-parked-N > d\n",
                "mail/ada/cur/1:2,S=ada mail/eve/cur/1:2,S=bob files/d/f=f");
    cap_free(c);
}

TEST(what_was_hidden_below_another_hidden_object_goes_back_into_it)
{
    static const char *const names[][2] = { { P1, P2 }, { P2, P1 } };
    for (size_t i = 0; i < ARRAY_LEN(names) * 2; i++) {
        const char *mail = names[i / 2][0];
        const char *home = names[i / 2][1];
        char inside[128];
        struct cap *c = begin();
        CAP_NEEDED(c);
        snprintf(inside, sizeof(inside), "%s/cur/1:2,S", home);
        if (i % 2 == 0) { /* first the mail, then its home, or the other way round */
            applied_rename(c, 0, "ada/cur/1:2,S", mail, true);
            applied_rename(c, 0, "ada", home, true);
        } else {
            applied_rename(c, 0, "ada", home, true);
            applied_rename(c, 0, inside, mail, true);
        }
        check_start(c, 2,
                    "rename .mailtwin-parked-N > ada\n"
                    "rename .mailtwin-parked-N > ada/cur/1:2,S\n",
                    "mail/ada/cur/1:2,S=ada");
        cap_free(c);
    }
}

TEST(hidden_objects_that_came_out_of_each_other_are_all_found_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "ada/new", P2, true);
    applied_rename(c, 0, "ada", P2 "/ada", true);
    applied_rename(c, 0, P2 "/ada", P1, true);
    check_start(c, 2,
                "rename .mailtwin-parked-N > aside-a1\nrename .mailtwin-parked-N > aside-a1/new\n",
                "mail/aside-a1/cur/1:2,S=ada");
    cap_free(c);

    c = begin();
    applied_rename(c, 0, "ada/new", P1, true);
    applied_rename(c, 0, "ada", P1 "/ada", true); /* it has its own place inside */
    check_start(c, 1, "rename .mailtwin-parked-N > aside-a1\n", "mail/aside-a1/ada/cur/1:2,S=ada");
    cap_free(c);
}

/* --- the index, the disk, and failures --- */

static void
keep_tail(void *arg, uint64_t tail)
{
    atomic_store((atomic_uint_fast64_t *)arg, tail);
}

/* Else nobody ships it before something else happens. */
TEST(what_the_start_records_of_it_is_told_to_those_who_ship)
{
    atomic_uint_fast64_t told = 0;
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "ada", P1, true);
    cap_open(c);
    CHECK_INT(capture_start(c->node, -1, keep_tail, &told, &c->capture, &c->e), 0);
    cap_barrier(c);
    CHECK_INT(atomic_load(&told), capture_tail(c->capture));
    cap_free(c);
}

TEST(a_start_that_died_behind_the_disks_rename_is_made_good_by_the_next)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "ada", P1, true);
    cap_sh(c, "mv mail/" P1 " mail/ada");
    check_start(c, 0, "rename .mailtwin-parked-N > ada\n", "mail/ada/cur/1:2,S=ada");
    cap_free(c);
}

/* A crash of the standby: the stores are ahead of journal and index. */
TEST(a_hidden_object_that_the_index_does_not_know_is_found_by_the_sweep)
{
    static const char *const origins[] = { "ada", "ada/cur/1:2,S" };
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        cap_sh(c, "cd mail && mv %s " P1, origins[i]);
        cap_start(c);
        cap_barrier(c); /* it waits for the sweep */
        check_visible(c);
        cap_sh(c, "test \"$(cat mail/ada/cur/1:2,S)\" = ada");
        cap_check_index(c);
        CHECK_INT(atomic_load(&unparked), 1);
        cap_free(c);
    }
}

TEST(a_hidden_object_is_found_behind_the_first_reading)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    count_from_now();
    cap_sh(c, "mkdir -p mail/" P1 "/cur && echo ada >mail/" P1 "/cur/1");
    cap_start(c);
    cap_barrier(c);
    check_visible(c);
    cap_sh(c, "test \"$(cat mail/aside-a1/cur/1)\" = ada");
    cap_check_index(c);
    CHECK_INT(atomic_load(&unparked), 1);
    cap_free(c);
}

TEST(a_name_that_only_looks_like_ours_is_left_alone)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    applied_rename(c, 0, "bob", PARKED_PREFIX "0", true);
    applied_rename(c, 0, "ada", P1, true);
    cap_start(c);
    cap_barrier(c);
    cap_sh(c, "test -d mail/ada -a -d mail/" PARKED_PREFIX "0");
    cap_check_index(c);
    CHECK_INT(atomic_load(&unparked), 1);
    cap_free(c);
}

/* It stays hidden, and nothing that is put aside beside it takes it along. */
TEST(what_gets_no_name_is_told_holds_up_nothing_is_not_removed_and_is_tried_again)
{
    static const char *const origins[] = { "ada", "ada/cur/1:2,S" };
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        cap_sh(c, "mkdir mail/eve mail/zoe");
        cap_start(c);
        cap_barrier(c);
        cap_stop(c);
        applied_rename(c, 0, origins[i], P1, true);
        cap_sh(c, "mount --bind mail/" P1 " mail/" P1); /* EBUSY */
        skip_records(c);
        cap_start(c);
        CHECK(atomic_load(&stuck) > 0);
        cap_barrier(c);
        cap_hold(c);
        cap_sh(c, "cd mail && mv eve t && mv zoe eve && mv t zoe");
        cap_release(c);
        check_records(c, "rename eve > .mailtwin-parked-N\nrename zoe > eve\n"
                         "rename .mailtwin-parked-N > zoe\n");
        cap_check_index(c);
        cap_stop(c);
        CHECK_INT(atomic_load(&unparked), 0);
        cap_sh(c, "umount mail/" P1);
        atomic_store(&stuck, 0);
        cap_start(c);
        cap_barrier(c);
        check_visible(c);
        cap_sh(c, "test \"$(cat mail/ada/cur/1:2,S)\" = ada");
        cap_check_index(c);
        CHECK_INT(atomic_load(&stuck), 0);
        CHECK_INT(atomic_load(&unparked), 1);
        cap_free(c);
    }
}

/* --- the real thing --- */

/* What the mails say, wherever they are. */
static void
list_contents(const struct cap *c, const char *out)
{
    cap_sh(c,
           "find mail files -path '*/.mailtwin' -prune -o -type f -exec cat {} + | sort >%s/run/%s",
           c->base, out);
}

static uint64_t
recorded(struct pair *r)
{
    return capture_tail(r->c->capture);
}

static void
ship_up_to(struct pair *r, uint64_t seq)
{
    struct err e = { 0 };
    while (r->ship.cursor < seq) {
        pair_must(ship_run(&r->ship, seq, &e), &e);
        pair_wait_acks(r);
    }
    CHECK_INT(r->ship.cursor, seq);
}

/* Three users, on both nodes. */
static struct pair *
pair_begin(void)
{
    struct pair *r = pair_new(1);
    if (r == NULL)
        return NULL;
    pair_start(r);
    cap_sh(r->c, "for u in ada bob eve; do mkdir -p mail/$u/cur mail/$u/new; "
                 "echo $u >mail/$u/cur/1; echo new $u >mail/$u/new/2; done");
    cap_barrier(r->c);
    pair_ship_all(r);
    list_contents(r->c, "before");
    return r;
}

/* The standby is primary now. Returns how many were hidden. */
static unsigned
check_promoted(struct pair *r)
{
    count_from_now();
    cap_start(r->peer);
    cap_barrier(r->peer);
    check_visible(r->peer);
    cap_check_index(r->peer);
    list_contents(r->peer, "after");
    cap_sh(r->peer, "cmp %s/run/before %s/run/after", r->c->base, r->peer->base);
    CHECK_INT(atomic_load(&stuck), 0);
    unsigned count = atomic_load(&unparked);
    uint64_t tail = capture_tail(r->peer->capture);
    capture_stop(&r->peer->capture); /* demoted, and promoted again */
    cap_start(r->peer);
    cap_barrier(r->peer);
    CHECK_INT(capture_tail(r->peer->capture), tail);
    CHECK_INT(atomic_load(&unparked), count);
    return count;
}

/* The primary dies when the standby has the first `cut` records of the turn. Returns how many it
 * wrote in all. */
static uint64_t
die_behind(const char *a, const char *b, const char *also, uint64_t cut, unsigned *ret_hidden)
{
    struct pair *r = pair_begin();
    assert_non_null(r);
    uint64_t before = recorded(r);
    cap_hold(r->c);
    cap_exchange(r->c, a, b);
    cap_sh(r->c, "cd mail && %s", also);
    cap_release(r->c);
    uint64_t records = recorded(r) - before;
    ship_up_to(r, before + MIN(cut, records));
    if (cut == records) /* with what it removed */
        list_contents(r->c, "before");
    *ret_hidden = check_promoted(r);
    pair_free(r);
    return records;
}

TEST(a_primary_that_dies_between_any_two_records_leaves_nothing_hidden)
{
    static const struct {
        const char *a, *b, *also;
    } turns[] = {
        { "ada", "bob", ":" },
        { "ada/cur/1", "bob/cur/1", ":" },
        { "ada/cur", "bob/new", ":" },
        { "ada/cur/1", "bob", ":" },
        { "ada", "bob", "mv bob/cur/1 t && mv eve/cur/1 bob/cur/1 && mv t eve/cur/1" },
        { "ada", "bob/cur/1", "mv ada t && mv eve ada && mv t eve" },
        { "ada", "bob", "mv ada t && mv eve ada && mv t eve && mv eve/new ada/cur/new" },
        { "ada/new", "bob", "mv bob ada/new/bob && mv eve bob" }, /* one into another */
        { "ada", "bob", "mv bob/cur ../out && mv eve bob/cur" },  /* out of the store */
    };
    struct cap *root = cap_new();
    CAP_NEEDED(root);
    cap_free(root);
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        uint64_t records = 1;
        unsigned most = 0;
        for (uint64_t cut = 0; cut <= records; cut++) {
            unsigned hidden;
            print_message("%s and %s, %s: behind %llu\n", turns[i].a, turns[i].b, turns[i].also,
                          (unsigned long long)cut);
            records = die_behind(turns[i].a, turns[i].b, turns[i].also, cut, &hidden);
            CHECK(cut < records || hidden == 0);
            most = MAX(most, hidden);
        }
        CHECK(most > 0); /* else it shows nothing */
    }
}

TEST(a_standby_that_was_level_with_the_dead_primarys_gets_the_same_name)
{
    struct pair *r = pair_begin();
    CAP_NEEDED(r);
    cap_stop(r->c);
    count_from_now();
    applied_rename(r->c, 0, "ada", P1, true);
    cap_start(r->c); /* the promoted one */
    r->ship.node = r->c->node;
    cap_barrier(r->c);
    CHECK_INT(atomic_load(&unparked), 1);
    ship_up_to(r, r->ship.cursor + 1);
    cap_sh(r->peer, "test -e mail/" P1 "/cur/1 -a ! -e mail/ada");
    pair_ship_all(r);
    check_same(r);
    cap_check_index(r->peer);
    pair_free(r);
}
