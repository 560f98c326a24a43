#include "cli/directory.h"

#include "cli/commands.h"
#include "cli/progress.h"
#include "lib/os/control.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ANSWER_MS     10000
#define GRACE_MS      1000
#define RESUME_MS     1000
#define EXIT_DEGRADED 4

/* --- for the barrier --- */

static uint64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int
ask_one(const struct conf *conf, const char *what, const char *store, uint64_t timeout_ms,
        struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *request = json_pack("{s:s, s:s, s:I}", "do", what, "store", store,
                                               "timeout_ms", (json_int_t)timeout_ms);
    if (control_ask(conf->run_dir, CONTROL_DIRECTORY, request, (int)timeout_ms + GRACE_MS, NULL,
                    NULL, &reply, e) < 0)
        return err_wrap(e, "the directory %s", store);
    return 0;
}

/* store: NULL all. */
static int
ask_each(const struct conf *conf, const char *what, const char *store, uint64_t *timeout_ms,
         struct err *e)
{
    for (size_t i = 0; i < conf->store_count; i++) {
        const struct conf_store *one = &conf->stores[i];
        if (one->kind != STORE_LDAP || one->ldap.native ||
            (store != NULL && strcmp(store, one->name) != 0))
            continue;
        uint64_t begun = now_ms();
        if (ask_one(conf, what, one->name, *timeout_ms, e) < 0)
            return -1;
        uint64_t took = now_ms() - begun;
        *timeout_ms = took < *timeout_ms ? *timeout_ms - took : 1;
    }
    return 0;
}

int
directory_reach(const struct line *line, const char *store, uint64_t *timeout_ms, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    return line_conf(line, &conf, e) < 0 ? -1 : ask_each(conf, "reach", store, timeout_ms, e);
}

/* --- for a demotion --- */

int
directory_hand_over(const struct conf *conf, uint64_t *timeout_ms, struct err *e)
{
    struct err why = { 0 };
    if (ask_each(conf, "handover", NULL, timeout_ms, &why) == 0)
        return 0;
    if (why.code == ERR_REFUSED)
        return err_set(e, why.code, "%s", why.text);
    return err_set(e, ERR_REFUSED,
                   "%s; its last changes would be on no standby: mend that and give the order "
                   "again, and --force demotes all the same",
                   why.text);
}

void
directory_resume(const struct conf *conf)
{
    for (size_t i = 0; i < conf->store_count; i++) {
        uint64_t timeout_ms = RESUME_MS;
        struct err ignored = { 0 }; /* it goes on by itself, later */
        ask_each(conf, "resume", conf->stores[i].name, &timeout_ms, &ignored);
    }
}

/* --- mailtwin directory --- */

static void
print_problem(const json_t *problem)
{
    char text[HUMAN_MAX];
    printf("  refused since %s: %s\n    %s\n",
           human_seconds(json_number_value(json_object_get(problem, "seconds")), text),
           json_text(problem, "dn"), json_text(problem, "why"));
}

static double
number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool
is_well(const json_t *store)
{
    return strcmp(json_text(store, "state"), "failed") != 0 && number(store, "refused") <= 0 &&
           number(store, "held_back") <= 0 && number(store, "kept") <= 0 &&
           !json_is_true(json_object_get(store, "blind"));
}

static void
print_store(const json_t *store)
{
    const json_t *problems = json_object_get(store, "problems");
    printf("%-12s %s, %s, %.0f entries\n", json_text(store, "name"), json_text(store, "mode"),
           json_text(store, "state"), number(store, "entries"));
    if (json_text(store, "why")[0] != '\0')
        printf("  %s\n", json_text(store, "why"));
    if (json_object_get(store, "lag_seconds") != NULL)
        printf("  the two servers are %.3f s apart\n", number(store, "lag_seconds"));
    if (number(store, "held_back") > 0)
        printf("  %.0f entries are missing at once and are not deleted: mailtwin directory "
               "release %s\n",
               number(store, "held_back"), json_text(store, "name"));
    if (json_is_true(json_object_get(store, "blind")))
        printf("  the server does not show passwords any more, and %.0f entries keep what they "
               "had: give the account its right back, or mailtwin directory release %s\n",
               number(store, "hidden"), json_text(store, "name"));
    if (number(store, "kept") > 0)
        printf("  %.0f entries that this server had refused are kept in the spool\n",
               number(store, "kept"));
    for (size_t i = 0; i < json_array_size(problems); i++)
        print_problem(json_array_get(problems, i));
    if (number(store, "refused") > (double)json_array_size(problems))
        puts("  and more");
}

static int
ask(const struct line *line, const char *what, const char *store, json_t **ret_reply, struct err *e)
{
    json_t *request = json_pack("{s:s}", "do", what);
    if (store != NULL)
        json_object_set_new(request, "store", json_string(store));
    return line_ask(line, CONTROL_DIRECTORY, request, ANSWER_MS, ret_reply, e);
}

static int
show_status(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (ask(line, "status", NULL, &reply, e) < 0)
        return -1;
    const json_t *stores = json_object_get(reply, "stores");
    int status = 0;
    for (size_t i = 0; i < json_array_size(stores); i++) {
        const json_t *store = json_array_get(stores, i);
        if (!line_has(line, "json"))
            print_store(store);
        if (!is_well(store))
            status = EXIT_DEGRADED;
    }
    if (line_has(line, "json"))
        print_json(reply);
    return status;
}

static int
release(const struct line *line, const char *store, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (line_has(line, "plan"))
        return show_status(line, e);
    if (line_confirm(line, "what is released is deleted on the other nodes' servers",
                     "The entries that are missing, and the passwords that are not shown any "
                     "more, are deleted on the other node as well.",
                     e) < 0)
        return -1;
    if (ask(line, "release", store, &reply, e) < 0)
        return -1;
    printf("%.0f entries released\n", number(reply, "released"));
    return 0;
}

static int
retry(const struct line *line, const char *store, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (ask(line, "retry", store, &reply, e) < 0)
        return -1;
    printf("%.0f entries are tried again\n", number(reply, "tried"));
    return 0;
}

int
cmd_directory(const struct line *line, struct err *e)
{
    const char *what = line->argument_count > 0 ? line->arguments[0] : "status";
    const char *store = line->argument_count > 1 ? line->arguments[1] : NULL;
    if (strcmp(what, "status") == 0)
        return show_status(line, e);
    if (strcmp(what, "release") == 0)
        return release(line, store, e);
    if (strcmp(what, "retry") == 0)
        return retry(line, store, e);
    return err_set(e, ERR_USAGE, "directory takes status, release or retry, not \"%.64s\"", what);
}
