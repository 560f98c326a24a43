#include "gate/report.h"

#include "gate/talk.h"

#include <stdlib.h>

struct reporter {
    struct talk *talk;
    bool busy;
};

static void
heard(void *arg, const json_t *answer)
{
    struct reporter *reporter = arg;
    (void)answer;
    reporter->busy = false;
}

struct reporter *
reporter_new(uv_loop_t *loop, const char *barrier_socket)
{
    struct reporter *reporter = xcalloc(1, sizeof(*reporter));
    reporter->talk = talk_new(loop, barrier_socket, heard, reporter);
    return reporter;
}

static json_t *
gate_json(const struct gate *gate)
{
    struct gate_report report = { .since = gate->server->began_s, .counts = gate->counts };
    report.counts.connections = gate->flows;
    report.counts.held = server_held(gate);
    report.waits = waits_sum_up(&gate->waits);
    json_t *json = gate_report_json(&report);
    json_object_set_new(json, "name", json_string(gate->conf->name));
    return json;
}

void
reporter_tell(struct reporter *reporter, const struct server *server)
{
    if (reporter->busy)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < server->gate_count; i++)
        json_array_append_new(list, gate_json(&server->gates[i]));
    reporter->busy = true;
    talk_ask(reporter->talk, json_pack("{s:s, s:o}", "do", "gate", "gates", list));
}

void
reporter_close(struct reporter **reporter)
{
    struct reporter *r = *reporter;
    *reporter = NULL;
    if (r == NULL)
        return;
    talk_close(&r->talk);
    free(r);
}
