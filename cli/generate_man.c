#include "cli/generate.h"

#include <ctype.h>
#include <string.h>

#define MANUAL_DATE  "November 21, 2026"
#define LINE_MAX_LEN 76

static void
upper(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        fputc(toupper((unsigned char)*text), out);
}

void
man_head(FILE *out, const char *name, unsigned section, const char *what)
{
    fprintf(
        out,
        ".\\\" Made by \"mailtwin generate man\" from the tables; do not edit.\n.Dd " MANUAL_DATE
        "\n.Dt ");
    upper(out, name);
    fprintf(out, " %u\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n", section, name, what);
}

/* One word, with what mdoc would take for itself escaped. */
static void
man_word(FILE *out, const char *word, size_t len, bool first)
{
    if (first && (*word == '.' || *word == '\''))
        fputs("\\&", out);
    for (size_t i = 0; i < len; i++) {
        bool option = (i + 1 < len && word[i + 1] == '-') || (i > 0 && word[i - 1] == '-');
        if (word[i] == '\\')
            fputs("\\e", out);
        else if (word[i] == '-' && option)
            fputs("\\-", out);
        else
            fputc(word[i], out);
    }
}

static bool
ends_sentence(const char *word, size_t len)
{
    return len > 1 && strchr(".?!", word[len - 1]) != NULL;
}

void
man_text(FILE *out, const char *text)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > 0 && column + len + 1 > LINE_MAX_LEN) {
            fputc('\n', out);
            column = 0;
        }
        if (column > 0)
            fputc(' ', out);
        man_word(out, text, len, column == 0);
        column += len + (column > 0);
        if (ends_sentence(text, len)) {
            fputc('\n', out);
            column = 0;
        }
        text += len;
        text += strspn(text, " ");
    }
    if (column > 0)
        fputc('\n', out);
}

void
man_paragraphs(FILE *out, const char *command)
{
    bool first = true;
    for (size_t i = 0; i < command_paragraph_count; i++) {
        if (strcmp(command_paragraphs[i].command, command) != 0)
            continue;
        if (!first)
            fputs(".Pp\n", out);
        man_text(out, command_paragraphs[i].text);
        first = false;
    }
}

/* A sentence from a help text, which has no full stop and begins small. */
static void
man_help(FILE *out, const char *help)
{
    char text[512];
    snprintf(text, sizeof(text), "%s.", help);
    text[0] = (char)toupper((unsigned char)text[0]);
    man_text(out, text);
}

static void
man_switches(FILE *out, const struct command *command)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (int own = 1; own >= 0; own--) {
        for (size_t i = 0; i < command_switch_count; i++) {
            const struct command_switch *s = &command_switches[i];
            if (!command_takes(command, s) || (s->command[0] != '\0') != own)
                continue;
            fprintf(out, ".It Fl Fl %s%s%s\n", s->name, s->argument[0] != '\0' ? " Ar " : "",
                    s->argument);
            man_help(out, s->help);
        }
    }
    fputs(".El\n", out);
}

static void
synopsis_switches(FILE *out, const struct command *command)
{
    for (size_t i = 0; i < command_switch_count; i++) {
        const struct command_switch *s = &command_switches[i];
        if (command_takes(command, s) && s->command[0] != '\0')
            fprintf(out, ".Op Fl Fl %s%s%s\n", s->name, s->argument[0] != '\0' ? " Ar " : "",
                    s->argument);
    }
}

static void
synopsis_arguments(FILE *out, const char *arguments)
{
    char text[128];
    snprintf(text, sizeof(text), "%s", arguments);
    char *word = strtok(text, " ");
    for (; word != NULL; word = strtok(NULL, " ")) {
        size_t len = strlen(word);
        if (word[0] == '[') {
            word[len - 1] = '\0';
            fprintf(out, ".Op Ar %s\n", word + 1);
        } else if (isupper((unsigned char)word[0])) {
            fprintf(out, ".Ar %s\n", word);
        } else if (word[0] == '|') {
            fputs("|\n", out);
        } else {
            fprintf(out, ".Cm %s\n", word);
        }
    }
}

static void
man_exit_status(FILE *out)
{
    static const struct {
        int status;
        const char *help;
    } errors[] = {
#define ERR(name, exit_status, help) { exit_status, help },
#include "lib/base/errors.def"
#undef ERR
    };
    fputs(".Sh EXIT STATUS\n.Bl -tag -width Ds\n.It 0\nDone.\n", out);
    for (int status = 1; status <= 4; status++) {
        char text[1024] = "";
        size_t len = 0;
        for (size_t i = 0; i < ARRAY_LEN(errors); i++)
            if (errors[i].status == status)
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? "; " : "",
                                        errors[i].help);
        fprintf(out, ".It %d\n", status);
        man_help(out, text);
    }
    fputs(".El\n", out);
}

static void
man_samples(FILE *out, const char *command)
{
    bool first = true;
    for (size_t i = 0; i < command_sample_count; i++) {
        const struct command_text *sample = &command_samples[i];
        if (strcmp(sample->command, command) != 0)
            continue;
        if (first)
            fputs(".Sh EXAMPLES\n", out);
        first = false;
        fprintf(out, ".Dl %s\n.Pp\n", sample->text);
        char text[256];
        snprintf(text, sizeof(text), "%s", sample->help);
        text[0] = (char)toupper((unsigned char)text[0]);
        man_text(out, text);
    }
}

void
generate_man_command(const struct command *command, FILE *out)
{
    _cleanup_free_ char *name = xasprintf("mailtwin-%s", command->name);
    man_head(out, name, command->section, command->help);
    fprintf(out, ".Sh SYNOPSIS\n.Nm mailtwin %s\n", command->name);
    synopsis_switches(out, command);
    fputs(".Op Fl Fl config Ar FILE\n.Op Fl Fl node Ar NAME\n", out);
    synopsis_arguments(out, command->arguments);
    fputs(".Sh DESCRIPTION\n", out);
    man_paragraphs(out, command->name);
    fputs(".Pp\nThe options are:\n", out);
    man_switches(out, command);
    man_exit_status(out);
    man_samples(out, command->name);
    fputs(".Sh SEE ALSO\n.Xr mailtwin 1 ,\n.Xr mailtwin.conf 5\n", out);
}

static void
man_commands(FILE *out)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < command_count; i++) {
        if (commands[i].kind == HIDDEN)
            continue;
        fprintf(out, ".It Cm %s\n", commands[i].name);
        man_help(out, commands[i].help);
        fprintf(out, "See\n.Xr mailtwin-%s %u .\n", commands[i].name, commands[i].section);
    }
    fputs(".El\n", out);
}

void
generate_man_main(FILE *out)
{
    man_head(out, "mailtwin", 1, "disaster recovery for mail servers");
    fputs(
        ".Sh SYNOPSIS\n.Nm\n.Op Fl Fl config Ar FILE\n.Op Fl Fl node Ar NAME\n.Ar COMMAND\n.Op Ar "
        "...\n.Sh DESCRIPTION\n",
        out);
    man_paragraphs(out, "");
    fputs(".Pp\nThe commands are:\n", out);
    man_commands(out);
    fputs(".Pp\nOptions of every command:\n", out);
    man_switches(out, NULL);
    fputs(
        ".Sh ENVIRONMENT\n.Bl -tag -width MAILTWIN_CONFIG\n.It Ev MAILTWIN_CONFIG\nThe "
        "configuration file, when\n.Fl Fl config\nis not given.\n.It Ev MAILTWIN_NODE\nThe name of "
        "this node, when\n.Fl Fl node\nis not given.\n.El\n.Sh FILES\n.Bl -tag -width Ds\n.It Pa "
        "/etc/mailtwin/mailtwin.conf\nThe configuration, the same on every node.\n.It Pa "
        "/etc/mailtwin/pki\nThe certificates.\n.It Pa /run/mailtwin\nThe control sockets.\n.El\n",
        out);
    man_exit_status(out);
    fputs(".Sh SEE ALSO\n.Xr mailtwin.conf 5\n", out);
}
