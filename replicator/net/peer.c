/* The other nodes: which of them we dial, and when again. */
#include "lib/os/file.h"
#include "replicator/net/role.h"

#include <netinet/in.h>
#include <stdlib.h>

int
peer_address(const struct conf_node *node, struct sockaddr_storage *ret_address, struct err *e)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_address;
    *ret_address = (struct sockaddr_storage){ 0 };
    if (uv_ip4_addr(node->address, (int)node->port, in) == 0 ||
        uv_ip6_addr(node->address, (int)node->port, in6) == 0)
        return 0;
    return err_set(e, ERR_CONFIG, "node %s: address \"%s\" is no IPv4 or IPv6 address", node->name,
                   node->address);
}

static socklen_t
address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void
on_timer(uv_timer_t *timer)
{
    struct peer *peer = timer->data;
    if (peer->dialing == NULL)
        peer_dial(peer);
    else
        conn_unanswered(peer->dialing);
}

void
peer_dial_later(struct peer *peer)
{
    if (peer->role->stop_ms != 0)
        return;
    uint64_t now_ms = role_now_ms(peer->role);
    uint64_t wait_ms = redial_wait_ms(&peer->redial, arc4random_uniform(100), now_ms);
    uv_timer_start(&peer->timer, on_timer, wait_ms, 0);
}

static int
start_connect(const struct peer *peer, int *ret_fd, struct err *e)
{
    _cleanup_close_ int fd = socket(peer->address.ss_family,
                                    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, ERR_IO, "make a socket");
    const struct sockaddr *to = (const struct sockaddr *)&peer->address;
    if (connect(fd, to, address_size(&peer->address)) < 0 && errno != EINPROGRESS)
        return err_sys(e, ERR_PEER, "cannot connect to port %u", peer->node->port);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

void
peer_dial(struct peer *peer)
{
    struct err e;
    int fd;
    if (peer->link != NULL || peer->dialing != NULL)
        return;
    if (start_connect(peer, &fd, &e) < 0) {
        role_trouble(peer->role, peer->node->name, peer->node->address, e.text);
        redial_failed(&peer->redial, false);
        peer_dial_later(peer);
        return;
    }
    peer->dialing = conn_new(peer->role, fd, peer, &peer->address);
    uv_timer_start(&peer->timer, on_timer, redial_answer_ms(&peer->redial), 0);
}

struct peer *
role_peer(struct role *role, const char *name)
{
    for (size_t i = 0; i < role->peer_count; i++)
        if (strcmp(role->peers[i].node->name, name) == 0)
            return &role->peers[i];
    return NULL;
}

int
peers_init(struct role *role, struct err *e)
{
    const struct conf *conf = role->conf;
    role->peers = xcalloc(conf->node_count, sizeof(*role->peers));
    for (size_t i = 0; i < conf->node_count; i++) {
        const struct conf_node *node = &conf->nodes[i];
        if (strcmp(node->name, conf->self) == 0)
            continue;
        struct peer *peer = &role->peers[role->peer_count++];
        *peer = (struct peer){ .role = role,
                               .node = node,
                               .dials = strcmp(conf->self, node->name) < 0 };
        if (peer_address(node, &peer->address, e) < 0)
            return -1;
        redial_begin(&peer->redial, role_now_ms(role));
        ASSERT(uv_timer_init(&role->loop, &peer->timer) == 0);
        peer->timer.data = peer;
    }
    return 0;
}
