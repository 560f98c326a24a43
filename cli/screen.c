#include "cli/screen.h"

#include "cli/line.h"
#include "cli/progress.h"
#include "lib/base/base.h"

#include <string.h>

#define MIB        (1024.0 * 1024.0)
#define RISK_SHOWN 5 /* users by name */
#define CELL_MAX   256

static double
number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool
is_role(const json_t *status, const char *role)
{
    return strcmp(json_text(status, "role"), role) == 0;
}

static void
print_role(const json_t *status, FILE *out)
{
    const char *role = json_text(status, "role");
    fprintf(out, "%s: %s %s%s, epoch %.0f\n", json_text(status, "cluster"),
            json_text(status, "node"),
            role[0] == 'p'   ? "is the "
            : role[0] == 's' ? "is a "
                             : "has no role: ",
            role, number_of(status, "epoch"));
}

static void
print_lag(const json_t *peer, FILE *out)
{
    char seconds[HUMAN_MAX], bytes[HUMAN_MAX];
    double durable = number_of(peer, "durable_seq"), messages = number_of(peer, "lag_messages");
    const json_t *resync = json_object_get(peer, "resync");
    if (json_is_object(resync)) {
        fprintf(out, "%.0f %% compared", number_of(resync, "done") * 100);
        if (number_of(resync, "per_second") > 0)
            fprintf(out, ", %.0f directories/s", number_of(resync, "per_second"));
        if (json_is_number(json_object_get(resync, "seconds_left")))
            fprintf(out, ", %s left", human_seconds(number_of(resync, "seconds_left"), seconds));
    } else if (messages > 0 || number_of(peer, "lag_seconds") > 0) {
        const json_t *complete = json_object_get(peer, "lag_complete");
        fprintf(out, "lacks %s%.0f %s, %s, of the last %s",
                json_is_false(complete) ? "more than " : "", messages,
                messages >= 1 && messages <= 1 ? "message" : "messages",
                human_bytes(number_of(peer, "lag_bytes"), bytes),
                human_seconds(number_of(peer, "lag_seconds"), seconds));
    } else if (durable > 0 && strcmp(json_text(peer, "state"), "connected") == 0) {
        double took = number_of(peer, "ack_seconds");
        fprintf(out, "has everything up to %.0f", durable);
        if (took > 0)
            fprintf(out, ", lag %s", human_seconds(took, seconds));
    }
}

/* --- is mail safe now? --- */

static size_t
stores_that_are(const json_t *status, const char *protection)
{
    const json_t *stores = json_object_get(status, "stores");
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(stores); i++)
        count += strcmp(json_text(json_array_get(stores, i), "protection"), protection) == 0;
    return count;
}

static void
print_stores_that_are(const json_t *status, const char *protection, const char *words, FILE *out)
{
    const json_t *stores = json_object_get(status, "stores");
    size_t count = stores_that_are(status, protection);
    if (count == 0 || count == json_array_size(stores)) /* the line above says it */
        return;
    fprintf(out, "           %s:", words);
    for (size_t i = 0; i < json_array_size(stores); i++) {
        const json_t *store = json_array_get(stores, i);
        if (strcmp(json_text(store, "protection"), protection) == 0)
            fprintf(out, " %s", json_text(store, "name"));
    }
    fputc('\n', out);
}

/* Of those that follow the one that lacks least, NULL none. */
static const json_t *
nearest_standby(const json_t *status)
{
    const json_t *peers = json_object_get(status, "peers"), *nearest = NULL;
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *peer = json_array_get(peers, i);
        if (strcmp(json_text(peer, "state"), "connected") != 0 ||
            strcmp(json_text(peer, "direction"), "sends to it") != 0)
            continue;
        if (nearest == NULL || number_of(peer, "lag_records") < number_of(nearest, "lag_records"))
            nearest = peer;
    }
    return nearest;
}

/* Nothing waits: what is safe is what a standby has by itself. */
static void
print_async(const json_t *status, FILE *out)
{
    const char *since = json_text(status, "no_standby_since");
    const json_t *standby = nearest_standby(status);
    if (since[0] != '\0')
        fprintf(out, "mail       NOT SAFE since %s: async, and no standby follows\n", since);
    else if (standby == NULL)
        fputs("mail       ASYNC, no standby is waited for\n", out);
    else {
        fprintf(out, "mail       ASYNC, no standby is waited for; %s ", json_text(standby, "node"));
        print_lag(standby, out);
        fputc('\n', out);
    }
}

static void
print_protection(const json_t *status, FILE *out)
{
    const char *since = json_text(status, "degraded_since");
    const char *state = json_text(status, "state");
    const char *part = stores_that_are(status, "async") > 0 ? " in part" : "";
    if (strcmp(state, "refusing") == 0)
        fprintf(out, "mail       REFUSED%s since %s: no standby protects it\n", part, since);
    else if (since[0] != '\0')
        fprintf(out, "mail       NOT SAFE since %s: it is accepted with no standby protecting it\n",
                since);
    else if (strcmp(state, "protected") == 0)
        fprintf(out, "mail       safe%s: a standby protects it\n", part);
    else
        fprintf(out, "mail       not protected yet: %s\n", state);
    print_stores_that_are(status, "degraded", "NOT SAFE", out);
    print_stores_that_are(status, "refusing", "REFUSED", out);
    print_stores_that_are(status, "async", "waits for no standby", out);
    print_stores_that_are(status, "protected", "waits for a standby", out);
}

/* The question of three in the morning. */
static void
print_safety(const json_t *status, FILE *out)
{
    size_t async = stores_that_are(status, "async");
    if (is_role(status, "standby"))
        fprintf(out, "mail       is accepted by the primary; ask there whether it is safe\n");
    else if (async > 0 && async == json_array_size(json_object_get(status, "stores")))
        print_async(status, out);
    else
        print_protection(status, out);
    if (json_text(status, "why")[0] != '\0')
        fprintf(out, "           %s\n", json_text(status, "why"));
}

static void
print_user_at_risk(const json_t *user, bool first, FILE *out)
{
    const char *name = json_text(user, "user");
    fprintf(out, "%s%s %.0f", first ? "" : ", ", name[0] != '\0' ? name : json_text(user, "store"),
            number_of(user, "messages"));
}

/* What would be lost with this machine. What is on its way and waited for is the lag. */
static void
print_risk(const json_t *status, FILE *out)
{
    const json_t *risk = json_object_get(status, "at_risk");
    const json_t *users = json_object_get(risk, "users");
    bool alone = json_text(status, "degraded_since")[0] != '\0' ||
                 stores_that_are(status, "async") > 0;
    size_t shown = 0;
    if (!json_is_object(risk) || !alone || number_of(risk, "changes") < 1)
        return;
    fprintf(out, "at risk    %s%.0f messages and %.0f other changes since %s\n           ",
            json_is_false(json_object_get(risk, "complete")) ? "more than " : "",
            number_of(risk, "messages"), number_of(risk, "changes") - number_of(risk, "messages"),
            json_text(risk, "since"));
    for (; shown < MIN(json_array_size(users), (size_t)RISK_SHOWN); shown++)
        print_user_at_risk(json_array_get(users, shown), shown == 0, out);
    if (number_of(risk, "user_count") > (double)shown)
        fprintf(out, " and %.0f more", number_of(risk, "user_count") - (double)shown);
    fputc('\n', out);
}

/* Of this node's own copy, while it is not complete. */
static void
print_sync(const json_t *status, FILE *out)
{
    const char *sync = json_text(status, "sync");
    const char *from = json_text(status, "sync_from");
    if (from[0] != '\0')
        fprintf(out,
                "copy       a resync from %s is ordered, and no other node is followed until it "
                "begins;\n           mailtwin resync takes it from whoever is primary\n",
                from);
    else if (strcmp(sync, "ordered") == 0)
        fprintf(out, "copy       a resync is ordered; it begins when a primary is connected\n");
    else if (strcmp(sync, "unfinished") == 0)
        fprintf(out, "copy       not complete: it is being brought level\n");
}

/* What the mass-change guard of this node holds back. */
static void
print_mass(const json_t *status, FILE *out)
{
    const json_t *mass = json_object_get(status, "mass_change");
    if (!json_is_object(mass))
        return;
    if (strcmp(json_text(mass, "state"), "closed") == 0)
        fprintf(out, "PAUSED     since %s: %s\n", json_text(mass, "since"), json_text(mass, "why"));
    else
        fprintf(out, "discarding a mass change of %s; mailtwin retained discard goes on with it\n",
                json_text(mass, "since"));
}

static void
print_barrier(const json_t *status, FILE *out)
{
    char text[HUMAN_MAX];
    const json_t *barrier = json_object_get(status, "barrier");
    double seconds = number_of(barrier, "last_seconds");
    if (seconds > 0)
        fprintf(out, "barrier    the last one opened after %s\n", human_seconds(seconds, text));
}

static void
print_verify(const json_t *store, FILE *out)
{
    char left[HUMAN_MAX];
    const json_t *last = json_object_get(store, "last_verify");
    const json_t *now = json_object_get(store, "verify");
    const char *contents = json_text(last, "contents_since");
    if (json_is_object(last))
        fprintf(out, "  compared %s: %.0f differences", json_text(last, "at"),
                number_of(last, "differences"));
    else
        fputs("  never compared", out);
    if (contents[0] != '\0')
        fprintf(out, "; all contents since %s", contents);
    if (!json_is_object(now))
        return;
    fprintf(out, "; comparing, %.0f %%", number_of(now, "done") * 100);
    if (json_is_number(json_object_get(now, "seconds_left")))
        fprintf(out, ", %s left", human_seconds(number_of(now, "seconds_left"), left));
}

/* How the last run of a dump store's command ended here. */
static void
print_dump(const json_t *store, FILE *out)
{
    const json_t *last = json_object_get(store, "last_dump");
    if (json_is_true(json_object_get(store, "dump_late")))
        fprintf(out, "\n%-10s no dump is made: does mailtwin-dumpd run?", "");
    if (strcmp(json_text(last, "result"), "failed") == 0)
        fprintf(out, "\n%-10s the last dump failed: %s", "", json_text(last, "error"));
    else if (json_is_object(last))
        fprintf(out, "  last dump %s", json_text(last, "version"));
}

static void
print_stores(const json_t *status, FILE *out)
{
    const json_t *stores = json_object_get(status, "stores");
    for (size_t i = 0; i < json_array_size(stores); i++) {
        const json_t *store = json_array_get(stores, i);
        fprintf(out, "%-10s %-12s %-8s %-9s %s", i == 0 ? "stores" : "", json_text(store, "name"),
                json_text(store, "kind"), json_text(store, "state"), json_text(store, "path"));
        print_verify(store, out);
        print_dump(store, out);
        if (json_text(store, "why")[0] != '\0')
            fprintf(out, "\n%-10s %s", "", json_text(store, "why"));
        fputc('\n', out);
    }
}

static void
print_peers(const json_t *status, FILE *out)
{
    const json_t *peers = json_object_get(status, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *peer = json_array_get(peers, i);
        fprintf(out, "%-10s %-12s %-10s ", i == 0 ? "peers" : "", json_text(peer, "node"),
                json_text(peer, "state"));
        print_lag(peer, out);
        if (json_text(peer, "why")[0] != '\0')
            fprintf(out, "\n%-10s %-12s %s", "", "", json_text(peer, "why"));
        fputc('\n', out);
    }
}

static void
print_gate_counts(const json_t *gate, FILE *out)
{
    char p50[HUMAN_MAX], p99[HUMAN_MAX], longest[HUMAN_MAX];
    const json_t *barrier = json_object_get(gate, "barrier");
    fprintf(out, "%.0f connections, %.0f held; since %s %.0f released",
            number_of(gate, "connections"), number_of(gate, "held"), json_text(gate, "since"),
            number_of(gate, "released"));
    double refused = number_of(gate, "refused"), held_back = number_of(gate, "held_back");
    if (number_of(gate, "confirmed") > 0)
        fprintf(out, " (%.0f of them retries)", number_of(gate, "confirmed"));
    if (number_of(gate, "unprotected") > 0)
        fprintf(out, ", %.0f WITHOUT A STANDBY", number_of(gate, "unprotected"));
    if (refused + held_back > 0)
        fprintf(out, ", 451 to %.0f before and %.0f behind the server", refused, held_back);
    if (number_of(barrier, "longest_seconds") > 0)
        fprintf(out, "\n%-23s waits: half %s, 99 %% %s, longest %s", "",
                human_seconds(number_of(barrier, "p50_seconds"), p50),
                human_seconds(number_of(barrier, "p99_seconds"), p99),
                human_seconds(number_of(barrier, "longest_seconds"), longest));
}

static void
print_gates(const json_t *status, FILE *out)
{
    char quiet[HUMAN_MAX];
    const json_t *gates = json_object_get(status, "gates");
    for (size_t i = 0; i < json_array_size(gates); i++) {
        const json_t *gate = json_array_get(gates, i);
        const char *state = json_text(gate, "state");
        fprintf(out, "%-10s %-12s ", i == 0 ? "gates" : "", json_text(gate, "name"));
        if (strcmp(state, "running") == 0)
            print_gate_counts(gate, out);
        else if (strcmp(state, "silent") == 0)
            fprintf(out, "SILENT for %s: does mailtwin-gate run?",
                    human_seconds(number_of(gate, "told_seconds"), quiet));
        else
            fputs("not heard of: does mailtwin-gate run?", out);
        fputc('\n', out);
    }
}

static void
print_failover(const json_t *status, FILE *out)
{
    const json_t *failover = json_object_get(status, "failover");
    const json_t *why_not = json_object_get(failover, "why_not");
    if (!json_is_object(failover))
        return;
    fprintf(out, "failover   %s",
            json_is_true(json_object_get(failover, "ready")) ? "ready" : "not ready");
    for (size_t i = 0; i < json_array_size(why_not); i++)
        fprintf(out, "%s %s", i == 0 ? ":" : ",", json_string_value(json_array_get(why_not, i)));
    fputc('\n', out);
}

static void
print_held(const json_t *status, FILE *out)
{
    double held = json_number_value(json_object_get(status, "held"));
    if (held > 0)
        fprintf(out, "held       %.0f names that a power loss took: see mailtwin held\n", held);
}

static void
print_unreadable(const json_t *status, FILE *out)
{
    double names = json_number_value(json_object_get(status, "unreadable"));
    if (names > 0)
        fprintf(out, "unreadable %.0f files that the disk does not give: see event UNREADABLE\n",
                names);
}

static void
print_salvage(const json_t *status, FILE *out)
{
    const json_t *salvage = json_object_get(status, "salvage");
    const json_t *keeps = json_object_get(salvage, "keeping");
    if (json_is_object(keeps))
        fprintf(out, "salvage    what only this node has is kept: %.0f of %.0f, %.0f of %.0f MiB\n",
                number_of(keeps, "items"), number_of(keeps, "items_total"),
                number_of(keeps, "bytes") / MIB, number_of(keeps, "bytes_total") / MIB);
    double waiting = json_number_value(json_object_get(salvage, "waiting"));
    double listed = json_number_value(json_object_get(salvage, "listed"));
    if (waiting + listed > 0)
        fprintf(out,
                "salvage    %.0f wait to be delivered, %.0f to be decided: see mailtwin salvage\n",
                waiting, listed);
}

void
screen_print(const json_t *status, FILE *out)
{
    print_role(status, out);
    print_safety(status, out);
    print_risk(status, out);
    print_sync(status, out);
    print_mass(status, out);
    print_barrier(status, out);
    print_failover(status, out);
    print_held(status, out);
    print_unreadable(status, out);
    print_salvage(status, out);
    print_stores(status, out);
    print_peers(status, out);
    print_gates(status, out);
}
