/* talk.h - one connection to a daemon's socket: JSON lines, one request at a time, in the loop. */
#ifndef MAILTWIN_TALK_H
#define MAILTWIN_TALK_H

#include "lib/base/err.h"

#include <jansson.h>
#include <uv.h>

struct talk;

/* answer (borrowed): what the daemon said; NULL: it is not there, went away, or said no JSON. Never
 * called in talk_ask(). */
typedef void talk_answered(void *arg, const json_t *answer);

struct talk *talk_new(uv_loop_t *loop, const char *socket, talk_answered *answered, void *arg);
/* Takes the reference to the request. The request before must be answered. Connects when it has to.
 */
void talk_ask(struct talk *talk, json_t *request);
/* No answer comes any more. The loop has to run once more for the memory to be given back. */
void talk_close(struct talk **talk);

#endif
