/* A run covers what its records tell of: whoever waits at a barrier for a file that was replaced
 * before it was read finds what replaced it on the peer. */
#include "tests/unit/pair_kit.h"

/* As mail and sieve servers do: written beside it, then renamed over it. */
static void
replace(struct pair *r, const char *path, const char *text)
{
    cap_sh(r->c, "echo %s >%s.lock && mv %s.lock %s", text, path, path, path);
}

static void
check_peer_has(struct pair *r, const char *path, const char *text)
{
    cap_sh(r->peer, "test \"$(cat %s)\" = %s || { cat %s; exit 1; }", path, text, path);
}

static void
check_replaced(const char *path)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r == NULL ? NULL : r->c);
    pair_start(r);
    cap_sh(r->c, "mkdir -p mail/cur mail/new files/d");
    replace(r, path, "first");
    cap_barrier(r->c);
    pair_ship_all(r);
    check_peer_has(r, path, "first");
    replace(r, path, "second");
    cap_barrier(r->c); /* somebody waits for it */
    uint64_t tail = capture_tail(r->c->capture);
    replace(r, path, "third");
    struct err e = { 0 };
    pair_must(ship_run(&r->ship, tail, &e), &e); /* one COMMIT, which he is told of */
    pair_wait_acks(r);
    check_peer_has(r, path, "third");
    pair_free(r);
}

TEST(a_control_file_that_was_replaced_unread_comes_with_what_replaced_it)
{
    check_replaced("mail/dovecot-keywords");
    check_replaced("mail/dovecot-uidlist");
}

TEST(a_file_that_was_replaced_unread_comes_with_what_replaced_it)
{
    check_replaced("files/d/active.sieve");
}

/* Nothing came after it, so that the run ends where it was to end. */
TEST(a_file_that_is_gone_makes_no_run_longer)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r == NULL ? NULL : r->c);
    pair_start(r);
    cap_sh(r->c, "mkdir -p mail/cur mail/new && echo 1 >mail/new/1");
    cap_barrier(r->c);
    uint64_t tail = capture_tail(r->c->capture);
    cap_sh(r->c, "rm mail/new/1 && echo 2 >mail/new/2");
    struct err e = { 0 };
    pair_must(ship_run(&r->ship, tail, &e), &e);
    pair_wait_acks(r);
    CHECK_INT(r->ship.cursor, tail);
    cap_sh(r->peer, "test ! -e mail/new/1 && test ! -e mail/new/2");
    pair_free(r);
}
