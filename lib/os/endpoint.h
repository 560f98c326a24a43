/* endpoint.h - where a program listens or connects to, in Postfix's manner: inet:ADDRESS:PORT (an
 * IPv6 address in brackets) or unix:PATH. */
#ifndef MAILTWIN_ENDPOINT_H
#define MAILTWIN_ENDPOINT_H

#include "lib/base/err.h"

#include <sys/socket.h>

#define ENDPOINT_HOST_MAX 254
#define ENDPOINT_PATH_MAX 107 /* what a socket's address has room for */

struct endpoint {
    bool unix_path; /* text is the path of a socket, else an address or a host name */
    char text[ENDPOINT_HOST_MAX + 1];
    unsigned port;
};

/* false: it is none. */
bool endpoint_parse(const char *text, struct endpoint *ret_endpoint);
/* The address to bind or connect to; a host name is looked up, its first address counts. */
int endpoint_resolve(const struct endpoint *endpoint, struct sockaddr_storage *ret_address,
                     socklen_t *ret_size, struct err *e) _must_check_;

#endif
