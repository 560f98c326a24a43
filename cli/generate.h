/* generate.h - what is made from the tables: manual pages, completion, the example configuration.
 */
#ifndef MAILTWIN_CLI_GENERATE_H
#define MAILTWIN_CLI_GENERATE_H

#include "cli/commands.h"

#include <stdio.h>

void generate_man_main(FILE *out);
void generate_man_command(const struct command *command, FILE *out);
void generate_man_conf(FILE *out);
void generate_completion(FILE *out);
void generate_conf(FILE *out);

/* --- pieces of manual pages (mdoc) --- */

void man_head(FILE *out, const char *name, unsigned section, const char *what);
/* Running text: one line a sentence, short lines, nothing that mdoc would take for a request. */
void man_text(FILE *out, const char *text);
void man_paragraphs(FILE *out, const char *command);

#endif
