/* The door asks few questions for many deliveries, and each gets an answer in its time, whatever
 * the daemon does. The daemon is a socket in the same loop. */
#include "gate/door.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct guest {
    struct door_wait wait;
    int answers;
    enum door_verdict verdict;
    char why[DOOR_WHY_MAX];
};

struct client {
    uv_pipe_t pipe;
    uv_write_t write;
    char in[4096];
};

static uv_loop_t loop;
static uv_pipe_t listener;
static char path[64];
static struct client *asked[16]; /* who has asked and has no answer */
static unsigned asked_count, questions, probes;
static unsigned done_count;

static void
guest_done(struct door_wait *wait, enum door_verdict verdict, const char *why)
{
    struct guest *guest = wait->arg;
    guest->answers++;
    guest->verdict = verdict;
    snprintf(guest->why, sizeof(guest->why), "%s", why);
    done_count++;
}

static void
freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void
buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *client = handle->data;
    (void)suggested;
    *buf = uv_buf_init(client->in, sizeof(client->in) - 1);
}

static void
on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    (void)buf;
    if (len < 0) {
        if (!uv_is_closing((uv_handle_t *)stream))
            uv_close((uv_handle_t *)stream, freed);
        return;
    }
    client->in[len] = '\0';
    CHECK_CONTAINS(client->in, "\"store\":\"s\"");
    questions++;
    probes += strstr(client->in, "\"probe\":true") != NULL;
    asked[asked_count++] = client;
}

static void
on_client(uv_stream_t *stream, int status)
{
    struct client *client = xcalloc(1, sizeof(*client));
    CHECK_INT(status, 0);
    uv_pipe_init(&loop, &client->pipe, 0);
    client->pipe.data = client;
    CHECK_INT(uv_accept(stream, (uv_stream_t *)&client->pipe), 0);
    uv_read_start((uv_stream_t *)&client->pipe, buffer, on_read);
}

static void
daemon_starts(void)
{
    uv_pipe_init(&loop, &listener, 0);
    CHECK_INT(uv_pipe_bind(&listener, path), 0);
    CHECK_INT(uv_listen((uv_stream_t *)&listener, 16, on_client), 0);
}

static struct door *
begin(bool daemon)
{
    uv_loop_init(&loop);
    snprintf(path, sizeof(path), "/tmp/mailtwin-door-%d", (int)getpid());
    unlink(path);
    asked_count = questions = probes = done_count = 0;
    if (daemon)
        daemon_starts();
    return door_new(&loop, path, "s");
}

static void
close_one(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, handle == (uv_handle_t *)&listener ? NULL : freed);
}

static void
end(struct door *door)
{
    door_close(&door);
    uv_run(&loop, UV_RUN_NOWAIT);
    uv_walk(&loop, close_one, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
    unlink(path);
}

static void
until(const unsigned *counter, unsigned value)
{
    while (*counter < value)
        uv_run(&loop, UV_RUN_ONCE);
    CHECK_INT(*counter, value);
}

static void
say(const char *text)
{
    CHECK(asked_count > 0);
    struct client *client = asked[0];
    memmove(asked, asked + 1, --asked_count * sizeof(asked[0]));
    uv_buf_t part = uv_buf_init(strdup(text), (unsigned)strlen(text));
    CHECK_INT(uv_try_write((uv_stream_t *)&client->pipe, &part, 1), strlen(text));
    free(part.base);
}

static void
hang_up(void)
{
    CHECK(asked_count > 0);
    uv_close((uv_handle_t *)&asked[0]->pipe, freed);
    memmove(asked, asked + 1, --asked_count * sizeof(asked[0]));
}

static void
come(struct door *door, struct guest *guest, uint64_t timeout_ms)
{
    *guest = (struct guest){ .wait = { .done = guest_done, .arg = guest } };
    door_wait(door, &guest->wait, timeout_ms);
}

static void
knock(struct door *door, struct guest *guest)
{
    *guest = (struct guest){ .wait = { .done = guest_done, .arg = guest } };
    door_knock(door, &guest->wait);
}

#define SAFE "{\"ok\":true,\"state\":\"safe\",\"seconds\":0.1,\"seq\":7}\n"

TEST(deliveries_that_end_while_barriers_are_under_way_share_the_next_one)
{
    struct door *door = begin(true);
    struct guest guests[50];
    come(door, &guests[0], 60000);
    until(&questions, 1);
    come(door, &guests[1], 60000);
    until(&questions, 2);
    for (unsigned i = 2; i < 50; i++)
        come(door, &guests[i], 60000);
    for (unsigned i = 0; i < 10; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    CHECK_INT(questions, 2);
    CHECK_INT(done_count, 0);
    say(SAFE);
    until(&done_count, 1);
    until(&questions, 3);
    say(SAFE);
    say(SAFE);
    until(&done_count, 50);
    for (unsigned i = 0; i < 50; i++)
        CHECK(guests[i].answers == 1 && guests[i].verdict == DOOR_SAFE);
    CHECK_INT(questions, 3);
    end(door);
}

TEST(a_delivery_waits_a_moment_for_those_that_are_nearly_done)
{
    struct door *door = begin(true);
    struct guest guests[2];
    door_expect(door, 2);
    come(door, &guests[0], 60000);
    uv_run(&loop, UV_RUN_NOWAIT);
    CHECK_INT(questions, 0);
    door_expect(door, -1);
    come(door, &guests[1], 60000); /* one waits for one that comes: enough */
    until(&questions, 1);
    say(SAFE);
    until(&done_count, 2);
    come(door, &guests[0], 60000); /* and nobody waits for one that does not come */
    door_expect(door, 8);
    until(&questions, 2);
    say(SAFE);
    until(&done_count, 3);
    end(door);
}

TEST(each_waits_no_longer_than_its_own_time)
{
    struct door *door = begin(true);
    struct guest soon, later;
    come(door, &later, 60000);
    until(&questions, 1);
    come(door, &soon, 30);
    until(&done_count, 1);
    CHECK_INT(soon.verdict, DOOR_LATE);
    CHECK_CONTAINS(soon.why, "not safe");
    say("{\"ok\":true,\"state\":\"late\",\"seconds\":1.0,\"seq\":0}\n");
    until(&done_count, 2);
    CHECK_INT(later.verdict, DOOR_LATE);
    end(door);
}

TEST(a_daemon_that_restarts_is_asked_again)
{
    struct door *door = begin(true);
    struct guest guest;
    come(door, &guest, 60000);
    until(&questions, 1);
    hang_up();
    until(&questions, 2);
    say(SAFE);
    until(&done_count, 1);
    CHECK_INT(guest.verdict, DOOR_SAFE);
    end(door);
}

TEST(a_daemon_that_comes_later_is_found_and_one_that_does_not_is_late)
{
    struct door *door = begin(false);
    struct guest first, second;
    come(door, &first, 30);
    come(door, &second, 60000);
    until(&done_count, 1);
    CHECK_INT(first.verdict, DOOR_LATE);
    daemon_starts();
    until(&questions, 1);
    say(SAFE);
    until(&done_count, 2);
    CHECK_INT(second.verdict, DOOR_SAFE);
    end(door);
}

TEST(only_what_says_safe_or_degraded_opens)
{
    static const struct {
        const char *answer;
        enum door_verdict verdict;
    } known[] = {
        { SAFE, DOOR_SAFE },
        { "{\"ok\":true,\"state\":\"degraded\"}\n", DOOR_DEGRADED },
        { "{\"ok\":true,\"state\":\"late\"}\n", DOOR_LATE },
        { "{\"ok\":true,\"state\":\"alone\"}\n", DOOR_REFUSED },
        { "{\"ok\":true,\"state\":\"fine\"}\n", DOOR_LATE },
        { "{\"ok\":true}\n", DOOR_LATE },
        { "{\"ok\":false,\"state\":\"safe\"}\n", DOOR_LATE },
        { "{\"state\":\"safe\"}\n", DOOR_LATE },
        { "{\"ok\":false,\"code\":\"REFUSED\",\"error\":\"no\"}\n", DOOR_REFUSED },
        { "{\"ok\":false,\"code\":\"BUSY\",\"error\":\"no\"}\n", DOOR_LATE },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct door *door = begin(true);
        struct guest guest;
        come(door, &guest, 60000);
        until(&questions, 1);
        say(known[i].answer);
        until(&done_count, 1);
        CHECK_INT(guest.verdict, known[i].verdict);
        end(door);
    }
}

TEST(a_knock_is_answered_for_all_at_once_and_believed_for_a_moment)
{
    struct door *door = begin(true);
    struct guest guests[3];
    knock(door, &guests[0]);
    knock(door, &guests[1]);
    until(&questions, 1);
    CHECK_INT(probes, 1);
    say("{\"ok\":true,\"state\":\"alone\"}\n");
    until(&done_count, 2);
    CHECK(guests[0].verdict == DOOR_REFUSED && guests[1].verdict == DOOR_REFUSED);
    knock(door, &guests[2]);
    CHECK(guests[2].answers == 1 && guests[2].verdict == DOOR_REFUSED);
    CHECK_INT(questions, 1);
    end(door);
}

TEST(who_has_left_is_not_called)
{
    struct door *door = begin(true);
    struct guest stays, leaves;
    come(door, &leaves, 60000);
    until(&questions, 1);
    come(door, &stays, 60000);
    door_cancel(&leaves.wait);
    until(&questions, 2);
    say(SAFE);
    say(SAFE);
    until(&done_count, 1);
    CHECK(leaves.answers == 0 && stays.answers == 1);
    door_cancel(&stays.wait);
    end(door);
}
