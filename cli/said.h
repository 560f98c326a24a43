/* said.h - what another program says of itself: run without a shell, to its end. */
#ifndef MAILTWIN_CLI_SAID_H
#define MAILTWIN_CLI_SAID_H

#include "lib/base/err.h"

#define SAID_WORDS_MAX 8

/* Its first line on standard output, the caller's; words as in command.h, NULL-ended. 1; 0 there is
 * no such program; -1 it failed, or took longer, and e says how. */
int said_line(const char *const *words, unsigned timeout_ms, char **ret_line,
              struct err *e) _must_check_;

#endif
