#include "directory/status.h"

#include "directory/withhold.h"
#include "lib/os/when.h"

#include <stdlib.h>
#include <time.h>

static const char *const mode_names[] = { "idle", "capture", "apply", "watch" };

const char *
dir_mode_name(enum dir_mode mode)
{
    return mode_names[mode];
}

/* A server's sentence may have bytes of any kind in it. */
static json_t *
text_json(const char *text)
{
    json_t *json = json_string(text);
    return json != NULL ? json : json_string("(not UTF-8)");
}

static json_t *
problems_json(const struct dir_store *s)
{
    const struct row *row;
    uint64_t now = dir_now_ms();
    json_t *list = json_array();
    for (size_t at = 0; s->table.problems > 0 && (row = rows_next(&s->table, &at)) != NULL;) {
        char id[LDAPSYNC_UUID_TEXT + 1];
        const struct problem *problem = row->problem;
        if (problem == NULL || json_array_size(list) == STATUS_PROBLEMS_MAX)
            continue;
        ldapsync_uuid_write(row->uuid, id);
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:i, s:o, s:f}", "dn", text_json(problem->dn), "id", id,
                            "code", problem->code, "why", text_json(problem->why), "seconds",
                            (double)(now - problem->since_ms) / 1000.0));
    }
    return list;
}

static const char *
state_of(const struct dir_store *s)
{
    if (s->mode == DIR_IDLE)
        return "idle";
    if (s->server == NULL || s->trouble != NULL)
        return "failed";
    if (s->mode == DIR_CAPTURE && s->held_ms != 0)
        return "paused";
    if (s->mode == DIR_CAPTURE && s->capture.refreshing)
        return "refreshing";
    if (s->mode == DIR_APPLY && s->apply.compare)
        return "comparing";
    return "live";
}

static size_t
kept_count(const struct dir_store *s)
{
    const struct row *row;
    size_t count = 0;
    for (size_t at = 0; s->mode == DIR_CAPTURE && (row = rows_next(&s->table, &at)) != NULL;)
        count += row->kept;
    return count;
}

json_t *
dir_status(const struct dir_store *s)
{
    uint64_t changes = s->mode == DIR_APPLY ? s->apply.changes : s->capture.changes;
    json_t *json = json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "name",
                             s->conf->name, "mode", dir_mode_name(s->mode), "state", state_of(s),
                             "why", s->trouble != NULL ? text_json(s->trouble) : json_null(),
                             "entries", (json_int_t)s->table.count, "changes", (json_int_t)changes,
                             "refused", (json_int_t)s->table.problems, "kept",
                             (json_int_t)kept_count(s), "held_back", (json_int_t)s->guard.gone,
                             "hidden", (json_int_t)withhold_count(s), "problems", problems_json(s));
    json_t *level = s->level != NULL ? json_loads(s->level, 0, NULL) : NULL;
    json_object_set_new(json, "blind", json_boolean(s->withheld.blind));
    json_object_set_new(json, "level", level != NULL ? level : json_null());
    if (s->mode == DIR_NATIVE) {
        json_object_set_new(json, "lag_seconds", json_real(s->native.lag_seconds));
        json_object_set_new(json, "is_level", json_boolean(s->native.level));
    }
    return json;
}

char *
dir_level_text(const struct dir_store *s, const struct role_state *role)
{
    char when[WHEN_SIZE];
    json_t *json = json_pack("{s:s, s:I, s:I, s:s, s:I}", "history", role->history, "epoch",
                             (json_int_t)role->epoch, "position", (json_int_t)role->tail, "at",
                             when_text((uint64_t)time(NULL), when), "refused",
                             (json_int_t)s->table.problems);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}
