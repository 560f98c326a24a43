/* What a returned primary had alone completes the loss statement of the node that replaced it:
 * counted for each folder. Whole daemons, linked. */
#include "replicator/loss.h"
#include "tests/unit/daemon_kit.h"

#define MORE 7 /* folders than are named */

/* mx1 is cut off, makes what the script makes, and mx2 takes over from it. */
static struct daemons *
replaced(uint64_t seed, const char *script)
{
    struct daemons *n = daemons_new(2, seed);
    if (n == NULL)
        return NULL;
    daemons_part(n);
    cap_sh(n->hosts[0].c, "%s", script);
    json_decref(host_must(&n->hosts[1], "promote", "force", json_true()));
    return n;
}

static json_t *
statement(struct host *h)
{
    json_t *reply = host_must(h, "loss", NULL, NULL);
    json_t *one = json_incref(json_array_get(json_object_get(reply, "statements"), 0));
    json_decref(reply);
    return one;
}

/* The statement when mx1 is back; the caller's. */
static json_t *
completed(struct daemons *n)
{
    struct host *new = &n->hosts[1];
    uint64_t until = session_now_ms() + DAEMONS_WAIT_MS;
    daemons_link(n, 0, 1);
    host_wait_peer(new, "mx1", "connected");
    json_t *s = statement(new);
    while (strcmp(json_string_value(json_object_get(s, "state")), "final") != 0) {
        json_decref(s);
        if (session_now_ms() > until)
            fail_msg("the statement was never completed");
        usleep(5000);
        s = statement(new);
    }
    return s;
}

static json_int_t
count(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const json_t *
row_of(const json_t *folders, const char *user, const char *folder)
{
    for (size_t i = 0; i < json_array_size(folders); i++) {
        const json_t *row = json_array_get(folders, i);
        const char *has = json_string_value(json_object_get(row, "user"));
        const char *in = json_string_value(json_object_get(row, "folder"));
        if (has != NULL && strcmp(has, user) == 0 && strcmp(in, folder) == 0)
            return row;
    }
    fail_msg("there is no row of %s %s", user, folder);
    return NULL;
}

TEST(a_completed_statement_names_the_folders_and_what_there_was_in_each)
{
    struct daemons *n = replaced(
        81, "echo alone >mail/ada/new/1.M1 && "
            "mkdir -p mail/ada/.Own/cur mail/ada/.Own/new mail/ada/.Own/tmp && "
            "echo alone >mail/ada/.Own/new/2.M1");
    DAEMONS_NEEDED(n);
    json_t *s = completed(n);
    const json_t *found = json_object_get(s, "found");
    const json_t *folders = json_object_get(found, "folders");
    CHECK_INT(json_array_size(folders), 2);
    CHECK_INT(count(row_of(folders, "ada", ""), "messages"), 1);
    CHECK_INT(count(row_of(folders, "ada", ""), "others"), 0);
    CHECK_INT(count(row_of(folders, "ada", "Own"), "messages"), 1);
    CHECK_INT(count(row_of(folders, "ada", "Own"), "others"), 1); /* the folder itself */
    CHECK_STR(json_string_value(json_object_get(row_of(folders, "ada", ""), "store")), "mail");
    CHECK_INT(count(found, "messages"), 2);
    json_decref(s);
    daemons_free(n);
}

TEST(a_completed_statement_names_so_many_folders_and_counts_what_was_in_the_others)
{
    char script[300];
    snprintf(
        script, sizeof(script),
        "echo alone >mail/readme; for i in $(seq %d); do mkdir -p mail/ada/.f$i/new && echo alone "
        ">mail/ada/.f$i/new/$i.M1; done",
        LOSS_FOLDERS_MAX + MORE);
    struct daemons *n = replaced(82, script);
    DAEMONS_NEEDED(n);
    json_t *s = completed(n);
    const json_t *found = json_object_get(s, "found");
    const json_t *folders = json_object_get(found, "folders");
    json_int_t sum = 0;
    CHECK_INT(json_array_size(folders), LOSS_FOLDERS_MAX + 1);
    for (size_t i = 0; i < json_array_size(folders); i++)
        sum += count(json_array_get(folders, i), "messages");
    CHECK_INT(sum, LOSS_FOLDERS_MAX + MORE);
    CHECK_INT(count(row_of(folders, "", ""), "others"), 1); /* nobody's: not the further ones */
    CHECK_INT(sum, count(found, "messages"));
    const json_t *further = json_array_get(folders, LOSS_FOLDERS_MAX);
    CHECK(json_is_null(json_object_get(further, "folder")));
    CHECK(count(further, "messages") + count(further, "others") >= MORE);
    json_decref(s);
    daemons_free(n);
}
