#include "cli/commands.h"
#include "lib/base/version.h"

#include <stdio.h>

#define COLUMN 24

static void
list_commands(void)
{
    puts("mailtwin keeps a mail server's twin.\n\nusage: mailtwin [--config FILE] [--node NAME] "
         "COMMAND ...\n");
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].kind != HIDDEN)
            printf("  %-12s %s\n", commands[i].name, commands[i].help);
    puts("\nmailtwin help COMMAND tells more, so does the manual: man mailtwin-COMMAND.");
}

static void
list_switches(const struct command *command, bool own)
{
    for (size_t i = 0; i < command_switch_count; i++) {
        const struct command_switch *s = &command_switches[i];
        if (!command_takes(command, s) || (s->command[0] != '\0') != own)
            continue;
        _cleanup_free_ char *left = xasprintf("--%s%s%s", s->name,
                                              s->argument[0] != '\0' ? " " : "", s->argument);
        printf("  %-*s %s\n", COLUMN, left, s->help);
    }
}

int
cmd_help(const struct line *line, struct err *e)
{
    if (line->argument_count == 0) {
        list_commands();
        return 0;
    }
    const struct command *command = command_find(line->arguments[0]);
    if (command == NULL)
        return err_set(e, ERR_USAGE, "unknown command \"%.64s\", the nearest known one is \"%s\"",
                       line->arguments[0], command_nearest(line->arguments[0]));
    printf("mailtwin %s: %s\n\nusage: mailtwin %s [options]%s%s\n\n", command->name, command->help,
           command->name, command->arguments[0] != '\0' ? " " : "", command->arguments);
    list_switches(command, true);
    list_switches(command, false);
    return 0;
}

int
cmd_version(const struct line *line, struct err *e)
{
    (void)line;
    (void)e;
    puts("mailtwin " MAILTWIN_VERSION);
    return 0;
}
