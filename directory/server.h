/* server.h - the directory server of this node, over libldap: one connection, used by one thread.
 *
 * Calls that ask the server something return 0 done, above 0 the server's result code with its
 * sentence in e (the connection goes on), -1 the connection is lost (close it). Writes carry the
 * Relax control, without which a server gives each entry an id and times of its own. */
#ifndef MAILTWIN_DIRECTORY_SERVER_H
#define MAILTWIN_DIRECTORY_SERVER_H

#include "lib/os/conf.h"
#include "lib/store/ldapsync.h"
#include "lib/store/ldif.h"

struct server;

/* Result codes of RFC 4511 and RFC 4533 that are more than an error here. */
#define SERVER_NO_SUCH_OBJECT   32
#define SERVER_UNWILLING        53
#define SERVER_NOT_ON_NON_LEAF  66
#define SERVER_ALREADY_EXISTS   68
#define SERVER_REFRESH_REQUIRED 4096

/* Connects and binds: as bind-dn with the password, or without a bind-dn as the account of this
 * process (ldapi) or nobody. uri: another server than the store's, NULL for that. */
int server_open(const struct conf_store *store, const char *uri, const char *password,
                struct server **ret_server, struct err *e) _must_check_;
void server_close(struct server **server); /* NULL is fine */
int server_fd(const struct server *server);

/* The entry at the DN. SERVER_NO_SUCH_OBJECT: there is none. */
int server_read(struct server *server, struct span dn, struct ldif_entry *ret_entry,
                struct err *e) _must_check_;
/* The entry below base that has the id. SERVER_NO_SUCH_OBJECT: none has. */
int server_find(struct server *server, const uint8_t uuid[LDAPSYNC_UUID_SIZE],
                struct ldif_entry *ret_entry, struct err *e) _must_check_;
/* Does the server show the attribute of some entry there? What it does not say counts as no; -1:
 * the connection is lost. */
enum server_scope {
    SERVER_ITSELF,
    SERVER_BELOW, /* one level */
    SERVER_SUBTREE
};
int server_shows(struct server *server, const char *dn, enum server_scope scope, const char *name,
                 bool *ret_shows, struct err *e) _must_check_;
/* Every entry that the store holds, in no order. An entry that cannot be written as text is given
 * as NULL with its DN's sentence in e. give() returns -1 to end it, then -1 is returned. */
int server_each(struct server *server,
                int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
                struct err *e) _must_check_;
/* The same with nothing but DN and entryUUID. */
int server_each_id(struct server *server,
                   int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
                   struct err *e) _must_check_;
/* The change numbers of the database that base lies in, for ldapsync_covers(): separated by ';',
 * empty when it has none. */
int server_csns(struct server *server, struct buf *ret_csns, struct err *e) _must_check_;

int server_add(struct server *server, const struct ldif_entry *entry, struct err *e) _must_check_;
/* The same in two: several may be underway, none of which needs another. -1 of the first: lost. No
 * transactions: they bring OpenLDAP 2.5.13 down. */
int server_add_begin(struct server *server, const struct ldif_entry *entry, int *ret_id,
                     struct err *e) _must_check_;
int server_add_end(struct server *server, int id, struct err *e) _must_check_;
int server_modify(struct server *server, const struct ldif_entry *from, const struct ldif_entry *to,
                  bool whole, struct err *e) _must_check_;
int server_rename(struct server *server, struct span from, struct span to,
                  struct err *e) _must_check_;
int server_delete(struct server *server, struct span dn, struct err *e) _must_check_;

/* --- the search that stays open --- */

enum server_news {
    SERVER_NOTHING, /* nothing has come */
    SERVER_ENTRY,   /* entry (when state is ADD or MODIFY) with its sync state */
    SERVER_INFO,
    SERVER_END, /* the search ended with `code` */
};

struct server_message {
    enum server_news news;
    struct ldapsync_entry sync; /* of ENTRY */
    struct ldapsync_info info;  /* of INFO */
    struct buf ids;
    struct ldif_entry entry;
    bool unreadable;   /* of ENTRY: it cannot be written as text, e says why */
    struct buf cookie; /* newest the message brought; empty: none */
    int code;          /* of END, with the sentence in e */
};

void server_message_free(struct server_message *message);
/* Begins it, from the cookie on; one at a time. */
int server_follow(struct server *server, struct span cookie, struct err *e) _must_check_;
/* What has come next; does not wait. -1: connection lost, or what came is not LDAP sync. */
int server_next(struct server *server, struct server_message *message, struct err *e) _must_check_;

#endif
