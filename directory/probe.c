#include "directory/probe.h"

#include "directory/server_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static time_t
now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void
ask_base(struct server *server, struct probe *p)
{
    char id[] = "entryUUID", csn[] = "entryCSN";
    char *attributes[] = { id, csn, NULL };
    LDAPMessage *result = NULL;
    int rc = ldap_search_ext_s(server->ld, server->store->ldap.base, LDAP_SCOPE_BASE,
                               "(objectClass=*)", attributes, 0, NULL, NULL, NULL, 1, &result);
    LDAPMessage *entry = rc == LDAP_SUCCESS ? ldap_first_entry(server->ld, result) : NULL;
    p->has_base = entry != NULL;
    p->has_id = entry != NULL && server_entry_shows(server, entry, id);
    p->has_csn = entry != NULL && server_entry_shows(server, entry, csn);
    ldap_msgfree(result);
}

/* A refresh for which no entry is fit: a database without syncprov refuses the control. */
static void
ask_sync(struct server *server, struct probe *p)
{
    _cleanup_buf_ struct buf value = { 0 };
    char oid[] = LDAP_CONTROL_SYNC;
    ldapsync_request_write(false, span_of(NULL, 0), &value);
    LDAPControl control = { oid, server_berval(buf_span(&value)), 1 };
    LDAPControl *controls[] = { &control, NULL };
    LDAPMessage *result = NULL;
    int rc = ldap_search_ext_s(server->ld, server->store->ldap.base, LDAP_SCOPE_BASE,
                               "(!(objectClass=*))", server->attributes, 0, controls, NULL, NULL,
                               LDAP_NO_LIMIT, &result);
    p->syncs = rc == LDAP_SUCCESS;
    ldap_msgfree(result);
}

static void
ask_password(struct server *server, struct probe *p)
{
    struct err ignored = { 0 };
    if (server_shows(server, server->store->ldap.base, SERVER_SUBTREE, "userPassword",
                     &p->shows_passwords, &ignored) < 0)
        p->shows_passwords = false;
}

/* false: the search has ended. */
static bool
count_one(struct server *server, LDAPMessage *message, struct probe *p)
{
    int code = LDAP_OTHER;
    if (ldap_msgtype(message) == LDAP_RES_SEARCH_ENTRY)
        p->entries++;
    if (ldap_msgtype(message) != LDAP_RES_SEARCH_RESULT)
        return true;
    (void)ldap_parse_result(server->ld, message, &code, NULL, NULL, NULL, NULL, 0);
    p->whole = code == LDAP_SUCCESS;
    p->limited = code == LDAP_SIZELIMIT_EXCEEDED || code == LDAP_ADMINLIMIT_EXCEEDED ||
                 code == LDAP_TIMELIMIT_EXCEEDED;
    return false;
}

static void
ask_count(struct server *server, struct probe *p)
{
    char none[] = LDAP_NO_ATTRS;
    char *attributes[] = { none, NULL };
    time_t until = now_s() + PROBE_SECONDS;
    int id = -1;
    int rc = ldap_search_ext(server->ld, server->store->ldap.base, LDAP_SCOPE_SUBTREE,
                             server->store->ldap.filter, attributes, 0, NULL, NULL, NULL,
                             LDAP_NO_LIMIT, &id);
    for (bool more = rc == LDAP_SUCCESS; more && now_s() < until;) {
        LDAPMessage *message = NULL;
        struct timeval patience = { .tv_sec = until - now_s() };
        more = ldap_result(server->ld, id, LDAP_MSG_ONE, &patience, &message) > 0 &&
               count_one(server, message, p);
        ldap_msgfree(message);
    }
}

void
probe_ask(const struct conf_store *store, const char *password, struct probe *ret_probe)
{
    struct server *server = NULL;
    struct err e = { 0 };
    *ret_probe = (struct probe){ .reached = server_open(store, NULL, password, &server, &e) == 0 };
    snprintf(ret_probe->why_not, sizeof(ret_probe->why_not), "%s", e.text);
    if (!ret_probe->reached)
        return;
    ask_base(server, ret_probe);
    if (ret_probe->has_base) {
        ask_sync(server, ret_probe);
        ask_password(server, ret_probe);
        ask_count(server, ret_probe);
    }
    server_close(&server);
}
