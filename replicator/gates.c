#include "replicator/gates.h"

#include "lib/os/gate_report.h"
#include "lib/os/sandbox.h"
#include "lib/os/when.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct told {
    uint64_t heard_ms; /* 0 never */
    struct gate_report report;
};

struct gates {
    const struct conf *conf;
    uid_t account;
    struct told *told; /* of each section */
};

/* Without the account nobody but root and this one can be the gate. */
struct gates *
gates_new(const struct conf *conf)
{
    struct sandbox_user user;
    struct gates *gates = xcalloc(1, sizeof(*gates));
    gates->conf = conf;
    gates->told = xcalloc(conf->gate_count + 1, sizeof(gates->told[0]));
    gates->account = geteuid();
    if (conf->gate_count > 0 && sandbox_user_find(conf->gate_user, &user, NULL) == 0)
        gates->account = user.uid;
    return gates;
}

void
gates_free(struct gates **gates)
{
    if (*gates != NULL)
        free((*gates)->told);
    freep(gates);
}

static ssize_t
index_of(const struct gates *gates, const char *name)
{
    for (size_t i = 0; name != NULL && i < gates->conf->gate_count; i++)
        if (strcmp(gates->conf->gates[i].name, name) == 0)
            return (ssize_t)i;
    return -1;
}

/* take false: only looks. */
static int
hear_one(struct gates *gates, const json_t *json, bool take, uint64_t now_ms, struct err *e)
{
    struct gate_report report;
    const char *name = json_string_value(json_object_get(json, "name"));
    ssize_t at = index_of(gates, name);
    if (name == NULL)
        return err_set(e, ERR_PROTOCOL, "a gate in a report has no name");
    if (gate_report_read(json, &report, e) < 0)
        return -1;
    if (take && at >= 0)
        gates->told[at] = (struct told){ .heard_ms = now_ms, .report = report };
    return 0;
}

int
gates_hear(struct gates *gates, const json_t *request, const struct control_peer *peer,
           uint64_t now_ms, struct err *e)
{
    const json_t *list = json_object_get(request, "gates");
    if (peer->uid != 0 && peer->uid != geteuid() && peer->uid != gates->account)
        return err_set(e, ERR_REFUSED, "the user number %u is no gate of this node", peer->uid);
    if (!json_is_array(list))
        return err_set(e, ERR_USAGE, "a report of gates has no \"gates\"");
    for (int take = 0; take < 2; take++)
        for (size_t i = 0; i < json_array_size(list); i++)
            if (hear_one(gates, json_array_get(list, i), take != 0, now_ms, e) < 0)
                return -1;
    return 0;
}

static json_t *
gate_json(const struct told *told, const char *name, uint64_t now_ms)
{
    char since[WHEN_SIZE];
    if (told->heard_ms == 0)
        return json_pack("{s:s, s:s}", "name", name, "state", "absent");
    uint64_t quiet_ms = now_ms - told->heard_ms;
    json_t *json = gate_report_json(&told->report);
    json_object_set_new(json, "name", json_string(name));
    json_object_set_new(json, "state",
                        json_string(quiet_ms < GATES_SILENT_MS ? "running" : "silent"));
    json_object_set_new(json, "told_seconds", json_real((double)quiet_ms / 1000.0));
    json_object_set_new(json, "since", json_string(when_text(told->report.since, since)));
    return json;
}

json_t *
gates_json(const struct gates *gates, uint64_t now_ms)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gates->conf->gate_count; i++)
        json_array_append_new(list, gate_json(&gates->told[i], gates->conf->gates[i].name, now_ms));
    return list;
}
