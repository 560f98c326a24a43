#include "lib/os/gate_report.h"

#include <string.h>

static const struct {
    const char *name;
    size_t at;
} counts[] = {
#define GATE_COUNT(name, help) { #name, offsetof(struct gate_counts, name) },
#include "lib/os/gate_counts.def"
#undef GATE_COUNT
};

static const struct {
    const char *name;
    size_t at;
} waits[] = {
    { "last_seconds", offsetof(struct gate_waits, last) },
    { "p50_seconds", offsetof(struct gate_waits, p50) },
    { "p99_seconds", offsetof(struct gate_waits, p99) },
    { "longest_seconds", offsetof(struct gate_waits, longest) },
};

json_t *
gate_report_json(const struct gate_report *report)
{
    json_t *json = json_pack("{s:I}", "since", (json_int_t)report->since);
    json_t *barrier = json_object();
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        uint64_t value;
        memcpy(&value, (const char *)&report->counts + counts[i].at, sizeof(value));
        json_object_set_new(json, counts[i].name, json_integer((json_int_t)value));
    }
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        double value;
        memcpy(&value, (const char *)&report->waits + waits[i].at, sizeof(value));
        json_object_set_new(barrier, waits[i].name, json_real(value));
    }
    json_object_set_new(json, "barrier", barrier);
    return json;
}

static int
read_count(const json_t *json, const char *name, void *to, struct err *e)
{
    const json_t *value = json_object_get(json, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(e, ERR_PROTOCOL, "\"%s\" of a gate is no count", name);
    memcpy(to, &(uint64_t){ (uint64_t)json_integer_value(value) }, sizeof(uint64_t));
    return 0;
}

static int
read_wait(const json_t *json, const char *name, void *to, struct err *e)
{
    const json_t *value = json_object_get(json_object_get(json, "barrier"), name);
    if (!json_is_number(value) || !(json_number_value(value) >= 0))
        return err_set(e, ERR_PROTOCOL, "\"%s\" of a gate is no time", name);
    memcpy(to, &(double){ json_number_value(value) }, sizeof(double));
    return 0;
}

int
gate_report_read(const json_t *json, struct gate_report *ret_report, struct err *e)
{
    struct gate_report report = { 0 };
    int rc = read_count(json, "since", &report.since, e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(counts); i++)
        rc = read_count(json, counts[i].name, (char *)&report.counts + counts[i].at, e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(waits); i++)
        rc = read_wait(json, waits[i].name, (char *)&report.waits + waits[i].at, e);
    if (rc == 0)
        *ret_report = report;
    return rc;
}
