/* gates.h - what the gates of this node said last of their work, for the status. Main thread.
 *
 * They tell it by themselves, so a gate that is away or hangs holds up nobody who asks. Believed is
 * the account of the gate, and root. */
#ifndef MAILTWIN_REPL_GATES_H
#define MAILTWIN_REPL_GATES_H

#include "lib/os/conf.h"
#include "lib/os/control.h"

#define GATES_SILENT_MS 5000 /* without a word from it a gate counts as gone */

struct gates;

/* Of the gate sections of conf, which is borrowed. */
struct gates *gates_new(const struct conf *conf);
void gates_free(struct gates **gates);
/* A request {"do":"gate"}. ERR_REFUSED: of somebody else. Of a report that is refused nothing is
 * taken. A gate that conf has not (it was read at another time than the gate's) is passed over. */
int gates_hear(struct gates *gates, const json_t *request, const struct control_peer *peer,
               uint64_t now_ms, struct err *e) _must_check_;
/* "gates" of the status: a row for each section, in its order; "state" is "running", "silent" (it
 * told something before, and nothing for GATES_SILENT_MS) or "absent" (nothing since this daemon
 * was started). */
json_t *gates_json(const struct gates *gates, uint64_t now_ms);

#endif
