/* fetch.h - brings back from a standby what this primary lost with the power, name by name; and
 * compares what may have lost only bytes. Session thread. */
#ifndef MAILTWIN_FETCH_H
#define MAILTWIN_FETCH_H

#include "replicator/capture.h"
#include "replicator/link_io.h"

struct fetch;

/* peer: the name of the node at the other end; it outlives this. */
struct fetch *fetch_new(struct node *node, struct capture *capture, const char *peer,
                        struct link_io *io);
void fetch_free(struct fetch **fetch); /* NULL is fine */
/* Is there a name to ask for, and none under way? */
bool fetch_pending(struct fetch *fetch);
/* Is one under way? Its answer comes in one go. */
bool fetch_asked(const struct fetch *fetch);
/* Asks for the next name. */
int fetch_step(struct fetch *fetch, struct err *e) _must_check_;
/* REC, DATA or END of the answer. */
int fetch_take(struct fetch *fetch, const struct wire_msg *msg, struct err *e) _must_check_;

#endif
