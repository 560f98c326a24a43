#include "replicator/loss.h"

#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/state_dir.h"
#include "replicator/receiver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEY_SIZE  40
#define SECOND_NS UINT64_C(1000000000)

/* --- what it says --- */

static json_t *
time_json(uint64_t ns)
{
    char text[40];
    struct tm tm;
    time_t seconds = (time_t)(ns / SECOND_NS);
    if (ns == 0)
        return json_null();
    size_t len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
    snprintf(text + len, sizeof(text) - len, ".%03" PRIu64 "Z", ns % SECOND_NS / 1000000);
    return json_string(text);
}

const char *
loss_last_primary(const struct loss_facts *facts)
{
    const struct loss_heard *heard = &facts->heard;
    return heard->epoch == facts->last_epoch && heard->node[0] != '\0' ? heard->node : NULL;
}

uint64_t
loss_known(const struct loss_facts *facts)
{
    bool told = facts->heard.epoch == facts->last_epoch && facts->heard.tail > facts->tail;
    return told ? facts->heard.tail - facts->tail : 0;
}

static const char *
durability_word(enum conf_durability durability)
{
    return durability == DURABILITY_DURABLE    ? "durable"
           : durability == DURABILITY_RECEIVED ? "received"
                                               : "async";
}

static bool
is_last_primary(const struct conf *conf, const struct loss_facts *facts, const char *node)
{
    const char *last = loss_last_primary(facts);
    if (last == NULL)
        return conf->node_count == 2; /* there is no third one */
    return strcmp(node, last) == 0;
}

/* A barrier is content with one standby: another one may have what this one lacks. */
static bool
another_confirmed(const struct conf *conf, const struct loss_facts *facts)
{
    for (size_t i = 0; i < conf->node_count; i++) {
        const struct conf_node *node = &conf->nodes[i];
        if (node->durability != DURABILITY_ASYNC && strcmp(node->name, conf->self) != 0 &&
            !is_last_primary(conf, facts, node->name))
            return true;
    }
    return false;
}

/* Does this node have on its disk whatever its primary's barriers called safe? */
static bool
has_what_was_safe(const struct conf *conf, const struct loss_facts *facts)
{
    const struct conf_node *self = conf_node_find(conf, conf->self);
    if (self == NULL || self->durability != DURABILITY_DURABLE || facts->incomplete ||
        facts->unseen > 0)
        return false;
    if (self->follow != NULL && !is_last_primary(conf, facts, self->follow))
        return false; /* it was fed by a standby, for which no barrier waits */
    return !another_confirmed(conf, facts);
}

/* Whether who acknowledged something had waited for a barrier is not known here. Of mail those do
 * that are made for it (gate, plugin); of other kinds nobody does by himself: Postfix's own 250, an
 * LDAP server's answer, an upload of a script. */
static const char *
acknowledged_word(const struct conf *conf, const struct loss_facts *facts,
                  const struct conf_store *store)
{
    if (store->kind != STORE_MAILDIR || store->durability != DURABILITY_DURABLE ||
        !has_what_was_safe(conf, facts))
        return "possible";
    return store->when_alone == ALONE_REFUSE ? "none-that-waited" : "none-while-protected";
}

static bool
has_gate(const struct conf *conf, const struct conf_store *store)
{
    for (size_t i = 0; i < conf->gate_count; i++) {
        const char *to = conf->gates[i].store;
        if (to == NULL ? store->kind == STORE_MAILDIR : strcmp(to, store->name) == 0)
            return true;
    }
    return false;
}

static json_t *
stores_json(const struct conf *conf, const struct loss_facts *facts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < conf->store_count; i++) {
        const struct conf_store *store = &conf->stores[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", store->name, "durability",
                      durability_word(store->durability), "when_alone",
                      store->when_alone == ALONE_REFUSE ? "refuse" : "continue", "acknowledged",
                      acknowledged_word(conf, facts, store), "gate", has_gate(conf, store)));
    }
    return list;
}

static json_t *
known_json(const struct loss_facts *facts)
{
    uint64_t known = loss_known(facts);
    if (known == 0)
        return json_pack("{s:i, s:n, s:n}", "changes", 0, "first", "last");
    return json_pack("{s:I, s:I, s:I}", "changes", (json_int_t)known, "first",
                     (json_int_t)facts->tail + 1, "last", (json_int_t)facts->heard.tail);
}

static json_t *
last_word_json(const struct loss_facts *facts)
{
    const struct loss_heard *heard = &facts->heard;
    if (heard->epoch != facts->last_epoch || heard->our_ns == 0)
        return json_null();
    return json_pack("{s:o, s:o, s:I}", "at", time_json(heard->our_ns), "its_clock",
                     time_json(heard->its_ns), "seq", (json_int_t)heard->tail);
}

/* A word may lie unread for a while: it is no younger than its sender says, by whose clock it may
 * be older. When it did not say, nothing is known behind what is here. */
static uint64_t
open_from_ns(const struct loss_facts *facts)
{
    const struct loss_heard *heard = &facts->heard;
    if (heard->epoch != facts->last_epoch || heard->its_ns == 0)
        return facts->tail_ns;
    return MIN(heard->our_ns, heard->its_ns);
}

json_t *
loss_statement(const struct conf *conf, const struct loss_facts *facts, json_t *folders)
{
    return json_pack(
        "{s:I, s:s, s:s, s:I, s:s?, s:b, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:n}", "epoch",
        (json_int_t)facts->epoch, "node", conf->self, "state", "preliminary", "last_epoch",
        (json_int_t)facts->last_epoch, "last_primary", loss_last_primary(facts), "incomplete",
        facts->incomplete, "have_up_to", (json_int_t)facts->tail, "have_up_to_time",
        time_json(facts->tail_ns), "known", known_json(facts), "received_in_part", folders,
        "last_word", last_word_json(facts), "open_from", time_json(open_from_ns(facts)),
        "open_until", time_json(facts->now_ns), "stores", stores_json(conf, facts), "found");
}

/* --- kept --- */

static void
row_key(uint64_t epoch, char ret_key[KEY_SIZE])
{
    snprintf(ret_key, KEY_SIZE, LOSS_KEY "%" PRIu64, epoch);
}

int
loss_keep(struct state_txn *txn, uint64_t epoch, const json_t *statement, struct err *e)
{
    char key[KEY_SIZE];
    _cleanup_free_ char *text = json_dumps(statement, JSON_COMPACT);
    if (text == NULL)
        return err_set(e, ERR_CORRUPT, "the loss statement of epoch %" PRIu64 " cannot be written",
                       epoch);
    row_key(epoch, key);
    return state_put(txn, key, span_str(text), e);
}

int
loss_get(struct state_txn *txn, uint64_t epoch, json_t **ret_statement, struct err *e)
{
    char key[KEY_SIZE];
    struct span row;
    row_key(epoch, key);
    int found = state_get(txn, key, &row, e);
    if (found <= 0)
        return found;
    *ret_statement = json_loadb((const char *)row.ptr, row.len, 0, NULL);
    if (*ret_statement == NULL)
        return err_set(e, ERR_CORRUPT, "the row \"%s\" of the state is not JSON", key);
    return 1;
}

int
loss_list(struct state_txn *txn, json_t **ret_list, struct err *e)
{
    struct span row = { 0 };
    json_t *list = json_array();
    int found = state_get(txn, LEDGER_EPOCHS, &row, e);
    for (size_t at = 0; found > 0 && at + LEDGER_EPOCH_ROW <= row.len; at += LEDGER_EPOCH_ROW) {
        json_t *one = NULL;
        int got = loss_get(txn, get_le64(row.ptr + at), &one, e);
        if (got > 0)
            json_array_append_new(list, one);
        found = got < 0 ? -1 : found;
    }
    if (found < 0) {
        json_decref(list);
        return -1;
    }
    *ret_list = list;
    return 0;
}

/* --- files, for who comes when nothing runs any more --- */

static int
write_file(int dirfd, const char *name, const json_t *statement, struct err *e)
{
    _cleanup_free_ char *text = json_dumps(statement, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    if (text == NULL)
        return err_set(e, ERR_CORRUPT, "%s cannot be written", name);
    size_t len = strlen(text);
    text[len] = '\n'; /* in the place of the NUL */
    return file_replace(dirfd, name, span_of(text, len + 1), 0600, e);
}

static void
tell(const json_t *s)
{
    const json_t *known = json_object_get(s, "known");
    const char *from = json_string_value(json_object_get(s, "open_from"));
    const char *until = json_string_value(json_object_get(s, "open_until"));
    event(EV_LOSS_STATEMENT,
          F_U64("epoch", (uint64_t)json_integer_value(json_object_get(s, "epoch"))),
          F_STR("state", json_string_value(json_object_get(s, "state"))),
          F_U64("known", (uint64_t)json_integer_value(json_object_get(known, "changes"))),
          F_STR("open_from", from == NULL ? "" : from),
          F_STR("open_until", until == NULL ? "" : until));
}

static int
publish_one(int dirfd, const json_t *statement, uint64_t always, struct err *e)
{
    char name[KEY_SIZE];
    uint64_t epoch = (uint64_t)json_integer_value(json_object_get(statement, "epoch"));
    snprintf(name, sizeof(name), "%" PRIu64 ".json", epoch);
    if (epoch != always && faccessat(dirfd, name, F_OK, 0) == 0)
        return 0;
    if (write_file(dirfd, name, statement, e) < 0)
        return -1;
    tell(statement);
    return 0;
}

int
loss_publish(struct state *state, int state_dirfd, uint64_t epoch, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    json_t *list = NULL;
    if (state_begin(state, false, &txn, e) < 0 || loss_list(txn, &list, e) < 0)
        return err_wrap(e, "read the loss statements");
    state_abort(&txn);
    size_t count = json_array_size(list);
    _cleanup_close_ int dirfd = count == 0 ? -1 : state_dir_folder(state_dirfd, LOSS_DIR, e);
    int rc = count > 0 && dirfd < 0 ? -1 : 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = publish_one(dirfd, json_array_get(list, i), epoch, e);
    json_decref(list);
    return rc < 0 ? err_wrap(e, "write a loss statement") : 0;
}

/* --- the end of it --- */

const char *const loss_kinds[LOSS_KINDS + 1] = { "messages", "flag_changes", "expunges", "others",
                                                 NULL };

static json_t *
found_json(const struct loss_found *found)
{
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:O?}", "node", found->node, "at",
                     time_json(found->at * SECOND_NS), "messages", (json_int_t)found->messages,
                     "flag_changes", (json_int_t)found->flag_changes, "expunges",
                     (json_int_t)found->expunges, "others", (json_int_t)found->others, "folders",
                     found->folders);
}

int
loss_complete(struct state *state, int state_dirfd, uint64_t epoch, const struct loss_found *found,
              struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    json_t *statement = NULL;
    if (state_begin(state, true, &txn, e) < 0)
        return -1;
    int got = loss_get(txn, epoch, &statement, e);
    if (got <= 0)
        return got;
    json_object_set_new(statement, "state", json_string("final"));
    json_object_set_new(statement, "found", found_json(found));
    int rc = loss_keep(txn, epoch, statement, e);
    json_decref(statement);
    if (rc < 0 || state_commit(&txn, e) < 0)
        return -1;
    return loss_publish(state, state_dirfd, epoch, e) < 0 ? -1 : 1;
}
