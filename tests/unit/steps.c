/* What mailtwin promote does behind the daemon's half, beside a daemon that says what a test wants.
 */
#include "tests/unit/cli_kit.h"
#include "tests/unit/loop_kit.h"

#include "lib/os/control.h"

#include <stdatomic.h>
#include <sys/stat.h>

static struct {
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server;
    const char *_Atomic role; /* told and set by both threads, as what follows */
    atomic_bool refuses;
    atomic_bool first;
    atomic_uint promotions;
} d;

static void
serve(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    (void)peer;
    (void)arg;
    struct err e = { 0 };
    if (strcmp(json_string_value(json_object_get(request, "do")), "promote") != 0) {
        control_reply(call, json_pack("{s:s, s:i, s:s?}", "role", (const char *)d.role, "epoch", 4,
                                      "history", d.first ? NULL : "9f"));
        return;
    }
    d.promotions++;
    if (d.refuses) {
        err_set(&e, ERR_REFUSED, "a primary serves");
        control_fail(call, &e);
        return;
    }
    d.role = "primary";
    control_reply(call, json_object());
}

static void
close_server(void *arg)
{
    (void)arg;
    control_server_close(&d.server);
}

/* restore: the program of the dump store, which has one version of another node. */
static void
start(const char *role, const char *restore)
{
    char text[512];
    struct err e = { 0 };
    d.role = role;
    d.refuses = false;
    d.first = false;
    d.promotions = 0;
    snprintf(text, sizeof(text), "rm -rf %s && mkdir -p %s/web", at("state"), at("state/spool"));
    CHECK_INT(system(text), 0);
    snprintf(text, sizeof(text),
             "store \"web\" { kind = dump command = \"true\" restore = \"%s\" }\n", restore);
    put_conf(text);
    CHECK_INT(uv_loop_init(&d.loop), 0);
    if (control_server_open(&d.loop, dir, serve, NULL, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    d.thread = loop_run(&d.loop);
}

static void
stop(void)
{
    control_post(d.server, close_server, NULL);
    loop_join(d.thread, &d.loop);
}

static bool
there(const char *name)
{
    return access(at(name), F_OK) == 0;
}

TEST(a_step_is_done_once_and_on_record)
{
    start("standby", "true");
    CHECK_INT(run("promote"), 0);
    CHECK_CONTAINS(said, "this node is the primary\ndump         web          done in ");
    CHECK(there("state/promotion/4.json") && !there("state/promotion/wanted.json"));
    CHECK_INT(run("promote"), 0);
    CHECK_STR(said, "this node is the primary\n");
    CHECK_INT(d.promotions, 2); /* the daemon is asked again; it does what is left */
    stop();
}

TEST(what_was_wanted_before_a_crash_is_done_behind_it)
{
    static const char wanted[] = "{\"steps\":[{\"step\":\"dump\",\"store\":\"web\","
                                 "\"state\":\"pending\"}]}";
    start("primary", "true"); /* the daemon has moved the role, and the command died */
    CHECK_INT(mkdir(at("state/promotion"), 0700), 0);
    put("state/promotion/wanted.json", wanted, strlen(wanted));
    CHECK_INT(run("promote"), 0);
    CHECK_CONTAINS(said, "dump         web          done in ");
    CHECK(there("state/promotion/4.json") && !there("state/promotion/wanted.json"));
    CHECK_INT(d.promotions, 1);
    stop();
}

TEST(a_node_that_has_been_the_primary_all_along_has_no_steps)
{
    start("primary", "true");
    CHECK_INT(run("promote"), 0);
    CHECK_STR(said, "this node is the primary\n");
    CHECK(!there("state/promotion/4.json"));
    CHECK_INT(run("promote --json"), 0);
    CHECK_CONTAINS(said, "\"steps\": []");
    stop();
}

TEST(a_node_that_never_followed_anybody_has_no_steps)
{
    start("standby", "true");
    d.first = true;
    CHECK_INT(run("promote"), 0);
    CHECK_STR(said, "this node is the primary\n");
    CHECK(!there("state/promotion/4.json"));
    stop();
}

TEST(a_promotion_that_is_refused_leaves_nothing_wanted)
{
    start("standby", "true");
    d.refuses = true;
    CHECK_INT(run("promote"), 3);
    CHECK_CONTAINS(said, "a primary serves");
    CHECK(!there("state/promotion/wanted.json"));
    stop();
}

TEST(a_record_that_cannot_be_read_is_told_and_no_step_is_done)
{
    start("primary", "true");
    CHECK_INT(mkdir(at("state/promotion"), 0700), 0);
    put("state/promotion/4.json", "{]", 2);
    CHECK_INT(run("promote"), 1);
    CHECK_CONTAINS(said, "promotion/4.json in the state directory is no record of steps");
    stop();
}

/* postconf says where the queue is, behind a warning; postsuper notes that it ran. */
static void
start_queue(const char *told)
{
    char text[1024], place[128];
    snprintf(place, sizeof(place), "%s", told); /* at() has few places, start() takes of them */
    start("standby", "true");
    snprintf(text, sizeof(text),
             "mkdir -p %s %s/incoming; cd %s; rm -f repaired; printf '%%s\\n' '#!/bin/sh' "
             "'echo \"postconf: warning: main.cf: unused parameter: x=y\" >&2; echo %s; echo more' "
             ">postconf; printf '%%s\\n' '#!/bin/sh' 'echo yes >%s' >postsuper; chmod +x post*",
             at("bin"), at("queue"), at("bin"), place, at("bin/repaired"));
    CHECK_INT(system(text), 0);
    snprintf(text, sizeof(text), "%s:%s", at("bin"), getenv("PATH"));
    setenv("PATH", text, 1);
    snprintf(text, sizeof(text), "store \"queue\" { kind = queue path = \"%s\" }\n", at("queue"));
    put_conf(text);
}

TEST(a_warning_of_postfix_does_not_keep_the_queue_from_its_repair)
{
    start_queue(at("queue"));
    CHECK_INT(run("promote"), 0);
    CHECK_CONTAINS(said, "queue        queue        done in ");
    CHECK(there("bin/repaired"));
    stop();
}

TEST(the_queue_of_another_postfix_is_not_repaired)
{
    start_queue("/var/spool/other");
    CHECK_INT(run("promote"), 4);
    CHECK_CONTAINS(said, "Postfix has its queue in /var/spool/other and the store queue is ");
    CHECK(!there("bin/repaired"));
    stop();
}

TEST(the_plan_names_the_steps)
{
    start("standby", "true");
    CHECK_INT(run("promote --plan"), 0);
    CHECK_CONTAINS(said, "Then these steps:\n  dump         web\n");
    CHECK_INT(d.promotions, 1); /* with "plan" */
    CHECK(!there("state/promotion"));
    stop();
}

TEST(a_step_that_fails_ends_with_4_and_is_left)
{
    start("standby", "true");
    char text[256];
    snprintf(text, sizeof(text), "rmdir %s", at("state/spool/web"));
    CHECK_INT(system(text), 0);
    CHECK_INT(run("promote"), 4);
    CHECK_CONTAINS(said, "dump         web          FAILED in ");
    CHECK_CONTAINS(said, "1 steps are left");
    CHECK_INT(mkdir(at("state/spool/web"), 0700), 0);
    CHECK_INT(run("promote --json"), 0);
    CHECK_CONTAINS(said, "\"state\": \"done\"");
    stop();
}
