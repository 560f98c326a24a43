/* status_dump.h - how the last run of a dump store's command ended on this node. */
#ifndef MAILTWIN_STATUS_DUMP_H
#define MAILTWIN_STATUS_DUMP_H

#include "replicator/node.h"

#include <jansson.h>

/* "last" of the notes (docs/formats/dump.md), null when there is none. The caller owns it. */
json_t *status_dump(const struct node *node, const struct conf_store *store);
/* Is the last one on this primary older than it should be? Then nobody runs the command. */
bool status_dump_is_late(const struct conf_store *store, const json_t *last, uint64_t now_s);

#endif
