/* What a promotion says may be lost, and that it is kept. */
#include "replicator/loss.h"
#include "lib/os/file.h"
#include "tests/unit/capture_kit.h"

#define T0 UINT64_C(1795389243000000000)

static struct conf_store stores[] = {
    { .name = (char[]){ "mail" }, .kind = STORE_MAILDIR, .durability = DURABILITY_DURABLE },
    { .name = (char[]){ "files" }, .kind = STORE_FILES, .durability = DURABILITY_ASYNC },
};
static struct conf_node nodes[] = {
    { .name = (char[]){ "mx1" } }, { .name = (char[]){ "mx2" }, .durability = DURABILITY_DURABLE }
};
static struct conf conf = {
    .nodes = nodes, .node_count = 2, .stores = stores, .store_count = 2, .self = (char[]){ "mx2" }
};

static struct loss_facts
facts_of(uint64_t told)
{
    return (struct loss_facts){ .epoch = 2,
                                .last_epoch = 1,
                                .tail = 100,
                                .tail_ns = T0,
                                .now_ns = T0 + 9000000000,
                                .heard = { 1, told, T0 + 4000000000, T0 + 5000000000, "mx1" } };
}

static void
received(struct loss_watch *w, uint16_t store, const char *path)
{
    struct record r = { .op = OP_PUT, .store = store, .path = span_str(path) };
    loss_watch_received(w, &conf, &r);
}

static const char *
word(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static json_int_t
count(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

TEST(a_statement_bounds_what_is_missing_by_numbers_times_and_folders)
{
    struct loss_watch *w = loss_watch_new();
    loss_watch_start(w, 1, "mx1");
    received(w, 0, "example.org/ada/cur/1.a:2,S");
    received(w, 0, "example.org/ada/new/2.a");
    received(w, 0, "example.org/ada/.Sent/cur/3.a:2,");
    received(w, 1, "etc/motd");
    struct loss_facts facts = facts_of(107);
    json_t *s = loss_statement(&conf, &facts, loss_watch_folders(w));
    const json_t *known = json_object_get(s, "known");
    CHECK_INT(count(known, "changes"), 7);
    CHECK_INT(count(known, "first"), 101);
    CHECK_INT(count(known, "last"), 107);
    CHECK_STR(word(s, "have_up_to_time"), "2026-11-22T23:14:03.000Z");
    CHECK_STR(word(s, "open_from"), "2026-11-22T23:14:07.000Z");
    CHECK_STR(word(s, "open_until"), "2026-11-22T23:14:12.000Z");
    const json_t *folders = json_object_get(s, "received_in_part");
    CHECK_INT(json_array_size(folders), 3);
    CHECK_STR(word(json_array_get(folders, 0), "user"), "example.org/ada");
    CHECK_STR(word(json_array_get(folders, 0), "folder"), "");
    CHECK_INT(count(json_array_get(folders, 0), "changes"), 2);
    CHECK_STR(word(json_array_get(folders, 1), "folder"), "Sent");
    CHECK_STR(word(json_array_get(folders, 2), "folder"), "etc");
    const json_t *of = json_object_get(s, "stores");
    CHECK_STR(word(json_array_get(of, 0), "acknowledged"), "none-while-protected");
    CHECK_STR(word(json_array_get(of, 1), "acknowledged"), "possible");
    CHECK(json_is_false(json_object_get(s, "incomplete")));
    json_decref(s);
    loss_watch_carried_out(w);
    s = loss_watch_folders(w);
    CHECK_INT(json_array_size(s), 0);
    json_decref(s);
    loss_watch_free(&w);
}

TEST(nothing_is_known_of_a_primary_that_was_never_heard)
{
    struct loss_facts facts = facts_of(107);
    facts.last_epoch = 3; /* another one than was heard */
    CHECK_INT(loss_known(&facts), 0);
    json_t *s = loss_statement(&conf, &facts, json_array());
    CHECK(json_is_null(json_object_get(s, "last_word")));
    CHECK_STR(word(s, "open_from"), "2026-11-22T23:14:03.000Z"); /* from what is here */
    json_decref(s);
    facts = facts_of(99); /* it told of less than is here */
    CHECK_INT(loss_known(&facts), 0);
}

static void
check_open_from(const struct loss_facts *facts, const char *when)
{
    json_t *s = loss_statement(&conf, facts, json_array());
    CHECK_STR(word(s, "open_from"), when);
    json_decref(s);
}

TEST(the_open_time_begins_no_later_than_the_last_word_was_said)
{
    struct loss_facts facts = facts_of(107);
    facts.heard.its_ns = T0 + 1000000000; /* it lay unread for four seconds */
    check_open_from(&facts, "2026-11-22T23:14:04.000Z");
    facts.heard.its_ns = T0 + 60000000000; /* its clock is ahead */
    check_open_from(&facts, "2026-11-22T23:14:08.000Z");
    facts.heard.its_ns = 0; /* its link was up, and it had said nothing yet */
    check_open_from(&facts, "2026-11-22T23:14:03.000Z");
}

static void
check_acknowledged(const struct loss_facts *facts, const char *expected)
{
    json_t *s = loss_statement(&conf, facts, json_array());
    const json_t *store = json_array_get(json_object_get(s, "stores"), 0);
    CHECK_STR(word(store, "acknowledged"), expected);
    json_decref(s);
}

TEST(a_refusing_store_lost_nothing_that_waited_at_a_barrier)
{
    struct loss_facts facts = facts_of(100);
    stores[0].when_alone = ALONE_REFUSE;
    check_acknowledged(&facts, "none-that-waited");
    nodes[1].durability = DURABILITY_RECEIVED; /* this node acknowledged what it had in memory */
    check_acknowledged(&facts, "possible");
    nodes[1].durability = DURABILITY_DURABLE;
    stores[0].durability = DURABILITY_RECEIVED;
    check_acknowledged(&facts, "possible");
    stores[0].durability = DURABILITY_DURABLE;
    stores[0].when_alone = ALONE_CONTINUE;
}

TEST(where_nobody_waits_at_a_barrier_what_was_acknowledged_may_be_lost)
{
    static const enum store_kind kinds[] = { STORE_QUEUE, STORE_LDAP, STORE_DUMP, STORE_FILES };
    struct loss_facts facts = facts_of(100);
    stores[0].when_alone = ALONE_REFUSE;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        stores[0].kind = kinds[i];
        check_acknowledged(&facts, "possible");
    }
    stores[0].kind = STORE_MAILDIR;
    check_acknowledged(&facts, "none-that-waited");
    stores[0].when_alone = ALONE_CONTINUE;
}

TEST(a_node_that_may_lack_what_was_called_safe_does_not_say_otherwise)
{
    struct loss_facts facts = facts_of(100);
    facts.incomplete = true;
    check_acknowledged(&facts, "possible");
    json_t *s = loss_statement(&conf, &facts, json_array());
    CHECK(json_is_true(json_object_get(s, "incomplete")));
    json_decref(s);
    facts.incomplete = false;
    facts.unseen = 1; /* another primary served, and nothing of it came here */
    check_acknowledged(&facts, "possible");
    facts.unseen = 0;
    nodes[1].follow = (char[]){ "mx3" }; /* no barrier waits for it */
    check_acknowledged(&facts, "possible");
    nodes[1].follow = nodes[0].name;
    check_acknowledged(&facts, "none-while-protected");
    nodes[1].follow = NULL;
}

TEST(what_another_standby_confirmed_is_not_said_to_be_here)
{
    struct conf_node three[] = { nodes[0],
                                 nodes[1],
                                 { .name = (char[]){ "dr" }, .durability = DURABILITY_ASYNC } };
    struct loss_facts facts = facts_of(100);
    conf.nodes = three;
    conf.node_count = 3;
    three[0].durability = DURABILITY_DURABLE;
    check_acknowledged(&facts, "none-while-protected"); /* for an async node no barrier waits */
    three[2].durability = DURABILITY_RECEIVED;
    check_acknowledged(&facts, "possible");
    three[2].durability = DURABILITY_ASYNC;
    facts.heard.node[0] = '\0'; /* which of the two confirmed is not known */
    check_acknowledged(&facts, "possible");
    conf.nodes = nodes;
    conf.node_count = 2;
    nodes[0].durability = DURABILITY_DURABLE;
    check_acknowledged(&facts, "none-while-protected"); /* of two it was the other */
    nodes[0].durability = DURABILITY_ASYNC;
}

static void
check_gates(bool mail, bool files)
{
    struct loss_facts facts = facts_of(100);
    json_t *s = loss_statement(&conf, &facts, json_array());
    const json_t *of = json_object_get(s, "stores");
    CHECK_INT(json_is_true(json_object_get(json_array_get(of, 0), "gate")), mail);
    CHECK_INT(json_is_true(json_object_get(json_array_get(of, 1), "gate")), files);
    json_decref(s);
}

TEST(a_statement_says_which_stores_a_gate_delivers_to)
{
    struct conf_gate gate = { .name = (char[]){ "lmtp" } };
    check_gates(false, false);
    conf.gates = &gate;
    conf.gate_count = 1;
    check_gates(true, false); /* all of kind maildir */
    gate.store = stores[1].name;
    check_gates(false, true);
    conf.gate_count = 0;
}

TEST(only_so_many_folders_are_named_and_the_rest_is_counted)
{
    struct loss_watch *w = loss_watch_new();
    char path[64];
    for (unsigned i = 0; i < LOSS_FOLDERS_MAX + 5; i++) {
        snprintf(path, sizeof(path), "example.org/u%u/cur/1.a:2,", i);
        received(w, 0, path);
    }
    received(w, 7, "a store that this node has not");
    json_t *folders = loss_watch_folders(w);
    CHECK_INT(json_array_size(folders), LOSS_FOLDERS_MAX + 1);
    CHECK_INT(count(json_array_get(folders, LOSS_FOLDERS_MAX), "changes"), 5);
    json_decref(folders);
    loss_watch_free(&w);
}

static void
keep(struct cap *c, uint64_t epoch)
{
    struct state_txn *txn;
    struct loss_facts facts = facts_of(107);
    uint8_t epochs[16];
    facts.epoch = epoch;
    json_t *s = loss_statement(&conf, &facts, json_array());
    put_le64(epochs, epoch);
    put_le64(epochs + 8, 101);
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    CHECK_INT(state_put(txn, "epochs", span_of(epochs, sizeof(epochs)), &c->e), 0);
    CHECK_INT(loss_keep(txn, epoch, s, &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
    json_decref(s);
}

TEST(a_statement_is_published_once_and_made_final_when_the_primary_is_back)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    struct loss_found found = { "mx1", 1795389999, 3, 2, 1, 4, NULL };
    cap_open(c);
    keep(c, 2);
    CHECK_INT(loss_publish(c->node->state, c->node->state_dirfd, 0, &c->e), 0);
    cap_sh(c, "grep -q preliminary ../state/loss/2.json && echo kept >../state/loss/2.json");
    CHECK_INT(loss_publish(c->node->state, c->node->state_dirfd, 0, &c->e), 0);
    cap_sh(c, "grep -qx kept ../state/loss/2.json");
    CHECK_INT(loss_complete(c->node->state, c->node->state_dirfd, 9, &found, &c->e), 0);
    CHECK_INT(loss_complete(c->node->state, c->node->state_dirfd, 2, &found, &c->e), 1);
    cap_sh(c, "grep -q '\"final\"' ../state/loss/2.json && grep -q '\"messages\": 3' "
              "../state/loss/2.json");
    cap_free(c);
}

TEST(what_was_heard_is_kept_in_the_state)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    struct loss_watch *w = loss_watch_new();
    struct loss_heard heard;
    struct state_txn *txn;
    cap_open(c);
    loss_watch_start(w, 5, "mx1");
    loss_watch_start(w, 5, NULL); /* of the same primary, from a standby */
    loss_watch_hear(w, 70, T0);
    loss_watch_hear(w, 60, 0); /* of an older COMMIT */
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    CHECK_INT(loss_watch_save(w, txn, &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
    loss_watch_free(&w);
    w = loss_watch_new();
    CHECK_INT(state_begin(c->node->state, false, &txn, &c->e), 0);
    CHECK_INT(loss_watch_load(w, txn, &c->e), 0);
    state_abort(&txn);
    loss_watch_heard(w, &heard);
    CHECK_INT(heard.epoch, 5);
    CHECK_INT(heard.tail, 70);
    CHECK(heard.its_ns == T0 && heard.our_ns > 0);
    CHECK_STR(heard.node, "mx1");
    loss_watch_start(w, 6, NULL); /* another primary: what the last one told is nothing to it */
    loss_watch_heard(w, &heard);
    CHECK_INT(heard.tail, 0);
    CHECK_STR(heard.node, "");
    loss_watch_free(&w);
    cap_free(c);
}
