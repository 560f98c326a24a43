#include "lib/os/order.h"

#include "lib/os/event.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIELDS_MAX 24

/* What of a request is worth a place in the record, and of an answer. Of a list its length. */
static const char *const noted[] = { "store", "id",     "user",    "objects", "from",
                                     "force", "repair", "content", "replace", "apply",
                                     "epoch", "end",    "all",     "reason",  "by" };
static const char *const told[] = { "created",        "exists",      "failed",   "refused",
                                    "gone",           "differences", "repaired", "dropped",
                                    "folders_failed", "released",    "tried" };

struct order {
    char word[64];
    struct control_peer peer;
    struct timespec begun;
};

static struct event_field
field_of(const char *key, const json_t *value, bool *ret_good)
{
    *ret_good = true;
    if (json_is_string(value))
        return F_STR(key, json_string_value(value));
    if (json_is_integer(value))
        return F_I64(key, json_integer_value(value));
    if (json_is_array(value))
        return F_U64(key, json_array_size(value));
    *ret_good = json_is_true(value);
    return F_STR(key, "yes");
}

struct fields {
    struct event_field list[FIELDS_MAX];
    size_t count;
};

static void
add(struct fields *f, struct event_field field)
{
    ASSERT(f->count + 1 < FIELDS_MAX);
    f->list[f->count++] = field;
    f->list[f->count].type = FIELD_END;
}

static void
add_members(struct fields *f, const json_t *json, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool good;
        struct event_field field = field_of(keys[i], json_object_get(json, keys[i]), &good);
        if (good)
            add(f, field);
    }
}

static void
add_order(struct fields *f, const struct order *order)
{
    f->count = 0;
    add(f, F_STR("order", order->word));
    add(f, F_U64("uid", order->peer.uid));
    add(f, F_U64("pid", (uint64_t)order->peer.pid));
}

static double
seconds_since(const struct timespec *begun)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begun->tv_sec) + (double)(now.tv_nsec - begun->tv_nsec) / 1e9;
}

static void
ended(void *arg, const json_t *answer)
{
    struct order *order = arg;
    struct fields f;
    bool done = json_is_true(json_object_get(answer, "ok"));
    const char *code = json_string_value(json_object_get(answer, "code"));
    add_order(&f, order);
    add(&f, F_STR("result", done ? "done" : code != NULL ? code : "FAILED"));
    if (done)
        add_members(&f, answer, told, ARRAY_LEN(told));
    else
        add(&f, F_STR("error", json_string_value(json_object_get(answer, "error"))));
    add(&f, F_SECONDS("seconds", seconds_since(&order->begun)));
    event_write(EV_ORDER_END, f.list);
    free(order);
}

void
order_note(struct control_call *call, const json_t *request, const struct control_peer *peer)
{
    struct order *order = xcalloc(1, sizeof(*order));
    const char *word = json_string_value(json_object_get(request, "do"));
    strncpy(order->word, word == NULL ? "?" : word, sizeof(order->word) - 1);
    order->peer = *peer;
    clock_gettime(CLOCK_MONOTONIC, &order->begun);
    struct fields f;
    add_order(&f, order);
    add_members(&f, request, noted, ARRAY_LEN(noted));
    event_write(EV_CONTROL, f.list);
    control_on_end(call, ended, order);
}
