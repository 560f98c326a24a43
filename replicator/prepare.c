#include "replicator/prepare.h"

#include "lib/os/event.h"
#include "lib/os/proc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define EARLY_S 3   /* between the first looks, and behind one that made something */
#define EVERY_S 300 /* between others */

struct prepare {
    struct node *node;
    struct renumber_prepared prepared; /* the thread's */
    uint64_t told;                     /* the epoch for which it was said that all is prepared */
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool runs;
};

/* Seconds until the next look. What fails here is told when it counts. */
static unsigned
prepare_once(struct prepare *p)
{
    struct err e = { 0 };
    uint64_t made;
    if (renumber_prepare(p->node, &p->prepared, &p->stop, &made, &e) < 0)
        return EVERY_S;
    bool all = p->prepared.seen_ns != 0 && made == 0;
    if (all && p->told != p->prepared.epoch)
        event(EV_PREPARED, F_U64("epoch", p->prepared.epoch));
    p->told = all ? p->prepared.epoch : p->told;
    return all ? EVERY_S : EARLY_S;
}

static void
wait_a_while(struct prepare *p, unsigned seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
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
    while (!atomic_load(&p->stop))
        wait_a_while(p, prepare_once(p));
    return NULL;
}

struct prepare *
prepare_begin(struct node *node)
{
    struct prepare *p = xcalloc(1, sizeof(*p));
    p->node = node;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->runs = pthread_create(&p->thread, NULL, prepare_run, p) == 0; /* else it is done later */
    return p;
}

void
prepare_end(struct prepare **prepare, struct renumber_prepared *ret_prepared)
{
    struct prepare *p = *prepare;
    *prepare = NULL;
    if (ret_prepared != NULL)
        *ret_prepared = (struct renumber_prepared){ 0 };
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->runs)
        pthread_join(p->thread, NULL);
    if (ret_prepared != NULL)
        *ret_prepared = p->prepared;
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
