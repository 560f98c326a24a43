#include "cli/steps.h"

#include "cli/line.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/state_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FOLDER     "promotion"
#define WANTED     "wanted.json"
#define NAME_SIZE  32
#define RECORD_MAX (1024 * 1024)

typedef int step_run(const struct conf *conf, const struct conf_store *store, uint64_t epoch,
                     char **ret_text, struct err *e);

static const struct {
    const char *name;
    enum store_kind kind;
    step_run *run;
} kinds[] = {
    { "queue", STORE_QUEUE, step_queue },
    { "directory", STORE_LDAP, step_directory },
    { "dump", STORE_DUMP, step_dump },
};

static void
add_steps(json_t *steps, const struct conf *conf, size_t kind)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (conf->stores[i].kind == kinds[kind].kind)
            json_array_append_new(steps,
                                  json_pack("{s:s, s:s, s:s}", "step", kinds[kind].name, "store",
                                            conf->stores[i].name, "state", "pending"));
}

json_t *
steps_plan(const struct conf *conf)
{
    json_t *steps = json_array();
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++)
        add_steps(steps, conf, kind);
    return steps;
}

/* --- the record --- */

static int
open_folder(const struct conf *conf, struct err *e)
{
    _cleanup_close_ int state = state_dir_open(conf, e);
    return state < 0 ? -1 : state_dir_folder(state, FOLDER, e);
}

static int
write_json(int folder, const char *name, const json_t *json, struct err *e)
{
    char *text = json_dumps(json, JSON_INDENT(1));
    ASSERT(text != NULL);
    int rc = file_replace(folder, name, span_str(text), 0600, e);
    free(text);
    return rc < 0 ? err_wrap(e, "note the steps of the promotion") : 0;
}

/* 1 read, 0 there is none. */
static int
read_json(int folder, const char *name, json_t **ret_json, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    int found = file_read(folder, name, RECORD_MAX, &text, &len, e);
    if (found <= 0)
        return found;
    *ret_json = json_loadb(text, len, 0, NULL);
    if (json_is_object(*ret_json) && json_is_array(json_object_get(*ret_json, "steps")))
        return 1;
    json_decref(*ret_json);
    *ret_json = NULL;
    return err_set(e, ERR_CORRUPT,
                   FOLDER "/%s in the state directory is no record of steps; move it away and do "
                          "them by hand (runbook promote-by-hand)",
                   name);
}

static int
remove_wanted(int folder, struct err *e)
{
    if (unlinkat(folder, WANTED, 0) < 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "remove " FOLDER "/" WANTED);
    return file_sync(folder, e);
}

int
steps_want(const struct conf *conf, struct err *e)
{
    _cleanup_json_ json_t *steps = steps_plan(conf);
    _cleanup_json_ json_t *wanted = json_pack("{s:O}", "steps", steps);
    if (json_array_size(steps) == 0)
        return 0;
    _cleanup_close_ int folder = open_folder(conf, e);
    return folder < 0 ? -1 : write_json(folder, WANTED, wanted, e);
}

int
steps_give_up(const struct conf *conf, struct err *e)
{
    _cleanup_json_ json_t *steps = steps_plan(conf);
    if (json_array_size(steps) == 0)
        return 0;
    _cleanup_close_ int folder = open_folder(conf, e);
    return folder < 0 ? -1 : remove_wanted(folder, e);
}

/* What was wanted becomes the record of the epoch; the other way round a crash would lose it. */
static int
adopt(int folder, const char *name, uint64_t epoch, json_t **ret_record, struct err *e)
{
    int found = read_json(folder, WANTED, ret_record, e);
    if (found <= 0)
        return found;
    json_object_set_new(*ret_record, "epoch", json_integer((json_int_t)epoch));
    if (write_json(folder, name, *ret_record, e) < 0 || remove_wanted(folder, e) < 0)
        return -1;
    return 1;
}

/* --- carrying out --- */

static const struct conf_store *
find_store(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (strcmp(conf->stores[i].name, name) == 0)
            return &conf->stores[i];
    return NULL;
}

static step_run *
runner_of(const char *step, const struct conf_store *store)
{
    for (size_t i = 0; store != NULL && i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].name, step) == 0 && kinds[i].kind == store->kind)
            return kinds[i].run;
    return NULL;
}

static double
now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
run_step(const struct conf *conf, uint64_t epoch, json_t *step)
{
    struct err e = { 0 };
    const struct conf_store *store = find_store(conf, json_text(step, "store"));
    step_run *run = runner_of(json_text(step, "step"), store);
    _cleanup_free_ char *text = NULL;
    double begun = now_seconds();
    int rc = run != NULL ? run(conf, store, epoch, &text, &e)
                         : err_set(&e, ERR_CONFIG, "the configuration has no such store any more");
    json_object_set_new(step, "state", json_string(rc < 0 ? "failed" : "done"));
    json_object_set_new(step, "text", json_string(rc < 0 ? e.text : text));
    json_object_set_new(step, "at", json_integer((json_int_t)time(NULL)));
    json_object_set_new(step, "seconds", json_real(now_seconds() - begun));
    event(EV_STEP, F_STR("step", json_text(step, "step")), F_STR("store", json_text(step, "store")),
          F_U64("epoch", epoch), F_STR("result", json_text(step, "state")),
          F_STR("what", json_text(step, "text")));
}

static bool
is_done(const json_t *step)
{
    return strcmp(json_text(step, "state"), "done") == 0;
}

size_t
steps_left(const json_t *record)
{
    size_t left = 0, index;
    json_t *step;
    json_array_foreach(json_object_get(record, "steps"), index, step) left += !is_done(step);
    return left;
}

static int
run_all(const struct conf *conf, int folder, const char *name, uint64_t epoch,
        void (*told)(const json_t *step), json_t *record, struct err *e)
{
    json_t *steps = json_object_get(record, "steps");
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *step = json_array_get(steps, i);
        if (is_done(step))
            continue;
        run_step(conf, epoch, step);
        if (write_json(folder, name, record, e) < 0)
            return -1;
        told(step);
    }
    return 0;
}

int
steps_run(const struct conf *conf, uint64_t epoch, void (*told)(const json_t *step),
          json_t **ret_record, struct err *e)
{
    char name[NAME_SIZE];
    _cleanup_json_ json_t *record = NULL;
    *ret_record = NULL;
    if (line_audit(conf, e) < 0)
        return -1;
    snprintf(name, sizeof(name), "%llu.json", (unsigned long long)epoch);
    _cleanup_close_ int folder = open_folder(conf, e);
    if (folder < 0)
        return -1;
    int found = read_json(folder, name, &record, e);
    if (found == 0)
        found = adopt(folder, name, epoch, &record, e);
    else if (found > 0 && remove_wanted(folder, e) < 0)
        return -1;
    if (found <= 0)
        return found;
    if (run_all(conf, folder, name, epoch, told, record, e) < 0)
        return -1;
    *ret_record = json_incref(record);
    return 0;
}
