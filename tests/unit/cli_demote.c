/* What mailtwin demote asks of which daemon, in which order, and what it makes of a refusal. */
#include "tests/unit/cli_kit.h"
#include "tests/unit/loop_kit.h"

#include "lib/os/control.h"

static struct {
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server, *directory;
    pthread_mutex_t lock; /* of what follows: the loop's thread uses it, too */
    char asked[1024];     /* each request in a line, in the order in which they came */
    const char *fails;    /* the order that is refused; NULL none */
    enum err_code fails_with;
    const char *barrier; /* what the barrier answers */
} d = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
answer_with(const char *barrier, const char *fails, enum err_code code)
{
    pthread_mutex_lock(&d.lock);
    d.asked[0] = '\0';
    d.barrier = barrier;
    d.fails = fails;
    d.fails_with = code;
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

static void
note(const json_t *request, const char *whom)
{
    const char *store = json_string_value(json_object_get(request, "store"));
    size_t len = strlen(d.asked);
    snprintf(d.asked + len, sizeof(d.asked) - len, "%s%s%s%s\n", whom,
             json_string_value(json_object_get(request, "do")), store != NULL ? " " : "",
             store != NULL ? store : "");
}

static void
serve(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    (void)peer;
    struct err e = { 0 };
    const char *word = json_string_value(json_object_get(request, "do"));
    pthread_mutex_lock(&d.lock);
    note(request, arg);
    const char *barrier = d.barrier;
    if (d.fails != NULL && strcmp(word, d.fails) == 0)
        err_set(&e, d.fails_with, "it is so");
    pthread_mutex_unlock(&d.lock);
    if (e.code != ERR_NONE)
        control_fail(call, &e);
    else
        control_reply(call, json_pack("{s:s}", "state", barrier));
}

static void
start(bool directory)
{
    static char node[] = "", other[] = "directory: ";
    struct err e = { 0 };
    answer_with("safe", NULL, ERR_NONE);
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n"
             "store \"people\" { kind = ldap uri = \"ldapi:///\" base = \"dc=org\" }\n"
             "store \"same\" { kind = ldap uri = \"ldapi:///\" base = \"dc=net\" native = true }\n"
             "store \"hosts\" { kind = ldap uri = \"ldapi:///\" base = \"dc=com\" }\n");
    CHECK_INT(uv_loop_init(&d.loop), 0);
    if (control_server_open(&d.loop, dir, serve, node, &d.server, &e) < 0 ||
        (directory && control_server_open_own(&d.loop, dir, CONTROL_DIRECTORY, serve, other,
                                              &d.directory, &e) < 0))
        fail_msg("%s", e.text);
    d.thread = loop_run(&d.loop);
}

static void
close_servers(void *arg)
{
    (void)arg;
    control_server_close(&d.server);
    control_server_close(&d.directory);
}

static void
stop(void)
{
    control_post(d.server, close_servers, NULL);
    loop_join(d.thread, &d.loop);
}

#define HANDOVER "directory: handover people\ndirectory: handover hosts\n"
#define RESUME   "directory: resume people\ndirectory: resume hosts\n"

TEST(the_directories_are_in_the_spool_before_the_standby_is_waited_for)
{
    start(true);
    CHECK_INT(run("demote"), 0);
    CHECK_STR(asked(), HANDOVER "barrier\ndemote\n");
    stop();
    start(true);
    CHECK_INT(run("demote --force"), 0);
    CHECK_STR(asked(), "demote\n");
    stop();
}

TEST(a_directory_goes_on_where_the_node_was_not_demoted)
{
    start(true);
    answer_with("late", NULL, ERR_NONE);
    CHECK_INT(run("demote"), 3);
    CHECK_STR(asked(), HANDOVER "barrier\n" RESUME);
    stop();
    start(true);
    answer_with("safe", "demote", ERR_IO);
    CHECK_INT(run("demote"), 1);
    CHECK_STR(asked(), HANDOVER "barrier\ndemote\n" RESUME);
    stop();
}

TEST(a_directory_that_cannot_say_that_the_spool_has_everything_keeps_the_node_from_its_demotion)
{
    start(true);
    answer_with("safe", "handover", ERR_TIMEOUT);
    CHECK_INT(run("demote"), 3);
    CHECK_STR(said, "mailtwin: the directory people: it is so; its last changes would be on no "
                    "standby: mend that and give the order again, and --force demotes all the "
                    "same\n");
    CHECK_STR(asked(), "directory: handover people\n" RESUME);
    answer_with("safe", "handover", ERR_REFUSED); /* a rule of its own: not the primary */
    CHECK_INT(run("demote"), 3);
    CHECK_STR(said, "mailtwin: the directory people: it is so\n");
    stop();
}

TEST(the_daemon_that_does_not_run_is_the_one_that_is_named)
{
    start(false);
    CHECK_INT(run("demote"), 3);
    CHECK_CONTAINS(said, "the directory people: mailtwin-directoryd does not run here: nobody "
                         "answers at ");
    CHECK_STR(asked(), "");
    CHECK_INT(run("barrier people"), 1);
    CHECK_CONTAINS(said, "the directory people: mailtwin-directoryd does not run here");
    CHECK_INT(run("demote --force"), 0);
    stop();
    CHECK_INT(run("barrier mail"), 1);
    CHECK_CONTAINS(said, "mailtwin-replicatord does not run here");
}
