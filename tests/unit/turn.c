#include "replicator/daemon.h"
#include "replicator/session.h"
#include "tests/unit/test.h"

#include <sys/socket.h>
#include <unistd.h>

void
daemon_peer_moved(struct daemon *d)
{
    (void)d;
}

void
daemon_wake_sessions(struct daemon *d)
{
    (void)d;
}

static struct daemon d;
static struct conf_node conf = { .name = (char[]){ "mx1" } };
static struct peer peer = { .daemon = &d };

/* A session that wants to receive, in its thread. */
struct wish {
    struct turn_claim claim;
    int fds[2];
    pthread_t thread;
    int rc;
    struct err err;
};

static void
wish_begin(struct wish *w, uint8_t history, uint64_t epoch)
{
    *w = (struct wish){ .claim = { .peer = &peer, .history = { history }, .epoch = epoch } };
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds), 0);
    w->claim.link_fd = w->fds[0];
}

static void
wish_end(struct wish *w)
{
    close(w->fds[0]);
    close(w->fds[1]);
}

static int
take(struct wish *w)
{
    w->rc = turn_take(&d.turn, &w->claim, &w->err);
    return w->rc;
}

static void *
take_thread(void *arg)
{
    take(arg);
    return NULL;
}

/* Begins to wait, and returns when the holder was told: its link is shut down. */
static void
wait_behind(struct wish *w, const struct wish *holder)
{
    char byte;
    CHECK_INT(pthread_create(&w->thread, NULL, take_thread, w), 0);
    CHECK_INT(read(holder->fds[1], &byte, 1), 0);
    CHECK(turn_lost(&holder->claim));
}

static void
begin(void)
{
    turn_init(&d.turn);
    peer_init(&peer, &d, &conf);
}

static void
end(void)
{
    peer_destroy(&peer);
    turn_destroy(&d.turn);
}

TEST(a_newer_session_has_its_turn_only_when_the_older_gave_it_back)
{
    struct wish old, new;
    begin();
    wish_begin(&old, 1, 1);
    wish_begin(&new, 1, 2);
    CHECK_INT(take(&old), 0);
    wait_behind(&new, &old);
    CHECK(d.turn.holder == &old.claim);
    turn_give(&d.turn, &old.claim);
    CHECK_INT(pthread_join(new.thread, NULL), 0);
    CHECK_INT(new.rc, 0);
    CHECK(d.turn.holder == &new.claim && !turn_lost(&new.claim));
    turn_give(&d.turn, &new.claim);
    wish_end(&old);
    wish_end(&new);
    end();
}

TEST(an_older_epoch_is_turned_away_also_a_moment_after_the_newer_ended)
{
    struct wish new, old, foreign;
    begin();
    wish_begin(&new, 1, 2);
    wish_begin(&old, 1, 1);
    wish_begin(&foreign, 7, 1);
    CHECK_INT(take(&new), 0);
    CHECK_INT(take(&old), -1);
    CHECK_INT(old.err.code, ERR_REFUSED);
    CHECK(!turn_lost(&new.claim));
    turn_give(&d.turn, &new.claim);
    CHECK_INT(take(&old), -1);
    d.turn.until_ms = session_now_ms(); /* the moment is over: the newer did not come back */
    CHECK_INT(take(&old), 0);
    turn_give(&d.turn, &old.claim);
    CHECK_INT(take(&foreign), 0); /* epochs of another history say nothing */
    turn_give(&d.turn, &foreign.claim);
    wish_end(&new);
    wish_end(&old);
    wish_end(&foreign);
    end();
}

TEST(of_two_that_wait_the_newer_one_is_next)
{
    struct wish first, second, third, late;
    begin();
    wish_begin(&first, 1, 1);
    wish_begin(&second, 1, 2);
    wish_begin(&third, 1, 3);
    wish_begin(&late, 1, 2);
    CHECK_INT(take(&first), 0);
    wait_behind(&second, &first);
    CHECK_INT(pthread_create(&third.thread, NULL, take_thread, &third), 0);
    CHECK_INT(pthread_join(second.thread, NULL), 0); /* gives way while the first still holds */
    CHECK_INT(second.rc, -1);
    CHECK_INT(take(&late), -1);
    turn_give(&d.turn, &first.claim);
    CHECK_INT(pthread_join(third.thread, NULL), 0);
    CHECK_INT(third.rc, 0);
    turn_give(&d.turn, &third.claim);
    wish_end(&first);
    wish_end(&second);
    wish_end(&third);
    wish_end(&late);
    end();
}

TEST(who_waits_ends_when_its_peer_is_told_to_stop)
{
    struct wish old, new;
    begin();
    wish_begin(&old, 1, 1);
    wish_begin(&new, 1, 2);
    CHECK_INT(take(&old), 0);
    wait_behind(&new, &old);
    atomic_store(&peer.stop, true);
    turn_wake(&d.turn);
    CHECK_INT(pthread_join(new.thread, NULL), 0);
    CHECK_INT(new.err.code, ERR_PEER);
    atomic_store(&peer.stop, false);
    turn_give(&d.turn, &old.claim);
    wish_end(&old);
    wish_end(&new);
    end();
}
