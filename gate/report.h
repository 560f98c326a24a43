/* report.h - tells mailtwin-replicatord what the gates have done, for `mailtwin status`. What it
 * does not hear is not told again: the next report says more. */
#ifndef MAILTWIN_GATE_REPORT_SENDER_H
#define MAILTWIN_GATE_REPORT_SENDER_H

#include "gate/gate.h"

struct reporter;

/* Over a connection of its own, so that no mail waits for it. */
struct reporter *reporter_new(uv_loop_t *loop, const char *barrier_socket);
/* Of all gates; nothing while the last report has no answer. */
void reporter_tell(struct reporter *reporter, const struct server *server);
/* The loop has to run once more for the memory to be given back. NULL is fine. */
void reporter_close(struct reporter **reporter);

#endif
