/* Runs the program itself, beside a daemon that answers what a test tells it to. */
#include "tests/unit/test.h"

#include "lib/data/wire.h"
#include "lib/os/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 32
#define WAIT_MS       60000

static char dir[64] = "/tmp/mailtwin-cli-XXXXXX";
static char program[PATH_MAX]; /* build/VARIANT/mailtwin */
static char source[PATH_MAX];  /* where the project lies */
static char said[1 << 16];     /* standard output and error of the last run */

static void
cut(char *path, unsigned parts)
{
    for (; parts > 0; parts--)
        *strrchr(path, '/') = '\0';
}

/* This program is build/VARIANT/tests/unit/cli. */
__attribute__((constructor)) static void
find_program(void)
{
    char self[PATH_MAX] = "";
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || mkdtemp(dir) == NULL)
        abort();
    cut(self, 3);
    snprintf(program, sizeof(program), "%.*s/mailtwin", PATH_MAX - 16, self);
    cut(self, 2);
    snprintf(source, sizeof(source), "%s", self);
    unsetenv("MAILTWIN_CONFIG");
    unsetenv("MAILTWIN_NODE");
}

__attribute__((destructor)) static void
clean_up(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    if (system(command) != 0)
        perror(command);
}

static const char *
at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void
put(const char *name, const void *bytes, size_t len)
{
    FILE *file = fopen(at(name), "we");
    CHECK(file != NULL);
    CHECK_INT(fwrite(bytes, 1, len, file), len);
    CHECK_INT(fclose(file), 0);
}

static void
put_conf(const char *more)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "cluster = \"c\"\nrun-dir = \"%s\"\nstate-dir = \"%s/state\"\n"
             "node \"a\" { address = \"10.0.0.1\" }\nnode \"b\" { address = \"10.0.0.2\" }\n%s",
             dir, dir, more);
    put("mailtwin.conf", text, strlen(text));
}

static void
read_all(int fd)
{
    size_t len = 0;
    for (ssize_t n; (n = read(fd, said + len, sizeof(said) - 1 - len)) != 0;) {
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    said[len] = '\0';
}

static int
finish(pid_t pid)
{
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
become(const char *words, const char *config)
{
    char text[512], *arguments[ARGUMENTS_MAX] = { program };
    size_t count = 1;
    snprintf(text, sizeof(text), "%s", words);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        arguments[count++] = word;
    setenv("MAILTWIN_NODE", "a", 1);
    if (config != NULL)
        setenv("MAILTWIN_CONFIG", config, 1);
    execv(program, arguments);
    perror(program);
    _exit(127);
}

/* Runs mailtwin with these words; what it says is in said. Returns its exit status. */
static int
run(const char *words)
{
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(null, STDIN_FILENO);
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        become(words, at("mailtwin.conf"));
    }
    close(fds[1]);
    read_all(fds[0]);
    close(fds[0]);
    return finish(pid);
}

/* --- the daemon --- */

static struct {
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server;
    const char *answer;  /* JSON; NULL: a refusal */
    char asked[4][256];  /* the last requests, the newest first */
    uv_timer_t progress; /* reports while the call below is open */
    struct control_call *call;
} d;

static void
report(uv_timer_t *timer)
{
    (void)timer;
    control_progress(d.call,
                     json_pack("{s:f, s:s, s:i, s:f}", "done", 0.42, "text",
                               "comparing directories", "directories", 7, "seconds_left", 31.0));
}

static void
serve(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    struct err e = { 0 };
    (void)peer;
    (void)arg;
    memmove(d.asked[1], d.asked[0], sizeof(d.asked) - sizeof(d.asked[0]));
    char *text = json_dumps(request, JSON_COMPACT);
    snprintf(d.asked[0], sizeof(d.asked[0]), "%s", text);
    free(text);
    if (d.answer == NULL) {
        err_set(&e, ERR_REFUSED, "rule 205: the journal is behind; --force overrides it");
        control_fail(call, &e);
    } else if (strcmp(d.answer, "progress") == 0) {
        d.call = call;
        uv_timer_start(&d.progress, report, 0, 20);
    } else {
        control_reply(call, json_loads(d.answer, 0, NULL));
    }
}

static void *
run_loop(void *arg)
{
    (void)arg;
    uv_run(&d.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void
start_daemon(const char *answer)
{
    struct err e = { 0 };
    d.answer = answer;
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n");
    CHECK_INT(uv_loop_init(&d.loop), 0);
    uv_timer_init(&d.loop, &d.progress);
    if (control_server_open(&d.loop, dir, serve, NULL, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    CHECK_INT(pthread_create(&d.thread, NULL, run_loop, NULL), 0);
}

static void
finish_call(void *arg)
{
    uv_timer_stop(&d.progress);
    control_reply(d.call, json_loads(arg, 0, NULL));
}

static void
close_server(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&d.progress, NULL);
    control_server_close(&d.server);
}

static void
stop_daemon(void)
{
    control_post(d.server, close_server, NULL);
    pthread_join(d.thread, NULL);
    CHECK_INT(uv_loop_close(&d.loop), 0);
}

/* --- the command line --- */

TEST(what_is_mistyped_is_answered_with_the_nearest_known)
{
    put_conf("");
    CHECK_INT(run("statsu"), 2);
    CHECK_STR(said, "mailtwin: unknown command \"statsu\", the nearest known one is \"status\"\n");
    CHECK_INT(run("../../bin/sh"), 2);
    CHECK_CONTAINS(said, "unknown command \"../../bin/sh\"");
    CHECK_INT(run("status --jsno"), 2);
    CHECK_STR(said, "mailtwin: unknown option --jsno, the nearest known one is --json\n");
    CHECK_INT(run("status --json=yes"), 2);
    CHECK_STR(said, "mailtwin: --json takes no value\n");
    CHECK_INT(run("barrier --timeout"), 2);
    CHECK_STR(said, "mailtwin: --timeout wants a value: --timeout TIME\n");
    CHECK_INT(run("barrier --timeout="), 2);
    CHECK_INT(run("barrier --timeout soon"), 2);
    CHECK_CONTAINS(said, "--timeout soon is not a time");
    CHECK_INT(run("barrier a b"), 2);
    CHECK_STR(said, "mailtwin: barrier takes no further argument \"b\"\n");
    CHECK_INT(run("demote now"), 2);
    CHECK_STR(said, "mailtwin: demote takes no argument \"now\"\n");
    CHECK_INT(run("barrier -- --json"), 1);
    CHECK_CONTAINS(said, "does not run here");
    CHECK_INT(run("help stauts"), 2);
    CHECK_INT(run(""), 2);
    CHECK_CONTAINS(said, "no command is given");
    CHECK_INT(run("--json --json --json"), 2);
    CHECK_INT(run("status -h -h -h -h -h -h -h -h -h -h -h -h -h -h -h"), 0);
}

TEST(every_command_tells_how_it_is_used)
{
    static const char *const names[] = {
#define COMMAND(name, kind, section, arguments, most, help) name,
#define SWITCH(...)
#define PARA(...)
#define SAMPLE(...)
#include "cli/commands.def"
#undef COMMAND
    };
    char words[64];
    CHECK_INT(run("help"), 0);
    CHECK_CONTAINS(said, "  status       shows role, protection, stores and peers\n");
    CHECK(strstr(said, "generate") == NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(words, sizeof(words), "help %s", names[i]);
        CHECK_INT(run(words), 0);
        snprintf(words, sizeof(words), "mailtwin %s: ", names[i]);
        CHECK_CONTAINS(said, words);
        CHECK_CONTAINS(said, "--config FILE");
    }
    CHECK_INT(run("barrier --help"), 0);
    CHECK_CONTAINS(said, "--timeout TIME");
    CHECK_INT(run("version"), 0);
    CHECK_INT(run("--version"), 0);
    CHECK_CONTAINS(said, "mailtwin 0.");
}

TEST(a_program_of_its_own_is_found_beside_mailtwin)
{
    static const char script[] =
        "#!/bin/sh\necho \"$0|$*|$MAILTWIN_CONFIG|$MAILTWIN_NODE\"\nexit 3\n";
    char copy[PATH_MAX], keep[PATH_MAX], command[3 * PATH_MAX];
    put("mailtwin-hello", script, sizeof(script) - 1);
    CHECK_INT(chmod(at("mailtwin-hello"), 0755), 0);
    snprintf(copy, sizeof(copy), "%s", at("mailtwin"));
    snprintf(command, sizeof(command), "cp %s %s", program, copy);
    CHECK_INT(system(command), 0);
    memcpy(keep, program, sizeof(keep));
    memcpy(program, copy, sizeof(copy));
    CHECK_INT(run("--config /x.conf --node n1 hello --config y z"), 3);
    CHECK_CONTAINS(said, "/mailtwin-hello|--config y z|/x.conf|n1\n");
    CHECK_INT(run("failoverd"), 2);
    CHECK_INT(run("replicatord"), 1);
    CHECK_CONTAINS(said, "the program mailtwin-replicatord is not installed");
    memcpy(program, keep, sizeof(keep));
}

TEST(a_wrong_configuration_is_status_2_with_its_sentence)
{
    put_conf("prot = 1\n");
    CHECK_INT(run("status"), 2);
    CHECK_CONTAINS(said, "/mailtwin.conf:6: unknown key \"prot\", the nearest known key is ");
    CHECK_INT(run("--config /none/such.conf status"), 2);
    CHECK_STR(said, "mailtwin: there is no configuration file /none/such.conf\n");
}

TEST(output_that_cannot_be_written_is_an_error)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        become("help", NULL);
    }
    CHECK_INT(finish(pid), 1);
    close(fd);
}

/* --- orders --- */

#define PEER(more)                                                                              \
    "{\"node\":\"b\",\"state\":\"connected\",\"seq\":12,\"received_seq\":12,\"durable_seq\":12" \
    ",\"lag_seconds\":0,\"lag_bytes\":0,\"lag_messages\":0,\"resync\":null" more "}"
#define STATUS(role, state, since, peer)                                                       \
    "{\"cluster\":\"c\",\"node\":\"a\",\"role\":\"" role "\",\"epoch\":3,\"history\":\"9f\","  \
    "\"state\":\"" state "\",\"degraded_since\":" since ",\"stores\":[{\"name\":\"mail\","     \
    "\"kind\":\"maildir\",\"path\":\"/srv/vmail\",\"state\":\"live\",\"last_verify\":{\"at\":" \
    "\"2026-11-21T02:00:00Z\",\"differences\":0}}],\"peers\":[" peer "],"                      \
    "\"barrier\":{\"last_seconds\":0.003}}"

TEST(the_status_is_one_screen_that_says_whether_mail_is_safe)
{
    start_daemon(STATUS("primary", "protected", "null", PEER("")));
    CHECK_INT(run("status"), 0);
    CHECK_STR(said, "c: a is the primary, epoch 3\n"
                    "mail       safe: a standby protects it\n"
                    "barrier    the last one opened after 3 ms\n"
                    "stores     mail         maildir  live      /srv/vmail  compared "
                    "2026-11-21T02:00:00Z: 0 differences\n"
                    "peers      b            connected  has everything up to 12\n");
    CHECK_STR(d.asked[0], "{\"do\":\"status\"}");
    d.answer = STATUS("primary", "degraded", "\"2026-11-21T01:40:00Z\"",
                      "{\"node\":\"b\",\"state\":\"connected\",\"durable_seq\":3,\"lag_seconds\":"
                      "130,\"lag_bytes\":41230,\"lag_messages\":2}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "mail       NOT SAFE since 2026-11-21T01:40:00Z: it is accepted with no "
                         "standby protecting it\n");
    CHECK_CONTAINS(said, "lacks 2 messages, 40.3 KiB, of the last 2 min\n");
    d.answer = STATUS("standby", "following", "null",
                      "{\"node\":\"b\",\"state\":\"refused\",\"why\":\"too old\",\"resync\":"
                      "{\"done\":0.42,\"seconds_left\":31}}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "c: a is a standby, epoch 3\n");
    CHECK_CONTAINS(said, "42 % compared, 31 s left");
    CHECK_CONTAINS(said, "too old");
    CHECK(strstr(said, " safe:") == NULL);
    d.answer = "{\"failover\":{\"ready\":false,\"why_not\":[\"no witness\",\"lag\"]}}";
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "failover   not ready: no witness, lag\n");
    stop_daemon();
}

TEST(the_status_as_json_is_what_the_daemon_said)
{
    start_daemon(STATUS("primary", "protected", "null", PEER("")));
    CHECK_INT(run("status --json"), 0);
    json_t *status = json_loads(said, 0, NULL), *want = json_loads(d.answer, 0, NULL);
    json_object_set_new(want, "ok", json_true());
    CHECK(status != NULL && json_equal(status, want));
    json_decref(status);
    json_decref(want);
    stop_daemon();
    CHECK_INT(run("status --json"), 1);
    CHECK_CONTAINS(said, "mailtwin: mailtwin-replicatord does not run here");
}

TEST(a_barrier_tells_by_its_exit_status)
{
    start_daemon("{\"state\":\"safe\",\"seconds\":0.003,\"seq\":12}");
    CHECK_INT(run("barrier"), 0);
    CHECK_STR(said, "safe after 3 ms\n");
    CHECK_STR(d.asked[0], "{\"do\":\"barrier\",\"timeout_ms\":5000}");
    d.answer = "{\"state\":\"degraded\",\"seconds\":0.001}";
    CHECK_INT(run("barrier --timeout 10s mail"), 4);
    CHECK_STR(d.asked[0], "{\"do\":\"barrier\",\"store\":\"mail\",\"timeout_ms\":10000}");
    CHECK_CONTAINS(said, "degraded, no standby protects the mail");
    d.answer = "{\"state\":\"late\",\"seconds\":5}";
    CHECK_INT(run("barrier --timeout=500ms --json"), 1);
    CHECK_CONTAINS(said, "\"state\": \"late\"");
    CHECK_STR(d.asked[0], "{\"do\":\"barrier\",\"timeout_ms\":500}");
    d.answer = "{\"state\":\"new\"}";
    CHECK_INT(run("barrier"), 1);
    d.answer = NULL;
    CHECK_INT(run("barrier"), 3);
    CHECK_INT(run("barrier a/b"), 2);
    stop_daemon();
}

TEST(verify_ends_with_1_when_a_difference_remains)
{
    start_daemon("{\"differences\":0,\"repaired\":0,\"examples\":[]}");
    CHECK_INT(run("verify"), 0);
    CHECK_STR(said, "no difference\n");
    CHECK_STR(d.asked[0], "{\"do\":\"verify\",\"repair\":false,\"content\":false}");
    d.answer = "{\"differences\":2,\"repaired\":0,\"examples\":[\"mail: u1/cur/1\"]}";
    CHECK_INT(run("verify mail"), 1);
    CHECK_STR(said, "2 differences, 0 repaired\n  mail: u1/cur/1\n");
    d.answer = "{\"differences\":2,\"repaired\":2,\"examples\":[]}";
    CHECK_INT(run("verify mail --repair --content --json"), 0);
    CHECK_STR(d.asked[0],
              "{\"do\":\"verify\",\"store\":\"mail\",\"repair\":true,\"content\":true}");
    CHECK_CONTAINS(said, "\"repaired\": 2");
    stop_daemon();
}

TEST(roles_are_moved_only_by_the_daemons_leave)
{
    start_daemon("{}");
    CHECK_INT(run("promote --force"), 0);
    CHECK_STR(d.asked[0], "{\"do\":\"promote\",\"force\":true}");
    CHECK_INT(run("demote"), 0);
    CHECK_STR(d.asked[0], "{\"do\":\"demote\"}");
    d.answer = NULL;
    CHECK_INT(run("promote"), 3);
    CHECK_STR(d.asked[0], "{\"do\":\"promote\",\"force\":false}");
    CHECK_STR(said, "mailtwin: rule 205: the journal is behind; --force overrides it\n");
    stop_daemon();
}

TEST(a_resync_without_a_terminal_wants_yes_and_a_plan_changes_nothing)
{
    start_daemon(STATUS("standby", "following", "null", ""));
    CHECK_INT(run("resync"), 3);
    CHECK_CONTAINS(said, "without a terminal it wants --yes");
    CHECK_STR(d.asked[0], "{\"do\":\"status\"}");
    CHECK_INT(run("resync --plan --from b"), 0);
    CHECK_CONTAINS(said, "a, now standby of epoch 3, would be brought level with b.");
    CHECK_CONTAINS(said, "  mail         /srv/vmail\n");
    CHECK_STR(d.asked[0], "{\"do\":\"status\"}");
    CHECK_INT(run("resync --yes --from b"), 0);
    CHECK_STR(d.asked[0], "{\"do\":\"resync\",\"from\":\"b\"}");
    CHECK_INT(run("resync --yes"), 0);
    CHECK_STR(d.asked[0], "{\"do\":\"resync\"}");
    CHECK_INT(run("resync --yes --from x"), 2);
    CHECK_INT(run("resync --yes --from a"), 2);
    stop_daemon();
}

/* --- on a terminal --- */

/* Reads what the terminal shows until `text` is there. */
static void
expect_on(int terminal, const char *text)
{
    size_t len = 0;
    said[0] = '\0';
    while (strstr(said, text) == NULL) {
        struct pollfd pollfd = { .fd = terminal, .events = POLLIN };
        if (poll(&pollfd, 1, WAIT_MS) != 1)
            fail_msg("the terminal shows \"%s\", not \"%s\"", said, text);
        ssize_t n = read(terminal, said + len, sizeof(said) - 1 - len);
        if (n <= 0)
            fail_msg("it ended with \"%s\", without \"%s\"", said, text);
        len += (size_t)n;
        said[len] = '\0';
    }
}

static pid_t
run_on_terminal(const char *words, int *ret_terminal)
{
    pid_t pid = forkpty(ret_terminal, NULL, NULL, NULL);
    if (pid == 0)
        become(words, at("mailtwin.conf"));
    CHECK(pid > 0);
    return pid;
}

static int
answer_resync(const char *answer)
{
    int terminal;
    pid_t pid = run_on_terminal("resync", &terminal);
    expect_on(terminal, "Go on? [y/N] ");
    CHECK_INT(write(terminal, answer, strlen(answer)), strlen(answer));
    read_all(terminal);
    close(terminal);
    return finish(pid);
}

TEST(a_resync_asks_once_on_a_terminal)
{
    start_daemon(STATUS("standby", "following", "null", ""));
    CHECK_INT(answer_resync("n\n"), 3);
    CHECK_STR(d.asked[0], "{\"do\":\"status\"}");
    CHECK_INT(answer_resync("\n"), 3);
    CHECK_STR(d.asked[0], "{\"do\":\"status\"}");
    CHECK_INT(answer_resync("y\n"), 0);
    CHECK_STR(d.asked[0], "{\"do\":\"resync\"}");
    stop_daemon();
}

TEST(what_takes_long_shows_its_progress_on_a_terminal_and_wipes_it)
{
    static char nothing[] = "{\"differences\":0,\"repaired\":0,\"examples\":[]}";
    int terminal;
    start_daemon("progress");
    pid_t pid = run_on_terminal("verify", &terminal);
    expect_on(terminal, "comparing directories  42 %  ");
    expect_on(terminal, " directories/s  31 s left");
    control_post(d.server, finish_call, nothing);
    expect_on(terminal, "\r\033[Kno difference");
    read_all(terminal);
    CHECK_INT(finish(pid), 0);
    close(terminal);
    stop_daemon();
}

/* --- papers, files, check --- */

TEST(papers_are_made_shown_and_never_overwritten)
{
    char words[256];
    put_conf("");
    snprintf(words, sizeof(words), "pki init --dir %s", at("pki"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "Keep ");
    CHECK_INT(run(words), 3);
    snprintf(words, sizeof(words), "pki node a --dir %s", at("pki"));
    CHECK_INT(run(words), 0);
    CHECK_INT(run(words), 3);
    CHECK_CONTAINS(said, "papers are never overwritten");
    snprintf(words, sizeof(words), "pki show --dir %s", at("pki"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "ca.pem: CN=mailtwin c, an authority\n");
    CHECK_CONTAINS(said, "a.pem: CN=a\n  issued by    CN=mailtwin c\n  for          a\n");
    strcat(words, " --json");
    CHECK_INT(run(words), 0);
    json_t *list = json_loads(said, 0, NULL);
    CHECK_INT(json_array_size(list), 2);
    CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "file")), "a.pem");
    json_decref(list);
    snprintf(words, sizeof(words), "inspect %s", at("pki/a.pem"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "fingerprint  ");
    CHECK_INT(run("pki"), 2);
    CHECK_INT(run("pki node"), 2);
    CHECK_INT(run("pki init x"), 2);
}

TEST(a_captured_link_is_printed_one_line_a_frame)
{
    static struct wire_msg hello, rec, bye;
    char words[128];
    _cleanup_buf_ struct buf out = { 0 };
    hello = (struct wire_msg){ .type = WIRE_HELLO };
    hello.hello = (struct wire_hello){ .version_min = 1,
                                       .version_max = 1,
                                       .cluster = span_str("c"),
                                       .node = span_str("a"),
                                       .role = WIRE_ROLE_PRIMARY,
                                       .oldest = 1 };
    rec = (struct wire_msg){ .type = WIRE_REC };
    rec.rec.record = (struct record){ .seq = 7,
                                      .epoch = 1,
                                      .op = OP_UNLINK,
                                      .path = span_str("u1/cur/a\nb\x1b"),
                                      .attr.mode = 0100600 };
    bye = (struct wire_msg){ .type = WIRE_BYE };
    bye.bye.text = span_str("enough");
    wire_encode(&hello, &out);
    wire_encode(&rec, &out);
    wire_encode(&bye, &out);
    put("link", out.ptr, out.len);
    snprintf(words, sizeof(words), "inspect %s", at("link"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "         0 ");
    CHECK_CONTAINS(said, " cluster=\"c\" node=\"a\"");
    CHECK_CONTAINS(said, " unlink seq=7 epoch=1 store=0 path=\"u1/cur/a\\x0ab\\x1b\"");
    CHECK_CONTAINS(said, " text=\"enough\"\n");
    out.ptr[out.len - 1] ^= 1;
    put("link", out.ptr, out.len);
    CHECK_INT(run(words), 1);
    CHECK_CONTAINS(said, " unlink seq=7");
    CHECK_CONTAINS(said, "frame checksum");
    put("link", out.ptr, out.len - 1);
    CHECK_INT(run(words), 1);
    CHECK_CONTAINS(said, "the file ends within a frame, at byte ");
    put("link", "no frames at all", 16);
    CHECK_INT(run(words), 1);
    CHECK_CONTAINS(said, "this is in none of mailtwin's formats");
    put("link", "", 0);
    CHECK_INT(run(words), 1);
    CHECK_INT(run("inspect /none"), 1);
    CHECK_INT(run("inspect"), 2);
}

/* The finding of this name in the last `check --json`, and what it says. */
static const char *
finding(const json_t *all, const char *name, const char **ret_text)
{
    size_t i;
    const json_t *check;
    json_array_foreach(json_object_get(all, "checks"), i, check)
    {
        if (strcmp(json_string_value(json_object_get(check, "name")), name) != 0)
            continue;
        *ret_text = json_string_value(json_object_get(check, "text"));
        return json_string_value(json_object_get(check, "state"));
    }
    fail_msg("there is no finding %s in %s", name, said);
    return NULL;
}

static json_t *
check_host(int expected)
{
    if (run("check --json") != expected)
        fail_msg("%s", said);
    json_t *all = json_loads(said, 0, NULL);
    CHECK(all != NULL);
    CHECK_INT(json_is_true(json_object_get(all, "ok")), expected == 0);
    return all;
}

static void
put_check_conf(const char *user, const char *store, const char *node)
{
    char more[1024];
    snprintf(
        more, sizeof(more),
        "user = \"%s\"\nstore \"mail\" { path = \"%s\" }\n"
        "tls { authority = \"%s/p/ca.pem\" certificate = \"%s/p/%s.pem\" key = \"%s/p/%s.key\" }\n",
        user, store, dir, dir, node, dir, node);
    put_conf(more);
}

TEST(check_finds_what_must_be_changed_before_anything_starts)
{
    const char *text;
    char words[256];
    CHECK_INT(mkdir(at("store"), 0700), 0);
    CHECK_INT(mkdir(at("state"), 0700), 0);
    put_conf("");
    snprintf(words, sizeof(words), "pki init --dir %s", at("p"));
    CHECK_INT(run(words), 0);
    snprintf(words, sizeof(words), "pki node a --dir %s", at("p"));
    CHECK_INT(run(words), 0);
    snprintf(words, sizeof(words), "pki node b --dir %s", at("p"));
    CHECK_INT(run(words), 0);
    put_check_conf("nobody", at("store"), "a");
    json_t *all = check_host(0);
    CHECK_STR(finding(all, "kernel", &text), "ok");
    CHECK_STR(finding(all, "configuration", &text), "ok");
    CHECK_STR(finding(all, "store", &text), "ok");
    CHECK_STR(finding(all, "account", &text), "ok");
    CHECK_STR(finding(all, "state-dir", &text), "ok");
    CHECK_STR(finding(all, "certificate", &text), "ok");
    CHECK_CONTAINS(text, "for a, valid for ");
    finding(all, "storage", &text);
    CHECK_CONTAINS(text, "a durable write takes ");
    json_decref(all);

    put_check_conf("no-such-user", "/proc", "b");
    all = check_host(2);
    CHECK_STR(finding(all, "account", &text), "fail");
    CHECK_CONTAINS(text, "there is no account \"no-such-user\"");
    CHECK_STR(finding(all, "store", &text), "fail");
    CHECK_STR(finding(all, "certificate", &text), "fail");
    json_decref(all);

    put_check_conf("root", at("none"), "c");
    CHECK_INT(chmod(at("state"), 0777), 0);
    all = check_host(2);
    finding(all, "account", &text);
    CHECK_CONTAINS(text, "must not be root");
    CHECK_STR(finding(all, "store", &text), "fail");
    CHECK_CONTAINS(text, "No such file or directory");
    CHECK_STR(finding(all, "state-dir", &text), "fail");
    CHECK_CONTAINS(text, "may be written by everybody");
    json_decref(all);

    put_conf("prot = 1\n");
    CHECK_INT(run("check"), 2);
    CHECK_CONTAINS(said, "fail  configuration  ");
    CHECK_CONTAINS(said, "unknown key \"prot\"");
}

/* Runs `mailtwin check` where /mnt is an overlay of its own; 77 without the right to mount. */
static int
check_on_overlay(void)
{
    char options[512];
    int fds[2];
    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", at("low"), at("up"),
             at("work"));
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("overlay", "/mnt", "overlay", 0, options) < 0)
            _exit(77);
        become("check", at("mailtwin.conf"));
    }
    close(fds[1]);
    read_all(fds[0]);
    close(fds[0]);
    return finish(pid);
}

TEST(check_refuses_a_store_on_an_overlay)
{
    CHECK_INT(mkdir(at("low"), 0755), 0);
    CHECK_INT(mkdir(at("up"), 0755), 0);
    CHECK_INT(mkdir(at("work"), 0755), 0);
    put_conf("store \"mail\" { path = \"/mnt\" }\n");
    int status = check_on_overlay();
    if (status == 77)
        skip();
    CHECK_INT(status, 2);
    CHECK_CONTAINS(said,
                   "fail  store          mail: /mnt lies on overlayfs, which cannot be watched");
}

/* --- what is made from the tables --- */

static void
compare_generated(const char *what, const char *committed)
{
    char words[256], command[3 * PATH_MAX];
    CHECK_INT(mkdir(at(what), 0700), 0);
    snprintf(words, sizeof(words), "generate %s %s", what, at(what));
    CHECK_INT(run(words), 0);
    DIR *made = opendir(at(what));
    CHECK(made != NULL);
    unsigned files = 0;
    for (const struct dirent *entry; (entry = readdir(made)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(command, sizeof(command), "diff -u %s/%s/%s %s/%s >&2", source, committed,
                 entry->d_name, at(what), entry->d_name);
        if (system(command) != 0)
            fail_msg("%s/%s is old: run mailtwin generate %s %s", committed, entry->d_name, what,
                     committed);
        files++;
    }
    closedir(made);
    CHECK(files > 0);
}

TEST(manual_pages_completion_and_example_are_what_the_tables_give)
{
    compare_generated("man", "docs/man");
    compare_generated("completion", "deploy/completion");
    compare_generated("conf", "deploy");
    CHECK_INT(run("generate man"), 2);
    CHECK_INT(run("generate poems /tmp"), 2);
}

TEST(the_example_configuration_is_read_as_it_stands)
{
    char words[PATH_MAX + 64];
    snprintf(words, sizeof(words), "--config %s/deploy/mailtwin.conf.example --node mx1 status",
             source);
    CHECK_INT(run(words), 1); /* no daemon, but nothing wrong with the file */
    CHECK_CONTAINS(said, "does not run here");
}

TEST(the_manual_pages_have_no_fault_that_mandoc_knows)
{
    char command[2 * PATH_MAX];
    if (system("command -v mandoc >/dev/null") != 0)
        skip();
    /* A reference to another page of ours is fine when that page is there. */
    snprintf(
        command, sizeof(command),
        "cd %s/docs/man && mandoc -Tlint *.[158] | while read -r line; do\n"
        "page=${line##*Xr }; page=${page%% *}.${page##* }\n"
        "case $line in *'referenced manual not found'*) [ -e \"$page\" ] || echo \"$line\" ;;\n"
        "*) echo \"$line\" ;; esac; done >%s; cat %s >&2; ! [ -s %s ]",
        source, at("lint"), at("lint"), at("lint"));
    CHECK_INT(system(command), 0);
}

TEST(the_completion_offers_commands_options_and_files)
{
    char command[2 * PATH_MAX];
    static const char *const cases[][2] = {
        { "'mailtwin' 'stat'", "status" },
        { "'mailtwin' 'status' '--w'", "--watch" },
        { "'mailtwin' '--config' 'x' 'verify' '--rep'", "--repair" },
        { "'mailtwin' 'pki' 'no'", "node" },
        { "'mailtwin' 'help' 'barr'", "barrier" },
        { "'mailtwin' 'inspect' '/etc/os-releas'", "/etc/os-release" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(command, sizeof(command),
                 "bash -c '. %s/deploy/completion/mailtwin.bash; COMP_WORDS=(\"$@\"); "
                 "COMP_CWORD=$(($#-1)); _mailtwin; [ \"${COMPREPLY[0]}\" = \"%s\" ]' x %s",
                 source, cases[i][1], cases[i][0]);
        if (system(command) != 0)
            fail_msg("%s does not give %s", cases[i][0], cases[i][1]);
    }
}
