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

enum knows {
    KNOWS_IT,
    KNOWS_FROM_DISK,
    KNOWS_NOT
};

static void
forget_the_last_word(struct host *h)
{
    struct state_txn *txn;
    struct err e = { 0 };
    cap_open(h->c);
    assert_int_equal(state_begin(h->c->node->state, true, &txn, &e), 0);
    assert_int_equal(state_del(txn, LOSS_HEARD_KEY, &e), 0);
    assert_int_equal(state_commit(&txn, &e), 0);
    node_free(&h->c->node);
}

/* mx1 served two standbys, and only mx3 has the last mail when it dies and mx2 is promoted. */
static struct daemons *
replaced_by_the_slower(uint64_t seed, enum knows knows)
{
    struct daemons *n = daemons_new(3, seed);
    if (n == NULL)
        return NULL;
    host_start(&n->hosts[2]);
    daemons_link(n, 0, 2);
    daemons_part(n);
    host_wait_peer(&n->hosts[0], "mx3", "connected");
    cap_sh(n->hosts[0].c, "echo late >mail/ada/new/1.M1");
    host_safe(&n->hosts[0]);
    daemons_cut(n, 0, 2);
    cap_sh(n->hosts[0].c, "echo alone >mail/ada/new/2.M1");
    if (knows != KNOWS_IT) {
        host_stop(&n->hosts[1]);
        if (knows == KNOWS_NOT)
            forget_the_last_word(&n->hosts[1]);
        host_start(&n->hosts[1]);
    }
    json_decref(host_must(&n->hosts[1], "promote", "force", json_true()));
    return n;
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

/* What a mail server wrote for itself is nobody's loss. */
TEST(a_statement_is_completed_also_where_nothing_of_what_was_changed_is_anybodys)
{
    struct daemons *n = replaced(83, "printf '3 V1763800000 N2\n' >mail/ada/dovecot-uidlist");
    DAEMONS_NEEDED(n);
    json_t *s = completed(n);
    const json_t *found = json_object_get(s, "found");
    CHECK_INT(count(found, "messages"), 0);
    CHECK_INT(count(found, "others"), 0);
    CHECK_INT(json_array_size(json_object_get(found, "folders")), 0);
    json_decref(s);
    daemons_free(n);
}

/* As if the link had ended before it was told that the statement is complete. */
static void
forget_what_was_found(struct host *h)
{
    struct state_txn *txn;
    struct err e = { 0 };
    json_t *s = statement(h);
    uint64_t epoch = (uint64_t)count(s, "epoch");
    assert_int_equal(json_object_set_new(s, "state", json_string("preliminary")), 0);
    assert_int_equal(state_begin(h->d.node->state, true, &txn, &e), 0);
    assert_int_equal(loss_keep(txn, epoch, s, &e), 0);
    assert_int_equal(state_commit(&txn, &e), 0);
    json_decref(s);
}

TEST(that_there_was_nothing_is_told_again_until_the_primary_has_heard_it)
{
    /* Behind the fork nothing at all, and nothing that is anybody's. */
    const char *const scripts[] = { ":", "printf '3 V1763800000 N2\n' >mail/ada/dovecot-uidlist" };
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct daemons *n = replaced(84, scripts[i]);
        DAEMONS_NEEDED(n);
        json_decref(completed(n));
        daemons_cut(n, 0, 1);
        host_wait_peer(&n->hosts[1], "mx1", "connecting");
        forget_what_was_found(&n->hosts[1]);
        json_decref(completed(n));
        daemons_free(n);
    }
}

static void
check_statement(struct host *h, const char *last, const char *state)
{
    json_t *s = statement(h);
    const char *name = json_string_value(json_object_get(s, "last_primary"));
    CHECK(last == NULL ? name == NULL : name != NULL && strcmp(name, last) == 0);
    CHECK_STR(json_string_value(json_object_get(s, "state")), state);
    json_decref(s);
}

TEST(what_another_node_had_alone_does_not_complete_the_statement_of_the_one_that_died)
{
    for (enum knows knows = KNOWS_IT; knows <= KNOWS_NOT; knows++) {
        struct daemons *n = replaced_by_the_slower(85, knows);
        DAEMONS_NEEDED(n);
        struct host *new = &n->hosts[1];
        daemons_link(n, 1, 2);
        host_wait_peer(new, "mx3", "connected");
        host_safe_again(new);
        host_wait_salvage(&n->hosts[2], "waiting", 0); /* behind what it tells */
        check_statement(new, knows == KNOWS_NOT ? NULL : "mx1", "preliminary");
        if (knows != KNOWS_NOT) {
            json_t *s = completed(n);
            const json_t *found = json_object_get(s, "found");
            CHECK_STR(json_string_value(json_object_get(found, "node")), "mx1");
            json_decref(s);
        }
        daemons_free(n);
    }
}
