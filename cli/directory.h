/* directory.h - what commands ask of mailtwin-directoryd. */
#ifndef MAILTWIN_CLI_DIRECTORY_H
#define MAILTWIN_CLI_DIRECTORY_H

#include "cli/line.h"

/* Before a barrier: waits until the spool has all that the directory servers of the store (NULL:
 * of all stores) have now. A store of another kind, and one that replicates by itself, has nothing
 * to wait for. *timeout_ms becomes what is left of it. */
int directory_reach(const struct line *line, const char *store, uint64_t *timeout_ms,
                    struct err *e) _must_check_;

#endif
