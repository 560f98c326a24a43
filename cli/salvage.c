/* salvage.c - what this node had alone when it returned: listed, given to the primary, dropped. */
#include "cli/commands.h"
#include "lib/os/control.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MS  60000
#define WAIT_MS    300
#define LIST_TRIES 3   /* while salvages are dropped */
#define QUIET_MAX  100 /* answers without a change, then it is told that it goes on */

static json_t *
request_of(const struct line *line, const char *what)
{
    json_t *request = json_pack("{s:s}", "do", what);
    const char *id = line->argument_count > 1 ? line->arguments[1] : NULL;
    if (id != NULL)
        json_object_set_new(request, "id", json_string(id));
    if (line_value(line, "user") != NULL)
        json_object_set_new(request, "user", json_string(line_value(line, "user")));
    json_object_set_new(request, "all", json_boolean(line_has(line, "all")));
    return request;
}

static int
ask_page(const struct line *line, bool all, const char *after, bool counts_alone,
         json_t **ret_reply, struct err *e)
{
    json_t *request = request_of(line, "salvage");
    if (all)
        json_object_set_new(request, "all", json_true());
    if (after != NULL)
        json_object_set_new(request, "after", json_string(after));
    if (counts_alone)
        json_object_set_new(request, "limit", json_integer(0));
    return line_ask(line, CONTROL_SOCKET, request, ANSWER_MS, ret_reply, e);
}

/* The daemon answers with a page at a time: all of them as one. 0 what the next page was to begin
 * behind is gone. */
static int
try_list(const struct line *line, bool all, json_t **ret_reply, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (ask_page(line, all, NULL, false, &reply, e) < 0)
        return -1;
    json_t *items = json_object_get(reply, "items");
    json_t *more = json_object_get(reply, "more");
    while (json_integer_value(more) > 0 && json_array_size(items) > 0) {
        _cleanup_json_ json_t *page = NULL;
        const json_t *last = json_array_get(items, json_array_size(items) - 1);
        if (ask_page(line, all, json_text(last, "id"), false, &page, e) < 0)
            return e->code == ERR_USAGE ? 0 : -1;
        json_array_extend(items, json_object_get(page, "items"));
        json_integer_set(more, json_integer_value(json_object_get(page, "more")));
    }
    *ret_reply = json_incref(reply);
    return 1;
}

static int
ask_list(const struct line *line, bool all, json_t **ret_reply, struct err *e)
{
    int got = 0;
    for (int tries = 0; got == 0 && tries < LIST_TRIES; tries++) {
        err_clear(e);
        got = try_list(line, all, ret_reply, e);
    }
    return got > 0 ? 0 : -1;
}

/* kept: also where its bytes are. */
static void
print_item(const json_t *item, bool kept)
{
    printf("%-20s %-8s %-9s %s  %s\n", json_text(item, "id"), json_text(item, "kind"),
           json_text(item, "state"), json_text(item, "at"), json_text(item, "path"));
    if (json_text(item, "before")[0] != '\0')
        printf("%-20s before: %s\n", "", json_text(item, "before"));
    if (json_text(item, "why")[0] != '\0')
        printf("%-20s refused: %s\n", "", json_text(item, "why"));
    if (kept && json_text(item, "kept")[0] != '\0')
        printf("%-20s kept: %s\n", "", json_text(item, "kept"));
}

static void
print_list(const json_t *reply, bool kept)
{
    const json_t *items = json_object_get(reply, "items");
    const json_t *counts = json_object_get(reply, "counts");
    for (size_t i = 0; i < json_array_size(items); i++)
        print_item(json_array_get(items, i), kept);
    printf("%.0f delivered, %.0f waiting for the primary, %.0f to be decided\n",
           json_number_value(json_object_get(counts, "delivered")),
           json_number_value(json_object_get(counts, "waiting")),
           json_number_value(json_object_get(counts, "listed")));
    double out = json_number_value(json_object_get(counts, "unconfirmed"));
    if (out > 0)
        printf("of the delivered %.0f have not come back to this node, and are kept here\n", out);
    if (json_text(counts, "trouble")[0] != '\0')
        printf("the last one that was not taken: %s\n", json_text(counts, "trouble"));
}

static int
run_list(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    bool show = strcmp(line->arguments[0], "show") == 0;
    if (ask_list(line, show, &reply, e) < 0)
        return -1;
    if (show && json_number_value(json_object_get(reply, "found")) < 1)
        return err_set(e, ERR_USAGE,
                       "nothing salvaged has the id \"%.64s\": see mailtwin salvage "
                       "list --all",
                       line->arguments[1]);
    if (line_has(line, "json"))
        print_json(reply);
    else
        print_list(reply, show);
    return 0;
}

/* Until the primary has answered for all that was ordered. */
static int
wait_given(const struct line *line, struct err *e)
{
    json_int_t before = -1;
    for (int quiet = 0; quiet < QUIET_MAX; quiet++) {
        _cleanup_json_ json_t *reply = NULL;
        if (ask_page(line, true, NULL, true, &reply, e) < 0)
            return -1;
        json_int_t waiting = json_integer_value(
            json_object_get(json_object_get(reply, "counts"), "waiting"));
        if (waiting < 1)
            return 0;
        quiet = waiting == before ? quiet : 0;
        before = waiting;
        poll(NULL, 0, WAIT_MS);
    }
    return err_set(e, ERR_TIMEOUT,
                   "the primary has not taken all of it yet; it goes on by itself, "
                   "see mailtwin salvage list");
}

static const char *
sentence(const char *verb)
{
    return strcmp(verb, "drop") == 0 ? "what is dropped is deleted here, and is nowhere else"
           : strcmp(verb, "apply") == 0
               ? "what is applied replaces, renames or removes what the primary has"
               : "what is delivered appears in the users' mailboxes";
}

static int
show_plan(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (ask_list(line, false, &reply, e) < 0)
        return -1;
    print_list(reply, false);
    printf("Those would be meant: %s. Nothing has been changed.\n", sentence(line->arguments[0]));
    return 0;
}

static int
run_give(const struct line *line, bool apply, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL, *list = NULL;
    json_t *request = request_of(line, "salvage-give");
    json_object_set_new(request, "apply", json_boolean(apply));
    if (line_ask(line, CONTROL_SOCKET, request, ANSWER_MS, &reply, e) < 0)
        return -1;
    double ordered = json_number_value(json_object_get(reply, "ordered"));
    if (ordered < 1) {
        puts("there is nothing of that kind left to be given");
        return 0;
    }
    if (wait_given(line, e) < 0 || ask_list(line, true, &list, e) < 0)
        return -1;
    if (line_has(line, "json"))
        print_json(list);
    else
        print_list(list, false);
    return 0;
}

static int
run_drop(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    for (int tries = 1;
         line_ask(line, CONTROL_SOCKET, request_of(line, "salvage-drop"), ANSWER_MS, &reply, e) < 0;
         tries++) {
        if (e->code != ERR_BUSY || tries == QUIET_MAX)
            return -1;
        err_clear(e); /* something of it is on its way */
        poll(NULL, 0, WAIT_MS);
    }
    printf("%.0f dropped\n", json_number_value(json_object_get(reply, "dropped")));
    return 0;
}

static int
run_change(const struct line *line, const char *verb, struct err *e)
{
    if (line_has(line, "plan"))
        return show_plan(line, e);
    if (line_confirm(line, sentence(verb), sentence(verb), e) < 0)
        return -1;
    if (strcmp(verb, "drop") == 0)
        return run_drop(line, e);
    return run_give(line, strcmp(verb, "apply") == 0, e);
}

int
cmd_salvage(const struct line *line, struct err *e)
{
    const char *verb = line->argument_count == 0 ? "list" : line->arguments[0];
    bool has_id = line->argument_count > 1;
    struct line whole = *line;
    whole.arguments[0] = verb;
    if (strcmp(verb, "list") == 0)
        return run_list(&whole, e);
    if (strcmp(verb, "show") == 0)
        return has_id ? run_list(&whole, e)
                      : err_set(e, ERR_USAGE,
                                "salvage show wants the id of something that is "
                                "listed: mailtwin salvage list");
    if (strcmp(verb, "deliver") == 0)
        return run_change(&whole, verb, e);
    if (strcmp(verb, "apply") != 0 && strcmp(verb, "drop") != 0)
        return err_set(e, ERR_USAGE, "\"%.64s\" is none of list, show, deliver, apply and drop",
                       verb);
    if (!has_id && line_value(line, "user") == NULL)
        return err_set(e, ERR_USAGE, "salvage %s wants an id or --user: mailtwin salvage list",
                       verb);
    return run_change(&whole, verb, e);
}
