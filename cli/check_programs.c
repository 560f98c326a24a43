/* check_programs.c - what stores of kind queue and dump need of the host. */
#include "cli/check.h"

#include "cli/line.h"
#include "lib/base/words.h"
#include "lib/os/control.h"
#include "lib/store/queue_disk.h"

#include <pwd.h>
#include <string.h>

#define ROLE_MS 5000

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

void
check_programs(struct check *check)
{
    for (size_t i = 0; i < check->conf->store_count; i++) {
        const struct conf_store *store = &check->conf->stores[i];
        if (store->kind == STORE_QUEUE)
            check_queue_store(check, store);
        else if (store->kind == STORE_DUMP)
            check_dump_store(check, store);
    }
}
