#include "cli/line.h"

#include "cli/commands.h"
#include "cli/line_sign.h"
#include "cli/plain.h"
#include "cli/progress.h"
#include "lib/base/nearest.h"
#include "lib/os/control.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SWITCHES_KNOWN_MAX 64

static const struct command_switch *
find_switch(const struct command *command, const char *name, size_t len)
{
    for (size_t i = 0; i < command_switch_count; i++) {
        const struct command_switch *s = &command_switches[i];
        if (command_takes(command, s) && strlen(s->name) == len && memcmp(s->name, name, len) == 0)
            return s;
    }
    return NULL;
}

static int
fail_unknown(const struct command *command, const char *name, size_t len, struct err *e)
{
    const char *known[SWITCHES_KNOWN_MAX];
    size_t count = 0;
    _cleanup_free_ char *word = xasprintf("%.*s", (int)MIN(len, 64u), name);
    for (size_t i = 0; i < command_switch_count && count < SWITCHES_KNOWN_MAX; i++)
        if (command_takes(command, &command_switches[i]))
            known[count++] = command_switches[i].name;
    return err_set(e, ERR_USAGE, "unknown option --%s, the nearest known one is --%s", word,
                   nearest_word(word, known, count));
}

/* One option; its value is behind '=' or in the next word. Returns how many words it took. */
static int
parse_switch(struct line *line, char **at, struct err *e)
{
    const char *name = at[0] + 2, *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct command_switch *s = find_switch(line->command, name, len);
    if (s == NULL)
        return fail_unknown(line->command, name, len, e);
    if (line->switch_count == LINE_SWITCHES_MAX)
        return err_set(e, ERR_USAGE, "too many options");
    const char *value = "";
    int words = 1;
    if (s->argument[0] == '\0' && equals != NULL)
        return err_set(e, ERR_USAGE, "--%s takes no value", s->name);
    if (s->argument[0] != '\0') {
        value = equals != NULL ? equals + 1 : at[1];
        words = equals != NULL ? 1 : 2;
    }
    if (value == NULL || (s->argument[0] != '\0' && value[0] == '\0'))
        return err_set(e, ERR_USAGE, "--%s wants a value: --%s %s", s->name, s->name, s->argument);
    line->switches[line->switch_count].name = s->name;
    line->switches[line->switch_count++].value = value;
    return words;
}

static int
add_argument(struct line *line, const char *word, struct err *e)
{
    const struct command *command = line->command;
    if (line->argument_count >= MIN(command->arguments_max, LINE_ARGUMENTS_MAX))
        return err_set(e, ERR_USAGE, "%s takes %s \"%s\"", command->name,
                       command->arguments_max == 0 ? "no argument" : "no further argument", word);
    line->arguments[line->argument_count++] = word;
    return 0;
}

int
line_parse(char **argv, struct line *ret_line, struct err *e)
{
    struct line line = { .command = NULL };
    bool only_arguments = false;
    for (char **at = argv; *at != NULL;) {
        int words = 1;
        if (!only_arguments && strcmp(*at, "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && strcmp(*at, "-h") == 0) {
            line.switches[line.switch_count].name = "help";
            line.switches[line.switch_count++].value = "";
        } else if (!only_arguments && strncmp(*at, "--", 2) == 0) {
            words = parse_switch(&line, at, e);
        } else if (line.word == NULL) {
            line.word = *at;
            line.command = command_find(*at);
            line.rest = at + 1;
            if (line.command == NULL || line.command->kind == PROGRAM)
                break;
        } else {
            words = add_argument(&line, *at, e) < 0 ? -1 : 1;
        }
        if (words < 0 || line.switch_count == LINE_SWITCHES_MAX)
            return words < 0 ? -1 : err_set(e, ERR_USAGE, "too many options");
        at += words;
    }
    *ret_line = line;
    return 0;
}

const char *
line_value(const struct line *line, const char *name)
{
    ASSERT(find_switch(line->command, name, strlen(name)) != NULL);
    for (size_t i = line->switch_count; i > 0; i--)
        if (strcmp(line->switches[i - 1].name, name) == 0)
            return line->switches[i - 1].value;
    return NULL;
}

bool
line_has(const struct line *line, const char *name)
{
    return line_value(line, name) != NULL;
}

int
line_conf(const struct line *line, struct conf **ret_conf, struct err *e)
{
    return conf_load(line_value(line, "config"), line_value(line, "node"), ret_conf, e);
}

/* Commands that report have the switch. */
static bool
for_a_program(const struct line *line)
{
    static const char json[] = "json";
    return find_switch(line->command, json, sizeof(json) - 1) != NULL && line_has(line, json);
}

int
line_ask(const struct line *line, const char *socket, json_t *request, int timeout_ms,
         json_t **ret_reply, struct err *e)
{
    _cleanup_json_ json_t *owned = request;
    _cleanup_conf_ struct conf *conf = NULL;
    if (line_conf(line, &conf, e) < 0 || line_sign(line, owned, e) < 0)
        return -1;
    struct progress progress;
    progress_begin(&progress);
    int r = control_ask(conf->run_dir, socket, owned, timeout_ms, progress_show, &progress,
                        ret_reply, e);
    progress_end(&progress);
    if (r == 0 && !for_a_program(line))
        plain_json(*ret_reply);
    return r;
}

void
conf_freep(struct conf **conf)
{
    conf_free(conf);
}

void
json_freep(json_t **json)
{
    json_decref(*json);
}

const char *
json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

void
print_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
}

int
line_confirm(const struct line *line, const char *what, const char *question, struct err *e)
{
    char answer[16] = "";
    if (line_has(line, "yes"))
        return 0;
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return err_set(e, ERR_REFUSED, "%s; without a terminal it wants --yes (--plan tells more)",
                       what);
    fprintf(stderr, "%s Go on? [y/N] ", question);
    if (fgets(answer, sizeof(answer), stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y'))
        return err_set(e, ERR_REFUSED, "not confirmed, nothing has been changed");
    return 0;
}
