/* The network role: from the fork to the end of its loop. */
#include "replicator/net/role.h"

#include "lib/os/file.h"
#include "lib/os/proc.h"
#include "lib/os/sandbox.h"
#include "replicator/net/notices.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define BACKLOG   64
#define ASLEEP_MS 2500 /* a tick this late means that we were stopped, not the peers */

uint64_t
role_now_ms(const struct role *role)
{
    (void)role;
    return uv_hrtime() / 1000000;
}

/* Whoever holds connections open without a word must not keep a peer out. */
static void
drop_oldest_stranger(struct role *role)
{
    struct conn *conn, *oldest = NULL;
    struct err e;
    LIST_FOREACH(conn, &role->conns, next)
    if (conn->stranger) /* new ones come first in the list */
        oldest = conn;
    ASSERT(oldest != NULL);
    err_set(&e, ERR_BUSY,
            "more than %d connections have not said who they are; the oldest is closed",
            ROLE_STRANGERS_MAX);
    conn_close(oldest, &e);
}

static void
on_listener(uv_poll_t *poll, int status, int events)
{
    struct role *role = poll->data;
    (void)status, (void)events;
    struct sockaddr_storage from = { 0 };
    socklen_t size = sizeof(from);
    int fd = accept4(role->listen_fd, (struct sockaddr *)&from, &size,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        struct err e;
        err_sys(&e, ERR_IO, "accept a connection");
        role_trouble(role, "", "", e.text);
        uv_poll_stop(poll); /* until the next tick: out of descriptors, most likely */
    }
    if (fd < 0)
        return;
    if (role->strangers >= ROLE_STRANGERS_MAX)
        drop_oldest_stranger(role);
    conn_new(role, fd, NULL, &from);
}

/* The store role has closed the channel: end soon, but send what is queued. */
static void
role_stop(struct role *role)
{
    if (role->stop_ms != 0)
        return;
    role->stop_ms = role_now_ms(role) + ROLE_STOP_MS;
    uv_poll_stop(&role->control);
    uv_poll_stop(&role->listener);
    if (LIST_EMPTY(&role->conns))
        uv_stop(&role->loop);
    struct conn *conn;
    LIST_FOREACH(conn, &role->conns, next)
    { /* they leave the list later, in callbacks */
        struct err e;
        err_set(&e, ERR_PEER, "this node's replication stops");
        if (conn->state == CONN_LINKED && conn_collect(conn, &e) == 0)
            conn_farewell(conn, e.text);
        else if (conn->state <= CONN_LINKED)
            conn_close(conn, &e);
    }
}

static void
on_control(uv_poll_t *poll, int status, int events)
{
    struct role *role = poll->data;
    struct err e;
    char byte;
    bool ended = status < 0;
    if (events & UV_READABLE) /* nothing is ever said to us: it is the end */
        ended = ended || recv(role->control_fd, &byte, 1, MSG_DONTWAIT) == 0;
    if (ended || notices_flush(role, &e) < 0)
        role_stop(role);
    else
        role_watch_control(role);
}

void
role_watch_control(struct role *role)
{
    bool waits = !STAILQ_EMPTY(&role->notices);
    if (role->stop_ms == 0)
        uv_poll_start(&role->control, UV_READABLE | (waits ? UV_WRITABLE : 0), on_control);
}

static void
on_tick(uv_timer_t *timer)
{
    struct role *role = timer->data;
    uint64_t now_ms = role_now_ms(role);
    bool slept = now_ms - role->ticked_ms > ASLEEP_MS;
    role->ticked_ms = now_ms;
    struct conn *conn;
    LIST_FOREACH(conn, &role->conns, next)
    {
        if (slept)
            conn->received_ms = now_ms;
        conn_tick(conn, now_ms);
    }
    if (role->stop_ms == 0)
        uv_poll_start(&role->listener, UV_READABLE, on_listener);
    else if (now_ms >= role->stop_ms)
        uv_stop(&role->loop);
}

static int
open_listener(struct role *role, struct err *e)
{
    const struct conf_node *self = conf_node_find(role->conf, role->conf->self);
    struct sockaddr_storage address;
    if (self == NULL)
        return err_set(e, ERR_CONFIG, "there is no node %s", role->conf->self);
    if (peer_address(self, &address, e) < 0)
        return -1;
    bool v6 = address.ss_family == AF_INET6;
    role->listen_fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (role->listen_fd < 0)
        return err_sys(e, ERR_IO, "make a socket");
    if (setsockopt(role->listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0 ||
        (v6 &&
         setsockopt(role->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)) < 0))
        return err_sys(e, ERR_IO, "prepare the listening socket");
    socklen_t size = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (bind(role->listen_fd, (const struct sockaddr *)&address, size) < 0 ||
        listen(role->listen_fd, BACKLOG) < 0)
        return err_sys(e, ERR_IO, "listen on %s port %u", self->address, self->port);
    return 0;
}

/* Everything that needs files, rights or system calls which the role gives up next. */
static int
role_open(struct role *role, struct err *e)
{
    const struct conf *conf = role->conf;
    setenv("UV_USE_IO_URING", "0", 1); /* newer libuv would need calls we do not allow */
    int failed = uv_loop_init(&role->loop);
    if (failed < 0)
        return err_errnum(e, ERR_IO, -failed, "make the event loop");
    if (tls_ctx_new(conf->tls.authority, conf->tls.certificate, conf->tls.key, &role->tls, e) < 0 ||
        open_listener(role, e) < 0 || peers_init(role, e) < 0)
        return -1;
    tzset(); /* reads a file at its first call, and dates are printed later */
    return 0;
}

static int
confine_files(struct role *role, struct err *e)
{
    struct sandbox_files *files = NULL;
    unsigned all = SANDBOX_READ | SANDBOX_WRITE | SANDBOX_EXECUTE | SANDBOX_TCP;
    int has = sandbox_landlock_new(all, &files, e);
    if (has < 0)
        return -1;
    for (size_t i = 0; i < role->peer_count; i++)
        if (role->peers[i].dials &&
            sandbox_landlock_allow_connect(files, role->peers[i].node->port, e) < 0)
            return -1;
    if (sandbox_landlock_enter(&files, e) < 0)
        return -1;
    return has;
}

/* 1 confined, 0 confined but for Landlock (e says why), -1 failed. */
static int
role_confine(struct role *role, struct err *e)
{
    struct sandbox_user user;
    if (geteuid() == 0 &&
        (sandbox_user_find(role->conf->user, &user, e) < 0 ||
         sandbox_chroot_empty(role->conf->run_dir, e) < 0 || sandbox_drop_user(&user, e) < 0))
        return -1;
    if (geteuid() != 0 && sandbox_keep_caps(NULL, 0, e) < 0)
        return -1;
    if (proc_die_with_parent(e) < 0 || sandbox_hide_memory(e) < 0)
        return -1;
    struct err missing = { 0 };
    int has = confine_files(role, &missing);
    if (has < 0 || sandbox_seccomp(SANDBOX_NET, e) < 0) {
        if (has < 0)
            *e = missing;
        return -1;
    }
    *e = missing;
    return has;
}

static void
watch_all(struct role *role)
{
    ASSERT(uv_poll_init(&role->loop, &role->control, role->control_fd) == 0);
    ASSERT(uv_poll_init(&role->loop, &role->listener, role->listen_fd) == 0);
    ASSERT(uv_timer_init(&role->loop, &role->tick) == 0);
    role->control.data = role->listener.data = role->tick.data = role;
    role->ticked_ms = role_now_ms(role);
    uv_poll_start(&role->control, UV_READABLE, on_control);
    uv_poll_start(&role->listener, UV_READABLE, on_listener);
    uv_timer_start(&role->tick, on_tick, ROLE_TICK_MS, ROLE_TICK_MS);
}

/* Ready, what is wrong with our own certificate, and off we go. */
static void
role_begin(struct role *role, const char *confined)
{
    struct err e;
    watch_all(role);
    role_notice(role, NET_READY, "", "", confined, -1);
    if (tls_ctx_check_own(role->tls, role->conf->self, &e) < 0)
        role_trouble(role, "", "", e.text);
    for (size_t i = 0; i < role->peer_count; i++)
        if (role->peers[i].dials)
            peer_dial(&role->peers[i]);
}

/* The first packet of a role that cannot start is its reason. */
static int
report_failure(int control_fd, const struct err *e)
{
    struct net_notice notice = { .type = NET_TROUBLE };
    struct err lost;
    memcpy(notice.text, e->text, sizeof(notice.text) - 1);
    int sent = proc_send(control_fd, span_of(&notice, sizeof(notice)), -1, &lost);
    return sent == 1 ? err_exit_status(e->code) : 1;
}

static void
ignore_signals(void)
{
    const int numbers[] = { SIGPIPE, SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) /* the store role says when we end */
        (void)signal(numbers[i], SIG_IGN);
}

static void
role_free(struct role *role)
{
    tls_ctx_free(&role->tls); /* wipes the key */
    notices_free(role);
    file_closep(&role->listen_fd);
    free(role->peers);
    free(role);
}

int
net_role_run(const struct conf *conf, int control_fd)
{
    struct err e = { 0 };
    struct role *role = xcalloc(1, sizeof(*role));
    role->conf = conf;
    role->control_fd = control_fd;
    role->listen_fd = -1;
    LIST_INIT(&role->conns);
    STAILQ_INIT(&role->notices);
    ignore_signals();
    if (role_open(role, &e) < 0 || role_confine(role, &e) < 0) {
        role_free(role);
        return report_failure(control_fd, &e);
    }
    role_begin(role, e.text);
    uv_run(&role->loop, UV_RUN_DEFAULT);
    role_free(role);
    return 0;
}
