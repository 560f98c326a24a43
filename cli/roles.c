/* roles.c - promote and demote: the daemon's half by an order, then the steps that need programs.
 */
#include "cli/accounts.h"
#include "cli/commands.h"
#include "cli/directory.h"
#include "cli/steps.h"
#include "lib/os/control.h"
#include "lib/store/dump_run.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_MS     60000
#define DRAIN_MS      60000
#define DRAIN_GRACE   1000 /* for the daemon to say that it was late */
#define ACCOUNTS_MS   1000 /* for comparing accounts with mailboxes: services wait for the order */
#define EXIT_DEGRADED 4

static json_t *
order(const char *what)
{
    return json_pack("{s:s}", "do", what);
}

/* --- what a promotion would do --- */

static void
print_peers(const json_t *status)
{
    const json_t *peers = json_object_get(status, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *peer = json_array_get(peers, i);
        const char *why = json_string_value(json_object_get(peer, "why"));
        printf("  %-12s %s%s%s\n", json_text(peer, "node"), json_text(peer, "state"),
               why != NULL ? ": " : "", why != NULL ? why : "");
    }
}

static void
print_planned_steps(const struct conf *conf)
{
    _cleanup_json_ json_t *steps = steps_plan(conf);
    if (json_array_size(steps) > 0)
        puts("Then these steps:");
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        printf("  %-12s %s\n", json_text(step, "step"), json_text(step, "store"));
    }
}

static int
plan_promote(const struct line *line, const struct conf *conf, struct err *e)
{
    _cleanup_json_ json_t *status = NULL;
    _cleanup_json_ json_t *plan = NULL;
    json_t *request = order("promote");
    json_object_set_new(request, "plan", json_true());
    if (line_ask(line, CONTROL_SOCKET, order("status"), ANSWER_MS, &status, e) < 0) {
        json_decref(request);
        return -1;
    }
    if (line_ask(line, CONTROL_SOCKET, request, ANSWER_MS, &plan, e) < 0)
        return -1;
    const char *refused = json_string_value(json_object_get(plan, "refused"));
    printf(
        "%s, now %s of epoch %.0f, would become the primary with epoch %.0f.\n"
        "Every other node is refused from then on while its data is not a part of this node's:\n",
        json_text(status, "node"), json_text(status, "role"),
        json_number_value(json_object_get(status, "epoch")),
        json_number_value(json_object_get(plan, "epoch")));
    print_peers(status);
    print_planned_steps(conf);
    if (refused != NULL)
        printf("It is refused unless it is forced: %s.\n", refused);
    puts("Nothing has been changed.");
    return 0;
}

/* --- promote --- */

static void
told_nothing(const json_t *step)
{
    (void)step;
}

static void
told_step(const json_t *step)
{
    bool done = strcmp(json_text(step, "state"), "done") == 0;
    printf("%-12s %-12s %s in %.1f s: %s\n", json_text(step, "step"), json_text(step, "store"),
           done ? "done" : "FAILED", json_number_value(json_object_get(step, "seconds")),
           json_text(step, "text"));
    fflush(stdout);
}

struct role {
    bool primary;
    bool first; /* it never followed anybody: what it has is its own */
    uint64_t epoch;
};

static int
ask_role(const struct line *line, struct role *ret_role, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (line_ask(line, CONTROL_BARRIER, order("role"), ANSWER_MS, &reply, e) < 0)
        return -1;
    ret_role->primary = strcmp(json_text(reply, "role"), "primary") == 0;
    ret_role->first = json_text(reply, "history")[0] == '\0';
    ret_role->epoch = (uint64_t)json_integer_value(json_object_get(reply, "epoch"));
    return 0;
}

/* The daemon of a node that is primary ends what an order before could not. *ret_failed: folders
 * whose numbers could not be made safe. */
static int
order_promotion(const struct line *line, json_int_t *ret_failed, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    json_t *request = order("promote");
    json_object_set_new(request, "force", json_boolean(line_has(line, "force")));
    if (line_ask(line, CONTROL_SOCKET, request, ANSWER_MS, &reply, e) < 0)
        return -1;
    *ret_failed = json_integer_value(json_object_get(reply, "folders_failed"));
    return 0;
}

/* What was wanted is on record before the role moves; see steps.h. */
static int
take_role(const struct line *line, const struct conf *conf, bool first, json_int_t *ret_failed,
          struct err *e)
{
    if (!first && steps_want(conf, e) < 0)
        return -1;
    if (order_promotion(line, ret_failed, e) == 0)
        return 0;
    struct err why = { 0 };
    if (e->code == ERR_REFUSED && steps_give_up(conf, &why) < 0)
        fprintf(stderr, "mailtwin: %s\n", why.text);
    return -1;
}

/* The role has moved all the same. */
static void
tell_folders(json_int_t failed)
{
    if (failed > 0)
        fprintf(stderr,
                "mailtwin: the numbers of %lld folders could not be made safe, and a client may "
                "see one message for another: event 1021 IDENTITY_STUCK names each and says why; "
                "see the runbook promote-by-hand before the mail server is started\n",
                (long long)failed);
}

/* A directory that is not level says nothing of accounts; nor does a node without steps. */
static bool
directory_is_level(const json_t *record)
{
    const json_t *steps = json_object_get(record, "steps");
    size_t level = 0;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        if (strcmp(json_text(step, "step"), "directory") != 0)
            continue;
        if (strcmp(json_text(step, "state"), "done") != 0)
            return false;
        level++;
    }
    return level > 0;
}

/* {"mailboxes_without_account", "accounts_without_mailbox"}: how many; NULL nobody knows. */
static json_t *
count_accounts(const struct conf *conf, const json_t *record, struct err *e)
{
    _cleanup_json_ json_t *found = NULL;
    if (!accounts_are_known(conf) || !directory_is_level(record))
        return NULL;
    int got = accounts_compare(conf, ACCOUNTS_MS, &found, e);
    if (got == 0)
        err_set(e, ERR_TIMEOUT, "it takes longer than a second");
    if (got <= 0)
        return NULL;
    size_t orphans = json_array_size(json_object_get(found, ACCOUNTS_ORPHANS));
    size_t empty = json_array_size(json_object_get(found, ACCOUNTS_EMPTY));
    return json_pack("{s:I, s:I}", ACCOUNTS_ORPHANS, (json_int_t)orphans, ACCOUNTS_EMPTY,
                     (json_int_t)empty);
}

static void
tell_accounts(const json_t *counts, const struct err *e)
{
    if (counts != NULL)
        printf("accounts and mailboxes: %lld mailboxes without an account, %lld accounts without a "
               "mailbox; mailtwin accounts lists them\n",
               (long long)json_integer_value(json_object_get(counts, ACCOUNTS_ORPHANS)),
               (long long)json_integer_value(json_object_get(counts, ACCOUNTS_EMPTY)));
    else if (e->code != ERR_NONE)
        printf("accounts and mailboxes were not compared (%s); mailtwin accounts does it\n",
               e->text);
}

static int
show_steps(const struct line *line, const struct conf *conf, json_t *record, json_int_t failed)
{
    size_t left = steps_left(record);
    struct err why = { 0 };
    tell_folders(failed);
    _cleanup_json_ json_t *counts = count_accounts(conf, record, &why);
    if (line_has(line, "json")) {
        _cleanup_json_ json_t *none = json_pack("{s:[]}", "steps");
        json_t *out = record != NULL ? record : none;
        json_object_set_new(out, "folders_failed", json_integer(failed));
        json_object_update(out, counts);
        print_json(out);
        return left > 0 || failed > 0 ? EXIT_DEGRADED : 0;
    }
    tell_accounts(counts, &why);
    if (left > 0)
        printf(
            "%zu steps are left: mend what they say and give the order again, which does what is "
            "left; or do them by hand, see the runbook promote-by-hand\n",
            left);
    return left > 0 || failed > 0 ? EXIT_DEGRADED : 0;
}

static int
promote_with_steps(const struct line *line, const struct conf *conf, struct err *e)
{
    struct role role;
    _cleanup_json_ json_t *record = NULL;
    bool json = line_has(line, "json");
    json_int_t failed = 0;
    if (ask_role(line, &role, e) < 0)
        return -1;
    int rc = role.primary ? order_promotion(line, &failed, e)
                          : take_role(line, conf, role.first, &failed, e);
    if (rc < 0 || (!role.primary && ask_role(line, &role, e) < 0))
        return -1;
    if (!role.primary)
        return err_set(e, ERR_REFUSED, "this node has lost the role again; see mailtwin status");
    if (!json)
        puts("this node is the primary");
    fflush(stdout);
    if (steps_run(conf, role.epoch, json ? told_nothing : told_step, &record, e) < 0)
        return -1;
    return show_steps(line, conf, record, failed);
}

int
cmd_promote(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    if (line_conf(line, &conf, e) < 0)
        return -1;
    if (line_has(line, "plan"))
        return plan_promote(line, conf, e);
    _cleanup_json_ json_t *steps = steps_plan(conf);
    if (json_array_size(steps) > 0)
        return promote_with_steps(line, conf, e);
    json_int_t failed = 0;
    if (take_role(line, conf, true, &failed, e) < 0)
        return -1;
    if (!line_has(line, "json"))
        puts("this node is the primary");
    return show_steps(line, conf, NULL, failed);
}

/* --- demote --- */

/* What was in the stores up to now is on a standby's disk, also of async stores, or the order is
 * refused: what is not there would wait on this node until it is the primary again, or be salvaged
 * from it. What the directory servers have answered is in the stores first. */
static int
drain(const struct line *line, const struct conf *conf, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    uint64_t left_ms = DRAIN_MS;
    if (directory_hand_over(conf, &left_ms, e) < 0)
        return -1;
    json_t *request = json_pack("{s:s, s:b, s:I}", "do", "barrier", "handover", true, "timeout_ms",
                                (json_int_t)left_ms);
    if (line_ask(line, CONTROL_BARRIER, request, (int)left_ms + DRAIN_GRACE, &reply, e) < 0)
        return -1;
    const char *state = json_text(reply, "state");
    if (strcmp(state, "safe") == 0)
        return 0;
    return err_set(e, ERR_REFUSED,
                   "%s, so that changes of this node would be on no standby; mailtwin status says "
                   "why, and --force demotes all the same",
                   strcmp(state, "late") == 0 ? "a standby did not confirm within a minute"
                                              : "no standby follows this node now");
}

/* The other node restores the newest version: let that be what the programs have now. */
static int
run_dumps(const struct conf *conf, struct err *e)
{
    for (size_t i = 0; i < conf->store_count; i++) {
        struct dump_result result;
        if (conf->stores[i].kind != STORE_DUMP)
            continue;
        if (dump_take(conf, &conf->stores[i], false, false, dump_role_of_node, &result, e) < 0)
            return err_wrap(e, "not demoted (--no-dump leaves this out)");
    }
    return 0;
}

int
cmd_demote(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    _cleanup_json_ json_t *reply = NULL;
    bool drains = !line_has(line, "force");
    if (line_conf(line, &conf, e) < 0 || (!line_has(line, "no-dump") && run_dumps(conf, e) < 0))
        return -1;
    int rc = drains ? drain(line, conf, e) : 0;
    bool ordered = rc >= 0;
    if (ordered)
        rc = line_ask(line, CONTROL_SOCKET, order("demote"), ANSWER_MS, &reply, e);
    if (rc < 0 && drains && !(ordered && e->code == ERR_TIMEOUT)) /* else it may be done yet */
        directory_resume(conf);
    if (rc < 0)
        return -1;
    puts("this node is no primary any more");
    return 0;
}
