/* dump.c - mailtwin dump list | run NAME | restore NAME. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "lib/os/file.h"
#include "lib/store/dump_run.h"

#include <stdio.h>
#include <string.h>

static const struct conf_store *
find_dump(const struct conf *conf, const char *name, struct err *e)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (strcmp(conf->stores[i].name, name) == 0 && conf->stores[i].kind == STORE_DUMP)
            return &conf->stores[i];
    err_set(e, ERR_USAGE, "the configuration has no store \"%.64s\" of kind dump", name);
    return NULL;
}

/* --- list --- */

static json_t *
version_json(const struct dump_spool *spool, const struct dump_version *version)
{
    char name[DUMP_NAME_SIZE];
    struct dump_trailer trailer;
    struct err e = { 0 };
    _cleanup_close_ int fd = -1;
    dump_name_write(version, name);
    json_t *json = json_pack("{s:s, s:I}", "version", name, "epoch", (json_int_t)version->epoch);
    if (dump_spool_read(spool, version, false, &fd, &trailer, &e) < 0)
        json_object_set_new(json, "error", json_string(e.text));
    else
        json_object_set_new(json, "size", json_integer((json_int_t)trailer.size));
    return json;
}

static int
store_json(const struct conf *conf, const struct conf_store *store, json_t **ret_json,
           struct err *e)
{
    _cleanup_spool_ struct dump_spool spool = { .dirfd = -1, .notesfd = -1 };
    _cleanup_dumps_ struct dump_list list = { 0 };
    if (dump_spool_open(conf, store, DUMP_SHARED, &spool, e) < 0 ||
        dump_spool_list(&spool, &list, e) < 0)
        return -1;
    json_t *versions = json_array();
    for (size_t i = list.count; i > 0; i--)
        json_array_append_new(versions, version_json(&spool, &list.versions[i - 1]));
    *ret_json = json_pack("{s:s, s:o}", "store", store->name, "versions", versions);
    json_object_update(*ret_json, spool.notes);
    return 0;
}

static void
print_store(const json_t *json)
{
    const json_t *versions = json_object_get(json, "versions");
    const json_t *last = json_object_get(json, "last");
    printf("%s: %zu versions", json_text(json, "store"), json_array_size(versions));
    if (last != NULL)
        printf(", last run here: %s %s", json_text(last, "result"), json_text(last, "error"));
    puts("");
    for (size_t i = 0; i < json_array_size(versions); i++) {
        const json_t *version = json_array_get(versions, i);
        char size[HUMAN_MAX];
        human_bytes(json_number_value(json_object_get(version, "size")), size);
        const char *error = json_text(version, "error");
        printf("  %-40s %s\n", json_text(version, "version"), error[0] != '\0' ? error : size);
    }
}

static int
list_dumps(const struct line *line, const struct conf *conf, struct err *e)
{
    _cleanup_json_ json_t *all = json_array();
    const char *name = line->argument_count > 1 ? line->arguments[1] : NULL;
    if (name != NULL && find_dump(conf, name, e) == NULL)
        return -1;
    for (size_t i = 0; i < conf->store_count; i++) {
        json_t *json;
        const struct conf_store *store = &conf->stores[i];
        if (store->kind != STORE_DUMP || (name != NULL && strcmp(name, store->name) != 0))
            continue;
        if (store_json(conf, store, &json, e) < 0)
            return -1;
        json_array_append_new(all, json);
    }
    if (line_has(line, "json")) {
        _cleanup_json_ json_t *out = json_pack("{s:O}", "stores", all);
        print_json(out);
        return 0;
    }
    for (size_t i = 0; i < json_array_size(all); i++)
        print_store(json_array_get(all, i));
    return 0;
}

/* --- run --- */

static void
print_result(const struct line *line, const char *words, const struct dump_result *result)
{
    char size[HUMAN_MAX], time[HUMAN_MAX];
    _cleanup_json_ json_t *json = json_pack("{s:s, s:s, s:I, s:f}", "result", words, "version",
                                            result->name, "size", (json_int_t)result->size,
                                            "seconds", (double)result->milliseconds / 1000);
    if (line_has(line, "json")) {
        print_json(json);
        return;
    }
    human_bytes((double)result->size, size);
    human_seconds((double)result->milliseconds / 1000, time);
    printf("%s %s: %s in %s\n", words, result->name, size, time);
}

static int
run_dump(const struct line *line, const struct conf *conf, const struct conf_store *store,
         struct err *e)
{
    struct dump_result result;
    if (line_has(line, "plan")) {
        printf("Would run as %s, and keep what it writes:\n  %s\nNothing has been changed.\n",
               store->dump.user, store->dump.command);
        return 0;
    }
    if (dump_take(conf, store, line_has(line, "force"), false, dump_role_of_node, &result, e) < 0)
        return -1;
    print_result(line, result.outcome == DUMP_STORED ? "stored" : "unchanged since", &result);
    return 0;
}

/* --- restore --- */

static int
wanted_version(const struct line *line, struct dump_version *version,
               const struct dump_version **ret_version, struct err *e)
{
    const char *text = line_value(line, "version-name");
    *ret_version = text != NULL ? version : NULL;
    if (text == NULL || dump_name_parse(span_str(text), version))
        return 0;
    return err_set(e, ERR_USAGE, "\"%.64s\" is no name of a version; mailtwin dump list shows them",
                   text);
}

static int
restore_dump(const struct line *line, const struct conf *conf, const struct conf_store *store,
             struct err *e)
{
    struct dump_role role;
    struct dump_result result;
    struct dump_version version;
    const struct dump_version *wanted;
    if (wanted_version(line, &version, &wanted, e) < 0)
        return -1;
    if (line_has(line, "plan")) {
        printf("Would run as %s, with %s on its standard input:\n  %s\nNothing has been changed.\n",
               store->dump.user,
               wanted != NULL ? line_value(line, "version-name") : "the newest version",
               store->dump.restore);
        return 0;
    }
    if (line_confirm(line, "a restore replaces the program's data on this node",
                     "The program's data on this node is replaced by the version.", e) < 0 ||
        dump_role_of_node(conf, &role, e) < 0 || line_audit(conf, e) < 0)
        return -1;
    line_note(line, "dump-restore", store->name);
    if (dump_restore(conf, store, wanted, role.epoch, &result, e) < 0)
        return -1;
    print_result(line, "restored", &result);
    return 0;
}

int
cmd_dump(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    const char *verb = line->argument_count > 0 ? line->arguments[0] : "";
    bool run = strcmp(verb, "run") == 0, restore = strcmp(verb, "restore") == 0;
    if (!run && !restore && strcmp(verb, "list") != 0)
        return err_set(e, ERR_USAGE, "dump wants list, run NAME or restore NAME");
    if ((run || restore) && line->argument_count < 2)
        return err_set(e, ERR_USAGE, "dump %s wants the name of a store", verb);
    if (line_conf(line, &conf, e) < 0)
        return -1;
    if (!run && !restore)
        return list_dumps(line, conf, e);
    const struct conf_store *store = find_dump(conf, line->arguments[1], e);
    if (store == NULL)
        return -1;
    return run ? run_dump(line, conf, store, e) : restore_dump(line, conf, store, e);
}
