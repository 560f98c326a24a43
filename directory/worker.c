#include "directory/worker.h"

#include "directory/apply.h"
#include "directory/capture.h"
#include "directory/kept.h"
#include "directory/lead.h"
#include "directory/native.h"
#include "directory/status.h"
#include "directory/withhold.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MARK_SUFFIX "mode" /* what was last done with the store; lead.h */
#define MARK_MAX    64
#define AGAIN_MS    1000
#define DOWN_MS     5000  /* a server is down so long before a demotion is told of it */
#define HOLD_MS     70000 /* behind its time a demotion is not under way any more */

struct order {
    struct order *next;
    enum order_kind kind;
    struct control_call *call;
    struct control_server *control;
    uint64_t until_ms;
    uint64_t epoch;   /* of LEVEL */
    uint64_t down_ms; /* since when there is no server, as far as this order knows; 0 there is */
    bool begun;       /* a step was made since it came */
    struct buf csns;  /* of REACH: what the server had */
    json_t *reply;    /* NULL: e says why not */
    struct err e;
};

struct worker {
    struct dir_store *store;
    struct control_server *control;
    pthread_t thread;
    int wake_fd;
    struct order *orders;  /* of the thread */
    pthread_mutex_t mutex; /* guards what follows */
    bool ending;
    struct order *fresh;
    json_t *status;
};

/* --- orders --- */

static void
order_answer(void *arg)
{
    struct order *order = arg;
    if (order->reply != NULL)
        control_reply(order->call, order->reply);
    else
        control_fail(order->call, &order->e);
    buf_free(&order->csns);
    free(order);
}

/* 1 answered, 0 not yet. reply NULL: with the error. */
static int
answer(struct order *order, json_t *reply)
{
    order->reply = reply;
    control_post(order->control, order_answer, order);
    return 1;
}

static int
refuse(struct order *order, enum err_code code, const char *why)
{
    err_set(&order->e, code, "%s", why);
    return answer(order, NULL);
}

/* At a barrier a server that is down is waited for; at a demotion somebody stands and waits. */
static int
look_for_server(struct dir_store *s, struct order *order)
{
    uint64_t now = dir_now_ms();
    if (s->server != NULL)
        order->down_ms = 0;
    else if (order->down_ms == 0)
        order->down_ms = now;
    bool down = s->server == NULL && s->trouble != NULL && now - order->down_ms >= DOWN_MS;
    return order->kind == ORDER_HANDOVER && down ? refuse(order, ERR_PEER, s->trouble) : 0;
}

static int
do_reach(struct dir_store *s, struct order *order)
{
    if (s->mode == DIR_NATIVE)
        return refuse(order, ERR_UNSUITABLE, "the directory replicates by itself (native)");
    if (s->mode != DIR_CAPTURE && s->mode != DIR_IDLE && roles_now(s->roles).role != ROLE_PRIMARY)
        return refuse(order, ERR_REFUSED, "this node is not the primary");
    if (s->mode != DIR_CAPTURE || s->server == NULL)
        return look_for_server(s, order);
    if (!order->begun) {
        int r = server_csns(s->server, &order->csns, &order->e);
        if (r != 0)
            return r < 0 ? 0 : answer(order, NULL);
        order->begun = true;
    }
    if (!capture_reached(s, buf_span(&order->csns)))
        return 0;
    if (order->kind == ORDER_HANDOVER)
        s->held_ms = order->until_ms + HOLD_MS;
    return answer(order, json_object());
}

static int
do_resume(struct dir_store *s, struct order *order)
{
    s->held_ms = 0;
    return answer(order, json_object());
}

/* Asked before a step was made, it is answered after one: what was in the spool is seen by then. */
static int
do_level(struct dir_store *s, struct order *order)
{
    bool waited = order->begun;
    order->begun = true;
    struct role_state role = roles_now(s->roles);
    bool applied = s->mode == DIR_APPLY && apply_level(s);
    if (!waited || !lead_is_level(s->mode, &role, order->epoch, s->epoch, applied))
        return 0;
    _cleanup_free_ char *now = dir_level_text(s, &role);
    const char *level = s->mode == DIR_CAPTURE && s->level != NULL ? s->level : now;
    json_t *reply = json_loads(level, 0, NULL);
    ASSERT(reply != NULL);
    json_int_t position = json_integer_value(json_object_get(reply, "position"));
    json_int_t refused = json_integer_value(json_object_get(reply, "refused"));
    _cleanup_free_ char *text =
        s->mode == DIR_NATIVE
            ? xstrdup("the directory replicates by itself")
            : xasprintf("the directory server is level at position %jd, %jd entries refused",
                        (intmax_t)position, (intmax_t)refused);
    json_object_set_new(reply, "text", json_string(text));
    return answer(order, reply);
}

static int
do_release(struct dir_store *s, struct order *order)
{
    if (s->held_ms != 0)
        return 0;
    size_t held = s->guard.gone + withhold_count(s);
    json_t *reply = json_pack("{s:I}", "released", (json_int_t)held);
    if (s->mode == DIR_CAPTURE)
        capture_release(s);
    s->guard.released = s->mode == DIR_APPLY && s->guard.gone > 0;
    if (s->mode == DIR_APPLY)
        apply_retry(s);
    return answer(order, reply);
}

static int
do_retry(struct dir_store *s, struct order *order)
{
    json_t *reply = json_pack("{s:I}", "tried", (json_int_t)s->table.problems);
    if (s->mode == DIR_APPLY)
        apply_retry(s);
    else if (s->mode == DIR_CAPTURE)
        capture_refresh(s);
    return answer(order, reply);
}

static int
order_look(struct dir_store *s, struct order *order)
{
    static int (*const looks[])(struct dir_store * s, struct order * order) = {
        [ORDER_REACH] = do_reach, [ORDER_HANDOVER] = do_reach,  [ORDER_RESUME] = do_resume,
        [ORDER_LEVEL] = do_level, [ORDER_RELEASE] = do_release, [ORDER_RETRY] = do_retry,
    };
    if (looks[order->kind](s, order) > 0)
        return 1;
    if (dir_now_ms() < order->until_ms)
        return 0;
    err_set(&order->e, ERR_TIMEOUT, "the directory is not so far in the time allowed%s%s",
            s->trouble != NULL ? ": " : "", s->trouble != NULL ? s->trouble : "");
    return answer(order, NULL);
}

/* Returns the milliseconds to the first that runs out, -1 none; 0: look again at once. */
static int
look_at_orders(struct worker *w)
{
    uint64_t now = dir_now_ms(), next = UINT64_MAX;
    bool again = false;
    for (struct order **at = &w->orders; *at != NULL;) {
        struct order *order = *at, *rest = order->next;
        bool was_begun = order->begun;
        bool acts = order->kind == ORDER_RELEASE || order->kind == ORDER_RETRY ||
                    order->kind == ORDER_RESUME;
        if (order_look(w->store, order) > 0) {
            *at = rest;
            again |= acts;
            continue;
        }
        again |= !was_begun && order->begun;
        next = MIN(next, order->until_ms);
        at = &order->next;
    }
    if (again)
        return 0;
    return next == UINT64_MAX ? -1 : (int)MIN(MAX(next, now + 1) - now, (uint64_t)AGAIN_MS);
}

/* --- what is done with the store --- */

static enum dir_mode
wanted(const struct dir_store *s)
{
    if (s->conf->ldap.native)
        return DIR_NATIVE;
    enum role role = roles_now(s->roles).role;
    if (role == ROLE_PRIMARY)
        return DIR_CAPTURE;
    return role == ROLE_STANDBY ? DIR_APPLY : DIR_IDLE;
}

static bool
applies_first(struct dir_store *s, uint64_t epoch)
{
    _cleanup_free_ char *mark = dir_state_read(s, MARK_SUFFIX, MARK_MAX);
    return lead_applies_first(mark, epoch);
}

static int
write_mark(struct dir_store *s, enum dir_mode mode, struct err *e)
{
    _cleanup_free_ char *capture = xasprintf(LEAD_CAPTURE " %llu\n", (unsigned long long)s->epoch);
    const char *mark = mode == DIR_APPLY ? LEAD_APPLY : capture;
    return dir_state_write(s, MARK_SUFFIX, span_str(mark), e);
}

static int
begin(struct dir_store *s, enum dir_mode mode, struct err *e)
{
    s->epoch = roles_now(s->roles).epoch;
    if ((mode == DIR_CAPTURE || mode == DIR_APPLY) && write_mark(s, mode, e) < 0)
        return -1;
    if (mode == DIR_CAPTURE)
        return capture_begin(s, e);
    return mode == DIR_APPLY ? apply_begin(s, e) : 0;
}

static void
end(struct dir_store *s)
{
    if (s->mode == DIR_CAPTURE)
        capture_end(s);
    else if (s->mode == DIR_APPLY)
        apply_end(s);
    else if (s->mode == DIR_NATIVE)
        native_end(s);
    s->mode = DIR_IDLE;
}

static void
change(struct dir_store *s, enum dir_mode mode)
{
    struct err e = { 0 };
    end(s);
    dir_trouble(s, NULL);
    s->connect_ms = 0;
    s->held_ms = 0;
    s->mode = mode;
    if (begin(s, mode, &e) < 0) {
        end(s); /* tried again at the next turn */
        dir_trouble(s, &e);
        return;
    }
    event(EV_DIR_MODE, F_STR("store", s->conf->name), F_STR("mode", dir_mode_name(mode)));
}

/* The node was promoted, and its server has all that the spool has. From here on the server leads.
 */
static int
note_level(struct dir_store *s, struct err *e)
{
    struct role_state role = roles_now(s->roles);
    char *text = dir_level_text(s, &role);
    free(s->level);
    s->level = text;
    if (kept_save(s, e) < 0 || dir_state_write(s, "level", span_str(text), e) < 0)
        return -1;
    event(EV_DIR_LEVEL, F_STR("store", s->conf->name), F_STR("history", role.history),
          F_U64("epoch", role.epoch), F_U64("position", role.tail),
          F_U64("refused", s->table.problems));
    return 0;
}

static void
choose(struct dir_store *s)
{
    enum dir_mode mode = wanted(s);
    struct role_state role = roles_now(s->roles);
    bool unknown = role.role == ROLE_UNKNOWN && mode != DIR_NATIVE;
    bool missed = s->mode == DIR_CAPTURE && lead_missed(s->epoch, role.epoch);
    if ((mode == s->mode && !missed) || unknown || (mode == DIR_CAPTURE && s->mode == DIR_APPLY))
        return; /* the last is finish_promotion()'s */
    if (mode == DIR_CAPTURE && (missed || applies_first(s, role.epoch)))
        mode = DIR_APPLY;
    change(s, mode);
}

/* Behind a step: all that the spool had when the role changed was carried out in it. */
static bool
finish_promotion(struct dir_store *s)
{
    struct err e = { 0 };
    if (s->mode != DIR_APPLY || wanted(s) != DIR_CAPTURE || !apply_level(s))
        return false;
    if (note_level(s, &e) < 0) {
        dir_trouble(s, &e);
        return false;
    }
    change(s, DIR_CAPTURE);
    return true;
}

/* Of two waits; below 0 is for ever. */
static int
sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : MIN(a, b);
}

static bool
is_held(struct dir_store *s)
{
    if (s->held_ms != 0 && dir_now_ms() >= s->held_ms)
        s->held_ms = 0;
    return s->held_ms != 0;
}

static int
step(struct dir_store *s)
{
    choose(s);
    bool promoted = wanted(s) == DIR_CAPTURE && s->mode == DIR_APPLY;
    int wait_ms = AGAIN_MS;
    if (s->mode == DIR_CAPTURE && !is_held(s))
        wait_ms = capture_step(s);
    else if (s->mode == DIR_APPLY)
        wait_ms = apply_step(s);
    else if (s->mode == DIR_NATIVE)
        wait_ms = native_step(s);
    if (promoted && finish_promotion(s))
        return 0;
    return promoted ? sooner(wait_ms, AGAIN_MS) : wait_ms;
}

/* --- the thread --- */

static bool
take_fresh(struct worker *w)
{
    pthread_mutex_lock(&w->mutex);
    struct order *fresh = w->fresh;
    bool ending = w->ending;
    w->fresh = NULL;
    pthread_mutex_unlock(&w->mutex);
    while (fresh != NULL) {
        struct order *next = fresh->next;
        fresh->next = w->orders;
        w->orders = fresh;
        fresh = next;
    }
    return !ending;
}

static void
publish(struct worker *w)
{
    json_t *status = dir_status(w->store);
    pthread_mutex_lock(&w->mutex);
    json_t *old = w->status;
    w->status = status;
    pthread_mutex_unlock(&w->mutex);
    json_decref(old);
}

static void
wait_for_news(const struct worker *w, int wait_ms)
{
    const struct dir_store *s = w->store;
    struct pollfd fds[2] = { { .fd = w->wake_fd, .events = POLLIN },
                             { .fd = -1, .events = POLLIN } };
    if (s->mode == DIR_CAPTURE && s->server != NULL && s->held_ms == 0)
        fds[1].fd = server_fd(s->server);
    else if (s->mode == DIR_APPLY)
        fds[1].fd = s->apply.inotify_fd;
    uint64_t count;
    if (poll(fds, 2, wait_ms) > 0 && fds[0].revents != 0 &&
        read(w->wake_fd, &count, sizeof(count)) < 0)
        return; /* nobody had woken it */
}

static void
refuse_orders(struct worker *w)
{
    while (w->orders != NULL) {
        struct order *order = w->orders;
        w->orders = order->next;
        refuse(order, ERR_PEER, "the daemon stops");
    }
}

static void *
worker_thread(void *arg)
{
    struct worker *w = arg;
    while (take_fresh(w)) {
        int wait_ms = step(w->store);
        wait_ms = sooner(wait_ms, look_at_orders(w));
        publish(w);
        wait_for_news(w, wait_ms);
    }
    refuse_orders(w);
    end(w->store);
    return NULL;
}

int
worker_start(struct dir_store *store, struct control_server *control, struct worker **ret_worker,
             struct err *e)
{
    struct worker *w = xcalloc(1, sizeof(*w));
    *w = (struct worker){ .store = store, .control = control };
    pthread_mutex_init(&w->mutex, NULL);
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0) {
        free(w);
        return err_sys(e, ERR_IO, "make an event descriptor");
    }
    store->level = dir_state_read(store, "level", 4096);
    w->status = dir_status(store);
    int failed = pthread_create(&w->thread, NULL, worker_thread, w);
    if (failed != 0) {
        file_closep(&w->wake_fd);
        json_decref(w->status);
        free(w);
        return err_errnum(e, ERR_IO, failed, "start the thread of store %s", store->conf->name);
    }
    *ret_worker = w;
    return 0;
}

void
worker_wake(struct worker *w)
{
    const uint64_t one = 1;
    ssize_t written = write(w->wake_fd, &one, sizeof(one));
    (void)written; /* full: it is awake */
}

void
worker_stop(struct worker **worker)
{
    struct worker *w = *worker;
    *worker = NULL;
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->ending = true;
    pthread_mutex_unlock(&w->mutex);
    worker_wake(w);
    pthread_join(w->thread, NULL);
    take_fresh(w);
    refuse_orders(w);
    file_closep(&w->wake_fd);
    json_decref(w->status);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

void
worker_order(struct worker *w, const struct order_for *what, struct control_call *call)
{
    struct order *order = xcalloc(1, sizeof(*order));
    *order = (struct order){ .kind = what->kind,
                             .call = call,
                             .control = w->control,
                             .epoch = what->epoch,
                             .until_ms = dir_now_ms() + what->timeout_ms };
    pthread_mutex_lock(&w->mutex);
    order->next = w->fresh;
    w->fresh = order;
    pthread_mutex_unlock(&w->mutex);
    worker_wake(w);
}

json_t *
worker_status(struct worker *w)
{
    pthread_mutex_lock(&w->mutex);
    json_t *copy = json_deep_copy(w->status);
    pthread_mutex_unlock(&w->mutex);
    return copy;
}

const char *
worker_name(const struct worker *w)
{
    return w->store->conf->name;
}
