/* The store role's side of the network role. */
#include "replicator/net/net.h"

#include "lib/os/file.h"
#include "lib/os/proc.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define READY_MS 10000
#define STOP_MS  3000

struct net {
    struct proc proc;
    bool ended; /* and reaped; status says how */
    int status;
};

static int
run_role(int control_fd, const void *conf)
{
    return net_role_run(conf, control_fd);
}

/* The role's first packet: NET_READY, which stays in the channel for net_notice(), or why not. */
static int
await_ready(const struct net *net, struct err *e)
{
    struct net_notice notice;
    struct pollfd ready = { .fd = net->proc.control_fd, .events = POLLIN };
    int count;
    do
        count = poll(&ready, 1, READY_MS);
    while (count < 0 && errno == EINTR);
    if (count <= 0)
        return err_set(e, ERR_TIMEOUT, "it does not get ready");
    ssize_t got = recv(net->proc.control_fd, &notice, sizeof(notice), MSG_PEEK | MSG_DONTWAIT);
    if (got != sizeof(notice))
        return err_set(e, ERR_IO, "it ended without a word");
    notice.text[sizeof(notice.text) - 1] = 0;
    if (notice.type != NET_READY)
        return err_set(e, ERR_UNSUITABLE, "%s", notice.text);
    return 0;
}

int
net_start(const struct conf *conf, struct net **ret_net, struct err *e)
{
    struct net *net = xcalloc(1, sizeof(*net));
    if (proc_spawn("mailtwin-net", run_role, conf, &net->proc, e) < 0) {
        free(net);
        return err_wrap(e, "start the network role");
    }
    if (await_ready(net, e) < 0) {
        net_stop(&net);
        return err_wrap(e, "start the network role");
    }
    *ret_net = net;
    return 0;
}

int
net_fd(const struct net *net)
{
    return net->proc.control_fd;
}

pid_t
net_pid(const struct net *net)
{
    return net->proc.pid;
}

/* Its channel is closed: it has ended or is about to. */
static int
err_ended(struct net *net, struct err *e)
{
    char how[96];
    if (!net->ended && proc_wait(net->proc.pid, STOP_MS, &net->status, e) != 1)
        return err_set(e, ERR_IO, "the network role closed its channel");
    net->ended = true;
    proc_status_text(net->status, how, sizeof(how));
    return err_set(e, ERR_IO, "the network role is gone: %s", how);
}

int
net_notice(struct net *net, struct net_notice *ret_notice, int *ret_link, struct err *e)
{
    int got = proc_receive(net->proc.control_fd, ret_notice, sizeof(*ret_notice), ret_link, e);
    if (got < 0)
        return e->code == ERR_PEER ? err_ended(net, e) : -1;
    if (got > 0) { /* the role is not trusted with our memory */
        ret_notice->peer[sizeof(ret_notice->peer) - 1] = 0;
        ret_notice->address[sizeof(ret_notice->address) - 1] = 0;
        ret_notice->text[sizeof(ret_notice->text) - 1] = 0;
    }
    return got;
}

void
net_stop(struct net **net)
{
    struct err e;
    if (*net == NULL)
        return;
    /* What fails here leaves nothing to do: the role ends with us at the latest. */
    if (!(*net)->ended && proc_stop(&(*net)->proc, STOP_MS, &(*net)->status, &e) < 0)
        (*net)->ended = true;
    file_closep(&(*net)->proc.control_fd);
    freep(net);
}
