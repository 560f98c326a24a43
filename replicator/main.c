/* main.c - mailtwin-replicatord: reads its configuration, starts the network role, gives up what it
 * does not need, runs. */
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/program.h"
#include "lib/os/sandbox.h"
#include "replicator/daemon.h"
#include "replicator/link.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define TICK_MS        1000
#define NET_RESTART_MS 1000

static struct daemon daemon_instance;
static uv_poll_t net_poll;
static uv_timer_t tick_timer, net_timer;
static uv_signal_t signals[2];
static int exit_status;

/* --- the network role --- */

static void
link_up(struct daemon *d, const struct net_notice *notice, int link_fd)
{
    event(EV_LINK_UP, F_STR("peer", notice->peer), F_STR("address", notice->address));
    daemon_link_up(d, notice->peer, link_fd);
}

static void
link_trouble(struct daemon *d, const struct net_notice *notice)
{
    struct peer *peer = daemon_peer(d, notice->peer);
    event(EV_TLS_FAILED, F_STR("peer", notice->peer), F_STR("address", notice->address),
          F_STR("why", notice->text));
    if (peer != NULL && !peer_connected(peer)) /* else another way to it works */
        peer_set_state(peer, PEER_CONNECTING, "%s", notice->text);
}

static void
on_notice(struct daemon *d, const struct net_notice *notice, int link_fd)
{
    switch ((enum net_notice_type)notice->type) {
    case NET_READY:
        break;
    case NET_LINK_UP:
        link_up(d, notice, link_fd);
        break;
    case NET_LINK_DOWN:
        event(EV_LINK_DOWN, F_STR("peer", notice->peer), F_STR("why", notice->text));
        break;
    case NET_TROUBLE:
        link_trouble(d, notice);
        break;
    }
}

static void net_restart(uv_timer_t *timer);

static void
net_poll_closed(uv_handle_t *handle)
{
    (void)handle;
    uv_timer_start(&net_timer, net_restart, NET_RESTART_MS, 0);
}

/* The loop lets go of the descriptor before it is closed: its number may be another's a moment
 * later, which the loop would then forget, and abort over. */
static void
net_lost(struct daemon *d, const struct err *e)
{
    event(EV_FAILED, F_STR("what", "the network role; it is started again"), F_ERR(e));
    uv_close((uv_handle_t *)&net_poll, net_poll_closed);
    net_stop(&d->net);
}

static void
net_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct daemon *d = poll->data;
    for (;;) {
        struct net_notice notice;
        struct err e = { 0 };
        int link_fd = -1;
        int got = net_notice(d->net, &notice, &link_fd, &e);
        if (got < 0)
            net_lost(d, &e);
        if (got <= 0)
            return;
        on_notice(d, &notice, link_fd);
    }
}

static void
net_begin(struct daemon *d)
{
    uv_poll_init(d->loop, &net_poll, net_fd(d->net));
    net_poll.data = d;
    uv_poll_start(&net_poll, UV_READABLE, net_readable);
}

static void
net_restart(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    struct err e = { 0 };
    if (net_start(d->conf, &d->net, &e) < 0) {
        event(EV_FAILED, F_STR("while", "starting the network role"), F_ERR(&e));
        exit_status = err_exit_status(e.code);
        uv_stop(d->loop);
        return;
    }
    net_begin(d);
}

/* --- the loop --- */

static void
on_tick(uv_timer_t *timer)
{
    daemon_tick(timer->data);
    sd_notify(0, "WATCHDOG=1");
}

static void
on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    uv_stop(handle->loop);
}

static void
loop_begin(struct daemon *d)
{
    uv_timer_init(d->loop, &tick_timer);
    tick_timer.data = d;
    uv_timer_start(&tick_timer, on_tick, TICK_MS, TICK_MS);
    uv_timer_init(d->loop, &net_timer);
    net_timer.data = d;
    const int numbers[] = { SIGTERM, SIGINT };
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        uv_signal_init(d->loop, &signals[i]);
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    net_begin(d);
}

static void
loop_end(void)
{
    if (!uv_is_closing(
            (uv_handle_t *)&net_poll)) /* it is, when the network role did not come back */
        uv_close((uv_handle_t *)&net_poll, NULL);
    uv_close((uv_handle_t *)&net_timer, NULL);
    uv_close((uv_handle_t *)&tick_timer, NULL);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
}

/* --- start --- */

static int
adopted_queue(void)
{
    char **names = NULL;
    int found = -1;
    int count = sd_listen_fds_with_names(1, &names);
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], "fanotify") == 0 && found < 0)
            found = SD_LISTEN_FDS_START + i;
        free(names[i]);
    }
    free(names);
    return found;
}

static const int kept_caps[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE, CAP_CHOWN,
                                 CAP_FOWNER,    CAP_FSETID,          CAP_MKNOD,        CAP_SETUID,
                                 CAP_SETGID,    CAP_SYS_CHROOT,      CAP_SETPCAP,      CAP_KILL };

/* What the store role gives up: it writes in its stores, its state and its run directory, nowhere
 * else. */
static int
confine(const struct daemon *d, struct err *e)
{
    struct sandbox_files *files = NULL;
    int ready = sandbox_landlock_new(SANDBOX_WRITE, &files, e);
    if (ready < 0)
        return -1;
    if (ready == 0)
        event(EV_UNCONFINED, F_ERR(e));
    for (size_t i = 0; i < d->conf->store_count; i++) {
        if (sandbox_landlock_allow(files, d->conf->stores[i].path, SANDBOX_WRITE, e) < 0)
            return -1;
    }
    if (sandbox_landlock_allow(files, d->conf->state_dir, SANDBOX_WRITE, e) < 0 ||
        sandbox_landlock_allow(files, d->conf->run_dir, SANDBOX_WRITE, e) < 0)
        return -1;
    if (sandbox_keep_caps(kept_caps, ARRAY_LEN(kept_caps), e) < 0)
        return -1;
    if (sandbox_landlock_enter(&files, e) < 0)
        return -1;
    return sandbox_seccomp(SANDBOX_STORE, e);
}

/* The network role is forked before anything else runs and before privileges go. */
static int
begin(struct daemon *d, struct err *e)
{
    d->adopt_fd = adopted_queue();
    if (daemon_open(d, e) < 0)
        return -1;
    if (net_start(d->conf, &d->net, e) < 0)
        return err_wrap(e, "start the network role");
    if (geteuid() == 0 && confine(d, e) < 0)
        return err_wrap(e, "confine this process");
    d->loop = uv_default_loop();
    return daemon_serve(d, e);
}

static int
run(const struct conf *conf)
{
    struct daemon *d = &daemon_instance;
    struct err e = { 0 };
    d->conf = conf;
    link_rules_check();
    if (begin(d, &e) < 0) {
        event(EV_FAILED, F_ERR(&e));
        net_stop(&d->net);
        return err_exit_status(e.code);
    }
    loop_begin(d);
    event(EV_STARTED, F_STR("node", conf->self), F_STR("cluster", conf->cluster));
    sd_notify(0, "READY=1");
    uv_run(d->loop, UV_RUN_DEFAULT);
    sd_notify(0, "STOPPING=1");
    loop_end();
    daemon_close(d);
    if (d->failure.code != ERR_NONE)
        return err_exit_status(d->failure.code);
    event(EV_STOPPED);
    return exit_status;
}

int
main(int argc, char **argv)
{
    static const struct program program = { "mailtwin-replicatord",
                                            "Captures, ships and applies changes of the stores",
                                            run, NULL };
    return program_main(&program, argc, argv);
}
