#include "lib/os/control_private.h"

#include "lib/base/buf.h"
#include "lib/os/file.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG     128
#define UNREAD_MAX  (64 * 1024) /* bytes a client may leave unread before progress is dropped */
#define OUR_SOCKETS 2

struct client {
    uv_pipe_t pipe;
    struct gate *gate;
    struct client *next, *previous;
    struct control_peer peer;
    struct control_call *call; /* the request being worked on, NULL between two */
    struct buf in;
    bool eof;     /* it sends no more; an answer is still wanted */
    bool ending;  /* to be closed when all is sent */
    bool busy;    /* client_next() is at work further up the stack */
    bool closing; /* uv_close() was called */
    char chunk[4096];
};

struct control_call {
    struct client *client; /* NULL: it is gone */
    void (*ended)(void *arg, const json_t *answer);
    void *arg;
};

/* One listening socket. */
struct gate {
    uv_pipe_t pipe;
    struct control_server *server;
    bool everybody; /* anybody may connect, and ask what is_for_everybody() */
    bool orders;    /* the others ask for the rest here, too */
    bool open;
    char *path;
    struct client *clients;
    unsigned client_count;
};

struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
};

struct control_server {
    struct gate gates[OUR_SOCKETS]; /* of another daemon the first one alone */
    int gate_count;
    uv_async_t async;
    pthread_mutex_t mutex; /* guards the posts */
    struct post *first, **last;
    control_handler *handler;
    void *arg;
    int lock_fd;
    unsigned handles; /* of libuv, still to be closed before the memory can go */
    bool closing;
};

static void client_next(struct client *client);

static void
server_release(struct control_server *server)
{
    if (--server->handles > 0)
        return;
    for (int i = 0; i < OUR_SOCKETS; i++)
        free(server->gates[i].path);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

static void
client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    struct control_server *server = client->gate->server;
    buf_free(&client->in);
    free(client);
    server_release(server);
}

/* From here on nobody hears its call. */
static void
client_close(struct client *client)
{
    if (client->closing)
        return;
    client->closing = true;
    if (client->call != NULL)
        client->call->client = NULL;
    client->call = NULL;
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        client->gate->clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    client->gate->client_count--;
    uv_close((uv_handle_t *)&client->pipe, client_closed);
}

/* Bytes sent to the client that it has not taken yet. */
static size_t
unread(const struct client *client)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&client->pipe);
}

struct outgoing {
    uv_write_t request;
    char *line;
};

static void
line_written(uv_write_t *request, int status)
{
    struct outgoing *out = request->data;
    struct client *client = request->handle->data;
    free(out->line);
    free(out);
    if (status < 0 || (client->ending && unread(client) == 0))
        client_close(client);
    else
        client_next(client);
}

/* Takes the reference to the json. */
static void
client_send(struct client *client, json_t *json)
{
    struct outgoing *out = xcalloc(1, sizeof(*out));
    char *text = json_dumps(json, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(json);
    out->line = xasprintf("%s\n", text);
    free(text);
    out->request.data = out;
    uv_buf_t part = uv_buf_init(out->line, (unsigned)strlen(out->line));
    int r = uv_write(&out->request, (uv_stream_t *)&client->pipe, &part, 1, line_written);
    if (r == 0)
        return;
    free(out->line);
    free(out);
    client_close(client);
}

static void
client_refuse(struct client *client, const struct err *e)
{
    client_send(client, control_refusal(e));
}

/* The last word: what else it has sent is not read. */
static void
client_dismiss(struct client *client, const struct err *e)
{
    uv_read_stop((uv_stream_t *)&client->pipe);
    buf_reset(&client->in);
    client->ending = true;
    client_refuse(client, e);
}

static bool
is_for_everybody(const char *what)
{
    static const char *const words[] = { "barrier", "role", "reach", "gate" };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(what, words[i]) == 0)
            return true;
    return false;
}

/* Status and barrier change nothing. Whoever may connect may ask for them; orders are root's and
 * the daemon's own. Who is the gate its handler knows. */
static int
check_right(const struct client *client, const char *what, struct err *e)
{
    bool harmless = is_for_everybody(what);
    if (client->gate->everybody && !client->gate->orders && !harmless)
        return err_set(e, ERR_REFUSED, "this socket answers barrier and role only");
    if (harmless || (!client->gate->everybody && strcmp(what, "status") == 0))
        return 0;
    if (client->peer.uid == 0 || client->peer.uid == geteuid())
        return 0;
    return err_set(e, ERR_REFUSED, "%.32s is for root only, not for the user number %u", what,
                   client->peer.uid);
}

static json_t *
parse_request(const struct client *client, struct span line, struct err *e)
{
    json_error_t error;
    json_t *request = json_loadb((const char *)line.ptr, line.len, 0, &error);
    const char *what = json_string_value(json_object_get(request, "do"));
    if (request == NULL)
        err_set(e, ERR_PROTOCOL, "the request is not JSON: %.128s", error.text);
    else if (what == NULL)
        err_set(e, ERR_PROTOCOL, "the request does not say what to do");
    else if (check_right(client, what, e) == 0)
        return request;
    json_decref(request);
    return NULL;
}

static void
client_request(struct client *client, struct span line)
{
    struct control_server *server = client->gate->server;
    struct err e = { 0 };
    json_t *request = parse_request(client, line, &e);
    if (request == NULL) {
        if (e.code == ERR_PROTOCOL)
            client_dismiss(client, &e);
        else
            client_refuse(client, &e);
        return;
    }
    struct control_call *call = xcalloc(1, sizeof(*call));
    call->client = client;
    client->call = call;
    struct control_peer peer = client->peer;
    server->handler(call, request, &peer, server->arg);
    json_decref(request);
}

/* The next whole line, cut off what came in. */
static bool
client_line(struct client *client, struct buf *ret_line)
{
    const struct buf *in = &client->in;
    const uint8_t *end = in->len > 0 ? memchr(in->ptr, '\n', in->len) : NULL;
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - in->ptr);
    buf_add(ret_line, in->ptr, len);
    buf_consume(&client->in, len + 1);
    return true;
}

static bool
client_waits(const struct client *client)
{
    return client->call == NULL && !client->ending && !client->closing &&
           unread(client) <= UNREAD_MAX;
}

/* One request at a time: the next line waits until the one before is answered, and until the
 * client has read enough of the answers. */
static void
client_next(struct client *client)
{
    if (client->busy)
        return;
    client->busy = true;
    bool found = true;
    while (found && client_waits(client)) {
        _cleanup_buf_ struct buf line = { 0 };
        found = client_line(client, &line);
        if (found)
            client_request(client, buf_span(&line));
    }
    client->busy = false;
    if (found || !client->eof || !client_waits(client))
        return;
    client->ending = true;
    if (unread(client) == 0)
        client_close(client);
}

static void
client_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *client = handle->data;
    (void)suggested;
    *buf = uv_buf_init(client->chunk, sizeof(client->chunk));
}

static void
client_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    struct err e = { 0 };
    if (client->closing)
        return;
    if (len > 0)
        buf_add(&client->in, buf->base, (size_t)len);
    client->eof = client->eof || len < 0;
    if (client->in.len > CONTROL_LINE_MAX) {
        err_set(&e, ERR_PROTOCOL, "the request has more than %d bytes", CONTROL_LINE_MAX);
        client_dismiss(client, &e);
        return;
    }
    client_next(client);
}

static bool
peer_of(uv_pipe_t *pipe, struct control_peer *ret_peer)
{
    uv_os_fd_t fd;
    struct ucred cred;
    socklen_t len = sizeof(cred);
    if (uv_fileno((uv_handle_t *)pipe, &fd) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    *ret_peer = (struct control_peer){ .uid = cred.uid, .gid = cred.gid, .pid = cred.pid };
    return true;
}

static unsigned
clients_of(const struct gate *gate, uid_t uid)
{
    unsigned count = 0;
    for (const struct client *c = gate->clients; c != NULL; c = c->next)
        count += c->peer.uid == uid;
    return count;
}

/* Everybody may connect: one user who does not end must leave room for the others. */
static int
check_room(const struct client *client, struct err *e)
{
    const struct gate *gate = client->gate;
    uid_t uid = client->peer.uid;
    if (gate->client_count > CONTROL_CLIENTS_MAX)
        return err_set(e, ERR_BUSY, "%d clients are connected already", CONTROL_CLIENTS_MAX);
    if (uid != 0 && uid != geteuid() && clients_of(gate, uid) > CONTROL_CLIENTS_OF_USER)
        return err_set(e, ERR_BUSY, "%d clients of the user number %u are connected already",
                       CONTROL_CLIENTS_OF_USER, uid);
    return 0;
}

static void
gate_accept(uv_stream_t *stream, int status)
{
    struct gate *gate = stream->data;
    if (status < 0)
        return;
    struct client *client = xcalloc(1, sizeof(*client));
    uv_pipe_init(stream->loop, &client->pipe, 0);
    client->pipe.data = client;
    client->gate = gate;
    client->next = gate->clients;
    if (client->next != NULL)
        client->next->previous = client;
    gate->clients = client;
    gate->client_count++;
    gate->server->handles++;
    if (uv_accept(stream, (uv_stream_t *)&client->pipe) < 0 ||
        !peer_of(&client->pipe, &client->peer)) {
        client_close(client);
        return;
    }
    struct err e = { 0 };
    if (check_room(client, &e) < 0) {
        client_dismiss(client, &e);
        return;
    }
    uv_read_start((uv_stream_t *)&client->pipe, client_buffer, client_read);
}

static void
call_end(struct control_call *call, json_t *json)
{
    struct client *client = call->client;
    if (call->ended != NULL)
        call->ended(call->arg, json);
    free(call);
    if (client == NULL) {
        json_decref(json);
        return;
    }
    client->call = NULL;
    client_send(client, json); /* line_written() goes on with the next request */
}

void
control_reply(struct control_call *call, json_t *reply)
{
    ASSERT(json_is_object(reply));
    json_object_set_new(reply, "ok", json_true());
    call_end(call, reply);
}

void
control_fail(struct control_call *call, const struct err *e)
{
    call_end(call, control_refusal(e));
}

void
control_on_end(struct control_call *call, void (*ended)(void *arg, const json_t *answer), void *arg)
{
    ASSERT(call->ended == NULL);
    call->ended = ended;
    call->arg = arg;
}

void
control_progress(struct control_call *call, json_t *progress)
{
    struct client *client = call->client;
    if (client == NULL || unread(client) > UNREAD_MAX)
        json_decref(progress);
    else
        client_send(client, json_pack("{s:o}", "progress", progress));
}

/* Both directions are closed; libuv tells the same of a client that only has no more to ask. */
static bool
hung_up(const struct client *client)
{
    uv_os_fd_t fd;
    if (!client->eof || uv_fileno((const uv_handle_t *)&client->pipe, &fd) < 0)
        return false;
    struct pollfd pollfd = { .fd = fd };
    return poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLHUP) != 0;
}

bool
control_gone(const struct control_call *call)
{
    return call->client == NULL || hung_up(call->client);
}

void
control_run_posts(struct control_server *server)
{
    if (server == NULL)
        return;
    pthread_mutex_lock(&server->mutex);
    struct post *post = server->first;
    server->first = NULL;
    server->last = &server->first;
    pthread_mutex_unlock(&server->mutex);
    while (post != NULL) {
        struct post *next = post->next;
        post->fn(post->arg);
        free(post);
        post = next;
    }
}

static void
posted(uv_async_t *async)
{
    control_run_posts(async->data);
}

void
control_post(struct control_server *server, void (*fn)(void *arg), void *arg)
{
    struct post *post = xcalloc(1, sizeof(*post));
    *post = (struct post){ .fn = fn, .arg = arg };
    pthread_mutex_lock(&server->mutex);
    *server->last = post;
    server->last = &post->next;
    pthread_mutex_unlock(&server->mutex);
    uv_async_send(&server->async);
}

/* Group and mode before listen(): nobody connects under other rules. */
static int
gate_open(struct gate *gate, struct control_server *server, uv_loop_t *loop, gid_t group,
          struct err *e)
{
    gate->server = server;
    gate->pipe.data = gate;
    uv_pipe_init(loop, &gate->pipe, 0);
    server->handles++;
    gate->open = true;
    if (unlink(gate->path) < 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "remove the old %s", gate->path);
    int r = uv_pipe_bind(&gate->pipe, gate->path);
    if (r < 0)
        return err_errnum(e, ERR_IO, -r, "bind %s", gate->path);
    if (lchown(gate->path, (uid_t)-1, group) < 0 && !gate->everybody)
        return err_sys(e, ERR_IO, "give %s to its group", gate->path);
    if (chmod(gate->path, gate->everybody ? 0666 : 0660) < 0)
        return err_sys(e, ERR_IO, "set the mode of %s", gate->path);
    r = uv_listen((uv_stream_t *)&gate->pipe, BACKLOG, gate_accept);
    if (r < 0)
        return err_errnum(e, ERR_IO, -r, "listen on %s", gate->path);
    return 0;
}

/* own: the socket of another daemon, NULL for the two of mailtwin-replicatord. */
static int
server_start(struct control_server *server, uv_loop_t *loop, const char *run_dir, const char *own,
             struct err *e)
{
    const char *const names[OUR_SOCKETS] = { own != NULL ? own : CONTROL_SOCKET, CONTROL_BARRIER };
    gid_t group;
    if (control_prepare_dir(run_dir, &group, e) < 0)
        return -1;
    server->lock_fd = control_take_lock(run_dir, own, e);
    if (server->lock_fd < 0)
        return -1;
    server->gate_count = own != NULL ? 1 : OUR_SOCKETS;
    for (int i = 0; i < server->gate_count; i++) {
        server->gates[i].path = xasprintf("%s/%s", run_dir, names[i]);
        server->gates[i].orders = i == 0;
        server->gates[i].everybody = own != NULL || i == 1;
        if (gate_open(&server->gates[i], server, loop, group, e) < 0)
            return -1;
    }
    return 0;
}

static int
server_open(uv_loop_t *loop, const char *run_dir, const char *own, control_handler *handler,
            void *arg, struct control_server **ret_server, struct err *e)
{
    struct control_server *server = xcalloc(1, sizeof(*server));
    signal(SIGPIPE,
           SIG_IGN); /* libuv writes without MSG_NOSIGNAL: a client that left would kill us */
    server->handler = handler;
    server->arg = arg;
    server->lock_fd = -1;
    server->last = &server->first;
    pthread_mutex_init(&server->mutex, NULL);
    int r = uv_async_init(loop, &server->async, posted);
    ASSERT(r == 0);
    server->async.data = server;
    server->handles = 1;
    if (server_start(server, loop, run_dir, own, e) < 0) {
        control_server_close(&server);
        return -1;
    }
    *ret_server = server;
    return 0;
}

int
control_server_open(uv_loop_t *loop, const char *run_dir, control_handler *handler, void *arg,
                    struct control_server **ret_server, struct err *e)
{
    return server_open(loop, run_dir, NULL, handler, arg, ret_server, e);
}

int
control_server_open_own(uv_loop_t *loop, const char *run_dir, const char *socket,
                        control_handler *handler, void *arg, struct control_server **ret_server,
                        struct err *e)
{
    return server_open(loop, run_dir, socket, handler, arg, ret_server, e);
}

static void
gate_closed(uv_handle_t *handle)
{
    struct gate *gate = handle->data;
    server_release(gate->server);
}

static void
async_closed(uv_handle_t *handle)
{
    server_release(handle->data);
}

/* libuv removes the socket file of a pipe that it bound. */
static void
gate_close(struct gate *gate)
{
    while (gate->clients != NULL)
        client_close(gate->clients);
    if (gate->open)
        uv_close((uv_handle_t *)&gate->pipe, gate_closed);
}

void
control_server_close(struct control_server **server)
{
    struct control_server *s = *server;
    *server = NULL;
    if (s == NULL)
        return;
    control_run_posts(s);
    for (int i = 0; i < OUR_SOCKETS; i++)
        gate_close(&s->gates[i]);
    file_closep(&s->lock_fd);
    uv_close((uv_handle_t *)&s->async, async_closed);
}
