#include "directory/role.h"

#include "lib/os/control.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ASK_EVERY_MS 250
#define ANSWER_MS    2000

static const char *const names[] = { "unknown", "none", "primary", "standby" };

const char *
role_name(enum role role)
{
    return names[role];
}

static enum role
role_of(const char *word)
{
    for (size_t i = 0; word != NULL && i < ARRAY_LEN(names); i++)
        if (strcmp(word, names[i]) == 0)
            return (enum role)i;
    return ROLE_UNKNOWN;
}

static json_t *
ask(const struct roles *roles, const char *socket, const char *what)
{
    struct err e = { 0 };
    json_t *reply = NULL;
    json_t *request = json_pack("{s:s}", "do", what);
    if (control_ask(roles->run_dir, socket, request, ANSWER_MS, NULL, NULL, &reply, &e) < 0)
        reply = NULL;
    json_decref(request);
    return reply;
}

static uint64_t
number(const json_t *reply, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(reply, key));
}

static void
look(struct roles *roles)
{
    json_t *reply = ask(roles, CONTROL_BARRIER, "role");
    enum role role = role_of(json_string_value(json_object_get(reply, "role")));
    const char *history = json_string_value(json_object_get(reply, "history"));
    if (role != ROLE_UNKNOWN) {
        pthread_mutex_lock(&roles->mutex);
        uint64_t epoch = number(reply, "epoch");
        bool changed = roles->state.role != role || roles->state.epoch != epoch;
        roles->state = (struct role_state){ .role = role,
                                            .epoch = epoch,
                                            .tail = number(reply, "tail"),
                                            .applied = number(reply, "applied") };
        snprintf(roles->state.history, ROLE_HISTORY_MAX, "%s", history != NULL ? history : "");
        pthread_mutex_unlock(&roles->mutex);
        if (changed)
            roles->changed(roles->arg);
    }
    json_decref(reply);
}

static void
pause_between(struct roles *roles)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ASK_EVERY_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&roles->mutex);
    while (!roles->ending && !roles->asked &&
           pthread_cond_timedwait(&roles->end, &roles->mutex, &until) == 0)
        continue;
    roles->asked = false;
    pthread_mutex_unlock(&roles->mutex);
}

void
roles_look(struct roles *roles)
{
    pthread_mutex_lock(&roles->mutex);
    roles->asked = true;
    pthread_cond_signal(&roles->end);
    pthread_mutex_unlock(&roles->mutex);
}

static void *
role_thread(void *arg)
{
    struct roles *roles = arg;
    for (;;) {
        look(roles);
        pause_between(roles);
        pthread_mutex_lock(&roles->mutex);
        bool ending = roles->ending;
        pthread_mutex_unlock(&roles->mutex);
        if (ending)
            return NULL;
    }
}

int
roles_start(struct roles *roles, const char *run_dir, void (*changed)(void *arg), void *arg,
            struct err *e)
{
    pthread_condattr_t clock;
    *roles = (struct roles){ .run_dir = run_dir, .changed = changed, .arg = arg };
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&roles->mutex, NULL);
    pthread_cond_init(&roles->end, &clock);
    pthread_condattr_destroy(&clock);
    int failed = pthread_create(&roles->thread, NULL, role_thread, roles);
    return failed == 0 ? 0 : err_errnum(e, ERR_IO, failed, "start the thread that asks the role");
}

void
roles_stop(struct roles *roles)
{
    pthread_mutex_lock(&roles->mutex);
    roles->ending = true;
    pthread_cond_signal(&roles->end);
    pthread_mutex_unlock(&roles->mutex);
    pthread_join(roles->thread, NULL);
    pthread_cond_destroy(&roles->end);
    pthread_mutex_destroy(&roles->mutex);
}

struct role_state
roles_now(const struct roles *roles)
{
    union {
        const pthread_mutex_t *in;
        pthread_mutex_t *out;
    } mutex = { .in = &roles->mutex };
    pthread_mutex_lock(mutex.out);
    struct role_state state = roles->state;
    pthread_mutex_unlock(mutex.out);
    return state;
}

int
roles_complete(const struct roles *roles)
{
    json_t *reply = ask(roles, CONTROL_SOCKET, "status");
    const char *sync = json_string_value(json_object_get(reply, "sync"));
    int complete = sync == NULL ? -1 : strcmp(sync, "none") == 0;
    json_decref(reply);
    return complete;
}
