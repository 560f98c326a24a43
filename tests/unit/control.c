#include "tests/unit/control_kit.h"

#include <errno.h>

/* How many bytes come until the other side ends the connection. */
static size_t
drain(int fd)
{
    char chunk[4096];
    size_t total = 0;
    ssize_t n;
    while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
        total += (size_t)n;
    assert_int_equal(n, 0);
    return total;
}

TEST(a_request_is_answered_with_who_asked)
{
    json_t *reply;
    struct err e = { 0 };
    make_dir();
    start_daemon();
    CHECK_INT(ask("status", &reply, &e), 0);
    CHECK(json_is_true(json_object_get(reply, "ok")));
    CHECK_INT(json_integer_value(json_object_get(reply, "pid")), getpid());
    CHECK_INT(json_integer_value(json_object_get(reply, "uid")), geteuid());
    json_decref(reply);
    CHECK_INT(ask("large", &reply, &e), 0);
    CHECK_INT(json_string_length(json_object_get(reply, "text")), LARGE);
    json_decref(reply);
    stop_daemon();
    remove_dir();
}

TEST(a_refusal_arrives_with_its_code_and_sentence)
{
    json_t *reply;
    struct err e = { 0 };
    make_dir();
    start_daemon();
    CHECK_INT(ask("promote", &reply, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_STR(e.text, "rule 7: the journal of ? is behind");
    stop_daemon();
    CHECK_INT(ask("status", &reply, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
    CHECK_CONTAINS(e.text, "mailtwin-replicatord does not run here");
    remove_dir();
}

static void
count_progress(const json_t *progress, void *arg)
{
    unsigned *seen = arg;
    CHECK_STR(json_string_value(json_object_get(progress, "text")), "comparing");
    ++*seen;
}

TEST(progress_comes_before_the_answer)
{
    json_t *reply, *request = json_pack("{s:s}", "do", "verify");
    struct err e = { 0 };
    unsigned seen = 0;
    make_dir();
    start_daemon();
    CHECK_INT(control_ask(d.dir, CONTROL_SOCKET, request, 10000, count_progress, &seen, &reply, &e),
              0);
    CHECK_INT(seen, 3);
    CHECK_INT(json_integer_value(json_object_get(reply, "differences")), 2);
    json_decref(reply);
    json_decref(request);
    stop_daemon();
    remove_dir();
}

static void
answer_held(void *arg)
{
    control_reply(d.held, json_pack("{s:s}", "from", (const char *)arg));
}

TEST(requests_of_one_client_are_answered_in_order_even_when_the_first_takes_long)
{
    static char later[] = "later";
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    say(fd, "{\"do\":\"hold\"}\n{\"do\":\"prom");
    say(fd, "ote\"}\n");
    wait_for(&d.holds, 1);
    control_post(d.server, answer_held, later);
    CHECK_STR(hear(fd, 2), "{\"from\":\"later\",\"ok\":true}\n{\"ok\":false,\"code\":\"REFUSED\","
                           "\"error\":\"rule 7: the journal of ? is behind\"}\n");
    close(fd);
    stop_daemon();
    remove_dir();
}

TEST(who_ends_his_side_still_gets_the_answer_and_then_the_end)
{
    static char later[] = "later";
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    say(fd, "{\"do\":\"hold\"}\n{\"do\":\"large\"}\n");
    CHECK_INT(shutdown(fd, SHUT_WR), 0);
    wait_for(&d.holds, 1);
    control_post(d.server, answer_held, later);
    CHECK_STR(hear(fd, 1), "{\"from\":\"later\",\"ok\":true}\n");
    CHECK_INT(drain(fd), strlen("{\"text\":\"\",\"ok\":true}\n") + LARGE);
    close(fd);
    stop_daemon();
    remove_dir();
}

TEST(no_answer_is_cut_short_however_full_the_socket_is)
{
    make_dir();
    start_daemon();
    for (unsigned requests = 1; requests <= 12; requests++) {
        int fd = dial(CONTROL_SOCKET);
        for (unsigned i = 0; i < requests; i++)
            say(fd, "{\"do\":\"medium\"}\n");
        CHECK_INT(shutdown(fd, SHUT_WR), 0);
        json_t *reply;
        struct err e = { 0 };
        CHECK_INT(ask("status", &reply, &e), 0); /* a turn of the loop after all that came in */
        json_decref(reply);
        CHECK_INT(drain(fd), requests * (strlen("{\"text\":\"\",\"ok\":true}\n") + MEDIUM));
        close(fd);
    }
    stop_daemon();
    remove_dir();
}

TEST(garbage_is_answered_with_what_is_wrong_and_dismissed)
{
    static const char *const garbage[][2] = {
        { "hello\n", "the request is not JSON: " },
        { "[1]\n", "the request does not say what to do" },
        { "{\"do\":7}\n", "the request does not say what to do" },
        { "{}\n{\"do\":\"status\"}\n", "the request does not say what to do" },
        { "\xff\xfe\n", "the request is not JSON: " },
        { "\n", "the request is not JSON: " },
    };
    make_dir();
    start_daemon();
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        int fd = dial(CONTROL_SOCKET);
        say(fd, garbage[i][0]);
        const char *answer = hear(fd, 99); /* up to the end of the connection */
        CHECK_CONTAINS(answer, garbage[i][1]);
        CHECK_CONTAINS(answer, "{\"ok\":false,\"code\":\"PROTOCOL\"");
        CHECK(strchr(answer, '\n')[1] == '\0');
        close(fd);
    }
    stop_daemon();
    remove_dir();
}

TEST(a_request_without_end_is_cut_off)
{
    char line[4096];
    memset(line, ' ', sizeof(line));
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    for (int i = 0; i < 17; i++)
        if (send(fd, line, sizeof(line), MSG_NOSIGNAL) < 0)
            break;
    CHECK_CONTAINS(hear(fd, 99), "the request has more than 65536 bytes");
    close(fd);
    stop_daemon();
    remove_dir();
}

TEST(the_barrier_socket_answers_barrier_and_role_only)
{
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_BARRIER);
    say(fd, "{\"do\":\"status\"}\n{\"do\":\"barrier\"}\n");
    const char *answer = hear(fd, 2);
    CHECK_CONTAINS(answer, "{\"ok\":false,\"code\":\"REFUSED\",\"error\":\"this socket answers "
                           "barrier and role only\"}\n");
    CHECK_CONTAINS(answer, "\"ok\":true");
    close(fd);
    struct stat st;
    char path[128];
    snprintf(path, sizeof(path), "%s/" CONTROL_BARRIER, d.dir);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 07777, 0666);
    snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, d.dir);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 07777, 0660);
    stop_daemon();
    CHECK(stat(path, &st) < 0 && errno == ENOENT);
    remove_dir();
}

TEST(a_client_that_vanishes_is_noticed_and_its_answer_dropped)
{
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    say(fd, "{\"do\":\"talk\"}\n");
    wait_for(&d.holds, 1);
    close(fd);
    wait_for(&d.gone, 1);
    stop_daemon();
    remove_dir();
}

static void
note_gone(void *arg)
{
    *(int *)arg = control_gone(d.held);
    count(&d.gone);
}

/* As the daemon sees it, after a turn of the loop for all that came in. */
static bool
held_is_gone(void)
{
    json_t *reply;
    struct err e = { 0 };
    int gone = -1;
    unsigned asked = d.gone;
    CHECK_INT(ask("status", &reply, &e), 0);
    json_decref(reply);
    control_post(d.server, note_gone, &gone);
    wait_for(&d.gone, asked + 1);
    return gone == 1;
}

TEST(a_client_that_hung_up_while_it_waits_is_gone_and_one_that_has_no_more_to_ask_is_not)
{
    static char later[] = "later";
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    say(fd, "{\"do\":\"hold\"}\n");
    wait_for(&d.holds, 1);
    CHECK(!held_is_gone());
    CHECK_INT(shutdown(fd, SHUT_WR), 0);
    CHECK(!held_is_gone());
    close(fd);
    CHECK(held_is_gone());
    control_post(d.server, answer_held, later); /* to nobody, and nobody dies of it */
    stop_daemon();
    remove_dir();
}

TEST(a_call_that_outlives_the_server_can_still_be_answered)
{
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    say(fd, "{\"do\":\"hold\"}\n");
    wait_for(&d.holds, 1);
    stop_daemon();
    CHECK(control_gone(d.held));
    control_reply(d.held, json_object());
    close(fd);
    remove_dir();
}

TEST(one_client_too_many_is_told_so_and_the_others_are_served)
{
    int fds[CONTROL_CLIENTS_MAX];
    make_dir();
    start_daemon();
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial(CONTROL_SOCKET);
        say(fds[i], "{\"do\":\"status\"}\n");
        CHECK_CONTAINS(hear(fds[i], 1), "\"ok\":true");
    }
    int fd = dial(CONTROL_SOCKET);
    CHECK_CONTAINS(hear(fd, 99), "256 clients are connected already");
    close(fd);
    fd = dial(CONTROL_BARRIER);
    say(fd, "{\"do\":\"barrier\"}\n");
    CHECK_CONTAINS(hear(fd, 1), "\"ok\":true");
    close(fd);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    stop_daemon();
    remove_dir();
}

TEST(a_client_that_does_not_read_stops_being_asked_for_more)
{
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_SOCKET);
    for (int i = 0; i < 40; i++)
        say(fd, "{\"do\":\"large\"}\n");
    say(fd, "{\"do\":\"hold\"}\n");
    json_t *reply;
    struct err e = { 0 };
    CHECK_INT(ask("status", &reply, &e), 0); /* a turn of the loop after all that came in */
    json_decref(reply);
    CHECK_INT(d.holds, 0);
    close(fd);
    stop_daemon();
    remove_dir();
}

#define POSTS 1000

static unsigned posted_next;

static void
note_post(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    ASSERT(number == posted_next);
    count(&posted_next);
}

TEST(what_other_threads_post_runs_in_the_loop_in_order)
{
    make_dir();
    start_daemon();
    posted_next = 0;
    for (uintptr_t i = 0; i < POSTS; i++)
        control_post(d.server, note_post, (void *)i);
    wait_for(&posted_next, POSTS);
    stop_daemon();
    remove_dir();
}
