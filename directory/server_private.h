/* server_private.h - what the parts of server.h share. */
#ifndef MAILTWIN_DIRECTORY_SERVER_PRIVATE_H
#define MAILTWIN_DIRECTORY_SERVER_PRIVATE_H

#include "directory/server.h"

#include <ldap.h>

struct server {
    LDAP *ld;
    const struct conf_store *store;
    int follow; /* message id of the search that stays open, -1 none */
    char *attributes[3];
};

/* The outcome of a call: rc from libldap, `what` was being done. */
int server_outcome(struct server *server, int rc, struct err *e, const char *what) _must_check_;
/* Does this result of libldap mean that the connection is of no use any more? */
bool server_is_lost(int rc);
/* The entry of a message, without what belongs to one server only. -1: it cannot be written. */
int server_entry(struct server *server, LDAPMessage *message, struct ldif_entry *ret_entry,
                 struct err *e) _must_check_;
/* Does the entry of the message have a value of the attribute? */
bool server_entry_shows(struct server *server, LDAPMessage *entry, const char *attribute);
/* libldap takes char * and changes nothing. */
struct berval server_berval(struct span span);

#endif
