/* commands.h - commands.def as arrays, and the built-in commands. */
#ifndef MAILTWIN_CLI_COMMANDS_H
#define MAILTWIN_CLI_COMMANDS_H

#include "cli/line.h"

enum command_kind {
    BUILTIN, /* runs here */
    PROGRAM, /* mailtwin-NAME */
    HIDDEN,  /* runs here and is not shown */
};

struct command {
    const char *name;
    enum command_kind kind;
    unsigned section; /* of the manual */
    const char *arguments;
    unsigned arguments_max;
    const char *help;
};

struct command_switch {
    const char *command; /* "" every one */
    const char *name;
    const char *argument; /* "" none */
    const char *help;
};

struct command_text {
    const char *command; /* "" mailtwin itself */
    const char *text;
    const char *help; /* of a sample: what it does */
};

extern const struct command commands[];
extern const size_t command_count;
extern const struct command_switch command_switches[];
extern const size_t command_switch_count;
extern const struct command_text command_paragraphs[];
extern const size_t command_paragraph_count;
extern const struct command_text command_samples[];
extern const size_t command_sample_count;

const struct command *command_find(const char *name); /* NULL: none */
/* The closest of those that are shown. */
const char *command_nearest(const char *name);
/* Does the command take the switch? */
bool command_takes(const struct command *command, const struct command_switch *s);

/* What a built-in command does: returns the exit status, or -1 and the error. */
typedef int command_run(const struct line *line, struct err *e);
command_run *command_runner(const struct command *command);

command_run cmd_status;
command_run cmd_check;
command_run cmd_pki;
command_run cmd_barrier;
command_run cmd_verify;
command_run cmd_resync;
command_run cmd_held;
command_run cmd_retained;
command_run cmd_salvage;
command_run cmd_loss;
command_run cmd_directory;
command_run cmd_accounts;
command_run cmd_promote;
command_run cmd_demote;
command_run cmd_dump;
command_run cmd_audit;
command_run cmd_inspect;
command_run cmd_help;
command_run cmd_version;
command_run cmd_generate;

#endif
