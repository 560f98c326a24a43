/* net.h - the network role: a process of its own that speaks TLS 1.3 with the other nodes.
 *
 * It listens and dials (of two nodes the one whose name sorts lower dials), authenticates both ways
 * by the cluster's authority and the node's name, compresses (zstd, one context per connection and
 * direction), sends heartbeats, notices half-open connections, limits bandwidth per peer,
 * reconnects with back-off, and checks every frame and message before it passes it on. It sees no
 * store and no state.
 *
 * To the store role it speaks over a SOCK_SEQPACKET control channel: one packet a notice, a link's
 * end of the socketpair attached to NET_LINK_UP. */
#ifndef MAILTWIN_NET_H
#define MAILTWIN_NET_H

#include "lib/data/wire.h"
#include "lib/os/conf.h"

#include <sys/types.h>

#define NET_TEXT_MAX 512

enum net_notice_type {
    NET_READY = 1, /* listening; from now on only what it needs */
    NET_LINK_UP,   /* peer is authenticated; a descriptor for link_io_new() comes along */
    NET_LINK_DOWN, /* the connection ended; text says why */
    NET_TROUBLE,   /* a connection could not be made; text says why; peer may be empty */
};

/* As sent over the control channel, host byte order: both ends are the same binary. */
struct net_notice {
    uint32_t type;
    char peer[WIRE_NAME_MAX + 1];
    char address[64];
    char text[NET_TEXT_MAX];
};

struct net;

/* Starts the role: forks, drops to conf->user, confines it, and returns the parent's handle.
 * Certificates and key are read before the privileges go. */
int net_start(const struct conf *conf, struct net **ret_net, struct err *e) _must_check_;
/* The control channel's descriptor, for the loop. */
int net_fd(const struct net *net);
pid_t net_pid(const struct net *net);
/* Reads one notice; *ret_link is -1 or a descriptor that now belongs to the caller. 1 one, 0 none
 * now, -1 the role ended. */
int net_notice(struct net *net, struct net_notice *ret_notice, int *ret_link,
               struct err *e) _must_check_;
/* Asks the role to end, waits for it, frees the handle. */
void net_stop(struct net **net);

/* The body of the role, called in the child by net_start(); exposed for tests that run it without
 * privileges. Returns the exit status. */
int net_role_run(const struct conf *conf, int control_fd);

#endif
