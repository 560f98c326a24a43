#include "lib/os/event.h"
#include "lib/os/proc.h"
#include "replicator/apply_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

struct apply_aside {
    struct apply_root *roots;
    size_t root_count;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool work;
    atomic_bool stop;
    pthread_t thread;
    bool started;
};

static void *
clear_all(void *arg)
{
    struct apply_aside *aside = arg;
    proc_be_last(); /* deleting a large folder must not slow mail down */
    pthread_mutex_lock(&aside->lock);
    while (!atomic_load(&aside->stop)) {
        if (!aside->work) {
            pthread_cond_wait(&aside->wake, &aside->lock);
            continue;
        }
        aside->work = false;
        pthread_mutex_unlock(&aside->lock);
        for (size_t i = 0; i < aside->root_count; i++) {
            struct err e = { 0 };
            if (trash_clear(&aside->roots[i].aside, &e) < 0) {
                err_wrap(&e, "store %s", aside->roots[i].path);
                event(EV_ASIDE_STUCK, F_ERR(&e)); /* tried again after the next removal */
            }
        }
        pthread_mutex_lock(&aside->lock);
    }
    pthread_mutex_unlock(&aside->lock);
    return NULL;
}

static void
wake(struct apply_aside *aside)
{
    pthread_mutex_lock(&aside->lock);
    aside->work = true;
    pthread_cond_signal(&aside->wake);
    pthread_mutex_unlock(&aside->lock);
}

int
apply_aside_new(struct apply_root *roots, size_t root_count, struct apply_aside **ret_aside,
                struct err *e)
{
    struct apply_aside *aside = xcalloc(1, sizeof(*aside));
    aside->roots = roots;
    aside->root_count = root_count;
    for (size_t i = 0; i < root_count; i++)
        trash_init(&roots[i].aside, roots[i].aside_fd, &aside->stop);
    pthread_mutex_init(&aside->lock, NULL);
    pthread_cond_init(&aside->wake, NULL);
    aside->work = true; /* what an earlier run left over */

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&aside->thread, NULL, clear_all, aside);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    aside->started = r == 0;
    if (r != 0) {
        apply_aside_free(&aside);
        return err_errnum(e, ERR_NOMEM, r, "start the thread that deletes");
    }
    *ret_aside = aside;
    return 0;
}

void
apply_aside_free(struct apply_aside **aside)
{
    struct apply_aside *a = *aside;
    *aside = NULL;
    if (a == NULL)
        return;
    pthread_mutex_lock(&a->lock);
    atomic_store(&a->stop, true);
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    if (a->started)
        pthread_join(a->thread, NULL);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

int
apply_aside_take(struct apply_aside *aside, struct apply_root *root, int dirfd, const char *name,
                 struct err *e)
{
    if (trash_take(&root->aside, dirfd, name, e) < 0)
        return -1;
    wake(aside);
    return 0;
}
