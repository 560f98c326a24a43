#include "lib/os/event.h"
#include "lib/os/proc.h"
#include "replicator/apply_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct apply_aside {
    struct apply_root *roots;
    size_t root_count;
    atomic_uint_fast64_t number; /* of the newest name in any aside/ */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool work;
    atomic_bool stop;
    pthread_t thread;
    bool started;
};

static int
move_in(struct apply_aside *aside, struct apply_root *root, int dirfd, const char *name,
        struct err *e)
{
    for (;;) {
        char to[APPLY_NAME_SIZE];
        apply_number_name(atomic_fetch_add(&aside->number, 1), to);
        struct err why = { 0 };
        if (file_rename(dirfd, name, root->aside_fd, to, true, &why) == 0)
            return 0;
        if (why.sys == EEXIST)
            continue; /* left over from before the clock was set back */
        if (e != NULL)
            *e = why;
        return -1;
    }
}

/* What is being emptied: aside/ itself, or a directory in it. */
struct emptying {
    struct apply_aside *aside;
    struct apply_root *root;
    int dirfd;
};

static int remove_all(struct apply_aside *aside, struct apply_root *root, int dirfd, struct err *e);

/* Empties and removes a directory in aside/. */
static int
remove_dir(struct apply_aside *aside, struct apply_root *root, const char *name, struct err *e)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = openat(root->aside_fd, name, flags);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open the removed directory %.255s", name);
    int r = remove_all(aside, root, fd, e);
    if (r == 0 && unlinkat(root->aside_fd, name, AT_REMOVEDIR) < 0)
        return err_sys(e, ERR_IO, "delete the directory %.255s", name);
    return r;
}

static int
remove_name(void *arg, const char *name, struct err *e)
{
    struct emptying *x = arg;
    if (atomic_load(&x->aside->stop))
        return 1;
    if (unlinkat(x->dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return err_sys(e, ERR_IO, "delete %.255s", name);
    if (x->dirfd == x->root->aside_fd)
        return remove_dir(x->aside, x->root, name, e);
    /* flat: a tree of any depth then needs neither a path nor recursion */
    return move_in(x->aside, x->root, x->dirfd, name, e);
}

/* 0 empty, 1 told to stop, -1 failed. */
static int
remove_all(struct apply_aside *aside, struct apply_root *root, int dirfd, struct err *e)
{
    struct emptying x = { .aside = aside, .root = root, .dirfd = dirfd };
    return apply_each_name(dirfd, remove_name, &x, e);
}

/* Empties aside/; again, because emptying a directory brings others here. */
static int
clear_root(struct apply_aside *aside, struct apply_root *root, struct err *e)
{
    for (uint64_t before = 0; !atomic_load(&aside->stop);) {
        uint64_t now = atomic_load(&aside->number);
        if (now == before)
            return 0;
        before = now;
        if (remove_all(aside, root, root->aside_fd, e) < 0)
            return err_wrap(e, "store %s", root->path);
    }
    return 0;
}

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
            if (clear_root(aside, &aside->roots[i], &e) < 0)
                event(EV_ASIDE_STUCK, F_ERR(&e)); /* tried again after the next removal */
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
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* so that names of earlier runs are rarely met */
    atomic_store(&aside->number, (uint64_t)attrs_ns(&now));
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
    if (move_in(aside, root, dirfd, name, e) < 0)
        return -1;
    wake(aside);
    return 0;
}
