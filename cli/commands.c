#include "cli/commands.h"

#include "lib/base/nearest.h"

#include <string.h>

#define COMMAND(...)
#define SWITCH(...)
#define PARA(...)
#define SAMPLE(...)

const struct command commands[] = {
#undef COMMAND
#define COMMAND(name, kind, section, arguments, most, help) \
    { name, kind, section, arguments, most, help },
#include "cli/commands.def"
#undef COMMAND
#define COMMAND(...)
};
const size_t command_count = ARRAY_LEN(commands);

const struct command_switch command_switches[] = {
#undef SWITCH
#define SWITCH(command, name, argument, help) { command, name, argument, help },
#include "cli/commands.def"
#undef SWITCH
#define SWITCH(...)
};
const size_t command_switch_count = ARRAY_LEN(command_switches);

const struct command_text command_paragraphs[] = {
#undef PARA
#define PARA(command, text) { command, text, NULL },
#include "cli/commands.def"
#undef PARA
#define PARA(...)
};
const size_t command_paragraph_count = ARRAY_LEN(command_paragraphs);

const struct command_text command_samples[] = {
#undef SAMPLE
#define SAMPLE(command, text, help) { command, text, help },
#include "cli/commands.def"
};
const size_t command_sample_count = ARRAY_LEN(command_samples);

const struct command *
command_find(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

const char *
command_nearest(const char *name)
{
    const char *shown[ARRAY_LEN(commands)];
    size_t count = 0;
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].kind != HIDDEN)
            shown[count++] = commands[i].name;
    return nearest_word(name, shown, count);
}

bool
command_takes(const struct command *command, const struct command_switch *s)
{
    return s->command[0] == '\0' || (command != NULL && strcmp(s->command, command->name) == 0);
}

command_run *
command_runner(const struct command *command)
{
    static const struct {
        const char *name;
        command_run *run;
    } runners[] = {
        { "status", cmd_status },     { "check", cmd_check },         { "pki", cmd_pki },
        { "barrier", cmd_barrier },   { "verify", cmd_verify },       { "resync", cmd_resync },
        { "promote", cmd_promote },   { "demote", cmd_demote },       { "inspect", cmd_inspect },
        { "held", cmd_held },         { "help", cmd_help },           { "version", cmd_version },
        { "generate", cmd_generate }, { "salvage", cmd_salvage },     { "loss", cmd_loss },
        { "retained", cmd_retained }, { "directory", cmd_directory }, { "accounts", cmd_accounts },
        { "dump", cmd_dump },         { "audit", cmd_audit },
    };
    for (size_t i = 0; i < ARRAY_LEN(runners); i++)
        if (strcmp(runners[i].name, command->name) == 0)
            return runners[i].run;
    ASSERT(command->kind == PROGRAM);
    return NULL;
}
