#include "cli/generate.h"

#include <string.h>

static void
shown_commands(FILE *out)
{
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].kind != HIDDEN)
            fprintf(out, "%s%s", i > 0 ? " " : "", commands[i].name);
}

static void
switches_of(FILE *out, const struct command *command)
{
    bool first = true;
    for (size_t i = 0; i < command_switch_count; i++) {
        if (!command_takes(command, &command_switches[i]))
            continue;
        fprintf(out, "%s--%s", first ? "" : " ", command_switches[i].name);
        first = false;
    }
}

/* The words in small letters of "init | node NAME | show". */
static void
words_of(FILE *out, const char *arguments)
{
    char text[128];
    snprintf(text, sizeof(text), "%s", arguments);
    for (char *word = strtok(text, " |"); word != NULL; word = strtok(NULL, " |"))
        if (word[0] >= 'a' && word[0] <= 'z')
            fprintf(out, " %s", word);
}

static void
command_case(FILE *out, const struct command *command)
{
    fprintf(out, "    %s) words=\"", command->name);
    switches_of(out, command);
    words_of(out, command->arguments);
    if (strcmp(command->arguments, "[COMMAND]") == 0) {
        fputc(' ', out);
        shown_commands(out);
    }
    fputs("\"", out);
    if (strstr(command->arguments, "FILE") != NULL)
        fputs(" files=1", out);
    fputs(" ;;\n", out);
}

void
generate_completion(FILE *out)
{
    fputs("# Completion of mailtwin for bash. Made by \"mailtwin generate completion\".\n"
          "_mailtwin()\n{\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command= words= files= i\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n"
          "        --config | --node) ((i++)) ;;\n"
          "        -*) ;;\n"
          "        *) command=${COMP_WORDS[i]}; break ;;\n"
          "        esac\n"
          "    done\n"
          "    case $previous in\n"
          "    --config) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
          "    --dir) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n"
          "    --node | --from | --timeout) COMPREPLY=(); return ;;\n"
          "    esac\n"
          "    case $command in\n"
          "    '') words=\"",
          out);
    switches_of(out, NULL);
    fputc(' ', out);
    shown_commands(out);
    fputs("\" ;;\n", out);
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].kind != HIDDEN)
            command_case(out, &commands[i]);
    fputs("    esac\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
          "    if [ -n \"$files\" ]; then\n"
          "        COMPREPLY+=($(compgen -f -- \"$current\"))\n"
          "    fi\n"
          "}\n"
          "complete -F _mailtwin mailtwin\n",
          out);
}
