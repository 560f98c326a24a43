/* held.c - what a power loss took from this primary and no standby has given back. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "lib/os/control.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MS 60000

static void
print_name(const json_t *name)
{
    const json_t *nodes = json_object_get(name, "nodes");
    printf("  %s: %s  %s, may be on", json_text(name, "store"), json_text(name, "path"),
           json_text(name, "kind"));
    for (size_t i = 0; i < json_array_size(nodes); i++)
        printf(" %s", json_string_value(json_array_get(nodes, i)));
    putchar('\n');
}

static void
print_held(const json_t *reply)
{
    const json_t *names = json_object_get(reply, "names");
    double held = json_number_value(json_object_get(reply, "held"));
    if (held <= 0)
        puts("nothing is held");
    else
        printf("%.0f names are held\n", held);
    for (size_t i = 0; i < json_array_size(names); i++)
        print_name(json_array_get(names, i));
    if (held > (double)json_array_size(names))
        puts("  and more");
}

static int
confirm(const struct line *line, const json_t *held, struct err *e)
{
    _cleanup_free_ char *question = xasprintf(
        "%.0f names are recorded as this node's disk has them, or has them not, and "
        "deleted on the standbys.",
        json_number_value(json_object_get(held, "held")));
    return line_confirm(line, "what is given up is deleted on the standbys as well", question, e);
}

static int
give_up(const struct line *line, const json_t *held, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (line_has(line, "plan")) {
        print_held(held);
        puts(
            "Each would be recorded as this node's disk has it: what is missing is deleted on the\n"
            "standbys as well. Nothing has been changed.");
        return 0;
    }
    if (confirm(line, held, e) < 0)
        return -1;
    if (line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "give-up"), ANSWER_MS, &reply, e) <
        0)
        return -1;
    puts("given up");
    return 0;
}

int
cmd_held(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *held = NULL;
    if (line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "held"), ANSWER_MS, &held, e) < 0)
        return -1;
    if (line_has(line, "give-up"))
        return give_up(line, held, e);
    if (line_has(line, "json"))
        print_json(held);
    else
        print_held(held);
    return 0;
}
