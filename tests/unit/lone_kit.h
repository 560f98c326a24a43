/* lone_kit.h - for tests of what belongs to a daemon, without sessions: nobody may call what they
 * would ask of it. */
#ifndef MAILTWIN_TEST_LONE_KIT_H
#define MAILTWIN_TEST_LONE_KIT_H

#include "replicator/daemon.h"

#include <stdlib.h>

void
daemon_peer_moved(struct daemon *unused)
{
    (void)unused;
    abort();
}

void
daemon_wake_sessions(struct daemon *unused)
{
    (void)unused;
    abort();
}

#endif
