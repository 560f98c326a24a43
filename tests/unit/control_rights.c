/* Who may ask what, which instance serves, and what a client makes of a daemon that is none. */
#include "tests/unit/control_kit.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/wait.h>

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
    if (ask("status", &reply, &e) == 0 ||
        strstr(e.text, "you may not ask mailtwin-replicatord") == NULL)
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

TEST(a_run_dir_that_the_daemon_makes_lets_everybody_to_the_barrier_whatever_the_umask)
{
    struct stat st;
    make_dir();
    CHECK_INT(rmdir(d.dir), 0);
    mode_t before = umask(0077);
    start_daemon();
    umask(before);
    CHECK_INT(stat(d.dir, &st), 0);
    CHECK_INT(st.st_mode & 07777, 0755);
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
    expect_from_fake(NULL, ERR_TIMEOUT, "no answer from mailtwin-replicatord in 20 ms");
    expect_from_fake("", ERR_PEER, "mailtwin-replicatord ended the connection without an answer");
    expect_from_fake("{\"ok\":true", ERR_PEER,
                     "mailtwin-replicatord ended the connection without an answer");
    expect_from_fake("nonsense\n", ERR_PROTOCOL, "the daemon's answer is not a JSON object");
    expect_from_fake("{}\n", ERR_PROTOCOL, "the daemon refused and does not say why");
    expect_from_fake("{\"ok\":false,\"code\":\"NEW\",\"error\":\"x\"}\n", ERR_PROTOCOL, "x");
    remove_dir();
}

TEST(who_does_not_run_is_named_by_the_socket_that_nobody_answers_at)
{
    static const char *const daemons[][2] = {
        { CONTROL_SOCKET, "mailtwin-replicatord does not run here: nobody answers at " },
        { CONTROL_BARRIER, "mailtwin-replicatord does not run here: nobody answers at " },
        { CONTROL_DIRECTORY, "mailtwin-directoryd does not run here: nobody answers at " },
    };
    json_t *reply, *request = json_pack("{s:s}", "do", "status");
    make_dir();
    for (size_t i = 0; i < ARRAY_LEN(daemons); i++) {
        struct err e = { 0 };
        CHECK_INT(control_ask(d.dir, daemons[i][0], request, 10000, NULL, NULL, &reply, &e), -1);
        CHECK_INT(e.code, ERR_PEER);
        CHECK_CONTAINS(e.text, daemons[i][1]);
        CHECK_CONTAINS(e.text, daemons[i][0]);
    }
    json_decref(request);
    remove_dir();
}

static bool
barrier_answered(int fd)
{
    say(fd, "{\"do\":\"barrier\"}\n");
    return strstr(hear(fd, 1), "\"ok\":true") != NULL;
}

/* In a child: a connection belongs to whom its process was when it was made. */
static int
crowd(void)
{
    if (seteuid(NOBODY) < 0)
        return 99;
    for (int i = 0; i < CONTROL_CLIENTS_OF_USER; i++) {
        if (!barrier_answered(dial(CONTROL_BARRIER)))
            return 1;
    }
    const char *answer = hear(dial(CONTROL_BARRIER), 99);
    if (strstr(answer, "128 clients of the user number 65534 are connected already") == NULL)
        return 2;
    if (seteuid(0) < 0 || seteuid(NOBODY - 1) < 0 || !barrier_answered(dial(CONTROL_BARRIER)))
        return 3;
    return seteuid(0) == 0 && barrier_answered(dial(CONTROL_BARRIER)) ? 0 : 4;
}

TEST(one_users_crowd_leaves_room_for_the_others)
{
    if (geteuid() != 0)
        skip();
    make_dir();
    start_daemon();
    pid_t pid = fork();
    if (pid == 0)
        _exit(crowd());
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    stop_daemon();
    remove_dir();
}
