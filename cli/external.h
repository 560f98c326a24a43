/* external.h - commands that are programs of their own: mailtwin-NAME. */
#ifndef MAILTWIN_CLI_EXTERNAL_H
#define MAILTWIN_CLI_EXTERNAL_H

#include "cli/line.h"

/* Becomes the program; returns only with an error. --config and --node of the line go to it in the
 * environment. */
int external_run(const struct line *line, struct err *e) _must_check_;
/* The path of mailtwin-NAME, beside this program or where it is installed; the caller's. NULL: it
 * is not there. */
char *external_find(const char *name);

#endif
