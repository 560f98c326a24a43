/* main.c - mailtwin: finds what a command is, and runs it. */
#include "cli/commands.h"
#include "cli/external.h"
#include "lib/os/event.h"

#include <signal.h>
#include <stdio.h>

static int
run_builtin(const struct line *line, struct err *e)
{
    if (line_has(line, "help")) {
        struct line help = { .command = command_find("help"), .argument_count = 1 };
        help.arguments[0] = line->command->name;
        return cmd_help(&help, e);
    }
    if (line_has(line, "version"))
        return cmd_version(line, e);
    return command_runner(line->command)(line, e);
}

static int
run_none(const struct line *line, struct err *e)
{
    struct line help = { .command = command_find("help") };
    if (line_has(line, "help"))
        return cmd_help(&help, e);
    if (line_has(line, "version"))
        return cmd_version(line, e);
    return err_set(e, ERR_USAGE, "no command is given; mailtwin help lists them");
}

static int
run(char **argv, struct err *e)
{
    struct line line;
    if (line_parse(argv, &line, e) < 0)
        return -1;
    if (line.word == NULL)
        return run_none(&line, e);
    if (line.command == NULL || line.command->kind == PROGRAM)
        return external_run(&line, e);
    return run_builtin(&line, e);
}

int
main(int argc, char **argv)
{
    struct err e = { 0 };
    signal(SIGPIPE, SIG_IGN);
    event_init("mailtwin", EVENT_CRIT); /* what it does it says in its own words */
    int status = run(argc > 0 ? argv + 1 : argv, &e);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status >= 0)
        status = err_set(&e, ERR_IO, "standard output cannot be written");
    if (status >= 0)
        return status;
    fprintf(stderr, "mailtwin: %s\n", e.text);
    return err_exit_status(e.code);
}
