#include "lib/os/endpoint.h"

#include "lib/os/conf_value.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static bool
parse_unix(const char *path, struct endpoint *ret)
{
    size_t len = strlen(path);
    if (path[0] != '/' || len > ENDPOINT_PATH_MAX || len == 1)
        return false;
    *ret = (struct endpoint){ .unix_path = true };
    memcpy(ret->text, path, len + 1);
    return true;
}

static bool
parse_inet(const char *text, struct endpoint *ret)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || !conf_value_number(colon + 1, &port) || port == 0 || port > 65535)
        return false;
    size_t len = (size_t)(colon - text);
    bool brackets = len >= 2 && text[0] == '[' && colon[-1] == ']';
    if (brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len > ENDPOINT_HOST_MAX || (!brackets && memchr(text, ':', len) != NULL))
        return false;
    *ret = (struct endpoint){ .port = (unsigned)port };
    memcpy(ret->text, text, len);
    return conf_value_address(ret->text);
}

bool
endpoint_parse(const char *text, struct endpoint *ret_endpoint)
{
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, ret_endpoint);
    return strncmp(text, "inet:", 5) == 0 && parse_inet(text + 5, ret_endpoint);
}

static int
resolve_host(const struct endpoint *endpoint, struct sockaddr_storage *ret_address,
             socklen_t *ret_size, struct err *e)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char port[16];
    snprintf(port, sizeof(port), "%u", endpoint->port);
    int r = getaddrinfo(endpoint->text, port, &hints, &found);
    if (r != 0)
        return err_set(e, ERR_CONFIG, "look up %s: %s", endpoint->text, gai_strerror(r));
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    *ret_size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int
endpoint_resolve(const struct endpoint *endpoint, struct sockaddr_storage *ret_address,
                 socklen_t *ret_size, struct err *e)
{
    *ret_address = (struct sockaddr_storage){ 0 };
    if (!endpoint->unix_path)
        return resolve_host(endpoint, ret_address, ret_size, e);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path, endpoint->text, strnlen(endpoint->text, ENDPOINT_PATH_MAX));
    memcpy(ret_address, &un, sizeof(un));
    *ret_size = sizeof(un);
    return 0;
}
