/* The program mailtwin-replicatord as a service manager sees it: what it is started with, what it
 * tells, how it ends. Two of them on loopback, each with its own stores. */
#include "tests/unit/node_pair.h"

#include "lib/os/control.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SAID_MAX 65536

static char program[256];

/* This one is build/VARIANT/tests/unit/replicatord. */
__attribute__((constructor)) static void
find_program(void)
{
    char self[200] = "";
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        abort();
    for (int parts = 0; parts < 3; parts++)
        *strrchr(self, '/') = 0;
    snprintf(program, sizeof(program), "%s/mailtwin-replicatord", self);
}

/* --- a daemon --- */

struct daemon_process {
    pid_t pid;
    int out_fd; /* standard output and error */
    size_t len, heard;
    char said[SAID_MAX];
};

struct start {
    const char *words[4];
    const char *notify; /* where it reports, NULL nowhere */
    int queue_fd;       /* what a service manager kept for it, -1 nothing */
};

/* In the child: as a service manager hands descriptors over. */
static void
hand_over(int queue_fd)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    if (dup2(queue_fd, 4) < 0 || dup2(STDIN_FILENO, 3) < 0)
        _exit(126);
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "other:fanotify", 1);
}

/* A process that gave up its rights cannot look for leaks in itself. */
static void
no_leak_check(void)
{
    const char *given = getenv("ASAN_OPTIONS");
    _cleanup_free_ char *options = xasprintf("%s:detect_leaks=0", given != NULL ? given : "");
    setenv("ASAN_OPTIONS", options, 1);
}

static void
become(const struct start *start, int out_fd)
{
    char *arguments[6] = { program };
    for (size_t i = 0; i < 4 && start->words[i] != NULL; i++)
        arguments[i + 1] = xstrdup(start->words[i]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out_fd, STDOUT_FILENO);
    dup2(out_fd, STDERR_FILENO);
    unsetenv("MAILTWIN_CONFIG");
    unsetenv("MAILTWIN_NODE");
    unsetenv("JOURNAL_STREAM");
    no_leak_check();
    if (start->notify != NULL)
        setenv("NOTIFY_SOCKET", start->notify, 1);
    if (start->queue_fd >= 0)
        hand_over(start->queue_fd);
    execv(program, arguments);
    _exit(127);
}

static struct daemon_process *
run_program(const struct start *start)
{
    struct daemon_process *p = xcalloc(1, sizeof(*p));
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    p->pid = fork();
    if (p->pid == 0)
        become(start, ends[1]);
    close(ends[1]);
    p->out_fd = ends[0];
    return p;
}

/* More of what it says: 0 it has ended. */
static ssize_t
hear(struct daemon_process *p, int64_t until)
{
    struct pollfd ready = { .fd = p->out_fd, .events = POLLIN };
    CHECK(p->len < SAID_MAX - 1);
    if (poll(&ready, 1, (int)MAX(until - now_ms(), 0)) != 1)
        fail_msg("nothing more than: %s", p->said);
    ssize_t got = read(p->out_fd, p->said + p->len, SAID_MAX - 1 - p->len);
    CHECK(got >= 0);
    p->len += (size_t)got;
    return got;
}

/* Waits until it has said this, behind what was waited for before. */
static void
expect_said(struct daemon_process *p, const char *part)
{
    const char *found;
    int64_t until = now_ms() + WAIT_MS;
    while ((found = strstr(p->said + p->heard, part)) == NULL)
        if (hear(p, until) == 0)
            fail_msg("\"%s\" is not in: %s", part, p->said);
    p->heard = (size_t)(found - p->said) + strlen(part);
}

/* Its exit status, when all was heard. */
static int
end_of(struct daemon_process *p)
{
    int status;
    int64_t until = now_ms() + WAIT_MS;
    while (hear(p, until) > 0)
        ;
    CHECK_INT(waitpid(p->pid, &status, 0), p->pid);
    if (!WIFEXITED(status))
        fail_msg("killed by signal %d: %s", WTERMSIG(status), p->said);
    return WEXITSTATUS(status);
}

static void
forget(struct daemon_process **p)
{
    close((*p)->out_fd);
    freep(p);
}

static void
check_answer(const struct start *start, int expected, const char *part)
{
    struct daemon_process *p = run_program(start);
    CHECK_INT(end_of(p), expected);
    CHECK_CONTAINS(p->said, part);
    forget(&p);
}

static void
stop(struct daemon_process **p)
{
    CHECK(kill((*p)->pid, SIGTERM) == 0);
    int status = end_of(*p);
    if (status != 0)
        fail_msg("status %d: %s", status, (*p)->said);
    CHECK_CONTAINS((*p)->said, "the daemon stopped cleanly");
    forget(p);
}

/* Its only child; 0 none. */
static pid_t
network_role(const struct daemon_process *p)
{
    char path[64];
    int pid = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)p->pid, (int)p->pid);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    if (fscanf(file, "%d", &pid) != 1)
        pid = 0;
    fclose(file);
    return pid;
}

/* --- two nodes --- */

struct site {
    struct cluster c;
    char stores[128]; /* a filesystem of their own */
    char *config[2], notify[160];
    int notify_fd;
};

static void
make_folders(const struct site *s, const char *node)
{
    char command[512];
    snprintf(command, sizeof(command),
             "mkdir -p %s/%s/state %s/%s/mail && chmod 700 %s/%s/state %s/%s/mail", s->c.pki.dir,
             node, s->stores, node, s->c.pki.dir, node, s->stores, node);
    CHECK_INT(system(command), 0);
}

static void
write_config(struct site *s, size_t i)
{
    const char *name = s->c.nodes[i].name, *dir = s->c.pki.dir;
    const struct conf *conf = i == 0 ? &s->c.a : &s->c.b;
    make_folders(s, name);
    freep(&s->config[i]);
    s->config[i] = xasprintf("%s/%s.conf", dir, name);
    FILE *file = fopen(s->config[i], "we");
    CHECK(file != NULL);
    fprintf(file,
            "cluster = \"test\"\nuser = \"nobody\"\nstate-dir = \"%s/%s/state\"\n"
            "run-dir = \"%s/%s/run\"\n",
            dir, name, dir, name);
    for (size_t n = 0; n < 2; n++)
        fprintf(file, "node \"%s\" { address = \"127.0.0.1\" port = %u }\n", s->c.nodes[n].name,
                s->c.nodes[n].port);
    fprintf(file, "tls { authority = \"%s\" certificate = \"%s\" key = \"%s\" }\n",
            conf->tls.authority, conf->tls.certificate, conf->tls.key);
    fprintf(file, "store \"mail\" { kind = maildir path = \"%s/%s\" }\n", s->stores, name);
    CHECK(fclose(file) == 0);
}

static void
open_notify(struct site *s)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(s->notify, sizeof(s->notify), "%s/notify", s->c.pki.dir);
    memcpy(name.sun_path, s->notify, MIN(strlen(s->notify), sizeof(name.sun_path) - 1));
    s->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(bind(s->notify_fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    struct timeval limit = { .tv_sec = WAIT_MS / 1000 };
    CHECK(setsockopt(s->notify_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
}

/* false without the rights. */
static bool
site_begin(struct site *s)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("SKIP: needs root\n");
        return false;
    }
    *s = (struct site){ 0 };
    cluster_begin(&s->c);
    snprintf(s->stores, sizeof(s->stores), "%s/stores", s->c.pki.dir);
    CHECK(mkdir(s->stores, 0755) == 0);
    CHECK(mount("none", s->stores, "tmpfs", 0, NULL) == 0);
    write_config(s, 0);
    write_config(s, 1);
    open_notify(s);
    return true;
}

#define SITE_NEEDED(s)        \
    do {                      \
        if (!site_begin(s)) { \
            skip();           \
            return;           \
        }                     \
    } while (0)

static void
site_end(struct site *s)
{
    close(s->notify_fd);
    CHECK(umount(s->stores) == 0);
    freep(&s->config[0]);
    freep(&s->config[1]);
    cluster_end(&s->c);
}

static struct start
start_of(const struct site *s, size_t i)
{
    return (struct start){ .words = { "--config", s->config[i], "--node", s->c.nodes[i].name },
                           .queue_fd = -1 };
}

static struct daemon_process *
launch(const struct site *s, size_t i)
{
    struct start start = start_of(s, i);
    struct daemon_process *p = run_program(&start);
    expect_said(p, "the daemon runs");
    return p;
}

/* Waits for a message to the service manager; *ret_fd is what came along, or -1. */
static void
expect_notified(const struct site *s, const char *part, int *ret_fd)
{
    char text[256], room[CMSG_SPACE(sizeof(int))];
    do {
        struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) - 1 };
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
        };
        ssize_t got = recvmsg(s->notify_fd, &msg, MSG_CMSG_CLOEXEC);
        if (got < 0)
            fail_msg("no message with %s", part);
        text[got] = 0;
        struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
        *ret_fd = -1;
        if (header != NULL && header->cmsg_type == SCM_RIGHTS)
            memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
        if (strstr(text, part) == NULL)
            file_closep(ret_fd);
    } while (strstr(text, part) == NULL);
}

static json_t *
ask(const struct site *s, size_t i, const char *order)
{
    char run_dir[160];
    json_t *reply = NULL, *request = json_pack("{s:s}", "do", order);
    struct err e = { 0 };
    snprintf(run_dir, sizeof(run_dir), "%s/%s/run", s->c.pki.dir, s->c.nodes[i].name);
    if (control_ask(run_dir, "control.sock", request, WAIT_MS, NULL, NULL, &reply, &e) < 0)
        fail_msg("%s: %s", order, e.text);
    json_decref(request);
    return reply;
}

/* Waits until all of its stores are looked through. */
static void
wait_until_live(const struct site *s, size_t i)
{
    bool live = false;
    for (int64_t until = now_ms() + WAIT_MS; !live && now_ms() < until; poll(NULL, 0, 10)) {
        json_t *status = ask(s, i, "status");
        const json_t *store = json_array_get(json_object_get(status, "stores"), 0);
        live = strcmp(json_string_value(json_object_get(store, "state")), "live") == 0;
        json_decref(status);
    }
    CHECK(live);
}

/* --- promises --- */

TEST(words_it_does_not_know_are_status_2)
{
    static const struct {
        const char *words[4];
        int status;
        const char *part;
    } rows[] = {
        { { "--help" }, 0, "usage: mailtwin-replicatord" },
        { { "--version" }, 0, "mailtwin-replicatord " },
        { { "--foregrund" }, 2, "usage: mailtwin-replicatord" },
        { { "--foreground", "now" }, 2, "takes no argument \"now\"" },
        { { "--config", "/no/such.conf" }, 2, "/no/such.conf" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct start start = { .queue_fd = -1 };
        memcpy(start.words, rows[i].words, sizeof(start.words));
        check_answer(&start, rows[i].status, rows[i].part);
    }
}

TEST(service_manager_hears_that_it_is_ready_alive_and_stopping)
{
    struct site s;
    int fd;
    SITE_NEEDED(&s);
    struct start start = start_of(&s, 0);
    start.notify = s.notify;
    struct daemon_process *p = run_program(&start);
    expect_notified(&s, "READY=1", &fd);
    json_t *status = ask(&s, 0, "status");
    CHECK_STR(json_string_value(json_object_get(status, "node")), "a");
    json_decref(status);
    expect_notified(&s, "WATCHDOG=1", &fd);
    pid_t role = network_role(p);
    CHECK(role > 0);
    CHECK(kill(role, SIGTERM) == 0 && kill(role, SIGINT) == 0); /* its end is the daemon's to say */
    expect_notified(&s, "WATCHDOG=1", &fd);
    CHECK_INT(network_role(p), role);
    stop(&p);
    expect_notified(&s, "STOPPING=1", &fd);
    CHECK(kill(role, 0) < 0 && errno == ESRCH);
    site_end(&s);
}

TEST(daemon_that_cannot_start_says_why_and_fails)
{
    struct site s;
    SITE_NEEDED(&s);
    struct daemon_process *p = launch(&s, 0);
    struct start start = start_of(&s, 0);
    check_answer(&start, 1, "another mailtwin-replicatord runs with the state directory");
    stop(&p);
    snprintf(s.c.b.tls.key, 160, "%s/missing.key", s.c.pki.dir);
    write_config(&s, 1);
    start = start_of(&s, 1);
    check_answer(&start, 2, "missing.key");
    site_end(&s);
}

TEST(operator_hears_of_links_that_come_and_go_and_of_those_that_cannot_be_made)
{
    struct site s;
    SITE_NEEDED(&s);
    struct daemon_process *a = launch(&s, 0);
    expect_said(a, "an encrypted connection could not be made");
    expect_said(a, "Connection refused");
    struct daemon_process *b = launch(&s, 1);
    expect_said(a, "connected to a peer");
    expect_said(b, "connected to a peer");
    stop(&b);
    expect_said(a, "why=\"the peer closed the connection\"");
    stop(&a);
    site_end(&s);
}

static int
dial(const struct site *s, size_t i)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/run/control.sock", s->c.pki.dir,
             s->c.nodes[i].name);
    struct timeval patience = { .tv_sec = WAIT_MS / 1000 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static void
check_answers(int fd)
{
    static const char request[] = "{\"do\":\"role\"}\n";
    char answer[512];
    CHECK(write(fd, request, sizeof(request) - 1) == sizeof(request) - 1);
    CHECK(read(fd, answer, sizeof(answer)) > 0);
}

/* Who is connected when it starts again has the numbers of its old descriptors. */
TEST(killed_network_role_is_started_again_and_links_again)
{
    struct site s;
    int fds[4];
    SITE_NEEDED(&s);
    struct daemon_process *a = launch(&s, 0), *b = launch(&s, 1);
    expect_said(b, "connected to a peer");
    pid_t killed = network_role(b);
    CHECK(killed > 0 && kill(killed, SIGKILL) == 0);
    expect_said(b, "the network role is gone: killed by signal 9 (Killed)");
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial(&s, 1);
        check_answers(fds[i]);
    }
    expect_said(b, "connected to a peer");
    CHECK(network_role(b) > 0 && network_role(b) != killed);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        check_answers(fds[i]);
        close(fds[i]);
    }
    stop(&b);
    stop(&a);
    site_end(&s);
}

/* Takes a port as soon as it is free. */
static int
take_port(unsigned port)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t until = now_ms() + WAIT_MS;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) == 0);
    while (bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 && now_ms() < until)
        sched_yield();
    CHECK(listen(fd, 1) == 0);
    return fd;
}

TEST(daemon_without_a_network_role_ends_as_failed_so_that_it_is_started_again)
{
    struct site s;
    SITE_NEEDED(&s);
    struct daemon_process *p = launch(&s, 0);
    CHECK(kill(network_role(p), SIGKILL) == 0);
    int taken = take_port(s.c.nodes[0].port);
    expect_said(p, "Address already in use");
    CHECK_INT(end_of(p), err_exit_status(ERR_UNSUITABLE));
    CHECK_CONTAINS(p->said, "event=STOPPED"); /* in good order */
    close(taken);
    forget(&p);
    site_end(&s);
}

/* The fanotify queue that the service manager keeps tells all that happened in between. */
TEST(queue_kept_by_the_service_manager_spares_the_sweep_after_a_restart)
{
    struct site s;
    int queue_fd, none;
    SITE_NEEDED(&s);
    struct start start = start_of(&s, 0);
    start.notify = s.notify;
    struct daemon_process *p = run_program(&start);
    expect_notified(&s, "READY=1", &none);
    json_decref(ask(&s, 0, "promote"));
    expect_notified(&s, "FDSTORE=1\nFDNAME=fanotify", &queue_fd);
    CHECK(queue_fd >= 0);
    wait_until_live(&s, 0);
    stop(&p);
    char command[256];
    snprintf(command, sizeof(command), "mkdir %s/a/box", s.stores);
    CHECK_INT(system(command), 0);
    start.queue_fd = queue_fd;
    p = run_program(&start);
    expect_said(p, "changes of the store are being captured");
    expect_said(p, "sweep=0");
    expect_said(p, "the daemon runs");
    close(queue_fd);
    stop(&p);
    site_end(&s);
}
