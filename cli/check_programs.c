/* check_programs.c - what stores of kind queue, dump and ldap need of the host. */
#include "cli/check.h"

#include "cli/external.h"
#include "cli/line.h"
#include "cli/said.h"
#include "lib/base/words.h"
#include "lib/os/control.h"
#include "lib/store/queue_disk.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define ROLE_MS     5000
#define DIRECTORY   "directory"
#define PATIENCE_MS 90000 /* a server that accepts and says nothing */

/* Nobody answers: the daemon does not run, and the role is not known. */
static bool
is_standby(const struct conf *conf)
{
    _cleanup_json_ json_t *request = json_pack("{s:s}", "do", "role");
    _cleanup_json_ json_t *reply = NULL;
    if (control_ask(conf->run_dir, CONTROL_BARRIER, request, ROLE_MS, NULL, NULL, &reply, NULL) < 0)
        return false;
    return strcmp(json_text(reply, "role"), "primary") != 0 &&
           json_is_string(json_object_get(reply, "history"));
}

static void
check_queue_store(struct check *check, const struct conf_store *store)
{
    struct err e = { 0 };
    int used = queue_in_use(store->path, &e);
    if (used < 0)
        check_found(check, FINDING_WARN, "queue", "%s: %s", store->name, e.text);
    else if (used > 0 && is_standby(check->conf))
        check_found(check, FINDING_WARN, "queue",
                    "%s: Postfix runs on %s although this node is a standby: it delivers what the "
                    "primary delivers, too; systemctl disable --now postfix",
                    store->name, store->path);
    else
        check_found(check, FINDING_OK, "queue", "%s: %s", store->name,
                    used > 0 ? "Postfix uses it" : "no Postfix uses it");
}

static void
check_command(struct check *check, const struct conf_store *store, const char *key,
              const char *text)
{
    struct err e = { 0 };
    _cleanup_words_ char **words = NULL;
    if (words_split(text, &words, &e) < 0)
        check_found(check, FINDING_FAIL, "dump", "%s: %s: %s", store->name, key, e.text);
}

static void
check_dump_store(struct check *check, const struct conf_store *store)
{
    check_command(check, store, "command", store->dump.command);
    check_command(check, store, "restore", store->dump.restore);
    if (getpwnam(store->dump.user) == NULL)
        check_found(check, FINDING_FAIL, "dump", "%s: there is no account \"%s\"", store->name,
                    store->dump.user);
    else
        check_found(check, FINDING_OK, "dump", "%s: runs as %s", store->name, store->dump.user);
}

static enum finding
finding_of(const char *state)
{
    return strcmp(state, "ok") == 0     ? FINDING_OK
           : strcmp(state, "warn") == 0 ? FINDING_WARN
                                        : FINDING_FAIL;
}

/* mailtwin-directoryd asks the servers, as the account that it is when it runs. */
static void
check_directory_stores(struct check *check)
{
    struct err e = { 0 };
    _cleanup_free_ char *line = NULL;
    _cleanup_free_ char *program = external_find("directoryd");
    if (program == NULL) {
        check_found(check, FINDING_FAIL, DIRECTORY,
                    "the program mailtwin-directoryd is not installed");
        return;
    }
    const char *const words[] = { program,  "--check",         "--config", check->conf->file,
                                  "--node", check->conf->self, NULL };
    int told = said_line(words, PATIENCE_MS, &line, &e);
    _cleanup_json_ json_t *said = told > 0 ? json_loads(line, 0, NULL) : NULL;
    const json_t *checks = json_object_get(said, "checks");
    if (!json_is_array(checks))
        check_found(check, FINDING_WARN, DIRECTORY, "%s",
                    told < 0 ? e.text : "mailtwin-directoryd does not say what it found");
    for (size_t i = 0; i < json_array_size(checks); i++)
        check_found(check, finding_of(json_text(json_array_get(checks, i), "state")), DIRECTORY,
                    "%s", json_text(json_array_get(checks, i), "text"));
}

void
check_programs(struct check *check)
{
    bool directory = false;
    for (size_t i = 0; i < check->conf->store_count; i++) {
        const struct conf_store *store = &check->conf->stores[i];
        if (store->kind == STORE_QUEUE)
            check_queue_store(check, store);
        else if (store->kind == STORE_DUMP)
            check_dump_store(check, store);
        directory |= store->kind == STORE_LDAP;
    }
    if (directory)
        check_directory_stores(check);
}
