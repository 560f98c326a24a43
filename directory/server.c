#include "directory/server_private.h"

#include <stdlib.h>
#include <sys/time.h>

#define CONNECT_SECONDS 5
#define ANSWER_SECONDS  30

struct berval
server_berval(struct span span)
{
    union {
        const uint8_t *in;
        char *out;
    } at = { .in = span.ptr };
    return (struct berval){ .bv_len = span.len, .bv_val = at.out };
}

bool
server_is_lost(int rc)
{
    return rc < 0 || rc == LDAP_UNAVAILABLE || rc == LDAP_BUSY;
}

int
server_outcome(struct server *server, int rc, struct err *e, const char *what)
{
    if (rc == LDAP_SUCCESS)
        return 0;
    char *said = NULL;
    ldap_get_option(server->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &said);
    bool more = said != NULL && said[0] != '\0';
    err_set(e, server_is_lost(rc) ? ERR_PEER : ERR_REFUSED, "%s: %s%s%.300s", what,
            ldap_err2string(rc), more ? ": " : "", more ? said : "");
    ldap_memfree(said);
    return server_is_lost(rc) ? -1 : rc;
}

/* --- connecting --- */

static int
set_options(struct server *server, struct err *e)
{
    const int version = LDAP_VERSION3;
    const struct timeval connect = { .tv_sec = CONNECT_SECONDS };
    const struct timeval answer = { .tv_sec = ANSWER_SECONDS };
    int rc = ldap_set_option(server->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(server->ld, LDAP_OPT_NETWORK_TIMEOUT, &connect);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(server->ld, LDAP_OPT_TIMEOUT, &answer);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(server->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(server->ld, LDAP_OPT_RESTART, LDAP_OPT_ON);
    return rc == LDAP_SUCCESS ? 0 : server_outcome(server, rc, e, "set the options of libldap");
}

/* The certificate is always checked, against the store's authority or the system's. */
static int
set_tls(struct server *server, struct err *e)
{
    const int demand = LDAP_OPT_X_TLS_DEMAND;
    const int client = 0;
    int rc = ldap_set_option(server->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
    if (rc == LDAP_SUCCESS && server->store->ldap.ca != NULL)
        rc = ldap_set_option(server->ld, LDAP_OPT_X_TLS_CACERTFILE, server->store->ldap.ca);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(server->ld, LDAP_OPT_X_TLS_NEWCTX, &client);
    return server_outcome(server, rc, e, "take the certificate authority");
}

static int
start_tls(struct server *server, const char *uri, struct err *e)
{
    bool tls = strncmp(uri, "ldaps:", 6) == 0;
    bool starttls = server->store->ldap.starttls && strncmp(uri, "ldap:", 5) == 0;
    if (!tls && !starttls)
        return 0;
    int r = set_tls(server, e);
    if (r == 0 && starttls)
        r = server_outcome(server, ldap_start_tls_s(server->ld, NULL, NULL), e, "start TLS");
    return r;
}

static int
bind_as(struct server *server, const char *uri, const char *password, struct err *e)
{
    const char *dn = server->store->ldap.bind_dn;
    struct berval secret = server_berval(span_str(password != NULL ? password : ""));
    const char *mechanism = LDAP_SASL_SIMPLE;
    if (dn == NULL && strncmp(uri, "ldapi:", 6) == 0)
        mechanism = "EXTERNAL";
    int rc = ldap_sasl_bind_s(server->ld, dn, mechanism, &secret, NULL, NULL, NULL);
    return server_outcome(server, rc, e, "log in");
}

int
server_open(const struct conf_store *store, const char *uri, const char *password,
            struct server **ret_server, struct err *e)
{
    struct server *server = xcalloc(1, sizeof(*server));
    *server = (struct server){ .store = store, .follow = -1 };
    server->attributes[0] = xstrdup("*");
    server->attributes[1] = xstrdup("+");
    uri = uri != NULL ? uri : store->ldap.uri;
    int rc = ldap_initialize(&server->ld, uri);
    if (rc != LDAP_SUCCESS) {
        err_set(e, ERR_CONFIG, "%s is no address of a directory server: %s", uri,
                ldap_err2string(rc));
        server_close(&server);
        return -1;
    }
    if (set_options(server, e) != 0 || start_tls(server, uri, e) != 0 ||
        bind_as(server, uri, password, e) != 0) {
        err_wrap(e, "%s", uri);
        server_close(&server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

void
server_close(struct server **server)
{
    struct server *s = *server;
    *server = NULL;
    if (s == NULL)
        return;
    if (s->ld != NULL)
        ldap_unbind_ext_s(s->ld, NULL, NULL);
    free(s->attributes[0]);
    free(s->attributes[1]);
    free(s);
}

int
server_fd(const struct server *server)
{
    int fd = -1;
    return ldap_get_option(server->ld, LDAP_OPT_DESC, &fd) == LDAP_SUCCESS ? fd : -1;
}

/* --- entries --- */

/* What belongs to one server, or follows from the rest. */
static const char *const skipped[] = {
    "entryCSN",
    "contextCSN",
    "entryDN",
    "subschemaSubentry",
    "hasSubordinates",
    "numSubordinates",
    "structuralObjectClass",
};

static bool
is_skipped(const struct server *server, struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(skipped); i++)
        if (ldif_same_name(name, span_str(skipped[i])))
            return true;
    for (char **skip = server->store->ldap.skip; *skip != NULL; skip++)
        if (ldif_same_name(name, span_str(*skip)))
            return true;
    return false;
}

static struct span
span_of_berval(const struct berval *berval)
{
    return span_of(berval->bv_val, berval->bv_len);
}

static int
add_attributes(struct server *server, LDAPMessage *message, BerElement *ber,
               struct ldif_entry *entry, struct err *e)
{
    for (;;) {
        struct berval name;
        struct berval *values = NULL;
        int rc = ldap_get_attribute_ber(server->ld, message, ber, &name, &values);
        if (rc != LDAP_SUCCESS)
            return err_set(e, ERR_PROTOCOL, "the server's entry cannot be read: %s",
                           ldap_err2string(rc));
        if (name.bv_val == NULL)
            return 0;
        bool skip = is_skipped(server, span_of_berval(&name));
        for (size_t i = 0; values != NULL && values[i].bv_val != NULL && !skip; i++)
            ldif_add(entry, span_of_berval(&name), span_of_berval(&values[i]));
        ber_memfree(values);
    }
}

int
server_entry(struct server *server, LDAPMessage *message, struct ldif_entry *ret_entry,
             struct err *e)
{
    BerElement *ber = NULL;
    struct berval dn;
    int rc = ldap_get_dn_ber(server->ld, message, &ber, &dn);
    if (rc != LDAP_SUCCESS)
        return err_set(e, ERR_PROTOCOL, "the server's entry has no DN: %s", ldap_err2string(rc));
    ldif_begin(ret_entry, span_of_berval(&dn));
    int r = add_attributes(server, message, ber, ret_entry, e);
    ber_free(ber, 0);
    if (r == 0 && ldif_end(ret_entry, e) < 0)
        r = err_wrap(e, "%.*s", (int)MIN(dn.bv_len, (ber_len_t)256), dn.bv_val);
    return r;
}

/* --- reading --- */

static int
read_one(struct server *server, const char *base, int scope, const char *filter,
         struct ldif_entry *ret_entry, struct err *e)
{
    LDAPMessage *result = NULL;
    int rc = ldap_search_ext_s(server->ld, base, scope, filter, server->attributes, 0, NULL, NULL,
                               NULL, 2, &result);
    LDAPMessage *entry = result == NULL ? NULL : ldap_first_entry(server->ld, result);
    int r = rc == LDAP_SUCCESS && entry == NULL ? LDAP_NO_SUCH_OBJECT
                                                : server_outcome(server, rc, e, "read an entry");
    if (r == 0 && server_entry(server, entry, ret_entry, e) < 0)
        r = LDAP_OTHER;
    ldap_msgfree(result);
    return r;
}

int
server_read(struct server *server, struct span dn, struct ldif_entry *ret_entry, struct err *e)
{
    _cleanup_free_ char *base = xasprintf("%.*s", (int)dn.len, dn.ptr);
    return read_one(server, base, LDAP_SCOPE_BASE, "(objectClass=*)", ret_entry, e);
}

int
server_find(struct server *server, const uint8_t uuid[LDAPSYNC_UUID_SIZE],
            struct ldif_entry *ret_entry, struct err *e)
{
    char text[LDAPSYNC_UUID_TEXT + 1];
    ldapsync_uuid_write(uuid, text);
    _cleanup_free_ char *filter = xasprintf("(entryUUID=%s)", text);
    return read_one(server, server->store->ldap.base, LDAP_SCOPE_SUBTREE, filter, ret_entry, e);
}

bool
server_entry_shows(struct server *server, LDAPMessage *entry, const char *attribute)
{
    struct berval **values = ldap_get_values_len(server->ld, entry, attribute);
    bool any = values != NULL && values[0] != NULL;
    ldap_value_free_len(values);
    return any;
}

/* One of them is enough; our own limit is none of the server's. */
int
server_shows(struct server *server, const char *dn, enum server_scope scope, const char *name,
             bool *ret_shows, struct err *e)
{
    static const int scopes[] = { LDAP_SCOPE_BASE, LDAP_SCOPE_ONELEVEL, LDAP_SCOPE_SUBTREE };
    _cleanup_free_ char *filter = xasprintf("(%s=*)", name);
    _cleanup_free_ char *attribute = xstrdup(name);
    char *attributes[] = { attribute, NULL };
    LDAPMessage *result = NULL;
    int rc = ldap_search_ext_s(server->ld, dn, scopes[scope], filter, attributes, 0, NULL, NULL,
                               NULL, 1, &result);
    LDAPMessage *entry = result != NULL ? ldap_first_entry(server->ld, result) : NULL;
    *ret_shows = entry != NULL && server_entry_shows(server, entry, name);
    ldap_msgfree(result);
    return server_is_lost(rc) ? server_outcome(server, rc, e, "look for what is shown") : 0;
}

static int
give_entry(struct server *server, LDAPMessage *message,
           int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
           struct ldif_entry *entry, struct err *e)
{
    bool good = server_entry(server, message, entry, e) == 0;
    return give(arg, good ? entry : NULL, e);
}

/* 1 go on, 0 the end, else as the caller returns. */
static int
each_message(struct server *server, LDAPMessage *message,
             int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
             struct ldif_entry *entry, struct err *e, int *ret_result)
{
    int code = LDAP_SUCCESS;
    switch (ldap_msgtype(message)) {
    case LDAP_RES_SEARCH_ENTRY:
        *ret_result = give_entry(server, message, give, arg, entry, e);
        return *ret_result < 0 ? 0 : 1;
    case LDAP_RES_SEARCH_RESULT:
        if (ldap_parse_result(server->ld, message, &code, NULL, NULL, NULL, NULL, 0) !=
            LDAP_SUCCESS)
            code = LDAP_DECODING_ERROR;
        *ret_result = server_outcome(server, code, e, "read the directory");
        return 0;
    default: /* a reference to elsewhere is not ours to follow */
        return 1;
    }
}

static int
each_with(struct server *server, char **attributes,
          int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
          struct err *e)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    int id = -1;
    int rc = ldap_search_ext(server->ld, server->store->ldap.base, LDAP_SCOPE_SUBTREE,
                             server->store->ldap.filter, attributes, 0, NULL, NULL, NULL,
                             LDAP_NO_LIMIT, &id);
    if (rc != LDAP_SUCCESS)
        return server_outcome(server, rc, e, "read the directory");
    int more = 1, result = 0;
    while (more > 0) {
        LDAPMessage *message = NULL;
        struct timeval patience = { .tv_sec = ANSWER_SECONDS };
        if (ldap_result(server->ld, id, LDAP_MSG_ONE, &patience, &message) <= 0)
            return err_set(e, ERR_PEER, "the server stopped in the middle of the directory");
        more = each_message(server, message, give, arg, &entry, e, &result);
        ldap_msgfree(message);
    }
    if (result < 0)
        ldap_abandon_ext(server->ld, id, NULL, NULL);
    return result;
}

int
server_each(struct server *server,
            int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
            struct err *e)
{
    return each_with(server, server->attributes, give, arg, e);
}

int
server_each_id(struct server *server,
               int (*give)(void *arg, const struct ldif_entry *entry, struct err *e), void *arg,
               struct err *e)
{
    char id[] = "entryUUID";
    char *attributes[] = { id, NULL };
    return each_with(server, attributes, give, arg, e);
}

/* --- change numbers --- */

/* The values of one attribute of one entry, separated by ';'. */
static int
read_values(struct server *server, const char *dn, const char *name, struct buf *out, struct err *e)
{
    char attribute[32];
    char *attributes[] = { attribute, NULL };
    LDAPMessage *result = NULL;
    memcpy(attribute, name, strlen(name) + 1);
    int rc = ldap_search_ext_s(server->ld, dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 0,
                               NULL, NULL, NULL, 1, &result);
    int r = server_outcome(server, rc, e, "read the server's change numbers");
    LDAPMessage *entry = r == 0 ? ldap_first_entry(server->ld, result) : NULL;
    struct berval **values = entry == NULL ? NULL
                                           : ldap_get_values_len(server->ld, entry, attribute);
    for (size_t i = 0; values != NULL && values[i] != NULL; i++) {
        if (out->len > 0)
            buf_add_u8(out, ';');
        buf_add(out, values[i]->bv_val, values[i]->bv_len);
    }
    ldap_value_free_len(values);
    ldap_msgfree(result);
    return r;
}

/* They stand in the entry at the top of the database, which is base or above it. */
int
server_csns(struct server *server, struct buf *ret_csns, struct err *e)
{
    buf_reset(ret_csns);
    const char *dn = server->store->ldap.base;
    for (;;) {
        int r = read_values(server, dn, "contextCSN", ret_csns, e);
        if (r != 0 && r != LDAP_NO_SUCH_OBJECT)
            return r;
        const char *comma = strchr(dn, ',');
        if (ret_csns->len > 0 || comma == NULL)
            return 0;
        dn = comma + 1;
    }
}
