#include "tests/unit/test.h"

#include "lib/os/control.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE  1000000
#define MEDIUM 50000

/* A daemon in a thread of its own, and what its handler saw. */
static struct {
    char dir[64];
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server;
    struct control_call *held;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned holds, gone;
} d = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void
count(unsigned *counter)
{
    pthread_mutex_lock(&d.mutex);
    ++*counter;
    pthread_cond_signal(&d.changed);
    pthread_mutex_unlock(&d.mutex);
}

static void
wait_for(const unsigned *counter, unsigned at_least)
{
    pthread_mutex_lock(&d.mutex);
    while (*counter < at_least)
        pthread_cond_wait(&d.changed, &d.mutex);
    pthread_mutex_unlock(&d.mutex);
}

static void
answer_with_progress(struct control_call *call)
{
    for (int i = 1; i <= 3; i++)
        control_progress(call, json_pack("{s:f, s:s}", "done", i / 4.0, "text", "comparing"));
    control_reply(call, json_pack("{s:i}", "differences", 2));
}

/* Talks to a client that has left until the server notices. */
static void
talk_until_gone(uv_idle_t *idle)
{
    struct control_call *call = idle->data;
    if (!control_gone(call)) {
        control_progress(call, json_pack("{s:i}", "n", 1));
        return;
    }
    control_reply(call, json_object());
    uv_close((uv_handle_t *)idle, (uv_close_cb)free);
    count(&d.gone);
}

static void
start_talking(struct control_call *call)
{
    uv_idle_t *idle = calloc(1, sizeof(*idle));
    uv_idle_init(&d.loop, idle);
    idle->data = call;
    uv_idle_start(idle, talk_until_gone);
}

static void
serve(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    struct err e = { 0 };
    assert_ptr_equal(arg, &d);
    if (strcmp(what, "status") == 0 || strcmp(what, "barrier") == 0) {
        control_reply(call, json_pack("{s:i, s:i}", "uid", peer->uid, "pid", peer->pid));
    } else if (strcmp(what, "verify") == 0) {
        answer_with_progress(call);
    } else if (strcmp(what, "hold") == 0) {
        d.held = call;
        count(&d.holds);
    } else if (strcmp(what, "talk") == 0) {
        start_talking(call);
        count(&d.holds);
    } else if (strcmp(what, "large") == 0 || strcmp(what, "medium") == 0) {
        size_t size = what[0] == 'l' ? LARGE : MEDIUM;
        char *text = calloc(1, size + 1);
        memset(text, 'x', size);
        control_reply(call, json_pack("{s:s}", "text", text));
        free(text);
    } else {
        err_set(&e, ERR_REFUSED, "rule 7: the journal of \xff is behind");
        control_fail(call, &e);
    }
}

static void *
run_daemon(void *arg)
{
    (void)arg;
    uv_run(&d.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void
remove_dir(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", d.dir);
    assert_int_equal(system(command), 0);
}

static void
make_dir(void)
{
    snprintf(d.dir, sizeof(d.dir), "/tmp/mailtwin-control-XXXXXX");
    CHECK(mkdtemp(d.dir) != NULL);
    CHECK_INT(chmod(d.dir, 0755), 0);
}

static void
start_daemon(void)
{
    struct err e = { 0 };
    d.holds = d.gone = 0;
    CHECK_INT(uv_loop_init(&d.loop), 0);
    if (control_server_open(&d.loop, d.dir, serve, &d, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    CHECK_INT(pthread_create(&d.thread, NULL, run_daemon, NULL), 0);
}

static void
close_server(void *arg)
{
    (void)arg;
    control_server_close(&d.server);
}

static void
stop_daemon(void)
{
    control_post(d.server, close_server, NULL);
    pthread_join(d.thread, NULL);
    CHECK_INT(uv_loop_close(&d.loop), 0);
}

static int
ask(const char *what, json_t **ret_reply, struct err *e)
{
    json_t *request = json_pack("{s:s}", "do", what);
    *ret_reply = NULL;
    int r = control_ask(d.dir, CONTROL_SOCKET, request, 10000, NULL, NULL, ret_reply, e);
    json_decref(request);
    return r;
}

static int
dial(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", d.dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    return fd;
}

static void
say(int fd, const char *text)
{
    ssize_t len = (ssize_t)strlen(text);
    CHECK_INT(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
}

/* All that comes until the other side closes, or until `lines` lines are there. */
static const char *
hear(int fd, unsigned lines)
{
    static char text[8192];
    size_t len = 0;
    while (lines > 0 && len < sizeof(text) - 1) {
        if (recv(fd, text + len, 1, 0) <= 0)
            break;
        lines -= text[len++] == '\n';
    }
    text[len] = '\0';
    return text;
}

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

TEST(the_barrier_socket_answers_barrier_only)
{
    make_dir();
    start_daemon();
    int fd = dial(CONTROL_BARRIER);
    say(fd, "{\"do\":\"status\"}\n{\"do\":\"barrier\"}\n");
    const char *answer = hear(fd, 2);
    CHECK_CONTAINS(answer, "{\"ok\":false,\"code\":\"REFUSED\",\"error\":\"this socket answers "
                           "barrier only\"}\n");
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

#define NOBODY 65534

/* Runs body in a child that is nobody; its checks are the child's exit status. */
static void
as_nobody(gid_t group, int (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(0, NULL) < 0 || setresgid(group, group, group) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0)
            _exit(99);
        _exit(body());
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

static int
ask_as_member(void)
{
    json_t *reply;
    struct err e = { 0 };
    if (ask("status", &reply, &e) < 0)
        return 1;
    if (ask("promote", &reply, &e) == 0)
        return 2;
    return strcmp(e.text, "promote is for root only, not for the user number 65534") == 0 ? 0 : 3;
}

static int
ask_as_stranger(void)
{
    json_t *reply;
    struct err e = { 0 };
    if (ask("status", &reply, &e) == 0 || strstr(e.text, "you may not ask the daemon") == NULL)
        return 1;
    int fd = dial(CONTROL_BARRIER);
    if (fd < 0)
        return 2;
    say(fd, "{\"do\":\"barrier\"}\n");
    return strstr(hear(fd, 1), "\"ok\":true") != NULL ? 0 : 3;
}

TEST(the_group_may_ask_for_status_everybody_for_a_barrier_and_only_root_gives_orders)
{
    if (geteuid() != 0)
        skip();
    make_dir();
    CHECK_INT(chown(d.dir, 0, 12345), 0);
    start_daemon();
    as_nobody(12345, ask_as_member);
    as_nobody(NOBODY, ask_as_stranger);
    stop_daemon();
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

static int
open_in_child(void)
{
    struct err e = { 0 };
    uv_loop_t loop;
    struct control_server *server = NULL;
    char want[128];
    uv_loop_init(&loop);
    if (control_server_open(&loop, d.dir, serve, &d, &server, &e) == 0)
        return 1;
    snprintf(want, sizeof(want), "another instance, process %d, serves %s", getppid(), d.dir);
    return e.code == ERR_BUSY && strcmp(e.text, want) == 0 ? 0 : 2;
}

TEST(a_second_instance_is_refused_and_the_first_goes_on)
{
    json_t *reply;
    struct err e = { 0 };
    make_dir();
    start_daemon();
    pid_t pid = fork();
    if (pid == 0)
        _exit(open_in_child());
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    CHECK_INT(ask("status", &reply, &e), 0);
    json_decref(reply);
    stop_daemon();
    remove_dir();
}

TEST(the_socket_of_a_dead_daemon_is_taken_over)
{
    json_t *reply;
    struct err e = { 0 };
    int ready[2];
    make_dir();
    CHECK_INT(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        start_daemon();
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char x;
    CHECK_INT(read(ready[0], &x, 1), 1);
    CHECK_INT(ask("status", &reply, &e), 0);
    json_decref(reply);
    kill(pid, SIGKILL);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    CHECK_INT(ask("status", &reply, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
    start_daemon();
    CHECK_INT(ask("status", &reply, &e), 0);
    json_decref(reply);
    stop_daemon();
    close(ready[0]);
    close(ready[1]);
    remove_dir();
}

TEST(a_run_dir_that_cannot_serve_is_refused)
{
    char path[200];
    struct err e = { 0 };
    uv_loop_t loop;
    struct control_server *server = NULL;
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    CHECK_INT(uv_loop_init(&loop), 0);
    CHECK_INT(control_server_open(&loop, path, serve, NULL, &server, &e), -1);
    CHECK_CONTAINS(e.text, "is too long for a socket in it");
    CHECK_INT(control_server_open(&loop, "/nowhere/at/all", serve, NULL, &server, &e), -1);
    CHECK_CONTAINS(e.text, "make the run-dir /nowhere/at/all: No such file");
    CHECK(server == NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
}

/* A daemon that answers nothing, or nonsense, as `answer` says. */
static void
expect_from_fake(const char *answer, enum err_code code, const char *text)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    json_t *reply, *request = json_pack("{s:s}", "do", "status");
    struct err e = { 0 };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CONTROL_SOCKET, d.dir);
    unlink(address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_INT(listen(fd, 1), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int client = accept(fd, NULL, NULL);
        hear(client, 1);
        if (answer == NULL)
            pause();
        say(client, answer);
        _exit(0);
    }
    int timeout_ms = answer == NULL ? 20 : 10000;
    CHECK_INT(control_ask(d.dir, CONTROL_SOCKET, request, timeout_ms, NULL, NULL, &reply, &e), -1);
    CHECK_INT(e.code, code);
    CHECK_STR(e.text, text);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd);
    json_decref(request);
}

TEST(an_answer_that_is_none_is_an_error_not_a_crash)
{
    make_dir();
    expect_from_fake(NULL, ERR_TIMEOUT, "no answer in 20 ms");
    expect_from_fake("", ERR_PEER, "the daemon ended the connection without an answer");
    expect_from_fake("{\"ok\":true", ERR_PEER, "the daemon ended the connection without an answer");
    expect_from_fake("nonsense\n", ERR_PROTOCOL, "the daemon's answer is not a JSON object");
    expect_from_fake("{}\n", ERR_PROTOCOL, "the daemon refused and does not say why");
    expect_from_fake("{\"ok\":false,\"code\":\"NEW\",\"error\":\"x\"}\n", ERR_PROTOCOL, "x");
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
