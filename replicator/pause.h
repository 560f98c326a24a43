/* pause.h - a session that receives applies nothing for a while: its disk takes no writes, or the
 * mass-change guard is closed. The primary is told why. */
#ifndef MAILTWIN_PAUSE_H
#define MAILTWIN_PAUSE_H

#include "replicator/session.h"

struct pause {
    struct session *s;
    bool (*must_end)(void *arg);
    void *arg;
};

/* To the primary: applying is paused, NULL: it goes on. A link that is down says it by itself. */
void pause_tell(struct session *s, const struct err *why);
/* A disk took no writes. Told once; that it goes on is told with the first run that is durable
 * again. */
void pause_stalled(struct session *s, const struct err *why);
/* Waits until every store takes writes again; what is retained gives way first. */
int pause_until_space(const struct pause *pause, struct err *e) _must_check_;
/* Waits until an operator lets a mass change through. */
int pause_until_release(const struct pause *pause, struct err *e) _must_check_;

#endif
