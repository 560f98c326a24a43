/* What a gate counts: how it is summed up, told, heard by the daemon, and from whom. */
#include "gate/waits.h"
#include "replicator/gates.h"
#include "tests/unit/test.h"

#include <math.h>
#include <unistd.h>

static bool
is_near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

TEST(half_and_99_of_100_are_of_the_last_thousand_and_the_longest_of_all)
{
    static struct waits w;
    struct gate_waits sum = waits_sum_up(&w);
    CHECK(sum.last <= 0 && sum.p50 <= 0 && sum.p99 <= 0 && sum.longest <= 0);
    waits_add(&w, 7);
    sum = waits_sum_up(&w);
    CHECK(is_near(sum.last, 7) && is_near(sum.p50, 7) && is_near(sum.p99, 7));
    for (unsigned i = WAITS_KEPT; i > 0; i--) /* the 7 goes */
        waits_add(&w, i / 1000.0);
    sum = waits_sum_up(&w);
    CHECK(is_near(sum.last, 0.001) && is_near(sum.p50, 0.5) && is_near(sum.p99, 0.99));
    CHECK(is_near(sum.longest, 7));
    for (unsigned i = 0; i < 10; i++) /* of 1 in 100 nothing is said */
        waits_add(&w, 60);
    sum = waits_sum_up(&w);
    CHECK(sum.p99 < 60 && is_near(sum.longest, 60));
    waits_add(&w, 60);
    CHECK(is_near(waits_sum_up(&w).p99, 60));
}

/* Whatever comes in which order: the same as of the last thousand, sorted. */
TEST(the_shares_are_those_of_all_that_is_kept_whatever_comes)
{
    static struct waits w;
    static double all[5000];
    uint32_t seed = 7;
    for (size_t n = 0; n < ARRAY_LEN(all); n++) {
        seed = seed * 1664525 + 1013904223;
        all[n] = (double)(seed >> 22); /* many are the same */
        waits_add(&w, all[n]);
        size_t from = n + 1 > WAITS_KEPT ? n + 1 - WAITS_KEPT : 0, less = 0, not_more = 0;
        double p50 = waits_sum_up(&w).p50;
        for (size_t i = from; i <= n; i++) {
            less += all[i] < p50;
            not_more += all[i] <= p50;
        }
        CHECK(less * 2 < n + 1 - from && not_more * 2 >= n + 1 - from);
        CHECK_INT(w.count, n + 1 - from);
    }
}

/* --- told and heard --- */

static const struct gate_report sample = {
    .since = 1700000000,
    .counts = { .connections = 1,
                .held = 2,
                .accepted = 3,
                .released = 4,
                .unprotected = 5,
                .confirmed = 6,
                .held_back = 7,
                .refused = 8 },
    .waits = { .last = 0.5, .p50 = 0.25, .p99 = 0.75, .longest = 3 },
};

static struct conf_gate sections[2];
static struct conf conf;

static struct gates *
begin(void)
{
    static char names[2][8] = { "lmtp", "other" }, account[] = "nobody";
    sections[0].name = names[0];
    sections[1].name = names[1];
    conf = (struct conf){ .gates = sections, .gate_count = 2, .gate_user = account };
    return gates_new(&conf);
}

static json_t *
report(const char *name)
{
    json_t *gate = gate_report_json(&sample);
    json_object_set_new(gate, "name", json_string(name));
    return json_pack("{s:s, s:[o]}", "do", "gate", "gates", gate);
}

static int
hear(struct gates *gates, json_t *request, uid_t uid, uint64_t now_ms, struct err *e)
{
    int rc = gates_hear(gates, request, &(struct control_peer){ .uid = uid }, now_ms, e);
    json_decref(request);
    return rc;
}

static void
check_states(const struct gates *gates, uint64_t now_ms, const char *first, const char *second)
{
    json_t *list = gates_json(gates, now_ms);
    CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "state")), first);
    CHECK_STR(json_string_value(json_object_get(json_array_get(list, 1), "state")), second);
    json_decref(list);
}

TEST(what_a_gate_tells_is_shown_until_it_falls_silent)
{
    struct err e = { 0 };
    struct gates *gates = begin();
    check_states(gates, 1000, "absent", "absent");
    CHECK_INT(hear(gates, report("lmtp"), 0, 1000, &e), 0);
    check_states(gates, 1000 + GATES_SILENT_MS - 1, "running", "absent");
    check_states(gates, 1000 + GATES_SILENT_MS, "silent", "absent");
    json_t *list = gates_json(gates, 3000);
    char *text = json_dumps(json_array_get(list, 0), JSON_SORT_KEYS | JSON_REAL_PRECISION(3));
    CHECK_STR(text,
              "{\"accepted\": 3, \"barrier\": {\"last_seconds\": 0.5, \"longest_seconds\": 3.0, "
              "\"p50_seconds\": 0.25, \"p99_seconds\": 0.75}, \"confirmed\": 6, "
              "\"connections\": 1, \"held\": 2, \"held_back\": 7, \"name\": \"lmtp\", "
              "\"refused\": 8, \"released\": 4, \"since\": \"2023-11-14T22:13:20Z\", "
              "\"state\": \"running\", \"told_seconds\": 2.0, \"unprotected\": 5}");
    free(text);
    json_decref(list);
    CHECK_INT(hear(gates, report("lmtp"), 0, 9000, &e), 0);
    check_states(gates, 9000, "running", "absent");
    gates_free(&gates);
}

TEST(only_the_account_of_the_gate_and_root_are_believed)
{
    struct err e = { 0 };
    struct gates *gates = begin();
    CHECK_INT(hear(gates, report("lmtp"), 12345, 1000, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    check_states(gates, 1000, "absent", "absent");
    CHECK_INT(hear(gates, report("lmtp"), 65534, 1000, &e), 0);
    CHECK_INT(hear(gates, report("other"), 0, 1000, &e), 0);
    check_states(gates, 1000, "running", "running");
    gates_free(&gates);
}

TEST(a_gate_that_only_the_other_configuration_has_hides_no_other)
{
    struct err e = { 0 };
    struct gates *gates = begin();
    json_t *request = report("new"), *more = report("other");
    json_array_extend(json_object_get(request, "gates"), json_object_get(more, "gates"));
    json_decref(more);
    CHECK_INT(hear(gates, request, 0, 1000, &e), 0);
    check_states(gates, 1000, "absent", "running");
    gates_free(&gates);
}

TEST(a_report_that_is_not_whole_changes_nothing)
{
    static const char *const wrong[] = {
        "{}",
        "{\"gates\":1}",
        "{\"gates\":[1]}",
        "{\"gates\":[{}]}",
        "{\"gates\":[{\"name\":7}]}",
        "{\"gates\":[{\"name\":\"lmtp\"}]}",
    };
    struct err e = { 0 };
    struct gates *gates = begin();
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        CHECK_INT(hear(gates, json_loads(wrong[i], 0, NULL), 0, 1000, &e), -1);
    json_t *request = report("lmtp");
    json_t *gate = json_array_get(json_object_get(request, "gates"), 0);
    json_object_set_new(gate, "held", json_integer(-1));
    CHECK_INT(hear(gates, json_incref(request), 0, 1000, &e), -1);
    CHECK_STR(e.text, "\"held\" of a gate is no count");
    json_object_set_new(gate, "held", json_integer(1));
    json_object_set_new(json_object_get(gate, "barrier"), "p50_seconds", json_string("x"));
    CHECK_INT(hear(gates, json_incref(request), 0, 1000, &e), -1);
    CHECK_STR(e.text, "\"p50_seconds\" of a gate is no time");
    json_decref(request);
    request = report("lmtp"); /* the first is right, and is not taken without the second */
    json_array_append_new(json_object_get(request, "gates"), json_pack("{s:s}", "name", "other"));
    CHECK_INT(hear(gates, request, 0, 1000, &e), -1);
    check_states(gates, 1000, "absent", "absent");
    gates_free(&gates);
}
