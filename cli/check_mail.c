/* check_mail.c - what Dovecot and Postfix of this host are set up to do, as their own programs say
 * it: run without a shell, for ten seconds at most. A host without them is nothing to complain of.
 */
#include "cli/mail_judge.h"
#include "cli/said.h"
#include "lib/os/control.h"
#include "lib/os/file.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATIENCE_MS 10000
#define MODULE_MAX  (16 * 1024 * 1024)
#define OUR_MODULE  "lib*_mailtwin_plugin.so"
#define ANY_MODULE  "lib*_plugin.so"

/* --- Dovecot --- */

struct dovecot {
    struct dovecot_facts facts;
    char without[64];
    char *protocols, *folder, *module, *kinds, *store, *socket, *lmtp_kinds, *location;
    char abi[DOVECOT_ABI_MAX], its_abi[DOVECOT_ABI_MAX];
};

static int
ask_dovecot(const char *filter, const char *name, char **ret_value, struct err *e)
{
    const char *const words[] = { "doveconf", "-f", filter, "-h", name, NULL };
    return said_line(words, PATIENCE_MS, ret_value, e);
}

/* Of one that Dovecot serves: does it load the plugin? */
static int
ask_protocol(struct dovecot *d, const char *name, struct err *e)
{
    _cleanup_free_ char *plugins = NULL;
    _cleanup_free_ char *filter = xasprintf("protocol=%s", name);
    if (ask_dovecot(filter, "mail_plugins", &plugins, e) <= 0)
        return -1;
    if (has_word(plugins, "mailtwin")) {
        d->facts.loaded = true;
        bool lmtp = strcmp(name, "lmtp") == 0;
        return lmtp && ask_dovecot(filter, "plugin/mailtwin", &d->lmtp_kinds, e) <= 0 ? -1 : 0;
    }
    size_t len = strlen(d->without);
    snprintf(d->without + len, sizeof(d->without) - len, "%s%s", len > 0 ? ", " : "", name);
    return 0;
}

static int
ask_protocols(struct dovecot *d, struct err *e)
{
    static const char *const names[] = { "imap", "pop3", "lmtp" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (has_word(d->protocols, names[i]) && ask_protocol(d, names[i], e) < 0)
            return -1;
    }
    return 0;
}

static int
ask_settings(struct dovecot *d, struct err *e)
{
    const struct {
        const char *name;
        char **to;
    } all[] = { { "mail_plugin_dir", &d->folder },
                { "plugin/mailtwin", &d->kinds },
                { "plugin/mailtwin_store", &d->store },
                { "plugin/mailtwin_socket", &d->socket },
                { "mail_location", &d->location } };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (ask_dovecot("service=imap", all[i].name, all[i].to, e) <= 0)
            return -1;
    return 0;
}

static void
read_abi(const char *path, char ret_abi[DOVECOT_ABI_MAX])
{
    char *bytes = NULL;
    size_t len = 0;
    ret_abi[0] = '\0';
    _cleanup_free_ char *real = realpath(path, NULL); /* a module may be a link */
    if (real != NULL && file_read(AT_FDCWD, real, MODULE_MAX, &bytes, &len, NULL) > 0)
        dovecot_abi_find(span_of(bytes, len), ret_abi);
    free(bytes);
}

/* Another plugin came with the Dovecot that is installed, and says which it is. */
static void
look_at_modules(struct dovecot *d)
{
    DIR *folder = opendir(d->folder);
    struct stat st;
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        _cleanup_free_ char *path = xasprintf("%s/%s", d->folder, entry->d_name);
        if (fnmatch(OUR_MODULE, entry->d_name, 0) == 0) {
            read_abi(path, d->abi);
            d->facts.readable = stat(path, &st) == 0 && (st.st_mode & S_IROTH) != 0;
            free(d->module);
            d->module = xstrdup(path);
        } else if (d->its_abi[0] == '\0' && fnmatch(ANY_MODULE, entry->d_name, 0) == 0) {
            read_abi(path, d->its_abi);
        }
    }
    if (folder != NULL)
        closedir(folder);
}

static void
tell(struct check *check, const char *name, struct judgement j)
{
    check_found(check, j.finding, name, "%s", j.text);
}

static void
tell_dovecot(struct check *check, struct dovecot *d)
{
    d->facts.without = d->without;
    d->facts.folder = d->folder;
    d->facts.module = d->module;
    d->facts.abi = d->abi;
    d->facts.its_abi = d->its_abi;
    d->facts.kinds = d->kinds;
    d->facts.store = d->store;
    d->facts.socket = d->socket;
    d->facts.lmtp_kinds = d->lmtp_kinds;
    tell(check, "dovecot", judge_dovecot(check->conf, &d->facts));
    tell(check, "mail_location", judge_location(check->conf, d->location));
}

static void
check_dovecot(struct check *check)
{
    struct dovecot d = { 0 };
    struct err e = { 0 };
    int there = ask_dovecot("service=imap", "protocols", &d.protocols, &e);
    if (there > 0 && (ask_protocols(&d, &e) < 0 || ask_settings(&d, &e) < 0))
        there = -1;
    if (there < 0)
        check_found(check, FINDING_WARN, "dovecot", "%s", e.text);
    if (there > 0) {
        look_at_modules(&d);
        tell_dovecot(check, &d);
    }
    char *const all[] = { d.protocols, d.folder, d.module,     d.kinds,
                          d.store,     d.socket, d.lmtp_kinds, d.location };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
}

/* Dovecot's processes are the users' own when they ask. */
static void
check_barrier(struct check *check)
{
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/" CONTROL_BARRIER, check->conf->run_dir);
    if (stat(path, &st) < 0)
        return; /* the daemon makes it, and is not running */
    bool open = (st.st_mode & S_IWOTH) != 0 && stat(check->conf->run_dir, &st) == 0 &&
                (st.st_mode & S_IXOTH) != 0;
    if (!open)
        check_found(check, FINDING_FAIL, "barrier",
                    "the mail users' processes cannot reach %s: chmod 0755 %s, chmod 0666 %s", path,
                    check->conf->run_dir, path);
}

/* --- Postfix --- */

static int
ask_postfix(const char *name, char **ret_value, struct err *e)
{
    const char *const words[] = { "postconf", "-hx", name, NULL };
    return said_line(words, PATIENCE_MS, ret_value, e);
}

static void
check_postfix(struct check *check)
{
    static const char *const names[] = { "virtual_transport", "mailbox_transport",
                                         "local_transport", "relay_transport", "queue_directory" };
    enum {
        QUEUE = ARRAY_LEN(names) - 1
    };
    struct postfix_transport transports[QUEUE];
    char *values[ARRAY_LEN(names)] = { NULL };
    struct err e = { 0 };
    int there = 1;
    for (size_t i = 0; there > 0 && i < ARRAY_LEN(names); i++)
        there = ask_postfix(names[i], &values[i], &e);
    for (size_t i = 0; there > 0 && i < QUEUE; i++)
        transports[i] = (struct postfix_transport){ names[i], values[i] };
    for (size_t i = 0; there > 0 && i < check->conf->gate_count; i++)
        tell(check, "postfix",
             judge_postfix(&check->conf->gates[i], transports, QUEUE, values[QUEUE]));
    if (there < 0)
        check_found(check, FINDING_WARN, "postfix", "%s", e.text);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        free(values[i]);
}

static bool
has_maildir(const struct conf *conf)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_MAILDIR && conf->stores[i].durability != DURABILITY_ASYNC)
            return true;
    return false;
}

void
check_mail(struct check *check)
{
    if (has_maildir(check->conf)) {
        check_dovecot(check);
        check_barrier(check);
    }
    if (check->conf->gate_count > 0)
        check_postfix(check);
}
