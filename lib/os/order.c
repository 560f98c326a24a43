#include "lib/os/order.h"

#include "lib/os/event.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIELDS_MAX 16

/* What of a request is worth a place in the record. */
static const char *const noted[] = { "store", "id",  "from", "force",  "repair", "content",
                                     "epoch", "end", "all",  "reason", "by" };

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
    *ret_good = json_is_true(value);
    return F_STR(key, "yes");
}

static void
tell(const struct order *order, const json_t *request)
{
    struct event_field fields[FIELDS_MAX] = {
        F_STR("order", order->word),
        F_U64("uid", order->peer.uid),
        F_U64("pid", (uint64_t)order->peer.pid),
    };
    size_t count = 3;
    for (size_t i = 0; i < ARRAY_LEN(noted); i++) {
        bool good;
        fields[count] = field_of(noted[i], json_object_get(request, noted[i]), &good);
        count += good;
    }
    fields[count].type = FIELD_END;
    event_write(EV_CONTROL, fields);
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
    bool done = json_is_true(json_object_get(answer, "ok"));
    const char *code = json_string_value(json_object_get(answer, "code"));
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *result = done ? "done" : code != NULL ? code : "FAILED";
    double seconds = seconds_since(&order->begun);
    uint64_t pid = (uint64_t)order->peer.pid;
    if (done)
        event(EV_ORDER_END, F_STR("order", order->word), F_U64("uid", order->peer.uid),
              F_U64("pid", pid), F_STR("result", result), F_SECONDS("seconds", seconds));
    else
        event(EV_ORDER_END, F_STR("order", order->word), F_U64("uid", order->peer.uid),
              F_U64("pid", pid), F_STR("result", result), F_STR("error", error),
              F_SECONDS("seconds", seconds));
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
    tell(order, request);
    control_on_end(call, ended, order);
}
