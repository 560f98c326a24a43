/* What a returned node has given to the new primary is kept until it has come back: two disks had
 * it, and two have it before one of them gives it up. Whole daemons, linked. */
#include "tests/unit/daemon_kit.h"

#include <sys/syscall.h>

#define KEPT "mail/.mailtwin/salvage/*/0000000?"

/* mx1 was replaced by mx2, took a mail alone and what `also` makes, is level again and has given
 * nothing yet. */
static struct daemons *
returned(uint64_t seed, const char *also)
{
    struct daemons *n = daemons_new(2, seed);
    if (n == NULL)
        return NULL;
    daemons_part(n);
    cap_sh(n->hosts[0].c, "echo alone >mail/ada/new/1.M1 && %s", also);
    json_decref(host_must(&n->hosts[1], "promote", "force", json_true()));
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    host_safe_again(&n->hosts[1]);
    cap_sh(n->hosts[0].c, "test ! -e mail/ada/new/1.M1 && test -e " KEPT);
    return n;
}

/* Both in one answer; other "" none. */
static json_int_t
count_both(struct host *h, const char *what, const char *other)
{
    control_post(h->d.control, daemons_tick, &h->d);
    json_t *status = host_must(h, "status", NULL, NULL);
    const json_t *salvage = json_object_get(status, "salvage");
    json_int_t n = json_integer_value(json_object_get(salvage, what)) +
                   json_integer_value(json_object_get(salvage, other));
    json_decref(status);
    return n;
}

static json_int_t
count(struct host *h, const char *what)
{
    return count_both(h, what, "");
}

static void
wait_count(struct host *h, const char *what, json_int_t wanted)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    while (count(h, what) != wanted) {
        if (session_now_ms() > until)
            fail_msg("never %lld %s", (long long)wanted, what);
        usleep(5000);
    }
}

/* All that was to be given is with the primary, and here again. */
static void
wait_back(struct host *h)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    while (count_both(h, "waiting", "unconfirmed") > 0) {
        if (session_now_ms() > until)
            fail_msg("it never came back");
        usleep(5000);
    }
}

/* It is let go behind that, and counted as soon as it is decided. */
static void
wait_let_go(struct host *h)
{
    cap_sh(h->c, "for i in $(seq 1000); do test ! -e " KEPT " && exit 0; sleep 0.01; done; exit 1");
}

/* The new primary takes it, and its journal is not to be had: nobody else can have it. */
static struct state_txn *
give_to_one(struct daemons *n)
{
    struct state_txn *txn;
    struct err e = { 0 };
    pair_must(state_begin(n->hosts[1].d.node->state, true, &txn, &e), &e);
    wait_count(&n->hosts[0], "delivered", 1);
    cap_sh(n->hosts[1].c, "grep -q alone mail/ada/*/1.M1*");
    CHECK_INT(count(&n->hosts[0], "unconfirmed"), 1);
    return txn;
}

static void
check_once(struct host *h)
{
    cap_sh(h->c, "test $(ls mail/ada/cur mail/ada/new | grep -c 1.M1) = 1");
}

TEST(what_was_delivered_is_kept_until_it_has_come_back)
{
    struct daemons *n = returned(71, "true");
    DAEMONS_NEEDED(n);
    struct err e = { 0 };
    struct state_txn *txn = give_to_one(n);
    cap_sh(n->hosts[0].c, "grep -q alone " KEPT);
    CHECK(host_ask(&n->hosts[0], "salvage-drop", NULL, NULL, &e) == NULL);
    CHECK_INT(e.code, ERR_BUSY);
    cap_sh(n->hosts[0].c, "grep -q alone " KEPT);
    state_abort(&txn);
    wait_back(&n->hosts[0]);
    CHECK_INT(count(&n->hosts[0], "delivered"), 1);
    check_once(&n->hosts[0]); /* it is here: only then */
    wait_let_go(&n->hosts[0]);
    daemons_free(n);
}

/* Nobody gives it again by itself: users of mx1 may have removed it when that was the primary. */
static void
check_left_to_a_person(struct host *old, struct host *new)
{
    wait_count(old, "listed", 1);
    CHECK_INT(count_both(old, "waiting", "unconfirmed"), 0);
    json_t *list = host_must(old, "salvage", NULL, NULL);
    json_t *item = json_array_get(json_object_get(list, "items"), 0);
    CHECK_STR(json_string_value(json_object_get(item, "state")), "unsure");
    json_decref(list);
    cap_sh(old->c, "grep -q alone " KEPT);
    host_stop(old);
    host_start(old);
    wait_count(old, "listed", 1);
    host_wait_peer(new, "mx1", "connected");
    json_decref(host_must(old, "salvage-give", NULL, NULL));
    wait_back(old);
}

/* mx1 takes over from the only node that has the mail, and is replaced by it again. */
static void
check_taken_over(uint64_t seed, bool lost)
{
    struct daemons *n = returned(seed, "true");
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0], *new = &n->hosts[1];
    struct state_txn *txn = give_to_one(n);
    daemons_cut(n, 0, 1);
    host_wait_peer(old, "mx2", "connecting");
    if (lost) /* with its disk */
        cap_sh(new->c, "rm mail/ada/*/1.M1*");
    state_abort(&txn);
    json_decref(host_must(old, "promote", "force", json_true()));
    cap_sh(old->c,
           "test $(ls mail/ada/cur mail/ada/new | grep -c 1.M1) = 0 && grep -q alone " KEPT);
    json_t *list = host_must(old, "salvage", NULL, NULL);
    json_t *item = json_array_get(json_object_get(list, "items"), 0);
    CHECK_STR(json_string_value(json_object_get(item, "state")), "unconfirmed");
    json_decref(list);
    host_stop(old);
    host_start(old);
    CHECK_INT(count(old, "unconfirmed"), 1);
    daemons_link(n, 0, 1);
    host_wait_peer(old, "mx2", "connected");
    wait_count(new, "delivered", lost ? 0 : 1); /* what it took it brings itself */
    host_safe_again(old);
    host_order(old, "demote");
    host_order(new, "promote");
    host_wait_peer(new, "mx1", "connected");
    host_safe_again(new);
    check_left_to_a_person(old, new);
    check_once(new);
    check_once(old);
    daemons_free(n);
}

TEST(what_only_a_dead_primary_took_is_kept_and_left_to_a_person_after_an_own_turn)
{
    check_taken_over(72, true);
}

TEST(what_a_primary_took_and_brings_back_itself_is_there_once)
{
    check_taken_over(74, false);
}

/* The node is told nothing more: what it knows of the delivery is on its disk. */
TEST(a_restart_in_between_neither_gives_again_nor_gives_up)
{
    struct daemons *n = returned(73, "true");
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0], *new = &n->hosts[1];
    struct state_txn *txn = give_to_one(n);
    daemons_cut(n, 0, 1);
    host_wait_peer(old, "mx2", "connecting");
    cap_sh(new->c, "rm mail/ada/*/1.M1*"); /* its reader has deleted it */
    host_stop(old);
    host_start(old);
    cap_sh(old->c, "grep -q alone " KEPT);
    state_abort(&txn);
    daemons_link(n, 0, 1);
    host_wait_peer(new, "mx1", "connected");
    wait_back(old);
    wait_let_go(old);
    host_safe_again(new);
    cap_sh(new->c, "test $(ls mail/ada/cur mail/ada/new | grep -c 1.M1) = 0");
    daemons_free(n);
}

/* --- a disk that takes its time --- */

static atomic_int slow; /* what stands still: 'c' a comparison, 'u' a removal, 0 nothing */
static atomic_bool stands;

static void
stand_still(int what, int fd)
{
    char link[64], path[256] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = atomic_load(&slow) == what ? readlink(link, path, sizeof(path) - 1) : 0;
    if (len <= 0 || strstr(path, "/salvage/") == NULL)
        return;
    atomic_store(&stands, true);
    while (atomic_load(&slow) == what)
        usleep(1000);
}

/* In the place of the C library's. A message is given by its size, and compared in large pieces. */
ssize_t
pread(int fd, void *bytes, size_t len, off_t at)
{
    if (len > 4096)
        stand_still('c', fd);
    return syscall(SYS_pread64, fd, bytes, len, at);
}

int
unlinkat(int fd, const char *name, int flags)
{
    stand_still('u', fd);
    return (int)syscall(SYS_unlinkat, fd, name, flags);
}

static void
wait_until_it_stands(struct host *h)
{
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    while (!atomic_load(&stands) && session_now_ms() < until) {
        count(h, "waiting"); /* does not return while the list is held */
        usleep(1000);
    }
    CHECK(atomic_load(&stands));
    count(h, "waiting");
    json_decref(host_must(h, "salvage", NULL, NULL));
    atomic_store(&stands, false);
    atomic_store(&slow, 0);
}

TEST(the_status_waits_for_no_file_that_is_compared_or_removed)
{
    struct daemons *n = returned(75, "echo here >files/f");
    DAEMONS_NEEDED(n);
    cap_sh(n->hosts[1].c, "echo here >files/f");
    host_safe_again(&n->hosts[1]);
    atomic_store(&slow, 'c');
    wait_until_it_stands(&n->hosts[0]);
    atomic_store(&slow, 'u');
    wait_until_it_stands(&n->hosts[0]);
    wait_back(&n->hosts[0]);
    daemons_free(n);
}

static void *
drop_all(void *arg)
{
    json_decref(host_must(arg, "salvage-drop", NULL, NULL));
    return NULL;
}

TEST(the_status_waits_for_no_salvage_that_is_dropped)
{
    pthread_t thread;
    struct daemons *n = returned(76, "true");
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0];
    wait_back(old);
    atomic_store(&slow, 'u');
    CHECK_INT(pthread_create(&thread, NULL, drop_all, old), 0);
    wait_until_it_stands(old);
    pthread_join(thread, NULL);
    cap_sh(old->c, "test -z \"$(ls mail/.mailtwin/salvage)\"");
    CHECK_INT(count(old, "delivered"), 0);
    daemons_free(n);
}

static json_t *
page_of(struct host *h, const char *key, json_t *value, size_t items, json_int_t more)
{
    json_t *page = host_must(h, "salvage", key, value);
    CHECK_INT(json_array_size(json_object_get(page, "items")), items);
    CHECK_INT(json_integer_value(json_object_get(page, "more")), more);
    return page;
}

static const char *
id_in(const json_t *page, size_t i)
{
    const json_t *item = json_array_get(json_object_get(page, "items"), i);
    return json_string_value(json_object_get(item, "id"));
}

TEST(a_list_comes_in_pages_and_what_is_no_longer_there_is_no_place_in_it)
{
    struct err e = { 0 };
    struct daemons *n = returned(77, "for i in 1 2 3 4; do echo here >files/f$i; done");
    DAEMONS_NEEDED(n);
    struct host *old = &n->hosts[0];
    cap_sh(n->hosts[1].c, "for i in 1 2 3 4; do echo other >files/f$i; done");
    wait_back(old);
    wait_count(old, "listed", 4);
    json_t *whole = page_of(old, NULL, NULL, 4, 0);
    json_decref(page_of(old, "limit", json_integer(3), 3, 1));
    json_decref(page_of(old, "limit", json_integer(0), 0, 4));
    json_decref(page_of(old, "limit", json_integer(-1), 0, 4));
    for (size_t i = 0; i < 4; i++) {
        json_t *rest = page_of(old, "after", json_string(id_in(whole, i)), 3 - i, 0);
        for (size_t k = 0; k < 3 - i; k++)
            CHECK_STR(id_in(rest, k), id_in(whole, i + 1 + k));
        json_decref(rest);
    }
    const char *wrong[] = { "", "x", "1-1/files", "1-1/files/0", "1-1/files/99999999999" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CHECK(host_ask(old, "salvage", "after", json_string(wrong[i]), &e) == NULL);
        CHECK_INT(e.code, ERR_USAGE);
        err_clear(&e);
    }
    json_decref(whole);
    daemons_free(n);
}
