#include "replicator/daemon.h"

#include "lib/os/audit.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/barrier.h"
#include "replicator/gates.h"
#include "replicator/mass.h"
#include "replicator/orders.h"
#include "replicator/promotion.h"
#include "replicator/protection.h"
#include "replicator/restore.h"
#include "replicator/roles.h"
#include "replicator/salvage.h"
#include "replicator/verify.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOCK_FILE    "lock"
#define LOCK_WAIT_MS 2000 /* one that was killed may hold it a moment longer */
#define LOCK_STEP_MS 20

static void
moved_main(void *arg)
{
    struct daemon *d = arg;
    atomic_store(&d->moved_posted, false);
    protection_update(d);
    barriers_check(d->barriers);
    promotion_check(d);
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

struct peer *
daemon_peer(struct daemon *d, const char *name)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        if (strcmp(d->peers[i].conf->name, name) == 0)
            return &d->peers[i];
    }
    return NULL;
}

void
daemon_link_up(struct daemon *d, const char *name, int link_fd)
{
    struct peer *peer = daemon_peer(d, name);
    struct err e = { 0 };
    if (peer == NULL || link_fd < 0 || d->ending)
        file_closep(&link_fd);
    else if (peer_attach(peer, link_fd, &e) < 0)
        event(EV_FAILED, F_STR("while", "starting a session"), F_ERR(&e));
}

/* Whoever started the daemon starts it again; what changes meanwhile is found by a sweep. */
static void
end_when_broken(struct daemon *d)
{
    if (!state_is_broken(d->node->state) || d->failure.code != ERR_NONE)
        return;
    err_set(
        &d->failure, ERR_IO,
        "the disk of %s refused a write in the middle of a commit; the state database has to be "
        "opened anew",
        d->conf->state_dir);
    event(EV_FAILED, F_ERR(&d->failure));
    uv_stop(d->loop);
}

void
daemon_tick(struct daemon *d)
{
    end_when_broken(d);
    protection_update(d);
    protection_check_journal(d);
    verify_tick(d);
    salvages_tick(d->salvages);
}

/* --- start and end --- */

static int
lock_state(struct daemon *d, struct err *e)
{
    const char *state_dir = d->conf->state_dir;
    d->lock_fd = openat(d->node->state_dirfd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return err_sys(e, ERR_IO, "create %s/%s", state_dir, LOCK_FILE);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int failed = fcntl(d->lock_fd, F_OFD_SETLK, &lock);
    for (int waited = 0; failed != 0 && errno == EAGAIN && waited < LOCK_WAIT_MS;
         waited += LOCK_STEP_MS) {
        poll(NULL, 0, LOCK_STEP_MS);
        failed = fcntl(d->lock_fd, F_OFD_SETLK, &lock);
    }
    if (failed == 0)
        return 0;
    int rc = errno != EAGAIN
                 ? err_sys(e, ERR_IO, "lock %s/%s", state_dir, LOCK_FILE)
                 : err_set(e, ERR_BUSY,
                           "another mailtwin-replicatord runs with the state directory %s",
                           state_dir);
    file_closep(&d->lock_fd);
    return rc;
}

static int
make_run_dir(const struct conf *conf, struct err *e)
{
    int made = mkdir(conf->run_dir, 0755);
    if (made == 0 && chmod(conf->run_dir, 0755) < 0) /* whatever the umask: barrier.sock is in it */
        return err_sys(e, ERR_IO, "set the mode of the run-dir %s", conf->run_dir);
    if (made < 0 && errno != EEXIST)
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

int
daemon_open(struct daemon *d, struct err *e)
{
    if (make_run_dir(d->conf, e) < 0 || node_open(d->conf, &d->node, e) < 0)
        return -1;
    if (lock_state(d, e) < 0)
        return -1;
    audit_begin(d->node->state_dirfd);
    d->gates = gates_new(d->conf); /* looks up an account: before this process is confined */
    return 0;
}

/* Whatever the role: what a standby retained expires also when it has become the primary. */
int
daemon_retains_begin(struct daemon *d, struct err *e)
{
    d->retains = xcalloc(d->node->store_count + 1, sizeof(*d->retains));
    for (size_t i = 0; i < d->node->store_count; i++)
        d->retains[i] = d->node->stores[i].retain;
    if (mass_new(d->node, &d->mass, e) < 0) /* first: it may say that nothing goes */
        return -1;
    return retain_keeper_new(d->retains, d->node->store_count, &d->keeper, e);
}

void
daemon_retains_end(struct daemon *d)
{
    retain_keeper_free(&d->keeper);
    mass_free(&d->mass);
    free(d->retains);
    d->retains = NULL;
}

int
daemon_serve(struct daemon *d, struct err *e)
{
    turn_init(&d->turn);
    peers_begin(d);
    if (control_server_open(d->loop, d->conf->run_dir, orders_handle, d, &d->control, e) < 0)
        return -1;
    d->barriers = barriers_new(d);
    if (daemon_retains_begin(d, e) < 0)
        return -1;
    d->salvages = salvages_new(d);
    return roles_begin(d, e);
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void
daemon_close(struct daemon *d)
{
    d->ending = true;
    promotion_end(d);
    restore_stop(d);
    roles_end(d);
    net_stop(&d->net);
    control_server_close(&d->control);
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
    for (size_t i = 0; i < d->peer_count; i++)
        peer_destroy(&d->peers[i]);
    free(d->peers);
    d->peers = NULL;
    d->peer_count = 0;
    turn_destroy(&d->turn);
    daemon_retains_end(d);
    salvages_free(&d->salvages);
    gates_free(&d->gates);
    node_free(&d->node);
    file_closep(&d->lock_fd);
}
