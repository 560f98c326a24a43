/* control.h - how commands talk to a daemon: JSON lines over unix sockets in run-dir.
 *
 * control.sock takes every request; orders only from root and the daemon's own account, status and
 * barrier from whoever the socket's group lets in. barrier.sock is open to everybody and takes only
 * "barrier", "role", "reach" and the reports of a gate. A request is {"do":"status",...}; an answer
 * is {"ok":true,...} or {"ok":false,"code":"REFUSED","error":"sentence"}, after any number of
 * {"progress":{...}} lines.
 * Contract: mailtwin-replicatord(8). */
#ifndef MAILTWIN_CONTROL_H
#define MAILTWIN_CONTROL_H

#include "lib/base/err.h"

#include <jansson.h>
#include <sys/types.h>
#include <uv.h>

#define CONTROL_SOCKET          "control.sock"
#define CONTROL_BARRIER         "barrier.sock"
#define CONTROL_DIRECTORY       "directory.sock" /* of mailtwin-directoryd */
#define CONTROL_LINE_MAX        (64 * 1024)      /* bytes of a request */
#define CONTROL_CLIENTS_MAX     256              /* per socket; one more is told BUSY */
#define CONTROL_CLIENTS_OF_USER 128 /* of these, of one user; root and the daemon's own aside */

struct control_server;
struct control_call; /* one request until it is answered */

struct control_peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

/* Called in the loop thread. `request` is borrowed and its "do" is a string; the right to ask has
 * been checked. Ends, now or later, in exactly one control_reply() or control_fail(). */
typedef void control_handler(struct control_call *call, const json_t *request,
                             const struct control_peer *peer, void *arg);

/* Opens both sockets in run_dir (made when missing) and ignores SIGPIPE. ERR_BUSY: another instance
 * serves it. */
int control_server_open(uv_loop_t *loop, const char *run_dir, control_handler *handler, void *arg,
                        struct control_server **ret_server, struct err *e) _must_check_;
/* The one socket of another daemon of the node, with a lock of its own: everybody may ask for
 * "reach" there, root and the daemon's account for everything. */
int control_server_open_own(uv_loop_t *loop, const char *run_dir, const char *socket,
                            control_handler *handler, void *arg, struct control_server **ret_server,
                            struct err *e) _must_check_;
/* Closes clients and sockets; calls without an answer may still be answered, nobody hears it. The
 * loop has to run until uv_run() returns for the memory to be given back. What was posted before
 * is still run, posting after it is not allowed. */
void control_server_close(struct control_server **server); /* NULL is fine */

/* In the loop thread; both take the reference to the json. "ok":true is added. The client's next
 * request is handled in a later turn of the loop, or by a caller further up: never in this call. */
void control_reply(struct control_call *call, json_t *reply);
/* Intermediate line {"progress": progress}; dropped when the client does not read. */
void control_progress(struct control_call *call, json_t *progress);
void control_fail(struct control_call *call, const struct err *e);
/* Before the call is answered, ended() is told what with, also when nobody hears it any more. At
 * most one for a call. */
void control_on_end(struct control_call *call, void (*ended)(void *arg, const json_t *answer),
                    void *arg);
/* The client is gone, or has hung up: work done only for it can be given up. Answer all the same.
 * In the loop thread. */
bool control_gone(const struct control_call *call);

/* From any thread: runs fn(arg) in the loop thread, in the order of the posts. */
void control_post(struct control_server *server, void (*fn)(void *arg), void *arg);
/* In the loop thread: runs now what was posted so far. NULL is fine. */
void control_run_posts(struct control_server *server);

/* Client. Sends request (borrowed) to run_dir/socket and waits; timeout_ms is the longest silence,
 * -1 none. 0: *ret_reply is the caller's; -1: e is what the daemon said, or why there is no answer
 * (ERR_PEER: no daemon). on_progress may be NULL. */
int control_ask(const char *run_dir, const char *socket, const json_t *request, int timeout_ms,
                void (*on_progress)(const json_t *progress, void *arg), void *arg,
                json_t **ret_reply, struct err *e) _must_check_;

#endif
