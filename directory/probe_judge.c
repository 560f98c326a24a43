#include "directory/probe.h"

#include <stdarg.h>
#include <stdio.h>

_printf_(2, 3) static struct probe_word word(const char *state, const char *fmt, ...)
{
    struct probe_word w = { .state = state };
    va_list args;
    va_start(args, fmt);
    vsnprintf(w.text, sizeof(w.text), fmt, args);
    va_end(args);
    return w;
}

static struct probe_word
judge_entries(const struct conf_store *s, const struct probe *p, const char *who)
{
    if (p->limited)
        return word("fail",
                    "%s: the server ends a search of %s after %llu entries: what it does not show "
                    "would count as gone; olcLimits: dn.exact=\"%s\" size=unlimited time=unlimited "
                    "on that database",
                    s->name, who, (unsigned long long)p->entries, who);
    if (!p->shows_passwords)
        return word("warn",
                    "%s: %s sees no userPassword below %s: unless there is none, nobody could log "
                    "in after a failover; olcAccess: to attrs=userPassword by dn.exact=\"%s\" read",
                    s->name, who, s->ldap.base, who);
    return word("ok", "%s: %s answers, with syncprov, entryUUID, userPassword and %s%llu entries",
                s->name, s->ldap.uri, p->whole ? "" : "more than ", (unsigned long long)p->entries);
}

/* The first of them that is wrong, in the order in which it is mended. */
struct probe_word
probe_judge(const struct conf_store *s, const struct probe *p)
{
    const char *who = s->ldap.bind_dn != NULL ? s->ldap.bind_dn : "the account of this process";
    if (!p->reached)
        return word("fail",
                    "%s: %s; does the server run, and do uri, bind-dn and password-file "
                    "belong to it?",
                    s->name, p->why_not);
    if (s->ldap.native)
        return word("ok", "%s: %s answers; the directory replicates by itself", s->name,
                    s->ldap.uri);
    if (!p->has_base)
        return word("warn",
                    "%s: %s shows no entry %s to %s: a standby gets it from the primary, on the "
                    "primary it has to be there",
                    s->name, s->ldap.uri, s->ldap.base, who);
    if (!p->syncs)
        return word("fail",
                    "%s: the database of %s has no overlay syncprov, so its changes cannot be "
                    "followed when this node is the primary; add olcOverlay=syncprov to it",
                    s->name, s->ldap.base);
    if (!p->has_id || !p->has_csn)
        return word("fail",
                    "%s: the entry %s shows no %s to %s: entries are known by it; the database "
                    "needs olcLastMod: TRUE, and the account may have to read it",
                    s->name, s->ldap.base, p->has_id ? "entryCSN" : "entryUUID", who);
    return judge_entries(s, p, who);
}
