/* directory.h - what commands ask of mailtwin-directoryd. */
#ifndef MAILTWIN_CLI_DIRECTORY_H
#define MAILTWIN_CLI_DIRECTORY_H

#include "cli/line.h"

/* Before a barrier: waits until the spool has all that the directory servers of the store (NULL:
 * of all stores) have now. A store of another kind, and one that replicates by itself, has nothing
 * to wait for. *timeout_ms becomes what is left of it. */
int directory_reach(const struct line *line, const char *store, uint64_t *timeout_ms,
                    struct err *e) _must_check_;

/* Before a demotion: the same of all stores, and nothing goes into their spools from then on until
 * the role has changed or directory_resume(). Refused where it cannot be so. */
int directory_hand_over(const struct conf *conf, uint64_t *timeout_ms, struct err *e) _must_check_;
/* The node was not demoted. */
void directory_resume(const struct conf *conf);

#endif
