#include "directory/secrets.h"

#include "directory/guard.h"

/* What accounts log in with, and what a server's rules keep from most. */
static const char *const secrets[] = {
    "userPassword",
    "krbPrincipalKey",
    "sambaNTPassword",
    "sambaLMPassword",
};

static bool
is_skipped(const char *name, char *const *skip)
{
    for (; *skip != NULL; skip++)
        if (ldif_same_name(span_str(name), span_str(*skip)))
            return true;
    return false;
}

static bool
lacks(const struct ldif_entry *old, const struct ldif_entry *now, const char *name)
{
    struct span value;
    return ldif_find(old, name, &value) && !ldif_find(now, name, &value);
}

const char *
secrets_lost(const struct ldif_entry *old, const struct ldif_entry *now, char *const *skip)
{
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (lacks(old, now, secrets[i]) && !is_skipped(secrets[i], skip))
            return secrets[i];
    return NULL;
}

const char *
secrets_any(const struct ldif_entry *entry, char *const *skip)
{
    const struct ldif_entry none = { 0 };
    return secrets_lost(entry, &none, skip);
}

static void
add_values(const struct ldif_entry *from, const char *name, struct ldif_entry *to)
{
    for (size_t i = 0; i < from->count; i++)
        if (name == NULL || ldif_same_name(ldif_name(from, i), span_str(name)))
            ldif_add(to, ldif_name(from, i), ldif_value(from, i));
}

int
secrets_keep(const struct ldif_entry *old, const struct ldif_entry *now,
             struct ldif_entry *ret_entry, struct err *e)
{
    ldif_begin(ret_entry, ldif_dn(now));
    add_values(now, NULL, ret_entry);
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (lacks(old, now, secrets[i]))
            add_values(old, secrets[i], ret_entry);
    return ldif_end(ret_entry, e);
}

bool
secrets_gone(const struct secrets_view *view)
{
    return view->beside_shows && !view->own_shows &&
           guard_allows(view->gone + 1, view->of, view->percent);
}
