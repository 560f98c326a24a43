#include "replicator/prepare.h"

#include "lib/os/proc.h"
#include "replicator/renumber.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define EVERY_S 60

struct prepare {
    struct node *node;
    uint64_t from; /* directory ids below were looked at */
    uint64_t seen; /* the next id at the last look: what is behind may be half made */
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool runs;
};

/* What fails here is told when it counts. */
static void
prepare_once(struct prepare *p)
{
    struct err e = { 0 };
    uint64_t next = p->seen;
    if (renumber_prepare(p->node, p->from, &p->stop, &next, &e) < 0)
        return;
    p->from = p->seen;
    p->seen = next;
}

static void
wait_a_while(struct prepare *p)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += EVERY_S;
    pthread_mutex_lock(&p->lock);
    if (!atomic_load(&p->stop))
        pthread_cond_timedwait(&p->wake, &p->lock, &until);
    pthread_mutex_unlock(&p->lock);
}

static void *
prepare_run(void *arg)
{
    struct prepare *p = arg;
    proc_be_last();
    while (!atomic_load(&p->stop)) {
        prepare_once(p);
        wait_a_while(p);
    }
    return NULL;
}

struct prepare *
prepare_begin(struct node *node)
{
    struct prepare *p = xcalloc(1, sizeof(*p));
    p->node = node;
    p->from = 1;
    p->seen = 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->runs = pthread_create(&p->thread, NULL, prepare_run, p) == 0; /* else it is done later */
    return p;
}

void
prepare_end(struct prepare **prepare)
{
    struct prepare *p = *prepare;
    *prepare = NULL;
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->runs)
        pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
