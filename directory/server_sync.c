/* server_sync.c - the search of RFC 4533 that stays open, over plain libldap calls: ldap_sync_*()
 * is a proof of concept, and hands the first of several messages to each handler. */
#include "directory/server_private.h"

#include <stdlib.h>
#include <sys/time.h>

void
server_message_free(struct server_message *message)
{
    buf_free(&message->ids);
    buf_free(&message->cookie);
    ldif_free(&message->entry);
}

int
server_follow(struct server *server, struct span cookie, struct err *e)
{
    _cleanup_buf_ struct buf value = { 0 };
    char oid[] = LDAP_CONTROL_SYNC;
    ldapsync_request_write(true, cookie, &value);
    LDAPControl control = { oid, server_berval(buf_span(&value)), 1 };
    LDAPControl *controls[] = { &control, NULL };
    int rc = ldap_search_ext(server->ld, server->store->ldap.base, LDAP_SCOPE_SUBTREE,
                             server->store->ldap.filter, server->attributes, 0, controls, NULL,
                             NULL, LDAP_NO_LIMIT, &server->follow);
    return server_outcome(server, rc, e, "follow the directory");
}

static void
take_cookie(struct server_message *message, struct span cookie)
{
    if (cookie.len == 0)
        return;
    buf_reset(&message->cookie);
    buf_add(&message->cookie, cookie.ptr, cookie.len);
}

static struct span
control_value(const LDAPControl *control)
{
    return span_of(control->ldctl_value.bv_val, control->ldctl_value.bv_len);
}

static int
take_entry(struct server *server, LDAPMessage *raw, struct server_message *message, struct err *e)
{
    LDAPControl **controls = NULL;
    int rc = ldap_get_entry_controls(server->ld, raw, &controls);
    const LDAPControl *state = rc == LDAP_SUCCESS
                                   ? ldap_control_find(LDAP_CONTROL_SYNC_STATE, controls, NULL)
                                   : NULL;
    int r = state == NULL
                ? err_set(e, ERR_PROTOCOL, "the server sent an entry without a Sync State control")
                : ldapsync_entry_read(control_value(state), &message->sync, e);
    message->news = SERVER_ENTRY;
    if (r == 0)
        take_cookie(message, message->sync.cookie);
    message->unreadable = r == 0 && server_entry(server, raw, &message->entry, e) < 0;
    message->sync.cookie = span_of(NULL, 0); /* it goes with the controls */
    ldap_controls_free(controls);
    return r;
}

static int
take_info(struct server *server, LDAPMessage *raw, struct server_message *message, struct err *e)
{
    char *oid = NULL;
    struct berval *value = NULL;
    int rc = ldap_parse_intermediate(server->ld, raw, &oid, &value, NULL, 0);
    int r = 0;
    if (rc != LDAP_SUCCESS || oid == NULL || value == NULL)
        r = err_set(e, ERR_PROTOCOL, "the server sent a message that cannot be read");
    else if (strcmp(oid, LDAP_SYNC_INFO) != 0)
        message->news = SERVER_NOTHING; /* not about this search */
    else if (ldapsync_info_read(span_of(value->bv_val, value->bv_len), &message->info,
                                &message->ids, e) < 0)
        r = -1;
    else
        message->news = SERVER_INFO;
    if (message->news == SERVER_INFO)
        take_cookie(message, message->info.cookie);
    message->info.cookie = span_of(NULL, 0);
    ldap_memfree(oid);
    ber_bvfree(value);
    return r;
}

static int
take_end(struct server *server, LDAPMessage *raw, struct server_message *message, struct err *e)
{
    int code = LDAP_OTHER;
    char *said = NULL;
    int rc = ldap_parse_result(server->ld, raw, &code, NULL, &said, NULL, NULL, 0);
    message->news = SERVER_END;
    message->code = rc == LDAP_SUCCESS ? code : LDAP_OTHER;
    server->follow = -1;
    err_set(e, ERR_REFUSED, "the server ended the search: %s%s%.300s",
            ldap_err2string(message->code), said != NULL && said[0] != '\0' ? ": " : "",
            said != NULL ? said : "");
    ldap_memfree(said);
    return 0;
}

int
server_next(struct server *server, struct server_message *message, struct err *e)
{
    LDAPMessage *raw = NULL;
    struct timeval none = { 0 };
    message->news = SERVER_NOTHING;
    buf_reset(&message->cookie);
    int type = ldap_result(server->ld, server->follow, LDAP_MSG_ONE, &none, &raw);
    if (type == 0)
        return 0;
    int r = 0;
    if (type < 0)
        r = err_set(e, ERR_PEER, "the connection to the server ended");
    else if (type == LDAP_RES_SEARCH_ENTRY)
        r = take_entry(server, raw, message, e);
    else if (type == LDAP_RES_INTERMEDIATE)
        r = take_info(server, raw, message, e);
    else if (type == LDAP_RES_SEARCH_RESULT)
        r = take_end(server, raw, message, e);
    ldap_msgfree(raw);
    return r;
}
