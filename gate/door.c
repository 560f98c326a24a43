#include "gate/door.h"

#include "gate/talk.h"

#include <stdlib.h>
#include <string.h>

/* Requests under way at a time. One: a delivery waits for the rest of the request before its own.
 * Many: the journal commits for each of them. */
#define TALKS_MAX 2
#define KNOWN_MS  250 /* how long the answer to a knock is believed */
#define KNOCK_MS  5000
#define TICK_MS   5
/* A delivery that is done waits this long for those that are under way, unless it is half of them:
 * the journal commits for each barrier, and syncs the disk that the others deliver to. */
#define GATHER_MS 20

TAILQ_HEAD(waits, door_wait);

/* A request under way and those it answers. */
struct round {
    struct talk *talk;
    struct door *door;
    struct waits waits;
    bool busy;
};

struct door {
    struct round rounds[TALKS_MAX], knock;
    struct waits waits; /* for a round to become free */
    struct waits knocking;
    char *store;
    uv_loop_t *loop;
    uv_timer_t timer;
    uint64_t known_ms; /* when the verdict came, 0 never */
    enum door_verdict known;
    char why[DOOR_WHY_MAX];
    size_t coming; /* deliveries that are not done */
};

static void door_go(struct door *door);
static void door_look(struct door *door);

static void
finish(struct waits *waits, enum door_verdict verdict, const char *why)
{
    struct door_wait *wait;
    while ((wait = TAILQ_FIRST(waits)) != NULL) {
        TAILQ_REMOVE(waits, wait, next);
        wait->door = NULL;
        wait->done(wait, verdict, why);
    }
}

static void
note(struct door *door, enum door_verdict verdict, const char *why)
{
    door->known_ms = uv_now(door->loop) + 1;
    door->known = verdict;
    snprintf(door->why, sizeof(door->why), "%s", why);
}

static bool
is_known(const struct door *door)
{
    return door->known_ms != 0 && uv_now(door->loop) < door->known_ms + KNOWN_MS;
}

/* --- answers --- */

static enum door_verdict
verdict_of(const json_t *answer, const char **ret_why)
{
    static const struct {
        const char *state;
        enum door_verdict verdict;
        const char *why;
    } states[] = {
        { "safe", DOOR_SAFE, "" },
        { "pending", DOOR_SAFE, "" },
        { "degraded", DOOR_DEGRADED, "" },
        { "late", DOOR_LATE, "The mail is not safe on a standby yet" },
        { "alone", DOOR_REFUSED, "No standby protects mail now" },
    };
    const char *state = json_string_value(json_object_get(answer, "state"));
    bool ok = json_is_true(json_object_get(answer, "ok"));
    for (size_t i = 0; ok && state != NULL && i < ARRAY_LEN(states); i++) {
        if (strcmp(state, states[i].state) == 0) {
            *ret_why = states[i].why;
            return states[i].verdict;
        }
    }
    const char *code = json_string_value(json_object_get(answer, "code"));
    bool refused = code != NULL && strcmp(code, "REFUSED") == 0;
    *ret_why = refused ? "This node does not take mail now: it is not the primary"
                       : "The replication cannot say whether mail is safe";
    return refused ? DOOR_REFUSED : DOOR_LATE;
}

static void
round_answered(void *arg, const json_t *answer)
{
    struct round *round = arg;
    struct door *door = round->door;
    round->busy = false;
    if (answer == NULL) { /* the daemon went away: they are asked for again while they have time */
        TAILQ_CONCAT(&round->waits, &door->waits, next);
        TAILQ_CONCAT(&door->waits, &round->waits, next);
        return; /* the next tick begins anew */
    }
    const char *why;
    enum door_verdict verdict = verdict_of(answer, &why);
    if (verdict != DOOR_LATE)
        note(door, verdict, why);
    struct waits waits = TAILQ_HEAD_INITIALIZER(waits);
    TAILQ_CONCAT(&waits, &round->waits, next);
    door_go(door);
    finish(&waits, verdict, why);
}

static void
knock_answered(void *arg, const json_t *answer)
{
    struct round *round = arg;
    struct door *door = round->door;
    const char *why = "The replication does not answer on this node";
    enum door_verdict verdict = answer == NULL ? DOOR_LATE : verdict_of(answer, &why);
    round->busy = false;
    note(door, verdict, why);
    struct waits waits = TAILQ_HEAD_INITIALIZER(waits);
    TAILQ_CONCAT(&waits, &door->knocking, next);
    finish(&waits, verdict, why);
}

/* --- questions --- */

static json_t *
request(const struct door *door)
{
    json_t *json = json_pack("{s:s}", "do", "barrier");
    if (door->store != NULL)
        json_object_set_new(json, "store", json_string(door->store));
    return json;
}

/* As long as the most patient of them waits; the others' time is watched here. */
static void
round_begin(struct door *door, struct round *round)
{
    uint64_t now = uv_now(door->loop), until = now + 1;
    struct door_wait *wait;
    TAILQ_CONCAT(&round->waits, &door->waits, next);
    TAILQ_FOREACH(wait, &round->waits, next)
    until = MAX(until, wait->until_ms);
    json_t *json = request(door);
    json_object_set_new(json, "timeout_ms", json_integer((json_int_t)(until - now)));
    round->busy = true;
    talk_ask(round->talk, json);
}

/* Have they waited for each other long enough? */
static bool
is_time(const struct door *door)
{
    const struct door_wait *wait = TAILQ_FIRST(&door->waits);
    if (wait == NULL || uv_now(door->loop) >= wait->since_ms + GATHER_MS)
        return wait != NULL;
    size_t count = 0;
    for (; wait != NULL && count < door->coming; wait = TAILQ_NEXT(wait, next))
        count++;
    return count == door->coming;
}

static void
door_go(struct door *door)
{
    for (size_t i = 0; i < TALKS_MAX; i++)
        if (!door->rounds[i].busy && is_time(door))
            round_begin(door, &door->rounds[i]);
    door_look(door);
}

static void
expire(struct waits *from, uint64_t now, struct waits *late)
{
    struct door_wait *wait, *next;
    for (wait = TAILQ_FIRST(from); wait != NULL; wait = next) {
        next = TAILQ_NEXT(wait, next);
        if (now < wait->until_ms)
            continue;
        TAILQ_REMOVE(from, wait, next);
        TAILQ_INSERT_TAIL(late, wait, next);
    }
}

static void
on_tick(uv_timer_t *timer)
{
    struct door *door = timer->data;
    uint64_t now = uv_now(door->loop);
    struct waits late = TAILQ_HEAD_INITIALIZER(late), unheard = TAILQ_HEAD_INITIALIZER(unheard);
    for (size_t i = 0; i < TALKS_MAX; i++)
        expire(&door->rounds[i].waits, now, &late);
    expire(&door->waits, now, &late);
    expire(&door->knocking, now, &unheard);
    door_go(door);
    finish(&late, DOOR_LATE, "The mail is not safe on a standby yet");
    finish(&unheard, DOOR_LATE, "The replication does not answer on this node");
}

static bool
has_waits(const struct door *door)
{
    bool has = !TAILQ_EMPTY(&door->waits) || !TAILQ_EMPTY(&door->knocking);
    for (size_t i = 0; i < TALKS_MAX; i++)
        has |= !TAILQ_EMPTY(&door->rounds[i].waits);
    return has;
}

/* The clock ticks while somebody waits. */
static void
door_look(struct door *door)
{
    bool active = uv_is_active((uv_handle_t *)&door->timer);
    if (has_waits(door) && !active)
        uv_timer_start(&door->timer, on_tick, TICK_MS, TICK_MS);
    else if (!has_waits(door) && active)
        uv_timer_stop(&door->timer);
}

void
door_wait(struct door *door, struct door_wait *wait, uint64_t timeout_ms)
{
    wait->door = door;
    wait->since_ms = uv_now(door->loop);
    wait->until_ms = wait->since_ms + timeout_ms;
    TAILQ_INSERT_TAIL(&door->waits, wait, next);
    door_go(door);
}

void
door_expect(struct door *door, int more)
{
    door->coming = (size_t)((ssize_t)door->coming + more);
}

void
door_knock(struct door *door, struct door_wait *wait)
{
    if (is_known(door)) {
        wait->done(wait, door->known, door->why);
        return;
    }
    wait->door = door;
    wait->until_ms = uv_now(door->loop) + KNOCK_MS;
    TAILQ_INSERT_TAIL(&door->knocking, wait, next);
    door_look(door);
    if (door->knock.busy)
        return;
    json_t *json = request(door);
    json_object_set_new(json, "probe", json_true());
    door->knock.busy = true;
    talk_ask(door->knock.talk, json);
}

void
door_cancel(struct door_wait *wait)
{
    struct door *door = wait->door;
    if (door == NULL)
        return;
    wait->door = NULL;
    struct waits *lists[TALKS_MAX + 2] = { &door->waits, &door->knocking };
    for (size_t i = 0; i < TALKS_MAX; i++)
        lists[i + 2] = &door->rounds[i].waits;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct door_wait *found;
        TAILQ_FOREACH(found, lists[i], next)
        if (found == wait) {
            TAILQ_REMOVE(lists[i], wait, next);
            return;
        }
    }
}

/* --- life --- */

static void
round_init(struct door *door, struct round *round, const char *socket, talk_answered *answered)
{
    *round = (struct round){ .door = door };
    TAILQ_INIT(&round->waits);
    round->talk = talk_new(door->loop, socket, answered, round);
}

struct door *
door_new(uv_loop_t *loop, const char *barrier_socket, const char *store)
{
    struct door *door = xcalloc(1, sizeof(*door));
    door->loop = loop;
    door->store = store != NULL ? xstrdup(store) : NULL;
    TAILQ_INIT(&door->waits);
    TAILQ_INIT(&door->knocking);
    uv_timer_init(loop, &door->timer);
    door->timer.data = door;
    for (size_t i = 0; i < TALKS_MAX; i++)
        round_init(door, &door->rounds[i], barrier_socket, round_answered);
    round_init(door, &door->knock, barrier_socket, knock_answered);
    return door;
}

static void
timer_closed(uv_handle_t *handle)
{
    struct door *door = handle->data;
    free(door->store);
    free(door);
}

void
door_close(struct door **door)
{
    struct door *d = *door;
    *door = NULL;
    if (d == NULL)
        return;
    for (size_t i = 0; i < TALKS_MAX; i++)
        talk_close(&d->rounds[i].talk);
    talk_close(&d->knock.talk);
    uv_close((uv_handle_t *)&d->timer, timer_closed);
}
