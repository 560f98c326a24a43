#include "replicator/turn.h"

#include "replicator/session.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define TURN_WAIT_S    30    /* for a run that is being made durable on a slow disk */
#define TURN_MEMORY_MS 15000 /* longer than the longest pause before a link is dialled again */

void
turn_init(struct turn *turn)
{
    pthread_condattr_t attr;
    *turn = (struct turn){ 0 };
    pthread_mutex_init(&turn->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&turn->moved, &attr);
    pthread_condattr_destroy(&attr);
}

void
turn_destroy(struct turn *turn)
{
    pthread_cond_destroy(&turn->moved);
    pthread_mutex_destroy(&turn->lock);
}

/* Epochs of two histories say nothing of each other: then the newer session goes first. */
static bool
outranks(const uint8_t *history, uint64_t epoch, const struct turn_claim *claim)
{
    return epoch > claim->epoch && memcmp(history, claim->history, WIRE_HISTORY_SIZE) == 0;
}

static bool
is_outranked(const struct turn *turn, const struct turn_claim *claim)
{
    const struct turn_claim *others[] = { turn->holder, turn->next };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (others[i] != NULL && outranks(others[i]->history, others[i]->epoch, claim))
            return true;
    }
    return session_now_ms() < turn->until_ms && outranks(turn->history, turn->epoch, claim);
}

static void
remember(struct turn *turn, const struct turn_claim *claim)
{
    memcpy(turn->history, claim->history, WIRE_HISTORY_SIZE);
    turn->epoch = claim->epoch;
    turn->until_ms = session_now_ms() + TURN_MEMORY_MS;
}

static void
tell_to_end(struct turn_claim *holder)
{
    if (atomic_exchange(&holder->lost, true))
        return;
    shutdown(holder->link_fd, SHUT_RDWR);
    peer_wake(holder->peer);
}

static int
may_wait(const struct turn *turn, const struct turn_claim *claim, bool late, struct err *e)
{
    if (atomic_load(&claim->peer->stop))
        return err_set(e, ERR_PEER, "told to stop");
    if (turn->next != claim)
        return err_set(e, ERR_REFUSED, "a newer session receives instead");
    if (late)
        return err_set(e, ERR_BUSY, "the session with %s that receives now does not end",
                       turn->holder->peer->conf->name);
    return 0;
}

/* Until the holder has given its turn back. */
static int
wait_for(struct turn *turn, const struct turn_claim *claim, struct err *e)
{
    struct timespec until;
    int waited = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TURN_WAIT_S;
    while (turn->holder != NULL || turn->next != claim) {
        if (turn->holder != NULL)
            tell_to_end(turn->holder);
        if (may_wait(turn, claim, waited == ETIMEDOUT, e) < 0)
            return -1;
        waited = pthread_cond_timedwait(&turn->moved, &turn->lock, &until);
    }
    return 0;
}

int
turn_take(struct turn *turn, struct turn_claim *claim, struct err *e)
{
    int rc;
    pthread_mutex_lock(&turn->lock);
    if (is_outranked(turn, claim)) {
        rc = err_set(e, ERR_REFUSED, "a node that was promoted later sends to this one");
    } else {
        remember(turn, claim);
        turn->next = claim;
        pthread_cond_broadcast(&turn->moved); /* who waited before gives way */
        rc = wait_for(turn, claim, e);
    }
    if (turn->next == claim)
        turn->next = NULL;
    if (rc == 0)
        turn->holder = claim;
    pthread_mutex_unlock(&turn->lock);
    return rc;
}

void
turn_give(struct turn *turn, struct turn_claim *claim)
{
    pthread_mutex_lock(&turn->lock);
    ASSERT(turn->holder == claim);
    turn->holder = NULL;
    if (turn->next == NULL)
        remember(turn, claim);
    pthread_cond_broadcast(&turn->moved);
    pthread_mutex_unlock(&turn->lock);
}

bool
turn_lost(const struct turn_claim *claim)
{
    return atomic_load(&claim->lost);
}

void
turn_wake(struct turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    pthread_cond_broadcast(&turn->moved);
    pthread_mutex_unlock(&turn->lock);
}
