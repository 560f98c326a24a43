#include "replicator/apply_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define BUNCH 16 /* jobs that are not urgent wake a thread together */

struct job {
    struct job *next;
    int (*run)(void *arg, struct err *e);
    void *arg;
};

struct apply_pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* for the threads: something to do, or stop */
    pthread_cond_t idle; /* for the waiter: nothing left */
    struct job *first, **last;
    size_t unfinished;
    unsigned unannounced; /* added since a thread was woken */
    bool stop;
    bool failed;
    struct err error; /* the first one */
    size_t thread_count;
    pthread_t *threads;
};

static struct job *
take(struct apply_pool *pool)
{
    while (pool->first == NULL && !pool->stop)
        pthread_cond_wait(&pool->work, &pool->lock);
    struct job *job = pool->first;
    if (job != NULL) {
        pool->first = job->next;
        if (pool->first == NULL)
            pool->last = &pool->first;
    }
    return job;
}

static void *
work(void *arg)
{
    struct apply_pool *pool = arg;
    struct job *job;
    pthread_mutex_lock(&pool->lock);
    while ((job = take(pool)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        struct err e = { 0 };
        int r = job->run(job->arg, &e);
        free(job);
        pthread_mutex_lock(&pool->lock);
        if (r < 0 && !pool->failed) {
            pool->failed = true;
            pool->error = e;
        }
        if (--pool->unfinished == 0)
            pthread_cond_broadcast(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int
start_threads(struct apply_pool *pool, unsigned threads, struct err *e)
{
    sigset_t all, before; /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = 0;
    while (r == 0 && pool->thread_count < threads) {
        r = pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);
        pool->thread_count += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? 0 : err_errnum(e, ERR_NOMEM, r, "start a sync worker");
}

int
apply_pool_new(unsigned threads, struct apply_pool **ret_pool, struct err *e)
{
    threads = MAX(threads, 1u);
    struct apply_pool *pool = xcalloc(1, sizeof(*pool));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pool->last = &pool->first;
    pool->threads = xcalloc(threads, sizeof(pool->threads[0]));
    if (start_threads(pool, threads, e) < 0) {
        apply_pool_free(&pool);
        return -1;
    }
    *ret_pool = pool;
    return 0;
}

void
apply_pool_free(struct apply_pool **pool)
{
    struct apply_pool *p = *pool;
    *pool = NULL;
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->thread_count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p->threads);
    free(p);
}

void
apply_pool_add(struct apply_pool *pool, int (*run)(void *arg, struct err *e), void *arg, bool soon)
{
    struct job *job = xmalloc(sizeof(*job));
    *job = (struct job){ .run = run, .arg = arg };
    pthread_mutex_lock(&pool->lock);
    *pool->last = job;
    pool->last = &job->next;
    pool->unfinished++;
    if (soon || ++pool->unannounced >= BUNCH) {
        pthread_cond_signal(&pool->work);
        pool->unannounced = 0;
    }
    pthread_mutex_unlock(&pool->lock);
}

int
apply_pool_wait(struct apply_pool *pool, struct err *e)
{
    pthread_mutex_lock(&pool->lock);
    if (pool->first != NULL)
        pthread_cond_broadcast(&pool->work);
    while (pool->unfinished > 0)
        pthread_cond_wait(&pool->idle, &pool->lock);
    bool failed = pool->failed;
    if (failed && e != NULL)
        *e = pool->error;
    pool->failed = false;
    pthread_mutex_unlock(&pool->lock);
    return failed ? -1 : 0;
}
