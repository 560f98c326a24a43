/* control_kit.h - a daemon in a thread of its own, with a handler that does what a test needs. */
#ifndef MAILTWIN_CONTROL_KIT_H
#define MAILTWIN_CONTROL_KIT_H

#include "tests/unit/test.h"

#include "lib/os/order.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LARGE  1000000
#define MEDIUM 50000

/* A daemon in a thread of its own, and what its handler saw. */
static struct {
    char dir[64];
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server;
    struct control_call *held;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned holds, gone;
} d = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static inline void
count(unsigned *counter)
{
    pthread_mutex_lock(&d.mutex);
    ++*counter;
    pthread_cond_signal(&d.changed);
    pthread_mutex_unlock(&d.mutex);
}

static inline void
wait_for(const unsigned *counter, unsigned at_least)
{
    pthread_mutex_lock(&d.mutex);
    while (*counter < at_least)
        pthread_cond_wait(&d.changed, &d.mutex);
    pthread_mutex_unlock(&d.mutex);
}

static inline void
answer_with_progress(struct control_call *call)
{
    for (int i = 1; i <= 3; i++)
        control_progress(call, json_pack("{s:f, s:s}", "done", i / 4.0, "text", "comparing"));
    control_reply(call, json_pack("{s:i}", "differences", 2));
}

/* Talks to a client that has left until the server notices. */
static inline void
talk_until_gone(uv_idle_t *idle)
{
    struct control_call *call = idle->data;
    if (!control_gone(call)) {
        control_progress(call, json_pack("{s:i}", "n", 1));
        return;
    }
    control_reply(call, json_object());
    uv_close((uv_handle_t *)idle, (uv_close_cb)free);
    count(&d.gone);
}

static inline void
start_talking(struct control_call *call)
{
    uv_idle_t *idle = calloc(1, sizeof(*idle));
    uv_idle_init(&d.loop, idle);
    idle->data = call;
    uv_idle_start(idle, talk_until_gone);
}

static inline void
serve(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    struct err e = { 0 };
    assert_ptr_equal(arg, &d);
    if (json_is_true(json_object_get(request, "noted")))
        order_note(call, request, peer);
    if (strcmp(what, "status") == 0 || strcmp(what, "barrier") == 0) {
        control_reply(call, json_pack("{s:i, s:i}", "uid", peer->uid, "pid", peer->pid));
    } else if (strcmp(what, "verify") == 0) {
        answer_with_progress(call);
    } else if (strcmp(what, "hold") == 0) {
        d.held = call;
        count(&d.holds);
    } else if (strcmp(what, "talk") == 0) {
        start_talking(call);
        count(&d.holds);
    } else if (strcmp(what, "large") == 0 || strcmp(what, "medium") == 0) {
        size_t size = what[0] == 'l' ? LARGE : MEDIUM;
        char *text = calloc(1, size + 1);
        memset(text, 'x', size);
        control_reply(call, json_pack("{s:s}", "text", text));
        free(text);
    } else {
        err_set(&e, ERR_REFUSED, "rule 7: the journal of \xff is behind");
        control_fail(call, &e);
    }
}

static inline void *
run_daemon(void *arg)
{
    (void)arg;
    uv_run(&d.loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline void
remove_dir(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", d.dir);
    assert_int_equal(system(command), 0);
}

static inline void
make_dir(void)
{
    snprintf(d.dir, sizeof(d.dir), "/tmp/mailtwin-control-XXXXXX");
    CHECK(mkdtemp(d.dir) != NULL);
    test_scratch(d.dir);
    CHECK_INT(chmod(d.dir, 0755), 0);
}

static inline void
start_daemon(void)
{
    struct err e = { 0 };
    d.holds = d.gone = 0;
    CHECK_INT(uv_loop_init(&d.loop), 0);
    if (control_server_open(&d.loop, d.dir, serve, &d, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    CHECK_INT(pthread_create(&d.thread, NULL, run_daemon, NULL), 0);
}

static inline void
close_server(void *arg)
{
    (void)arg;
    control_server_close(&d.server);
}

static inline void
stop_daemon(void)
{
    control_post(d.server, close_server, NULL);
    pthread_join(d.thread, NULL);
    CHECK_INT(uv_loop_close(&d.loop), 0);
}

static inline int
ask(const char *what, json_t **ret_reply, struct err *e)
{
    json_t *request = json_pack("{s:s}", "do", what);
    *ret_reply = NULL;
    int r = control_ask(d.dir, CONTROL_SOCKET, request, 10000, NULL, NULL, ret_reply, e);
    json_decref(request);
    return r;
}

static inline int
dial(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", d.dir, name);
    struct timeval patience = { .tv_sec = 120 }; /* what is not answered then never will be */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    return fd;
}

static inline void
say(int fd, const char *text)
{
    ssize_t len = (ssize_t)strlen(text);
    CHECK_INT(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
}

/* All that comes until the other side closes, or until `lines` lines are there. */
static inline const char *
hear(int fd, unsigned lines)
{
    static char text[8192];
    size_t len = 0;
    while (lines > 0 && len < sizeof(text) - 1) {
        if (recv(fd, text + len, 1, 0) <= 0)
            break;
        lines -= text[len++] == '\n';
    }
    text[len] = '\0';
    return text;
}

#endif
