#include "replicator/scrub.h"

#include "lib/os/file.h"
#include "lib/os/proc.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS       1000000000ull
#define AHEAD_NS (20 * 1000000ull) /* may be read before it has to wait */

struct queue {
    struct scrub_item *first, **last;
};

struct scrub {
    const struct node *node;
    uint64_t rate;
    int wake_fd;
    bool running;
    pthread_t thread;
    size_t open_count; /* the asking thread's */
    uint64_t ready_ns; /* what was read so far is paid for then; the reading thread's */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct queue asked, done;
    bool stop;
};

static void
queue_add(struct queue *queue, struct scrub_item *item)
{
    item->next = NULL;
    *queue->last = item;
    queue->last = &item->next;
}

static struct scrub_item *
queue_take(struct queue *queue)
{
    struct scrub_item *item = queue->first;
    if (item == NULL)
        return NULL;
    queue->first = item->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return item;
}

static void
queue_free(struct queue *queue)
{
    struct scrub_item *item;
    while ((item = queue_take(queue)) != NULL)
        scrub_item_free(&item);
}

struct scrub_item *
scrub_item_new(uint16_t store, struct span path)
{
    struct scrub_item *item = xcalloc(1, sizeof(*item));
    item->store = store;
    item->fd = -1;
    buf_add(&item->path, path.ptr, path.len);
    return item;
}

void
scrub_item_free(struct scrub_item **item)
{
    if (*item == NULL)
        return;
    file_closep(&(*item)->fd);
    buf_free(&(*item)->path);
    listing_free(&(*item)->listing);
    free(*item);
    *item = NULL;
}

void
scrub_read(const struct node *node, struct scrub_item *item, const struct listing_pace *pace)
{
    const struct node_store *store = &node->stores[item->store];
    struct err *why = &item->why;
    if (item->fd < 0)
        item->fd = file_open_beneath(store->root_fd, buf_span(&item->path), O_RDONLY | O_DIRECTORY,
                                     0, why);
    bool absent = why->sys == ENOENT || why->sys == ENOTDIR || why->sys == ELOOP;
    item->result = item->fd >= 0 ? SCRUB_READ : absent ? SCRUB_ABSENT : SCRUB_FAILED;
    if (item->result == SCRUB_READ && listing_read(&store->rules, item->fd, buf_span(&item->path),
                                                   item->content, pace, &item->listing, why) < 0)
        item->result = SCRUB_FAILED;
}

/* --- the reading thread --- */

static uint64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

/* Until then, or until it is to stop. */
static void
sleep_until(struct scrub *s, uint64_t until_ns)
{
    struct timespec until = { .tv_sec = (time_t)(until_ns / NS), .tv_nsec = (long)(until_ns % NS) };
    pthread_mutex_lock(&s->lock);
    while (!s->stop && now_ns() < until_ns)
        pthread_cond_timedwait(&s->wake, &s->lock, &until);
    pthread_mutex_unlock(&s->lock);
}

static bool
is_stopped(struct scrub *s)
{
    pthread_mutex_lock(&s->lock);
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

/* Time in which nothing was read is not made up for. */
static int
pay(void *arg, uint64_t bytes, struct err *e)
{
    struct scrub *s = arg;
    if (s->rate != 0) {
        uint64_t now = now_ns();
        s->ready_ns = MAX(s->ready_ns, now) + bytes * NS / s->rate;
        if (s->ready_ns > now + AHEAD_NS)
            sleep_until(s, s->ready_ns);
    }
    return is_stopped(s) ? err_set(e, ERR_PEER, "told to stop") : 0;
}

static void
tell(const struct scrub *s)
{
    static const uint64_t one = 1;
    ssize_t wrote = write(s->wake_fd, &one, sizeof(one));
    ASSERT(wrote == sizeof(one) || errno == EAGAIN); /* full: it is readable already */
}

static struct scrub_item *
wait_for_item(struct scrub *s)
{
    while (!s->stop && s->asked.first == NULL)
        pthread_cond_wait(&s->wake, &s->lock);
    return s->stop ? NULL : queue_take(&s->asked);
}

static void *
run(void *arg)
{
    struct scrub *s = arg;
    struct listing_pace pace = { pay, s };
    struct scrub_item *item;
    proc_be_last();
    pthread_mutex_lock(&s->lock);
    while ((item = wait_for_item(s)) != NULL) {
        pthread_mutex_unlock(&s->lock);
        scrub_read(s->node, item, &pace);
        file_closep(&item->fd);
        pthread_mutex_lock(&s->lock);
        queue_add(&s->done, item);
        tell(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- the asking thread --- */

struct scrub *
scrub_new(const struct node *node, uint64_t rate, int wake_fd)
{
    struct scrub *s = xcalloc(1, sizeof(*s));
    pthread_condattr_t monotonic;
    s->node = node;
    s->rate = rate;
    s->wake_fd = wake_fd;
    s->asked.last = &s->asked.first;
    s->done.last = &s->done.first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return s;
}

static int
start(struct scrub *s, struct err *e)
{
    sigset_t all, before; /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = s->running ? 0 : pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->running |= r == 0;
    return r == 0 ? 0 : err_errnum(e, ERR_NOMEM, r, "start a thread that compares");
}

int
scrub_ask(struct scrub *s, struct scrub_item *item, struct err *e)
{
    if (start(s, e) < 0) {
        scrub_item_free(&item);
        return -1;
    }
    s->open_count++;
    pthread_mutex_lock(&s->lock);
    queue_add(&s->asked, item);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

struct scrub_item *
scrub_take(struct scrub *s)
{
    pthread_mutex_lock(&s->lock);
    struct scrub_item *item = queue_take(&s->done);
    pthread_mutex_unlock(&s->lock);
    s->open_count -= item != NULL;
    return item;
}

size_t
scrub_open_count(const struct scrub *s)
{
    return s->open_count;
}

bool
scrub_has_done(struct scrub *s)
{
    pthread_mutex_lock(&s->lock);
    bool has = s->done.first != NULL;
    pthread_mutex_unlock(&s->lock);
    return has;
}

void
scrub_free(struct scrub **scrub)
{
    struct scrub *s = *scrub;
    *scrub = NULL;
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->running)
        pthread_join(s->thread, NULL);
    queue_free(&s->asked);
    queue_free(&s->done);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
