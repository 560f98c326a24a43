/* What the program says beside a daemon that answers what a test tells it to. */
#include "tests/unit/cli_kit.h"
#include "tests/unit/loop_kit.h"

#include "lib/os/control.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>

#define WAIT_MS 60000

/* --- the daemon --- */

static struct {
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server;
    pthread_mutex_t lock; /* of the next ones: the loop's thread uses them, too */
    pthread_cond_t was_asked;
    unsigned requests;
    const char *answer; /* JSON; NULL: a refusal */
    char by[64];
    char asked[256];     /* the last request */
    char ordered[256];   /* the last that is no question for the status */
    uv_timer_t progress; /* reports while the call below is open */
    struct control_call *call;
} d = { .lock = PTHREAD_MUTEX_INITIALIZER, .was_asked = PTHREAD_COND_INITIALIZER };

static void
answer_with(const char *answer)
{
    pthread_mutex_lock(&d.lock);
    d.answer = answer;
    pthread_mutex_unlock(&d.lock);
}

static const char *
asked(void)
{
    static char copy[sizeof(d.asked)];
    pthread_mutex_lock(&d.lock);
    memcpy(copy, d.asked, sizeof(copy));
    pthread_mutex_unlock(&d.lock);
    return copy;
}

static const char *
ordered(void)
{
    static char copy[sizeof(d.ordered)];
    pthread_mutex_lock(&d.lock);
    memcpy(copy, d.ordered, sizeof(copy));
    pthread_mutex_unlock(&d.lock);
    return copy;
}

static void
wait_requests(unsigned more)
{
    pthread_mutex_lock(&d.lock);
    for (unsigned until = d.requests + more; d.requests < until;)
        pthread_cond_wait(&d.was_asked, &d.lock);
    pthread_mutex_unlock(&d.lock);
}

/* Keeps the request, without who asks, which each one says, and gives the answer to it. */
static const char *
note(const json_t *request)
{
    json_t *order = json_copy((json_t *)(uintptr_t)request);
    snprintf(d.by, sizeof(d.by), "%s", json_string_value(json_object_get(order, "by")));
    json_object_del(order, "by");
    char *text = json_dumps(order, JSON_COMPACT);
    json_decref(order);
    pthread_mutex_lock(&d.lock);
    snprintf(d.asked, sizeof(d.asked), "%s", text);
    if (strcmp(text, "{\"do\":\"status\"}") != 0)
        snprintf(d.ordered, sizeof(d.ordered), "%s", text);
    const char *answer = d.answer;
    d.requests++;
    pthread_cond_broadcast(&d.was_asked);
    pthread_mutex_unlock(&d.lock);
    free(text);
    return answer;
}

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
    const char *reply = note(request);
    if (reply == NULL) {
        err_set(&e, ERR_REFUSED, "rule 205: the journal is behind; --force overrides it");
        control_fail(call, &e);
    } else if (strcmp(reply, "progress") == 0) {
        d.call = call;
        uv_timer_start(&d.progress, report, 0, 20);
    } else {
        control_reply(call, json_loads(reply, 0, NULL));
    }
}

static void
start_daemon(const char *answer)
{
    struct err e = { 0 };
    answer_with(answer);
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n");
    CHECK_INT(uv_loop_init(&d.loop), 0);
    uv_timer_init(&d.loop, &d.progress);
    if (control_server_open(&d.loop, dir, serve, NULL, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    d.thread = loop_run(&d.loop);
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
    loop_join(d.thread, &d.loop);
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

/* A standby's, of its own copy. */
#define SYNC(word, peer) \
    "{\"node\":\"a\",\"role\":\"standby\",\"epoch\":3,\"sync\":\"" word "\",\"peers\":[" peer "]}"

TEST(the_status_is_one_screen_that_says_whether_mail_is_safe)
{
    start_daemon(STATUS("primary", "protected", "null", PEER(",\"ack_seconds\":0.0029")));
    CHECK_INT(run("status"), 0);
    CHECK_STR(said, "c: a is the primary, epoch 3\n"
                    "mail       safe: a standby protects it\n"
                    "barrier    the last one opened after 3.0 ms\n"
                    "stores     mail         maildir  live      /srv/vmail  compared "
                    "2026-11-21T02:00:00Z: 0 differences\n"
                    "peers      b            connected  has everything up to 12, lag 2.9 ms\n");
    answer_with("{\"stores\":[{\"name\":\"m\",\"last_verify\":{\"at\":\"A\",\"differences\":2,"
                "\"contents_since\":\"B\"},\"verify\":{\"done\":0.42,\"seconds_left\":7200}}]}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "compared A: 2 differences; all contents since B; comparing, 42 %, 2 h "
                         "left\n");
    CHECK_STR(asked(), "{\"do\":\"status\"}");
    answer_with(STATUS("primary", "degraded", "\"2026-11-21T01:40:00Z\"",
                       "{\"node\":\"b\",\"state\":\"connected\",\"durable_seq\":3,\"lag_seconds\":"
                       "130,\"lag_bytes\":41230,\"lag_messages\":2,\"lag_complete\":false}"));
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "mail       NOT SAFE since 2026-11-21T01:40:00Z: it is accepted with no "
                         "standby protecting it\n");
    CHECK_CONTAINS(said, "lacks more than 2 messages, 40.3 KiB, of the last 2 min\n");
    answer_with("{\"role\":\"primary\",\"state\":\"refusing\",\"degraded_since\":\"A\",\"at_risk\":"
                "{\"messages\":3,\"changes\":5,\"since\":\"B\",\"complete\":true,\"user_count\":7,"
                "\"users\":[{\"user\":\"d/ada\",\"store\":\"mail\",\"messages\":2},{\"user\":\"\","
                "\"store\":\"sieve\",\"messages\":0}]}}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "mail       REFUSED since A: no standby protects it\n"
                         "at risk    3 messages and 2 other changes since B\n"
                         "           d/ada 2, sieve 0 and 5 more\n");
    answer_with(STATUS("standby", "following", "null",
                       "{\"node\":\"b\",\"state\":\"refused\",\"why\":\"too old\",\"resync\":"
                       "{\"done\":0.42,\"seconds_left\":31,\"per_second\":120.4}}"));
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "c: a is a standby, epoch 3\n");
    CHECK_CONTAINS(said, "42 % compared, 120 directories/s, 31 s left");
    CHECK_CONTAINS(said, "too old");
    CHECK(strstr(said, " safe:") == NULL);
    answer_with("{\"role\":\"standby\",\"sync\":\"ordered\",\"sync_from\":\"b\"}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "copy       a resync from b is ordered, and no other node is followed");
    answer_with("{\"role\":\"standby\",\"sync\":\"ordered\"}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "copy       a resync is ordered; it begins when a primary is connected\n");
    answer_with("{\"role\":\"standby\",\"sync\":\"unfinished\"}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "copy       not complete: it is being brought level\n");
    answer_with("{\"gates\":[{\"name\":\"l\",\"state\":\"running\",\"since\":\"A\",\"held\":3,"
                "\"released\":5,\"confirmed\":2,\"unprotected\":1,\"refused\":4,\"barrier\":{"
                "\"p50_seconds\":0.003,\"p99_seconds\":0.012,\"longest_seconds\":1}},"
                "{\"state\":\"silent\",\"told_seconds\":120},{\"state\":\"absent\"}]}");
    CHECK_INT(run("status"), 0);
    CHECK_CONTAINS(said, "since A 5 released (2 of them retries), 1 WITHOUT A STANDBY, 451 to 4 ");
    CHECK_CONTAINS(said, "half 3.0 ms, 99 % 12 ms, longest 1 s\n");
    CHECK_CONTAINS(said, " SILENT for 2 min: does mailtwin-gate run?\n"
                         "                        not heard of: does mailtwin-gate run?\n");
    answer_with("{\"failover\":{\"ready\":false,\"why_not\":[\"no witness\",\"lag\"]}}");
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
    CHECK_STR(said, "safe after 3.0 ms\n");
    CHECK_STR(asked(), "{\"do\":\"barrier\",\"timeout_ms\":5000}");
    answer_with("{\"state\":\"safe\",\"seconds\":0.003,\"seq\":12,\"async\":true}");
    CHECK_INT(run("barrier"), 0);
    CHECK_STR(said, "in the journal, no standby is waited for (async); known after 3.0 ms\n");
    answer_with("{\"state\":\"degraded\",\"seconds\":0.001}");
    CHECK_INT(run("barrier --timeout 10s mail"), 4);
    CHECK_STR(asked(), "{\"do\":\"barrier\",\"store\":\"mail\",\"timeout_ms\":10000}");
    CHECK_CONTAINS(said, "degraded, no standby protects the mail");
    answer_with("{\"state\":\"late\",\"seconds\":5}");
    CHECK_INT(run("barrier --timeout=500ms --json"), 1);
    CHECK_CONTAINS(said, "\"state\": \"late\"");
    CHECK_STR(asked(), "{\"do\":\"barrier\",\"timeout_ms\":500}");
    answer_with("{\"state\":\"alone\",\"seconds\":0.002}");
    CHECK_INT(run("barrier"), 1);
    CHECK_CONTAINS(said,
                   "not safe: no standby is there, and when-alone = refuse; known after 2.0 ms");
    answer_with("{\"state\":\"new\"}");
    CHECK_INT(run("barrier"), 1);
    answer_with(NULL);
    CHECK_INT(run("barrier"), 3);
    CHECK_INT(run("barrier a/b"), 2);
    stop_daemon();
}

TEST(verify_ends_with_1_when_a_difference_remains)
{
    start_daemon("{\"differences\":0,\"repaired\":0,\"examples\":[]}");
    CHECK_INT(run("verify"), 0);
    CHECK_STR(said, "no difference\n");
    CHECK_STR(asked(), "{\"do\":\"verify\",\"repair\":false,\"content\":false}");
    answer_with("{\"differences\":2,\"repaired\":0,\"examples\":[\"mail: u1/cur/1\"]}");
    CHECK_INT(run("verify mail"), 1);
    CHECK_STR(said, "2 differences, 0 repaired\n  mail: u1/cur/1\n");
    CHECK_INT(run("verify --repair"), 3);
    CHECK_CONTAINS(said, "without a terminal it wants --yes");
    CHECK_INT(run("verify --repair --plan"), 1);
    CHECK_STR(asked(), "{\"do\":\"verify\",\"repair\":false,\"content\":false}");
    CHECK_CONTAINS(said, "2 differences would be mended on the standby. Nothing has been changed.");
    answer_with("{\"differences\":2,\"repaired\":2,\"examples\":[]}");
    CHECK_INT(run("verify mail --repair --yes --content --json"), 0);
    CHECK_STR(asked(), "{\"do\":\"verify\",\"store\":\"mail\",\"repair\":true,\"content\":true}");
    CHECK_CONTAINS(said, "\"repaired\": 2");
    stop_daemon();
}

TEST(roles_are_moved_only_by_the_daemons_leave)
{
    start_daemon("{}");
    CHECK_INT(run("promote --force"), 0);
    CHECK_STR(asked(), "{\"do\":\"promote\",\"force\":true}");
    CHECK_INT(run("demote --force"), 0);
    CHECK_STR(asked(), "{\"do\":\"demote\"}");
    answer_with("{\"state\":\"safe\"}");
    CHECK_INT(run("demote"), 0);
    CHECK_STR(asked(), "{\"do\":\"demote\"}");
    CHECK_INT(run("demote --force --reason ticket-12"), 0);
    CHECK_STR(asked(), "{\"do\":\"demote\",\"reason\":\"ticket-12\"}");
    CHECK(d.by[0] != '\0');
    CHECK_INT(run("demote --force --reason caf\xe9"), 2);
    CHECK_CONTAINS(said, "--reason is not UTF-8");
    answer_with(NULL);
    CHECK_INT(run("promote"), 3);
    CHECK_STR(asked(), "{\"do\":\"promote\",\"force\":false}");
    CHECK_STR(said, "mailtwin: rule 205: the journal is behind; --force overrides it\n");
    stop_daemon();
}

TEST(a_promotion_that_left_folders_as_they_were_does_not_end_well)
{
    start_daemon("{\"folders_failed\":3}");
    CHECK_INT(run("promote"), 4);
    CHECK_CONTAINS(said, "this node is the primary");
    CHECK_CONTAINS(said, "the numbers of 3 folders could not be made safe");
    CHECK_CONTAINS(said, "1021");
    CHECK_INT(run("promote --json"), 4);
    CHECK_CONTAINS(said, "\"folders_failed\": 3");
    answer_with("{\"folders_failed\":0}");
    CHECK_INT(run("promote"), 0);
    stop_daemon();
}

TEST(a_primary_whose_changes_are_on_no_standby_is_not_demoted)
{
    start_daemon("{\"state\":\"late\"}");
    CHECK_INT(run("demote"), 3);
    CHECK_STR(asked(), "{\"do\":\"barrier\",\"handover\":true,\"timeout_ms\":60000}");
    CHECK_CONTAINS(said, "did not confirm within a minute");
    CHECK_CONTAINS(said, "--force");
    answer_with("{\"state\":\"degraded\"}");
    CHECK_INT(run("demote"), 3);
    CHECK_CONTAINS(said, "no standby follows this node now");
    stop_daemon();
}

TEST(the_plan_of_a_promotion_tells_its_epoch_and_the_rule_that_refuses_it)
{
    start_daemon("{\"node\":\"a\",\"role\":\"standby\",\"epoch\":3,\"refused\":\"a primary "
                 "serves\",\"peers\":[{\"node\":\"b\",\"state\":\"refused\",\"why\":\"too "
                 "old\"},{\"node\":\"c\",\"state\":\"connected\"}]}");
    CHECK_INT(run("promote --plan"), 0);
    CHECK_STR(asked(), "{\"do\":\"promote\",\"plan\":true}");
    CHECK_CONTAINS(said, "a, now standby of epoch 3, would become the primary with epoch 3.");
    CHECK_CONTAINS(said, "  b            refused: too old\n  c            connected\n");
    CHECK_CONTAINS(said, "It is refused unless it is forced: a primary serves.\n");
    answer_with("{\"node\":\"a\",\"role\":\"standby\",\"epoch\":3,\"refused\":null}");
    CHECK_INT(run("promote --plan --force"), 0);
    assert_null(strstr(said, "refused unless"));
    stop_daemon();
}

TEST(a_resync_without_a_terminal_wants_yes_and_a_plan_changes_nothing)
{
    start_daemon(STATUS("standby", "following", "null", ""));
    CHECK_INT(run("resync"), 3);
    CHECK_CONTAINS(said, "without a terminal it wants --yes");
    CHECK_STR(asked(), "{\"do\":\"status\"}");
    CHECK_INT(run("resync --plan --from b"), 0);
    CHECK_CONTAINS(said, "a, now standby of epoch 3, would be brought level with b.");
    CHECK_CONTAINS(said, "  mail         /srv/vmail\n");
    CHECK_STR(asked(), "{\"do\":\"status\"}");
    CHECK_INT(run("resync --yes --no-wait --from b"), 0);
    CHECK_STR(asked(), "{\"do\":\"resync\",\"from\":\"b\"}"); /* and nothing after that */
    CHECK_STR(said, "the resync runs; mailtwin status --watch follows it\n");
    CHECK_INT(run("resync --yes --no-wait"), 0);
    CHECK_STR(asked(), "{\"do\":\"resync\"}");
    CHECK_INT(run("resync --yes --from x"), 2);
    CHECK_INT(run("resync --yes --from a"), 2);
    answer_with(STATUS("primary", "protected", "null", ""));
    CHECK_INT(run("resync --plan"), 3);
    CHECK_CONTAINS(said, "a is the primary: run resync on the standby");
    stop_daemon();
}

TEST(what_is_held_is_listed_and_given_up_only_when_told_to)
{
    start_daemon("{\"held\":2,\"names\":[{\"store\":\"mail\",\"path\":\"ada/new/1\","
                 "\"kind\":\"lost\",\"nodes\":[\"b\",\"c\"]}]}");
    CHECK_INT(run("held"), 0);
    CHECK_STR(said, "2 names are held\n  mail: ada/new/1  lost, may be on b c\n  and more\n");
    CHECK_STR(asked(), "{\"do\":\"held\"}");
    CHECK_INT(run("held --give-up --plan"), 0);
    CHECK_CONTAINS(said, "mail: ada/new/1  lost");
    CHECK_CONTAINS(said, "Nothing has been changed.");
    CHECK_STR(asked(), "{\"do\":\"held\"}");
    CHECK_INT(run("held --give-up"), 3);
    CHECK_CONTAINS(said, "without a terminal it wants --yes");
    CHECK_STR(asked(), "{\"do\":\"held\"}");
    CHECK_INT(run("held --give-up --yes"), 0);
    CHECK_STR(asked(), "{\"do\":\"give-up\"}");
    answer_with("{\"held\":0,\"names\":[]}");
    CHECK_INT(run("held"), 0);
    CHECK_STR(said, "nothing is held\n");
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
    if (pid == 0) {
        signal(SIGINT, SIG_DFL); /* whoever runs the tests may have it ignored */
        become(words, at("mailtwin.conf"));
    }
    CHECK(pid > 0);
    return pid;
}

static pid_t
run_on_pipe(const char *words, int *ret_fd)
{
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        become(words, at("mailtwin.conf"));
    }
    close(fds[1]);
    *ret_fd = fds[0];
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
    start_daemon(SYNC("none", ""));
    CHECK_INT(answer_resync("n\n"), 3);
    CHECK_STR(asked(), "{\"do\":\"status\"}");
    CHECK_INT(answer_resync("\n"), 3);
    CHECK_STR(asked(), "{\"do\":\"status\"}");
    CHECK_INT(answer_resync("y\n"), 0);
    CHECK_STR(ordered(), "{\"do\":\"resync\"}");
    stop_daemon();
}

#define B(state, more) "{\"node\":\"b\",\"state\":\"" state "\"" more "}"
#define HALF           ",\"resync\":{\"done\":0.42,\"seconds_left\":31,\"per_second\":120.4}"

TEST(a_resync_is_followed_until_the_node_is_level)
{
    int terminal;
    start_daemon(SYNC("ordered", B("connecting", "")));
    pid_t pid = run_on_terminal("resync --yes --from b", &terminal);
    expect_on(terminal, "\r\033[Kwaiting; b connecting");
    answer_with(SYNC("unfinished", B("resync", HALF)));
    expect_on(terminal, "\r\033[Kcomparing directories  42 %  120 directories/s  31 s left");
    answer_with(
        SYNC("unfinished", B("resync", ",\"resync\":{\"done\":0.5,\"seconds_left\":null}")));
    expect_on(terminal, "50 %\r\033[K"); /* nothing is made up */
    answer_with(
        SYNC("unfinished", B("connecting", ",\"why\":\"the link is down\",\"resync\":null")));
    expect_on(terminal, "\r\033[Kwaiting; b connecting: the link is down");
    stop_daemon();
    expect_on(terminal, "\r\033[Kmailtwin-replicatord does not run here");
    start_daemon(SYNC("unknown", B("connected", "")));
    expect_on(terminal, "\r\033[Kwaiting; b connected");
    answer_with(SYNC("none", B("connected", "")));
    expect_on(terminal, "\r\033[Ka is level with b after ");
    read_all(terminal);
    CHECK_INT(finish(pid), 0);
    CHECK_STR(ordered(), "{\"do\":\"resync\",\"from\":\"b\"}");
    close(terminal);
    stop_daemon();
}

TEST(a_resync_without_a_terminal_is_followed_as_well)
{
    start_daemon(SYNC("none", ""));
    CHECK_INT(run("resync --yes"), 0);
    CHECK(strncmp(said, "a is level with the primary after ", 34) == 0);
    int fd;
    answer_with(SYNC("unfinished", B("connecting", ",\"why\":\"no route\"")));
    pid_t pid = run_on_pipe("resync --yes", &fd);
    expect_on(fd, "mailtwin: waiting; b connecting: no route\n");
    wait_requests(3); /* the one before the last was answered, and what it led to was said */
    answer_with(SYNC("unfinished", B("refused", ",\"why\":\"too old\"")));
    expect_on(fd, "mailtwin: waiting; b refused: too old\n");
    CHECK(strncmp(said, "mailtwin: waiting; b refused", 28) == 0); /* the other was said once */
    answer_with(SYNC("none", ""));
    read_all(fd);
    CHECK(strncmp(said, "a is level with the primary after ", 34) == 0);
    CHECK_INT(finish(pid), 0);
    close(fd);
    stop_daemon();
}

TEST(a_resync_that_cannot_be_followed_says_so)
{
    start_daemon(STATUS("standby", "following", "null", ""));
    CHECK_INT(run("resync --yes"), 1);
    CHECK_CONTAINS(said, "the daemon does not tell when it is complete");
    answer_with(STATUS("primary", "protected", "null", ""));
    CHECK_INT(run("resync --yes"), 1);
    CHECK_CONTAINS(said, "this node was made the primary");
    stop_daemon();
}

TEST(who_interrupts_a_resync_leaves_it_running)
{
    int terminal, status;
    start_daemon(SYNC("unfinished", B("resync", HALF)));
    pid_t pid = run_on_terminal("resync --yes", &terminal);
    expect_on(terminal, "42 %");
    CHECK_INT(write(terminal, "\003", 1), 1);
    expect_on(terminal, "\r\033[Kmailtwin: the resync goes on; mailtwin status --watch follows it");
    read_all(terminal);
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    close(terminal);
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
