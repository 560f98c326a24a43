/* server_write.c - add, modify, rename, delete. */
#include "directory/server_private.h"
#include "lib/store/dn.h"

#include <stdlib.h>

#define ADD_SECONDS 30

/* Operations of one request: LDAPMod points to values, which point into entries. */
struct mods {
    LDAPMod *mods;
    LDAPMod **list;
    size_t count, cap;
};

static void
mods_free(struct mods *mods)
{
    for (size_t i = 0; i < mods->count; i++) {
        struct berval **values = mods->mods[i].mod_bvalues;
        if (values != NULL)
            free(values[0]); /* all of them, in one piece */
        free(values);
        free(mods->mods[i].mod_type);
    }
    free(mods->mods);
    free(mods->list);
}
#define _cleanup_mods_ _cleanup_(mods_free)

static void
mods_change(void *arg, enum ldif_op op, struct span name, const struct span *values, size_t count)
{
    struct mods *mods = arg;
    if (mods->count == mods->cap) {
        mods->cap = MAX(mods->cap * 2, (size_t)16);
        mods->mods = xrealloc(mods->mods, mods->cap * sizeof(mods->mods[0]));
    }
    LDAPMod *mod = &mods->mods[mods->count++];
    *mod = (LDAPMod){ .mod_op = (int)op | LDAP_MOD_BVALUES,
                      .mod_type = xasprintf("%.*s", (int)name.len, name.ptr) };
    if (count == 0)
        return;
    struct berval *bervals = xcalloc(count, sizeof(*bervals));
    mod->mod_bvalues = xcalloc(count + 1, sizeof(mod->mod_bvalues[0]));
    for (size_t i = 0; i < count; i++) {
        bervals[i] = server_berval(values[i]);
        mod->mod_bvalues[i] = &bervals[i];
    }
}

static LDAPMod **
mods_list(struct mods *mods)
{
    mods->list = xcalloc(mods->count + 1, sizeof(mods->list[0]));
    for (size_t i = 0; i < mods->count; i++)
        mods->list[i] = &mods->mods[i];
    return mods->list;
}

static char *
text_of(struct span span)
{
    return xasprintf("%.*s", (int)span.len, span.ptr);
}

static LDAPControl
control_of(const char *oid, struct span value)
{
    union {
        const char *in;
        char *out;
    } name = { .in = oid };
    return (LDAPControl){ name.out, server_berval(value), 1 };
}

static LDAPControl
relax(void)
{
    return control_of(LDAP_CONTROL_RELAX, span_of(NULL, 0));
}

/* --- one at a time --- */

int
server_add_begin(struct server *server, const struct ldif_entry *entry, int *ret_id, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry none = { 0 };
    _cleanup_mods_ struct mods mods = { 0 };
    _cleanup_free_ char *dn = text_of(ldif_dn(entry));
    LDAPControl control = relax();
    LDAPControl *controls[] = { &control, NULL };
    ldif_diff(&none, entry, false, mods_change, &mods);
    int rc = ldap_add_ext(server->ld, dn, mods_list(&mods), controls, NULL, ret_id);
    return server_outcome(server, rc, e, "send an entry") == 0 ? 0 : -1;
}

int
server_add_end(struct server *server, int id, struct err *e)
{
    LDAPMessage *message = NULL;
    struct timeval patience = { .tv_sec = ADD_SECONDS };
    int code = LDAP_OTHER;
    int rc = ldap_result(server->ld, id, LDAP_MSG_ALL, &patience, &message);
    if (rc > 0)
        rc = ldap_parse_result(server->ld, message, &code, NULL, NULL, NULL, NULL, 1);
    else
        rc = rc == 0 ? LDAP_TIMEOUT : LDAP_SERVER_DOWN;
    return server_outcome(server, rc == LDAP_SUCCESS ? code : rc, e, "add");
}

int
server_add(struct server *server, const struct ldif_entry *entry, struct err *e)
{
    int id = 0;
    if (server_add_begin(server, entry, &id, e) < 0)
        return -1;
    return server_add_end(server, id, e);
}

/* Who changed it and when is the server's own, unless it is told in the same request. */
static void
keep_times(const struct ldif_entry *to, struct mods *mods)
{
    static const char *const names[] = { "modifiersName", "modifyTimestamp" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct span value;
        bool there = false;
        for (size_t k = 0; k < mods->count; k++)
            there |= strcasecmp(mods->mods[k].mod_type, names[i]) == 0;
        if (!there && ldif_find(to, names[i], &value))
            mods_change(mods, LDIF_REPLACE, span_str(names[i]), &value, 1);
    }
}

int
server_modify(struct server *server, const struct ldif_entry *from, const struct ldif_entry *to,
              bool whole, struct err *e)
{
    _cleanup_mods_ struct mods mods = { 0 };
    _cleanup_free_ char *dn = text_of(ldif_dn(from));
    LDAPControl control = relax();
    LDAPControl *controls[] = { &control, NULL };
    ldif_diff(from, to, whole, mods_change, &mods);
    if (mods.count == 0)
        return 0;
    keep_times(to, &mods);
    int rc = ldap_modify_ext_s(server->ld, dn, mods_list(&mods), controls, NULL);
    return server_outcome(server, rc, e, "modify");
}

/* The old name's values go: what the entry keeps of them, the difference brings back. */
int
server_rename(struct server *server, struct span from, struct span to, struct err *e)
{
    _cleanup_free_ char *dn = text_of(from);
    _cleanup_free_ char *rdn = text_of(dn_rdn(to));
    _cleanup_free_ char *parent = text_of(dn_parent(to));
    LDAPControl control = relax();
    LDAPControl *controls[] = { &control, NULL };
    bool stays = dn_same(dn_parent(from), dn_parent(to));
    int rc = ldap_rename_s(server->ld, dn, rdn, stays ? NULL : parent, 1, controls, NULL);
    return server_outcome(server, rc, e, "rename");
}

int
server_delete(struct server *server, struct span dn, struct err *e)
{
    _cleanup_free_ char *text = text_of(dn);
    LDAPControl control = relax();
    LDAPControl *controls[] = { &control, NULL };
    int rc = ldap_delete_ext_s(server->ld, text, controls, NULL);
    return server_outcome(server, rc, e, "delete");
}
