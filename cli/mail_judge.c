#include "cli/mail_judge.h"

#include "lib/os/control.h"
#include "lib/os/endpoint.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_printf_(2, 3) static struct judgement judged(enum finding finding, const char *fmt, ...)
{
    struct judgement j = { .finding = finding };
    va_list args;
    va_start(args, fmt);
    vsnprintf(j.text, sizeof(j.text), fmt, args);
    va_end(args);
    return j;
}

bool
has_word(const char *text, const char *word)
{
    static const char apart[] = " \t\r\n{}=,";
    size_t len = strlen(word);
    while (*text != '\0') {
        text += strspn(text, apart);
        size_t here = strcspn(text, apart);
        if (here == len && strncmp(text, word, len) == 0)
            return true;
        text += here;
    }
    return false;
}

/* --- Dovecot --- */

#define ABI_MARK ".ABIv"

static bool
is_of_abi(char c)
{
    return isdigit((unsigned char)c) || c == '.' || c == '(' || c == ')';
}

void
dovecot_abi_find(struct span module, char ret_abi[DOVECOT_ABI_MAX])
{
    ret_abi[0] = '\0';
    if (module.len == 0)
        return;
    const char *begin = (const char *)module.ptr, *end = begin + module.len;
    const char *mark = memmem(begin, module.len, ABI_MARK, strlen(ABI_MARK));
    if (mark == NULL)
        return;
    const char *from = mark, *to = mark + strlen(ABI_MARK);
    while (from > begin && is_of_abi(from[-1]))
        from--;
    while (to < end && is_of_abi(*to))
        to++;
    size_t len = MIN((size_t)(to - from), (size_t)DOVECOT_ABI_MAX - 1);
    memcpy(ret_abi, from, len);
    ret_abi[len] = '\0';
}

static bool
has_store(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (strcmp(conf->stores[i].name, name) == 0)
            return true;
    return false;
}

/* Whatever Dovecot would refuse: it lets nobody in then. */
static struct judgement
judge_module(const struct dovecot_facts *f)
{
    if (f->module == NULL)
        return judged(FINDING_FAIL,
                      "Dovecot is told to load the plugin mailtwin and %s has none, so nobody can "
                      "log in; make install puts it there (DOVECOT_MODULES=%s)",
                      f->folder, f->folder);
    if (!f->readable)
        return judged(FINDING_FAIL,
                      "Dovecot's processes run as the users and cannot read %s; chmod 0644",
                      f->module);
    if (f->abi[0] != '\0' && f->its_abi[0] != '\0' && strcmp(f->abi, f->its_abi) != 0)
        return judged(FINDING_FAIL,
                      "%s was built for Dovecot %s, and this one is %s, so nobody can log in; "
                      "build it again with make and make install",
                      f->module, f->abi, f->its_abi);
    return judged(FINDING_OK, "%s", f->module);
}

static struct judgement
judge_settings(const struct conf *conf, const struct dovecot_facts *f)
{
    _cleanup_free_ char *ours = xasprintf("%s/" CONTROL_BARRIER, conf->run_dir);
    const char *socket = f->socket[0] != '\0' ? f->socket : "/run/mailtwin/" CONTROL_BARRIER;
    if (strcmp(socket, ours) != 0)
        return judged(FINDING_FAIL,
                      "the plugin in Dovecot asks at %s, but with this run-dir the daemon answers "
                      "at %s; set mailtwin_socket = %s in Dovecot's plugin section",
                      socket, ours, ours);
    if (f->store[0] != '\0' && !has_store(conf, f->store))
        return judged(FINDING_FAIL,
                      "the plugin in Dovecot asks for the store \"%s\", which this configuration "
                      "has not; mend mailtwin_store",
                      f->store);
    if (has_word(f->kinds, "none"))
        return judged(FINDING_WARN,
                      "the plugin in Dovecot waits for nothing (mailtwin = none): an OK says "
                      "nothing of the standby; mailtwin = all is the default");
    return judged(FINDING_OK, "Dovecot loads %s, which asks at %s", f->module, socket);
}

/* As the plugin reads them: nothing is all. */
static bool
waits_for_deliveries(const char *kinds)
{
    return kinds[0] == '\0' || has_word(kinds, "all") || has_word(kinds, "deliver");
}

struct judgement
judge_dovecot(const struct conf *conf, const struct dovecot_facts *facts)
{
    if (!facts->loaded)
        return judged(FINDING_WARN,
                      "Dovecot runs without the plugin mailtwin: its OK says nothing of the "
                      "standby; copy deploy/dovecot/90-mailtwin.conf to /etc/dovecot/conf.d "
                      "(docs/dovecot-plugin.md)");
    struct judgement j = judge_module(facts);
    if (j.finding == FINDING_OK)
        j = judge_settings(conf, facts);
    if (j.finding == FINDING_OK && facts->without[0] != '\0')
        return judged(FINDING_WARN,
                      "Dovecot loads the plugin mailtwin, but not for %s: begin the mail_plugins "
                      "of that protocol with $mail_plugins",
                      facts->without);
    if (j.finding == FINDING_OK && conf->gate_count > 0 && facts->lmtp_kinds != NULL &&
        waits_for_deliveries(facts->lmtp_kinds))
        return judged(FINDING_WARN,
                      "a delivery waits twice, in Dovecot for one recipient after the other and "
                      "then at the gate \"%s\"; where all deliveries come through the gate, set "
                      "mailtwin = none in a plugin section of Dovecot's protocol lmtp "
                      "(docs/dovecot-plugin.md)",
                      conf->gates[0].name);
    return j;
}

/* What is set behind ":KEY=" in a location; an empty span when it is not. */
static struct span
location_key(const char *location, const char *key)
{
    size_t len = strlen(key);
    for (const char *at = strchr(location, ':'); at != NULL; at = strchr(at + 1, ':'))
        if (strncmp(at + 1, key, len) == 0)
            return span_of(at + 1 + len, strcspn(at + 1 + len, ":"));
    return span_of(NULL, 0);
}

/* Both are compared as far as the path is the same for all users: up to its first variable. */
static bool
is_of_store(struct span path, const char *store)
{
    const uint8_t *variable = memchr(path.ptr, '%', path.len);
    size_t fixed = variable == NULL ? path.len : (size_t)(variable - path.ptr);
    size_t len = strlen(store);
    if (fixed <= len)
        return memcmp(path.ptr, store, fixed) == 0 && (variable != NULL || fixed == len);
    return memcmp(path.ptr, store, len) == 0 && path.ptr[len] == '/';
}

static bool
is_outside(const struct conf *conf, struct span path)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_MAILDIR && is_of_store(path, conf->stores[i].path))
            return false;
    return true;
}

struct judgement
judge_location(const struct conf *conf, const char *location)
{
    struct span control = location_key(location, "CONTROL=");
    struct span index = location_key(location, "INDEX=");
    if (is_outside(conf, control))
        return judged(FINDING_FAIL,
                      "Dovecot's control files lie outside of every store of kind maildir "
                      "(CONTROL=%.*s in mail_location), so UIDs and subscriptions are not on the "
                      "standby; make that tree a store of kind maildir",
                      (int)control.len, (const char *)control.ptr);
    if (is_outside(conf, index))
        return judged(FINDING_WARN,
                      "Dovecot's indexes lie outside of every store of kind maildir (INDEX=%.*s in "
                      "mail_location), so a promotion does not drop them: empty that directory "
                      "before Dovecot starts on a promoted node, or leave INDEX= out",
                      (int)index.len, (const char *)index.ptr);
    return judged(FINDING_OK, "mail_location leads no index and no control file out of the stores");
}

/* --- Postfix --- */

/* "lmtp:unix:private/x" and its kin. false: no place is named, or none that is understood. */
static bool
place_of(const char *value, const char *queue, struct endpoint *ret)
{
    const char *colon = strchr(value, ':');
    if (colon == NULL)
        return false;
    const char *hop = colon + 1;
    _cleanup_free_ char *text = NULL;
    if (strncmp(hop, "unix:", 5) == 0)
        text = hop[5] == '/' ? xstrdup(hop) : xasprintf("unix:%s/%s", queue, hop + 5);
    else
        text = strncmp(hop, "inet:", 5) == 0 ? xstrdup(hop) : xasprintf("inet:%s", hop);
    return endpoint_parse(text, ret);
}

static bool
is_any(const struct endpoint *e)
{
    return strcmp(e->text, "0.0.0.0") == 0 || strcmp(e->text, "::") == 0;
}

static bool
is_here(const struct endpoint *e)
{
    return strncmp(e->text, "127.", 4) == 0 || strcmp(e->text, "::1") == 0 ||
           strcmp(e->text, "localhost") == 0;
}

/* As far as can be told without asking for names. */
static bool
is_same(const struct endpoint *a, const struct endpoint *b)
{
    if (a->unix_path != b->unix_path)
        return false;
    if (a->unix_path)
        return strcmp(a->text, b->text) == 0;
    return a->port == b->port &&
           (strcmp(a->text, b->text) == 0 || is_any(a) || is_any(b) || (is_here(a) && is_here(b)));
}

struct judgement
judge_postfix(const struct conf_gate *gate, const struct postfix_transport *transports,
              size_t count, const char *queue)
{
    struct endpoint listen, backend, place;
    const struct postfix_transport *through = NULL, *past = NULL;
    bool known = endpoint_parse(gate->listen, &listen) && endpoint_parse(gate->backend, &backend);
    for (size_t i = 0; known && i < count; i++) {
        if (!place_of(transports[i].value, queue, &place))
            continue;
        if (is_same(&place, &listen))
            through = &transports[i];
        else if (is_same(&place, &backend))
            past = &transports[i];
    }
    if (past != NULL)
        return judged(FINDING_FAIL,
                      "Postfix delivers past the gate \"%s\" (%s = %s is the server behind it), so "
                      "mail that it takes for delivered may be lost; postconf -e '%s = lmtp:%s'",
                      gate->name, past->name, past->value, past->name, gate->listen);
    if (through == NULL)
        return judged(FINDING_WARN,
                      "Postfix does not deliver to the gate \"%s\", unless its transport_maps say "
                      "so; postconf -e 'virtual_transport = lmtp:%s'",
                      gate->name, gate->listen);
    return judged(FINDING_OK, "Postfix delivers to the gate \"%s\" (%s = %s)", gate->name,
                  through->name, through->value);
}
