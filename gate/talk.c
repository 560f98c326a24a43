#include "gate/talk.h"

#include "lib/base/buf.h"

#include <stdlib.h>

#define ANSWER_MAX 65536

/* A connection that failed is closed and lives until libuv lets go of it; the talk has another one
 * by then. */
struct line {
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_write_t write;
    struct talk *talk; /* NULL: given up */
    char *text;        /* the request */
    struct buf in;
    bool connected;
    char chunk[4096];
};

struct talk {
    uv_loop_t *loop;
    char *socket;
    talk_answered *answered;
    void *arg;
    struct line *line; /* NULL: not connected */
    bool asked;
};

static void
line_closed(uv_handle_t *handle)
{
    struct line *line = handle->data;
    buf_free(&line->in);
    free(line->text);
    free(line);
}

static void
line_drop(struct talk *talk)
{
    struct line *line = talk->line;
    talk->line = NULL;
    if (line == NULL)
        return;
    line->talk = NULL;
    uv_close((uv_handle_t *)&line->pipe, line_closed);
}

static void
failed(struct talk *talk)
{
    bool asked = talk->asked;
    line_drop(talk);
    talk->asked = false;
    if (asked)
        talk->answered(talk->arg, NULL);
}

static void
take_answers(struct talk *talk, struct line *line)
{
    const uint8_t *end = line->in.len > 0 ? memchr(line->in.ptr, '\n', line->in.len) : NULL;
    if (end == NULL) {
        if (line->in.len > ANSWER_MAX)
            failed(talk);
        return;
    }
    size_t len = (size_t)(end - line->in.ptr);
    json_t *answer = json_loadb((const char *)line->in.ptr, len, 0, NULL);
    buf_consume(&line->in, len + 1);
    if (!json_is_object(answer) || !talk->asked) {
        failed(talk); /* nothing was asked, or nobody knows what it says */
    } else {
        talk->asked = false;
        talk->answered(talk->arg, answer);
    }
    json_decref(answer);
}

static void
line_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct line *line = handle->data;
    (void)suggested;
    *buf = uv_buf_init(line->chunk, sizeof(line->chunk));
}

static void
line_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct line *line = stream->data;
    if (line->talk == NULL)
        return;
    if (len < 0) {
        failed(line->talk);
        return;
    }
    buf_add(&line->in, buf->base, (size_t)len);
    take_answers(line->talk, line);
}

static void
line_written(uv_write_t *write, int status)
{
    struct line *line = write->handle->data;
    if (status < 0 && line->talk != NULL)
        failed(line->talk);
}

static void
line_send(struct line *line)
{
    uv_buf_t part = uv_buf_init(line->text, (unsigned)strlen(line->text));
    int r = uv_write(&line->write, (uv_stream_t *)&line->pipe, &part, 1, line_written);
    if (r < 0)
        failed(line->talk);
}

static void
line_connected(uv_connect_t *connect, int status)
{
    struct line *line = connect->handle->data;
    if (line->talk == NULL)
        return;
    if (status < 0) {
        failed(line->talk);
        return;
    }
    line->connected = true;
    uv_read_start((uv_stream_t *)&line->pipe, line_buffer, line_read);
    line_send(line);
}

static void
line_open(struct talk *talk)
{
    struct line *line = xcalloc(1, sizeof(*line));
    uv_pipe_init(talk->loop, &line->pipe, 0);
    line->pipe.data = line;
    line->talk = talk;
    talk->line = line;
    uv_pipe_connect(&line->connect, &line->pipe, talk->socket, line_connected);
}

void
talk_ask(struct talk *talk, json_t *request)
{
    ASSERT(!talk->asked);
    char *text = json_dumps(request, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(request);
    talk->asked = true;
    if (talk->line == NULL)
        line_open(talk);
    free(talk->line->text);
    talk->line->text = xasprintf("%s\n", text);
    free(text);
    if (talk->line->connected)
        line_send(talk->line);
}

struct talk *
talk_new(uv_loop_t *loop, const char *socket, talk_answered *answered, void *arg)
{
    struct talk *talk = xcalloc(1, sizeof(*talk));
    *talk = (struct talk){
        .loop = loop, .socket = xstrdup(socket), .answered = answered, .arg = arg
    };
    return talk;
}

void
talk_close(struct talk **talk)
{
    struct talk *t = *talk;
    *talk = NULL;
    if (t == NULL)
        return;
    t->asked = false;
    line_drop(t);
    free(t->socket);
    free(t);
}
