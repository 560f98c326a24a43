/* Names looked at by hand, in an order that events would not give. Each begins with two mailboxes.
 */
#include "replicator/batch.h"
#include "replicator/fixups.h"
#include "replicator/strays.h"
#include "tests/unit/hand_kit.h"

#include <cap-ng.h>

/* --- when nobody can say what became of an object --- */

/* Without the right nothing opens by handle any more, and that is no word about the object. */
static void
handles_open(bool allowed)
{
    CHECK_INT(capng_get_caps_process(), 0);
    CHECK_INT(capng_update(allowed ? CAPNG_ADD : CAPNG_DROP, CAPNG_EFFECTIVE, CAP_DAC_READ_SEARCH),
              0);
    CHECK_INT(capng_apply(CAPNG_SELECT_CAPS), 0);
}

static void
check_absent(struct cap *c, const char *name, unsigned what, int result, uint64_t records)
{
    struct by_hand h;
    by_hand_begin(&h, c);
    handles_open(result != 2);
    CHECK_INT(compare_absent(&h.compare, h.root, name, what, &c->e), result);
    handles_open(true);
    CHECK_INT(h.compare.emitted, records);
    struct state_entry entry;
    int known = state_entry_get(h.txn, state_root(h.txn, 0), span_str(name), &entry, &c->e);
    CHECK_INT(known, records == 0);
    struct state_dir row;
    CHECK_INT(state_dir_get(h.txn, state_root(h.txn, 0), &row, &c->e), 1);
    if (result == 2)
        CHECK_INT(row.ctime_ns, 0); /* read at the next sweep, whatever happens to the daemon */
    CHECK_INT(hints_count(&h.compare.unknown), result == 2);
    by_hand_end(&h, c);
    cap_stop(c);
}

TEST(a_name_of_whose_object_nobody_can_say_is_not_recorded_as_gone)
{
    struct cap *c = begin_mailboxes();
    CAP_NEEDED(c);
    cap_sh(c, "echo x >mail/f");
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "mv mail/ada mail/f out");
    check_absent(c, "ada", WATCH_GONE | WATCH_IS_DIR, 2, 0);
    check_absent(c, "ada", WATCH_GONE | WATCH_IS_DIR, 0, 1); /* it is out of the store */
    check_absent(c, "f", 0, 2, 0);
    check_absent(c, "f", 0, 1, 0); /* it lives, and may come up elsewhere */
    cap_sh(c, "rm out/f");
    check_absent(c, "f", 0, 0, 1);
    cap_free(c);
}

TEST(a_directory_of_which_nobody_can_say_is_not_removed_for_another_one)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct look look;
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "mv mail/bob out; mkdir mail/bob");
    by_hand_begin(&h, c);
    CHECK_INT(look_at(h.root->fd, "bob", &look, &c->e), 0);
    handles_open(false);
    int present = compare_present(&h.compare, h.root, "bob", &look, WATCH_MADE, &c->e);
    int settled = present < 0 ? -1 : compare_settle_parked(&h.compare, &c->e);
    handles_open(true);
    CHECK_INT(settled, -1); /* of the whole name, see compare_unknown() */
    CHECK_INT(c->e.code, ERR_IO);
    err_clear(&c->e);
    CHECK_INT(places_get(h.compare.places, h.txn, state_root(h.txn, 0), &h.root, &c->e), 1);
    CHECK_INT(compare_present(&h.compare, h.root, "bob", &look, WATCH_MADE, &c->e), 0);
    uint64_t emitted = h.compare.emitted;
    handles_open(false);
    CHECK_INT(compare_settle_parked(&h.compare, &c->e), 0);
    handles_open(true);
    CHECK_INT(h.compare.emitted, emitted);
    CHECK(h.compare.left_aside);
    CHECK(hints_count(&h.compare.unknown) > 0); /* it is told, and has its turn again */
    h.compare.parked = true;
    CHECK_INT(compare_settle_parked(&h.compare, &c->e), 0);
    CHECK_INT(h.compare.emitted, emitted);
    CHECK(h.compare.left_aside); /* it may be where nobody could look */
    hints_clear(&h.compare.gaps);
    h.compare.parked = true;
    CHECK_INT(compare_settle_parked(&h.compare, &c->e), 0);
    CHECK_INT(h.compare.emitted, emitted + 1);
    CHECK(!h.compare.left_aside);
    by_hand_end(&h, c);
    cap_stop(c);
    cap_start(c);
    cap_barrier(c);
    cap_check_index(c);
    cap_free(c);
}

/* Three directories went one place on, and only the new one in the first place was looked at. */
static void
check_settles_all(const char *first, const char *second)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct look look;
    struct state_entry entry;
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "cd mail && mv %s third && mv %s %s && mkdir %s", second, first, second, first);
    by_hand_begin(&h, c);
    CHECK_INT(look_at(h.root->fd, first, &look, &c->e), 0);
    CHECK_INT(compare_present(&h.compare, h.root, first, &look, WATCH_MADE, &c->e), 0);
    CHECK_INT(compare_settle_parked(&h.compare, &c->e), 0);
    CHECK_INT(state_entry_get(h.txn, h.root->dir, span_str("third"), &entry, &c->e), 1);
    struct span name;
    CHECK_INT(state_entry_next(h.txn, h.root->dir, span_str(".mailtwin"), &name, &entry, &c->e), 1);
    CHECK(name.ptr[0] != '.');
    by_hand_end(&h, c);
    cap_free(c);
}

TEST(what_is_put_aside_for_another_that_is_settled_is_settled_too)
{
    check_settles_all("ada", "bob"); /* they are settled by number: one of the two comes behind */
    check_settles_all("bob", "ada");
}

/* It went from one name to another between two looks. */
TEST(a_directory_has_one_name_whatever_an_old_look_says)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct look look, now;
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "mkdir mail/x");
    by_hand_begin(&h, c);
    CHECK_INT(look_at(h.root->fd, "x", &look, &c->e), 0);
    cap_sh(c, "mv mail/x mail/y");
    CHECK_INT(look_at(h.root->fd, "y", &now, &c->e), 0);
    CHECK_INT(compare_present(&h.compare, h.root, "y", &now, WATCH_ARRIVED, &c->e), 0);
    CHECK_INT(h.compare.emitted, 1);
    CHECK_INT(compare_present(&h.compare, h.root, "x", &look, WATCH_MADE, &c->e), 0);
    CHECK_INT(h.compare.emitted, 1);
    struct state_entry entry;
    CHECK_INT(state_entry_get(h.txn, h.root->dir, span_str("x"), &entry, &c->e), 0);
    by_hand_end(&h, c);
    cap_free(c);
}

/* The other name left its directory, and that is gone; neither was looked at. */
TEST(a_name_in_a_directory_that_is_gone_follows_new_content)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct look look;
    struct record r;
    CAP_NEEDED(c);
    cap_sh(c, "cd mail && mkdir p && echo 1 >x && ln x p/b");
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "cd mail && echo more >>x && mv p/b y && rmdir p");
    by_hand_begin(&h, c);
    uint64_t tail = state_meta(h.txn)->tail;
    CHECK_INT(look_at(h.root->fd, "x", &look, &c->e), 0);
    CHECK_INT(compare_present(&h.compare, h.root, "x", &look, WATCH_MODIFIED, &c->e), 0);
    CHECK_INT(state_record(h.txn, tail + 2, &r, &c->e), 1); /* behind the content */
    CHECK_INT(r.op, OP_LINK);
    CHECK(span_equal(r.other, span_str("x")) && span_equal(r.path, span_str("p/b")));
    by_hand_end(&h, c);
    cap_free(c);
}

/* The name went to another one behind the look. */
TEST(a_symlink_is_recorded_with_its_own_target)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct look look;
    struct record r;
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "ln -s one mail/l");
    by_hand_begin(&h, c);
    CHECK_INT(look_at(h.root->fd, "l", &look, &c->e), 0);
    cap_sh(c, "cd mail && mv l m && ln -s two l");
    CHECK_INT(compare_present(&h.compare, h.root, "l", &look, WATCH_MADE, &c->e), 0);
    CHECK_INT(state_record(h.txn, 1, &r, &c->e), 1);
    CHECK_INT(r.op, OP_SYMLINK);
    CHECK(span_equal(r.other, span_str("one")));
    by_hand_end(&h, c);
    cap_free(c);
}

/* It was away when its name was looked at, and came back. */
TEST(what_is_told_of_a_directory_counts_when_it_is_back_under_its_name)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "setfattr -n user.a -v 1 mail/ada");
    by_hand_begin(&h, c);
    unsigned what = WATCH_ATTRIB | WATCH_MOVED | WATCH_IS_DIR;
    CHECK_INT(compare_absent(&h.compare, h.root, "ada", what, &c->e), 0);
    CHECK_INT(h.compare.emitted, 1); /* meta */
    by_hand_end(&h, c);
    cap_free(c);
}

TEST(what_was_put_off_is_looked_at_again_by_itself)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct batch batch;
    CAP_NEEDED(c);
    cap_stop(c);
    by_hand_begin(&h, c);
    batch_init(&batch, &h.compare, NULL);
    batch.now_ms = 1000;
    hints_add(&h.compare.again, h.root->dir, span_str("ada"), WATCH_GONE);
    CHECK_INT(batch_process(&batch, false, &c->e), 0);
    batch_turn_end(&batch, true);
    CHECK_INT(batch_due_in(&batch, 1000), 0);
    batch_take_due(&batch, false);
    CHECK_INT(hints_what(&batch.hints, h.root->dir, span_str("ada")), WATCH_GONE);
    batch_free(&batch);
    by_hand_end(&h, c);
    cap_free(c);
}

/* Of three names one is removed, and another one goes with its directory. */
static void
check_asks_for(const char *gone, const char *there)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    CAP_NEEDED(c);
    cap_sh(c, "cd mail && mkdir p q && echo 1 >x && ln x p/b && ln x q/b");
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "cd mail && echo more >>x && rm x && rm -r %s", gone);
    by_hand_begin(&h, c);
    CHECK_INT(compare_absent(&h.compare, h.root, "x", WATCH_GONE, &c->e), 0);
    CHECK_INT(hints_count(&h.compare.again), 1);
    CHECK(hints_what(&h.compare.again, by_hand_dir(&h, c, there), span_str("b")) != 0);
    by_hand_end(&h, c);
    cap_free(c);
}

TEST(an_object_that_lost_a_name_is_looked_at_under_one_that_it_has)
{
    check_asks_for("p", "q");
    check_asks_for("q", "p");
}

/* A scan finds the new name before its events are read; they come when nothing is young any more.
 */
TEST(what_is_told_of_an_object_behind_a_scan_that_found_it_elsewhere_counts)
{
    struct cap *c = begin_mailboxes();
    struct by_hand h;
    struct look look;
    struct hints strays;
    uint8_t handle[WATCH_HANDLE_MAX];
    CAP_NEEDED(c);
    cap_sh(c, "echo x >mail/f");
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "cd mail && setfattr -n user.a -v 1 f && mv f g");
    cap_grow_old();
    by_hand_begin(&h, c);
    hints_init(&strays);
    CHECK_INT(look_at(h.root->fd, "g", &look, &c->e), 0);
    CHECK_INT(compare_present(&h.compare, h.root, "g", &look, 0, &c->e), 0);
    CHECK_INT(h.compare.emitted, 1); /* rename */
    struct watch_event event = { .dir = span_str("d"),
                                 .name = span_str("f"),
                                 .what = WATCH_ATTRIB };
    event.object = compare_event_handle(&h.compare, 0, &look, handle);
    strays_note(&strays, &event);
    CHECK_INT(strays_settle(&strays, &h.compare, &c->e), 0);
    unsigned again = hints_what(&h.compare.again, h.root->dir, span_str("g"));
    CHECK_INT(compare_present(&h.compare, h.root, "g", &look, again, &c->e), 0);
    CHECK_INT(h.compare.emitted, 2); /* meta */
    hints_free(&strays);
    by_hand_end(&h, c);
    cap_free(c);
}

/* --- the number of an object that is gone is given to another --- */

/* The index still has `name` in the root, for an object that had the number of f before. */
static void
leave_name(struct by_hand *h, struct cap *c, const char *name)
{
    uint64_t root = state_root(h->txn, 0);
    struct known f;
    CHECK_INT(known_get(h->txn, root, span_str("f"), &f, &c->e), 1);
    f.handle[f.entry.handle.len - 1] ^= 1; /* another generation */
    CHECK_INT(state_entry_put(h->txn, root, span_str(name), &f.entry, &c->e), 0);
}

static void
check_still_another(struct by_hand *h, struct cap *c, const char *name)
{
    uint64_t root = state_root(h->txn, 0);
    struct known f, old;
    CHECK_INT(known_get(h->txn, root, span_str("f"), &f, &c->e), 1);
    CHECK_INT(known_get(h->txn, root, span_str(name), &old, &c->e), 1);
    CHECK(!span_equal(f.entry.handle, old.entry.handle));
}

static void
check_fixups(struct by_hand *h, struct cap *c)
{
    struct known f;
    struct record r;
    struct reclist out = { 0 };
    struct fixups fix = { .txn = h->txn, .place = h->root, .out = &out };
    CHECK_INT(known_get(h->txn, h->root->dir, span_str("f"), &f, &c->e), 1);
    CHECK_INT(fixups_make(&fix, span_str("f"), &f.entry, &c->e), 0);
    CHECK_INT(reclist_count(&out), 1);
    reclist_get(&out, 0, &r);
    CHECK_INT(r.op, OP_PUT);
    reclist_free(&out);
    fixups_free(&fix);
}

TEST(what_is_seen_of_an_object_does_not_hold_for_one_that_had_its_number_before)
{
    struct cap *c = begin_mailboxes();
    CAP_NEEDED(c);
    cap_sh(c, "echo x >mail/f");
    cap_barrier(c);
    cap_stop(c);
    static const char *const changes[] = { "chmod 640 mail/f", "echo more >>mail/f" };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct by_hand h;
        struct look look;
        by_hand_begin(&h, c);
        leave_name(&h, c, "a");
        leave_name(&h, c, "z");
        cap_sh(c, "%s", changes[i]);
        CHECK_INT(look_at(h.root->fd, "f", &look, &c->e), 0);
        CHECK_INT(compare_present(&h.compare, h.root, "f", &look, WATCH_ATTRIB, &c->e), 0);
        CHECK_INT(h.compare.emitted, 1); /* of f alone */
        check_still_another(&h, c, "a");
        check_still_another(&h, c, "z");
        check_fixups(&h, c);
        by_hand_end(&h, c);
        cap_stop(c);
    }
    cap_free(c);
}
