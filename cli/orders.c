/* orders.c - what is asked of the daemon, besides its status. */
#include "cli/commands.h"
#include "cli/directory.h"
#include "cli/progress.h"
#include "lib/os/conf_value.h"
#include "lib/os/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BARRIER_MS     5000
#define BARRIER_GRACE  1000 /* for the daemon to say that it was late */
#define ANSWER_MS      60000
#define NO_LIMIT       (-1)
#define EXIT_LATE      1
#define EXIT_DIFFERENT 1
#define EXIT_DEGRADED  4
#define TIMEOUT_MAX_MS (24ull * 60 * 60 * 1000)

static json_t *
order(const char *what)
{
    return json_pack("{s:s}", "do", what);
}

static void
set_text(json_t *request, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(request, key, json_string(value));
}

static void
set_flag(json_t *request, const struct line *line, const char *name)
{
    json_object_set_new(request, name, json_boolean(line_has(line, name)));
}

static int
check_store(const char *store, struct err *e)
{
    if (store == NULL || conf_value_name(store))
        return 0;
    return err_set(e, ERR_USAGE, "\"%.64s\" cannot be the name of a store", store);
}

static int
timeout_of(const struct line *line, uint64_t *ret_ms, struct err *e)
{
    const char *text = line_value(line, "timeout");
    *ret_ms = BARRIER_MS;
    if (text == NULL || (conf_value_time(text, ret_ms) && *ret_ms > 0 && *ret_ms <= TIMEOUT_MAX_MS))
        return 0;
    return err_set(e, ERR_USAGE, "--timeout %.64s is not a time such as 500ms, 5s or 10m", text);
}

static int
show_barrier(const struct line *line, const json_t *reply, struct err *e)
{
    static const struct {
        const char *state, *words;
        int status;
    } states[] = {
        { "safe", "safe after", 0 },
        { "async", "in the journal, no standby is waited for (async); known after", 0 },
        { "degraded", "degraded, no standby protects the mail; known after", EXIT_DEGRADED },
        { "late", "not safe within", EXIT_LATE },
        { "alone", "not safe: no standby is there, and when-alone = refuse; known after",
          EXIT_LATE },
    };
    char text[HUMAN_MAX];
    const char *state = json_string_value(json_object_get(reply, "state"));
    if (state != NULL && strcmp(state, "safe") == 0 &&
        json_is_true(json_object_get(reply, "async")))
        state = "async";
    human_seconds(json_number_value(json_object_get(reply, "seconds")), text);
    for (size_t i = 0; state != NULL && i < ARRAY_LEN(states); i++) {
        if (strcmp(state, states[i].state) != 0)
            continue;
        if (line_has(line, "json"))
            print_json(reply);
        else
            printf("%s %s\n", states[i].words, text);
        return states[i].status;
    }
    return err_set(e, ERR_PROTOCOL, "the daemon answers with an unknown state");
}

int
cmd_barrier(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    const char *store = line->argument_count > 0 ? line->arguments[0] : NULL;
    uint64_t timeout_ms;
    if (check_store(store, e) < 0 || timeout_of(line, &timeout_ms, e) < 0)
        return -1;
    if (directory_reach(line, store, &timeout_ms, e) < 0)
        return -1;
    json_t *request = order("barrier");
    set_text(request, "store", store);
    json_object_set_new(request, "timeout_ms", json_integer((json_int_t)timeout_ms));
    if (line_ask(line, CONTROL_BARRIER, request, (int)timeout_ms + BARRIER_GRACE, &reply, e) < 0)
        return -1;
    return show_barrier(line, reply, e);
}

static void
show_verify(const struct line *line, const json_t *reply)
{
    const json_t *examples = json_object_get(reply, "examples");
    double differences = json_number_value(json_object_get(reply, "differences"));
    double repaired = json_number_value(json_object_get(reply, "repaired"));
    if (differences <= 0)
        puts("no difference");
    else if (line_has(line, "plan"))
        printf("%.0f differences would be mended on the standby. Nothing has been changed.\n",
               differences);
    else
        printf("%.0f differences, %.0f repaired\n", differences, repaired);
    for (size_t i = 0; i < json_array_size(examples); i++)
        printf("  %s\n", json_string_value(json_array_get(examples, i)));
}

int
cmd_verify(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    const char *store = line->argument_count > 0 ? line->arguments[0] : NULL;
    if (check_store(store, e) < 0)
        return -1;
    bool repair = line_has(line, "repair") && !line_has(line, "plan");
    if (repair &&
        line_confirm(line, "a repair replaces or removes what differs on the standbys",
                     "What differs on the standbys is replaced by what this node has, or removed.",
                     e) < 0)
        return -1;
    json_t *request = order("verify");
    set_text(request, "store", store);
    json_object_set_new(request, "repair", json_boolean(repair));
    set_flag(request, line, "content");
    if (line_ask(line, CONTROL_SOCKET, request, NO_LIMIT, &reply, e) < 0)
        return -1;
    if (line_has(line, "json"))
        print_json(reply);
    else
        show_verify(line, reply);
    return json_number_value(json_object_get(reply, "differences")) >
                   json_number_value(json_object_get(reply, "repaired"))
               ? EXIT_DIFFERENT
               : 0;
}
