/* main.c - mailtwin-replicatord: reads its configuration, starts the network role, gives up what it
 * does not need, runs. */
#include "lib/base/version.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/sandbox.h"
#include "replicator/barrier.h"
#include "replicator/link.h"
#include "replicator/orders.h"
#include "replicator/protection.h"
#include "replicator/roles.h"

#include <getopt.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define TICK_MS        1000
#define NET_RESTART_MS 1000
#define LOCK_FILE      "lock"

static struct daemon daemon_instance;
static uv_poll_t net_poll;
static uv_timer_t tick_timer, net_timer;
static uv_signal_t signals[2];

/* --- what sessions ask of the main thread --- */

static void
moved_main(void *arg)
{
    struct daemon *d = arg;
    atomic_store(&d->moved_posted, false);
    protection_update(d);
    barriers_check(d->barriers);
}

void
daemon_peer_moved(struct daemon *d)
{
    if (!atomic_exchange(&d->moved_posted, true))
        control_post(d->control, moved_main, d);
}

void
daemon_wake_sessions(struct daemon *d)
{
    for (size_t i = 0; i < d->peer_count; i++)
        peer_wake(&d->peers[i]);
}

/* --- the network role --- */

static struct peer *
find_peer(struct daemon *d, const char *name)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        if (strcmp(d->peers[i].conf->name, name) == 0)
            return &d->peers[i];
    }
    return NULL;
}

static void
link_up(struct daemon *d, const struct net_notice *notice, int link_fd)
{
    struct peer *peer = find_peer(d, notice->peer);
    struct err e = { 0 };
    if (peer == NULL || link_fd < 0) {
        file_closep(&link_fd);
        return;
    }
    event(EV_LINK_UP, F_STR("peer", notice->peer), F_STR("address", notice->address));
    if (peer_attach(peer, link_fd, &e) < 0)
        event(EV_FAILED, F_STR("while", "starting a session"), F_ERR(&e));
}

static void
link_trouble(struct daemon *d, const struct net_notice *notice)
{
    struct peer *peer = find_peer(d, notice->peer);
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
net_lost(struct daemon *d, const struct err *e)
{
    event(EV_FAILED, F_STR("what", "the network role; it is started again"), F_ERR(e));
    uv_poll_stop(&net_poll);
    net_stop(&d->net);
    uv_timer_start(&net_timer, net_restart, NET_RESTART_MS, 0);
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
net_poll_closed(uv_handle_t *handle)
{
    struct daemon *d = handle->data;
    struct err e = { 0 };
    if (net_start(d->conf, &d->net, &e) < 0) {
        event(EV_FAILED, F_STR("while", "starting the network role"), F_ERR(&e));
        uv_stop(d->loop);
        return;
    }
    net_begin(d);
}

static void
net_restart(uv_timer_t *timer)
{
    (void)timer;
    uv_close((uv_handle_t *)&net_poll, net_poll_closed);
}

/* --- the loop --- */

static void
on_tick(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    protection_update(d);
    protection_check_journal(d);
    orders_verify_due(d);
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
    const int numbers[] = { SIGTERM, SIGINT };
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        uv_signal_init(d->loop, &signals[i]);
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    net_begin(d);
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void
loop_end(struct daemon *d)
{
    roles_end(d);
    net_stop(&d->net);
    control_server_close(&d->control);
    uv_close((uv_handle_t *)&net_poll, NULL);
    uv_close((uv_handle_t *)&net_timer, NULL);
    uv_close((uv_handle_t *)&tick_timer, NULL);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    struct barriers *barriers = d->barriers;
    while (uv_run(d->loop, UV_RUN_NOWAIT) != 0 && d->barriers != NULL) {
        /* what sessions and capture posted last is still run before the waits are freed */
        barriers = d->barriers;
        d->barriers = NULL;
    }
    d->barriers = barriers;
    barriers_free(&d->barriers);
    uv_walk(d->loop, close_handle, NULL);
    uv_run(d->loop, UV_RUN_DEFAULT);
}

/* --- start --- */

/* One daemon for one state directory. The descriptor is held until the process ends. */
static int
lock_state(const struct node *node, struct err *e)
{
    int fd = openat(node->state_dirfd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "create %s/%s", node->conf->state_dir, LOCK_FILE);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    file_closep(&fd);
    return err_set(e, ERR_BUSY, "another mailtwin-replicatord runs with the state directory %s",
                   node->conf->state_dir);
}

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

static int
make_run_dir(const struct conf *conf, struct err *e)
{
    if (mkdir(conf->run_dir, 0755) < 0 && errno != EEXIST)
        return err_sys(e, ERR_CONFIG, "make the run directory %s", conf->run_dir);
    return 0;
}

static void
peers_begin(struct daemon *d)
{
    const struct conf *conf = d->conf;
    d->peers = xcalloc(conf->node_count, sizeof(*d->peers));
    for (size_t i = 0; i < conf->node_count; i++) {
        if (strcmp(conf->nodes[i].name, conf->self) != 0)
            peer_init(&d->peers[d->peer_count++], d, &conf->nodes[i]);
    }
}

static int
daemon_begin(struct daemon *d, struct err *e)
{
    d->adopt_fd = adopted_queue();
    if (make_run_dir(d->conf, e) < 0 || node_open(d->conf, &d->node, e) < 0 ||
        lock_state(d->node, e) < 0)
        return -1;
    if (net_start(d->conf, &d->net, e) < 0)
        return err_wrap(e, "start the network role");
    if (geteuid() == 0 && confine(d, e) < 0)
        return err_wrap(e, "confine this process");
    turn_init(&d->turn);
    peers_begin(d);
    d->loop = uv_default_loop();
    if (control_server_open(d->loop, d->conf->run_dir, orders_handle, d, &d->control, e) < 0)
        return -1;
    d->barriers = barriers_new(d);
    return roles_begin(d, e);
}

static int
run(const struct conf *conf)
{
    struct daemon *d = &daemon_instance;
    struct err e = { 0 };
    d->conf = conf;
    link_rules_check();
    if (daemon_begin(d, &e) < 0) {
        event(EV_FAILED, F_ERR(&e));
        net_stop(&d->net);
        return err_exit_status(e.code);
    }
    loop_begin(d);
    event(EV_STARTED, F_STR("node", conf->self), F_STR("cluster", conf->cluster));
    sd_notify(0, "READY=1");
    uv_run(d->loop, UV_RUN_DEFAULT);
    sd_notify(0, "STOPPING=1");
    loop_end(d);
    for (size_t i = 0; i < d->peer_count; i++)
        peer_destroy(&d->peers[i]);
    free(d->peers);
    turn_destroy(&d->turn);
    node_free(&d->node);
    event(EV_STOPPED);
    return 0;
}

static void
usage(FILE *out)
{
    fputs("usage: mailtwin-replicatord [--foreground] [--config FILE] [--node NAME]\n"
          "Captures, ships and applies changes of the stores; see mailtwin-replicatord(8).\n",
          out);
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' }, { "node", required_argument, NULL, 'n' },
        { "foreground", no_argument, NULL, 'f' },   { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },      { NULL, 0, NULL, 0 },
    };
    const char *file = NULL;
    const char *node = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c == 'c')
            file = optarg;
        else if (c == 'n')
            node = optarg;
        else if (c == 'h')
            usage(stdout);
        else if (c == 'v')
            puts("mailtwin-replicatord " MAILTWIN_VERSION);
        else if (c == '?')
            usage(stderr);
        if (c == 'h' || c == 'v' || c == '?')
            return c == '?' ? 2 : 0;
    }
    event_init("replicatord", EVENT_INFO);
    struct conf *conf = NULL;
    struct err e = { 0 };
    if (optind < argc || conf_load(file, node, &conf, &e) < 0) {
        if (optind < argc)
            err_set(&e, ERR_USAGE, "mailtwin-replicatord takes no argument \"%s\"", argv[optind]);
        fprintf(stderr, "mailtwin-replicatord: %s\n", e.text);
        return err_exit_status(e.code);
    }
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    int status = run(conf);
    conf_free(&conf);
    return status;
}
