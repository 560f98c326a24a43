/* role.h - which role this node has, asked of mailtwin-replicatord every quarter of a second by a
 * thread of its own, or when somebody knows of a new one. A daemon that does not answer leaves the
 * role as it was. */
#ifndef MAILTWIN_DIRECTORY_ROLE_H
#define MAILTWIN_DIRECTORY_ROLE_H

#include "lib/base/err.h"

#include <pthread.h>

enum role {
    ROLE_UNKNOWN,
    ROLE_NONE,
    ROLE_PRIMARY,
    ROLE_STANDBY
};

#define ROLE_HISTORY_MAX 64

struct role_state {
    enum role role;
    uint64_t epoch, tail, applied;
    char history[ROLE_HISTORY_MAX];
};

struct roles {
    const char *run_dir;
    void (*changed)(void *arg); /* role or epoch did; in the role thread */
    void *arg;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t end;
    bool ending, asked;
    struct role_state state;
};

int roles_start(struct roles *roles, const char *run_dir, void (*changed)(void *arg), void *arg,
                struct err *e) _must_check_;
void roles_stop(struct roles *roles);
/* Asks now. From any thread; what comes of it is told by changed(). */
void roles_look(struct roles *roles);
struct role_state roles_now(const struct roles *roles);
const char *role_name(enum role role);
/* Has this node all that a sync brings? Asked of the daemon at once: 1 it has, 0 not, -1 nobody
 * answers. */
int roles_complete(const struct roles *roles);

#endif
