/* What mailtwin loss prints of a statement. */
#include "tests/unit/cli_kit.h"
#include "tests/unit/loop_kit.h"

#include "lib/os/control.h"

static struct {
    pthread_t thread;
    uv_loop_t loop;
    struct control_server *server;
} d;

static void
serve(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    (void)peer;
    CHECK_STR(json_string_value(json_object_get(request, "do")), "loss");
    control_reply(call, json_loads(arg, 0, NULL));
}

static void
close_server(void *arg)
{
    (void)arg;
    control_server_close(&d.server);
}

/* Runs `command` beside a daemon that gives this answer, a JSON object. */
static void
check_said(const char *command, const char *answer, const char *const lines[])
{
    struct err e = { 0 };
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n");
    CHECK_INT(uv_loop_init(&d.loop), 0);
    if (control_server_open(&d.loop, dir, serve, (void *)(uintptr_t)answer, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    d.thread = loop_run(&d.loop);
    CHECK_INT(run(command), 0);
    for (size_t i = 0; lines[i] != NULL; i++)
        CHECK_CONTAINS(said, lines[i]);
    control_post(d.server, close_server, NULL);
    loop_join(d.thread, &d.loop);
}

#define STATEMENT(more)                                                                   \
    "\"epoch\":2,\"node\":\"b\",\"last_epoch\":1,\"open_from\":\"2026-11-21T02:00:00Z\"," \
    "\"open_until\":\"2026-11-21T02:01:00Z\",\"have_up_to\":40,\"have_up_to_time\":null," more
#define KNOWN                                                                   \
    "\"known\":{\"changes\":3,\"first\":41,\"last\":43},\"received_in_part\":[" \
    "{\"store\":\"mail\",\"user\":\"u\",\"folder\":\"\",\"changes\":1},"        \
    "{\"store\":\"web\",\"user\":\"\",\"folder\":\"d\",\"changes\":1},"         \
    "{\"store\":null,\"user\":null,\"folder\":null,\"changes\":1}]"

TEST(a_statement_says_what_is_missing_and_where)
{
    check_said("loss show 2",
               "{\"statement\":{" STATEMENT(
                   KNOWN) ",\"state\":\"preliminary\","
                          "\"last_primary\":\"a\",\"found\":null,\"incomplete\":true}}",
               (const char *const[]){
                   "b took over from a (epoch 1) at 2026-11-21T02:01:00Z.\n",
                   "up to number 40, of an unknown time, but for what lacks in a copy",
                   "Known to be missing: at most 3 changes, numbers 41 to 43.\n",
                   "  1 of them in mail u INBOX\n", "  1 of them in web d\n",
                   "  1 of them in further folders\n", "Nobody knows that yet.\n",
                   "It is preliminary: what the last primary had alone is known when it has come "
                   "back.\n",
                   NULL });
}

TEST(a_statement_that_nobody_completes_says_so)
{
    check_said(
        "loss show 2",
        "{\"statement\":{" STATEMENT(
            "\"known\":{\"changes\":0}") ",\"state\":"
                                         "\"preliminary\",\"last_primary\":null,\"found\":null}}",
        (const char *const[]){ "b took over from a node not named (epoch 1)",
                               "Nothing is known to be missing, for it told this node "
                               "nothing.\n",
                               "with more nobody is taken for it, and the statement stays "
                               "as it is.\n",
                               NULL });
}

TEST(a_final_statement_says_what_came_back)
{
    check_said(
        "loss show 2",
        "{\"statement\":{" STATEMENT(
            "\"known\":{\"changes\":0},\"last_word\":{}") ",\"state\":\"final\",\"last_primary\":"
                                                          "\"a\",\"found\":{\"node\":\"a\","
                                                          "\"at\":\"2026-11-21T03:00:00Z\","
                                                          "\"messages\":2,\"flag_changes\":1,"
                                                          "\"expunges\":0,"
                                                          "\"others\":0,\"folders\":[{\"store\":"
                                                          "\"mail\",\"user\":\"u\",\"folder\":"
                                                          "\"Sent\","
                                                          "\"messages\":2,\"flag_changes\":1}]}}}",
        (const char *const[]){ "all that it told of is here.\n",
                               "It is final: a came back (2026-11-21T03:00:00Z) with 2 "
                               "messages, 1 changes of flags, 0 expunges and 0 other",
                               "  2 messages, 1 change of flags in mail u Sent\n", NULL });
}

TEST(the_answers_that_may_be_lost_are_told_for_each_store)
{
    check_said("loss show 2",
               "{\"statement\":{" STATEMENT(
                   "\"known\":{\"changes\":0}") ",\"stores\":["
                                                "{\"name\":\"one\",\"acknowledged\":\"none-that-"
                                                "waited\",\"gate\":true},"
                                                "{\"name\":\"two\",\"acknowledged\":\"none-while-"
                                                "protected\"},"
                                                "{\"name\":\"old\",\"acknowledged\":\"none\"}]}}",
               (const char *const[]){ "  one: nothing that waited at a barrier and was then "
                                      "acknowledged is among it\n",
                                      "(at a barrier wait the gate",
                                      "  two: nothing that waited at a barrier and was then "
                                      "acknowledged is among it, but what",
                                      "(no gate delivers to it",
                                      "  old: what was acknowledged may be among it\n", NULL });
}

TEST(the_list_has_a_line_for_each)
{
    check_said("loss", "{\"statements\":[]}",
               (const char *const[]){ "there is no loss statement", NULL });
    check_said("loss list", "{\"statements\":[{" STATEMENT(KNOWN) ",\"state\":\"final\"}]}",
               (const char *const[]){ "epoch 2  final  b took over from a node not named: 3 "
                                      "changes known to be missing, open from "
                                      "2026-11-21T02:00:00Z\n",
                                      NULL });
}
