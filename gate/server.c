#include "gate/gate.h"
#include "gate/report.h"
#include "lib/os/conf_check.h"
#include "lib/os/control.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

_Static_assert(GATE_DOORS_MAX == CONF_STORES_MAX, "a gate may lead to every store");

#define BACKLOG    511
#define TICK_MS    GATE_REPORT_EVERY_MS
#define TIDY_TICKS 60
#define STOP_MS    10000 /* what is under way has this long to end; the MTA tries the rest again */

uint64_t
server_now_s(void)
{
    return (uint64_t)time(NULL);
}

void
server_memory_told(struct server *server, const struct err *e)
{
    if (e != NULL && !server->forgets_told)
        event(EV_GATE_FORGETS, F_ERR(e));
    server->forgets_told = e != NULL;
}

/* --- sockets --- */

/* A socket file of a gate that died: nobody listens on it. */
static void
remove_stale(const struct sockaddr_storage *address, socklen_t size, const char *path)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;
    if (fd >= 0 && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        connect(fd, (const struct sockaddr *)address, size) < 0 && errno == ECONNREFUSED)
        unlink(path);
}

/* Whoever reaches the socket may deliver, as with the server's own. */
static int
open_listener(struct gate *gate, struct err *e)
{
    struct sockaddr_storage address;
    socklen_t size;
    const char *listen_on = gate->conf->listen;
    bool is_unix = gate->listen.unix_path;
    if (endpoint_resolve(&gate->listen, &address, &size, e) < 0)
        return -1;
    if (is_unix)
        remove_stale(&address, size, gate->listen.text);
    gate->listen_fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (gate->listen_fd < 0)
        return err_sys(e, ERR_IO, "make a socket");
    if (!is_unix &&
        setsockopt(gate->listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0)
        return err_sys(e, ERR_IO, "prepare the listening socket");
    if (bind(gate->listen_fd, (const struct sockaddr *)&address, size) < 0)
        return err_sys(e, errno == EADDRINUSE ? ERR_BUSY : ERR_IO, "listen on %s", listen_on);
    if (is_unix && chmod(gate->listen.text, 0666) < 0)
        return err_sys(e, ERR_IO, "set the mode of %s", listen_on);
    return 0;
}

static void
on_client(uv_stream_t *listener, int status)
{
    if (status == 0)
        flow_accept(listener->data);
}

static void
listener_closed(uv_handle_t *handle)
{
    free(handle);
}

static int
begin_listening(struct gate *gate, uv_loop_t *loop, struct err *e)
{
    int r;
    if (gate->listen.unix_path) {
        uv_pipe_t *pipe = xcalloc(1, sizeof(*pipe));
        uv_pipe_init(loop, pipe, 0);
        r = uv_pipe_open(pipe, gate->listen_fd);
        gate->listener = (uv_stream_t *)pipe;
    } else {
        uv_tcp_t *tcp = xcalloc(1, sizeof(*tcp));
        uv_tcp_init(loop, tcp);
        r = uv_tcp_open(tcp, gate->listen_fd);
        gate->listener = (uv_stream_t *)tcp;
    }
    gate->listener->data = gate;
    gate->listen_fd = -1; /* libuv's now */
    if (r == 0)
        r = uv_listen(gate->listener, BACKLOG, on_client);
    if (r < 0)
        return err_errnum(e, ERR_IO, -r, "listen on %s", gate->conf->listen);
    return 0;
}

static void
end_listening(struct gate *gate)
{
    file_closep(&gate->listen_fd);
    if (gate->listener != NULL)
        uv_close((uv_handle_t *)gate->listener, listener_closed);
    gate->listener = NULL;
}

/* --- doors --- */

/* One for each store, however many gates lead to it. */
static void
add_door(struct server *server, struct gate *gate, const char *store, const char *barrier_socket)
{
    size_t i = 0;
    while (i < server->door_count && strcmp(server->door_stores[i], store) != 0)
        i++;
    if (i == server->door_count) {
        server->door_stores[i] = store;
        server->doors[i] = door_new(server->loop, barrier_socket, store);
        server->door_count++;
    }
    gate->doors[gate->door_count++] = server->doors[i];
}

static int
add_doors(struct server *server, struct gate *gate, struct err *e)
{
    const struct conf *conf = server->conf;
    _cleanup_free_ char *socket = xasprintf("%s/" CONTROL_BARRIER, conf->run_dir);
    for (size_t i = 0; i < conf->store_count; i++) {
        const struct conf_store *store = &conf->stores[i];
        bool wanted = gate->conf->store != NULL ? strcmp(store->name, gate->conf->store) == 0
                                                : store->kind == STORE_MAILDIR;
        if (wanted)
            add_door(server, gate, store->name, socket);
    }
    if (gate->door_count == 0)
        return err_set(e, ERR_CONFIG, "%s: gate \"%s\": there is no store of kind maildir",
                       conf->file, gate->conf->name);
    return 0;
}

/* --- the program --- */

static int
open_gate(struct server *server, struct gate *gate, const struct conf_gate *conf, struct err *e)
{
    socklen_t size;
    *gate = (struct gate){ .conf = conf, .server = server, .listen_fd = -1 };
    ASSERT(endpoint_parse(conf->listen, &gate->listen)); /* the configuration was checked */
    ASSERT(endpoint_parse(conf->backend, &gate->backend));
    if (endpoint_resolve(&gate->backend, &gate->address, &size, e) < 0)
        return -1;
    if (add_doors(server, gate, e) < 0 || open_listener(gate, e) < 0)
        return err_wrap(e, "gate \"%s\"", conf->name);
    return 0;
}

/* The account that the gate becomes owns the directory. */
static int
open_directory(struct server *server, struct err *e)
{
    const struct conf *conf = server->conf;
    _cleanup_free_ char *path = xasprintf("%s/gate", conf->state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(e, ERR_IO, "make %s", path);
    server->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (server->dirfd < 0)
        return err_sys(e, ERR_IO, "open %s", path);
    return 0;
}

int
server_open(struct server *server, const struct conf *conf, uv_loop_t *loop, struct err *e)
{
    uint64_t remember_ms = 0;
    *server = (struct server){ .loop = loop, .conf = conf, .dirfd = -1 };
    server->began_s = server_now_s();
    TAILQ_INIT(&server->flows);
    if (conf->gate_count == 0)
        return err_set(e, ERR_CONFIG, "%s: there is no gate section", conf->file);
    for (size_t i = 0; i < conf->gate_count; i++)
        remember_ms = MAX(remember_ms, conf->gates[i].remember_ms);
    if (open_directory(server, e) < 0 ||
        memory_open(server->dirfd, remember_ms / 1000, server_now_s(), &server->memory, e) < 0)
        return -1;
    server->gates = xcalloc(conf->gate_count, sizeof(server->gates[0]));
    for (size_t i = 0; i < conf->gate_count; i++) {
        server->gate_count++;
        if (open_gate(server, &server->gates[i], &conf->gates[i], e) < 0)
            return -1;
    }
    _cleanup_free_ char *socket = xasprintf("%s/" CONTROL_BARRIER, conf->run_dir);
    server->reporter = reporter_new(loop, socket);
    return 0;
}

size_t
server_held(const struct gate *gate)
{
    size_t held = 0;
    for (struct flow *flow = TAILQ_FIRST(&gate->server->flows); flow != NULL;
         flow = flow_next(flow))
        held += flow_held(flow, gate);
    return held;
}

static void
each_flow(struct server *server, uint64_t now_ms)
{
    struct flow *flow, *next;
    for (flow = TAILQ_FIRST(&server->flows); flow != NULL; flow = next) {
        next = flow_next(flow);
        flow_tick(flow, now_ms);
    }
}

static void
on_tick(uv_timer_t *timer)
{
    struct server *server = timer->data;
    static unsigned ticks;
    struct err e = { 0 };
    uint64_t now_ms = uv_now(server->loop);
    each_flow(server, now_ms);
    reporter_tell(server->reporter, server);
    if (++ticks % TIDY_TICKS == 0)
        server_memory_told(server, memory_tidy(server->memory, server_now_s(), &e) < 0 ? &e : NULL);
    if (server->stop_ms != 0 && (TAILQ_EMPTY(&server->flows) || now_ms >= server->stop_ms))
        uv_stop(server->loop);
}

int
server_serve(struct server *server, struct err *e)
{
    uv_timer_init(server->loop, &server->tick);
    server->tick.data = server;
    uv_timer_start(&server->tick, on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < server->gate_count; i++)
        if (begin_listening(&server->gates[i], server->loop, e) < 0)
            return -1;
    return 0;
}

void
server_stop(struct server *server)
{
    if (server->stop_ms != 0)
        return;
    server->stop_ms = uv_now(server->loop) + STOP_MS;
    for (size_t i = 0; i < server->gate_count; i++)
        end_listening(&server->gates[i]);
    struct flow *flow, *next;
    for (flow = TAILQ_FIRST(&server->flows); flow != NULL; flow = next) {
        next = flow_next(flow);
        flow_stop(flow);
    }
    if (TAILQ_EMPTY(&server->flows))
        uv_stop(server->loop);
    else
        uv_timer_start(&server->tick, on_tick, 50, 50);
}

void
server_close(struct server *server)
{
    while (!TAILQ_EMPTY(&server->flows))
        flow_drop(TAILQ_FIRST(&server->flows));
    for (size_t i = 0; i < server->gate_count; i++)
        end_listening(&server->gates[i]);
    for (size_t i = 0; i < server->door_count; i++)
        door_close(&server->doors[i]);
    reporter_close(&server->reporter);
    if (server->tick.loop != NULL)
        uv_close((uv_handle_t *)&server->tick, NULL);
    uv_run(server->loop, UV_RUN_DEFAULT);
    memory_free(&server->memory);
    file_closep(&server->dirfd);
    freep(&server->gates);
}
