/* worker.h - the thread of one store: captures on the primary, applies on a standby, answers what
 * is asked about it. A node that was promoted captures only when its server is level with the
 * spool, for until then the spool knows more than the server. */
#ifndef MAILTWIN_DIRECTORY_WORKER_H
#define MAILTWIN_DIRECTORY_WORKER_H

#include "directory/dir.h"
#include "lib/os/control.h"

enum order_kind {
    ORDER_REACH,    /* the spool has all that the server had when it was asked */
    ORDER_HANDOVER, /* the same, and nothing more goes into the spool before the role has changed,
                       ORDER_RESUME, or a while behind the time allowed */
    ORDER_RESUME,
    ORDER_LEVEL,   /* the server has all that the spool had */
    ORDER_RELEASE, /* what the guard holds back is deleted */
    ORDER_RETRY    /* what was refused is tried again */
};

struct order_for {
    enum order_kind kind;
    uint64_t timeout_ms;
    uint64_t epoch; /* of LEVEL: and follows its server as the primary of this one; 0 any role */
};

struct worker;

/* `store` is taken over and given back by worker_stop(). */
int worker_start(struct dir_store *store, struct control_server *control,
                 struct worker **ret_worker, struct err *e) _must_check_;
void worker_stop(struct worker **worker);
/* Something outside changed (the role). From any thread. */
void worker_wake(struct worker *worker);
/* Takes the call; answers it within its time. From the loop thread, as all that follow. */
void worker_order(struct worker *worker, const struct order_for *what, struct control_call *call);
json_t *worker_status(struct worker *worker);
const char *worker_name(const struct worker *worker);

#endif
