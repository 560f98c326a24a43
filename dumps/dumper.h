/* dumper.h - the dump stores of this node, each with its schedule and at most one run at a time. A
 * run is a process of its own: the command belongs to it and dies with it. */
#ifndef MAILTWIN_DUMPS_DUMPER_H
#define MAILTWIN_DUMPS_DUMPER_H

#include "lib/os/conf.h"

struct dumper;

/* conf outlives it. */
struct dumper *dumper_new(const struct conf *conf);
size_t dumper_count(const struct dumper *dumper); /* of dump stores */
/* Collects runs that ended, and on the primary starts those that are due. */
void dumper_tick(struct dumper *dumper);
void dumper_free(struct dumper **dumper); /* ends what runs; NULL is fine */

#endif
