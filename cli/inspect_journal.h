/* inspect_journal.h - the journal of a state database, a line for each record. */
#ifndef MAILTWIN_CLI_INSPECT_JOURNAL_H
#define MAILTWIN_CLI_INSPECT_JOURNAL_H

#include "lib/base/err.h"

/* Tells of damaged records in their place and goes on. 0, 4 when there were some, -1. */
int journal_print(const char *path, bool json, struct err *e) _must_check_;

#endif
