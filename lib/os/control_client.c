#include "lib/base/buf.h"
#include "lib/os/control.h"
#include "lib/os/file.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (16 * 1024 * 1024)

struct ask {
    const char *daemon; /* who is asked */
    int fd;
    int timeout_ms;
    struct buf in;
};

/* Whose socket it is: an administrator has to know which daemon to start. */
static const char *
daemon_of(const char *socket)
{
    return strcmp(socket, CONTROL_DIRECTORY) == 0 ? "mailtwin-directoryd" : "mailtwin-replicatord";
}

static int
ask_connect(const char *run_dir, const char *name, struct ask *ask, struct err *e)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    _cleanup_free_ char *path = xasprintf("%s/%s", run_dir, name);
    if (strlen(path) >= sizeof(address.sun_path))
        return err_set(e, ERR_CONFIG, "the run-dir %s is too long for a socket in it", run_dir);
    memcpy(address.sun_path, path, strlen(path));
    ask->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ask->fd < 0)
        return err_sys(e, ERR_IO, "make a socket");
    if (connect(ask->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return 0;
    if (errno == ENOENT || errno == ECONNREFUSED)
        return err_set(e, ERR_PEER, "%s does not run here: nobody answers at %s", ask->daemon,
                       path);
    if (errno == EACCES)
        return err_set(e, ERR_IO, "you may not ask %s: %s is for root and its group", ask->daemon,
                       path);
    return err_sys(e, ERR_IO, "connect to %s", path);
}

/* A daemon that dismisses us may have closed already; what it said is still to be read. */
static int
ask_send(const struct ask *ask, const json_t *request, struct err *e)
{
    char *text = json_dumps(request, JSON_COMPACT);
    ASSERT(text != NULL);
    _cleanup_free_ char *line = xasprintf("%s\n", text);
    free(text);
    size_t len = strlen(line);
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(ask->fd, line + sent, len - sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 0;
        if (n < 0 && errno != EINTR)
            return err_sys(e, ERR_IO, "send the request");
        sent += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int
ask_wait(const struct ask *ask, int64_t until_ms, struct err *e)
{
    struct pollfd pollfd = { .fd = ask->fd, .events = POLLIN };
    int64_t left = ask->timeout_ms < 0 ? -1 : MAX(until_ms - now_ms(), 0);
    int r = poll(&pollfd, 1, (int)left);
    if (r < 0 && errno != EINTR)
        return err_sys(e, ERR_IO, "wait for the answer");
    if (r == 0)
        return err_set(e, ERR_TIMEOUT, "no answer from %s in %d ms", ask->daemon, ask->timeout_ms);
    return 0;
}

static int
ask_read(struct ask *ask, struct err *e)
{
    char chunk[4096];
    ssize_t n = recv(ask->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0 && errno != ECONNRESET)
        return err_sys(e, ERR_IO, "read the answer");
    if (n <= 0)
        return err_set(e, ERR_PEER, "%s ended the connection without an answer", ask->daemon);
    if (ask->in.len + (size_t)n > ANSWER_MAX)
        return err_set(e, ERR_PROTOCOL, "the answer has more than %d bytes", ANSWER_MAX);
    buf_add(&ask->in, chunk, (size_t)n);
    return 0;
}

/* The next line of the answer as JSON. */
static int
ask_line(struct ask *ask, json_t **ret_line, struct err *e)
{
    const uint8_t *end = NULL;
    int64_t until_ms = now_ms() + ask->timeout_ms;
    for (;;) {
        end = ask->in.len > 0 ? memchr(ask->in.ptr, '\n', ask->in.len) : NULL;
        if (end != NULL)
            break;
        if (ask_wait(ask, until_ms, e) < 0 || ask_read(ask, e) < 0)
            return -1;
    }
    size_t len = (size_t)(end - ask->in.ptr);
    *ret_line = json_loadb((const char *)ask->in.ptr, len, 0, NULL);
    buf_consume(&ask->in, len + 1);
    if (json_is_object(*ret_line))
        return 0;
    json_decref(*ret_line);
    return err_set(e, ERR_PROTOCOL, "the daemon's answer is not a JSON object");
}

/* What the daemon refused with, as if it had happened here. */
static int
take_refusal(const json_t *answer, struct err *e)
{
    static const enum err_code codes[] = {
#define ERR(name, exit_status, help) ERR_##name,
#include "lib/base/errors.def"
#undef ERR
    };
    const char *name = json_string_value(json_object_get(answer, "code"));
    const char *text = json_string_value(json_object_get(answer, "error"));
    enum err_code code = ERR_PROTOCOL;
    for (size_t i = 0; name != NULL && i < ARRAY_LEN(codes); i++)
        if (strcmp(name, err_name(codes[i])) == 0)
            code = codes[i];
    return err_set(e, code, "%s", text != NULL ? text : "the daemon refused and does not say why");
}

static int
ask_answer(struct ask *ask, void (*on_progress)(const json_t *progress, void *arg), void *arg,
           json_t **ret_reply, struct err *e)
{
    for (;;) {
        json_t *line;
        if (ask_line(ask, &line, e) < 0)
            return -1;
        const json_t *progress = json_object_get(line, "progress");
        const json_t *ok = json_object_get(line, "ok");
        if (json_is_true(ok)) {
            *ret_reply = line;
            return 0;
        }
        if (progress != NULL && on_progress != NULL)
            on_progress(progress, arg);
        int r = progress == NULL ? take_refusal(line, e) : 0;
        json_decref(line);
        if (r < 0)
            return -1;
    }
}

int
control_ask(const char *run_dir, const char *socket, const json_t *request, int timeout_ms,
            void (*on_progress)(const json_t *progress, void *arg), void *arg, json_t **ret_reply,
            struct err *e)
{
    struct ask ask = { .daemon = daemon_of(socket), .fd = -1, .timeout_ms = timeout_ms };
    int r = ask_connect(run_dir, socket, &ask, e);
    if (r == 0)
        r = ask_send(&ask, request, e);
    if (r == 0)
        r = ask_answer(&ask, on_progress, arg, ret_reply, e);
    file_closep(&ask.fd);
    buf_free(&ask.in);
    return r;
}
