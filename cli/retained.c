/* retained.c - what was deleted on the primary and is still kept on this node: listed, brought
 * back; and what the mass-change guard holds back. */
#include "cli/retained.h"

#include "cli/commands.h"
#include "cli/line_sign.h"
#include "cli/progress.h"
#include "lib/os/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS      60000
#define GIVE_MS        (10 * 60 * 1000)
#define SHOWN          1000    /* rows of a list, unless --limit says something else */
#define RESTORED_MOST  1000000 /* rows of one restore */
#define BATCH_OBJECTS  250
#define BATCH_BYTES    (40 * 1024) /* of a request that may have 64 KiB */
#define VERSIONS_BYTES (8 * 1024)  /* of the names of one file's versions */
#define EXIT_PARTLY    4
#define LEVEL_US       200000
#define AGAIN_US       300000
#define AGAIN_MOST     5

/* --- list --- */

static json_t *
row_json(const struct conf *conf, const struct retained_row *row)
{
    char id[20], when[RETAINED_TIME_SIZE], mtime[RETAINED_TIME_SIZE];
    const char *why = row->why == RETAINED_DELETED       ? "deleted"
                      : row->why == RETAINED_OVERWRITTEN ? "overwritten"
                                                         : "tree";
    snprintf(id, sizeof(id), "%jx", (uintmax_t)row->id);
    retained_time((uint64_t)MAX(row->mtime_ns, (int64_t)0) / 1000000, mtime);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:I}", "id", id, "store",
        conf->stores[row->store].name, "path", row->path, "user", row->user, "folder", row->folder,
        "why", why, "at", retained_time(row->time_ms, when), "size", (json_int_t)row->size, "mode",
        (json_int_t)row->mode, "uid", (json_int_t)row->uid, "gid", (json_int_t)row->gid, "mtime",
        mtime, "seq", (json_int_t)row->seq, "epoch", (json_int_t)row->epoch);
    if (row->head != NULL) {
        json_object_set_new(json, "from", json_string(row->head->from));
        json_object_set_new(json, "subject", json_string(row->head->subject));
        json_object_set_new(json, "date", json_string(row->head->date));
        json_object_set_new(json, "message_id", json_string(row->head->message_id));
    }
    return json;
}

static void
print_rows_json(const struct conf *conf, const struct retained_rows *rows)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rows->count; i++)
        json_array_append_new(list, row_json(conf, &rows->list[i]));
    _cleanup_json_ json_t *json = json_pack("{s:o, s:b, s:I}", "objects", list, "more", rows->more,
                                            "strange", (json_int_t)rows->strange);
    print_json(json);
}

static void
print_row(const struct conf *conf, const struct retained_row *row)
{
    char when[RETAINED_TIME_SIZE], size[HUMAN_MAX];
    const char *why = row->why == RETAINED_OVERWRITTEN ? "overwritten" : "deleted";
    printf("%-13jx %s %-11s %9s  %s: %s%s\n", (uintmax_t)row->id, retained_time(row->time_ms, when),
           why, S_ISDIR(row->mode) ? "folder" : human_bytes((double)row->size, size),
           conf->stores[row->store].name, row->path, S_ISDIR(row->mode) ? "/" : "");
    if (row->head != NULL)
        printf("              %s: %s\n", row->head->from, row->head->subject);
}

static void
print_rows(const struct conf *conf, const struct retained_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        print_row(conf, &rows->list[i]);
    if (rows->count == 0)
        puts("nothing that fits is retained on this node");
    if (rows->more)
        puts("and more; --limit shows it");
    if (rows->strange > 0)
        printf("%ju names in the folders of retained objects are none of mailtwin's\n",
               (uintmax_t)rows->strange);
}

static int
limit_of(const struct line *line, size_t *ret_limit, struct err *e)
{
    const char *text = line_value(line, "limit");
    char *end = NULL;
    *ret_limit = SHOWN;
    if (text == NULL)
        return 0;
    unsigned long limit = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == '-' || limit == 0 || limit > RESTORED_MOST)
        return err_set(e, ERR_USAGE, "--limit %.64s is not a number from 1 to %d", text,
                       RESTORED_MOST);
    *ret_limit = limit;
    return 0;
}

static int
run_list(const struct line *line, const struct conf *conf, struct err *e)
{
    struct retained_filter filter;
    struct retained_rows rows;
    size_t limit;
    if (retained_filter_of(line, &filter, e) < 0 || limit_of(line, &limit, e) < 0)
        return -1;
    filter.heads = true;
    if (retained_rows_find(line, conf, &filter, limit, &rows, e) < 0)
        return -1;
    if (line_has(line, "json"))
        print_rows_json(conf, &rows);
    else
        print_rows(conf, &rows);
    retained_rows_free(&rows);
    return 0;
}

/* --- restore --- */

struct restoring {
    const struct line *line;
    const struct conf *conf;
    struct retained_rows rows;
    bool replace;
    const char *suffix; /* "" none */
    struct progress progress;
    double created, exists, failed, refused, gone;
    json_t *untaken; /* those that failed or were refused: path and why */
    char why[512];
};

static int
by_path(const void *a, const void *b)
{
    const struct retained_row *x = a;
    const struct retained_row *y = b;
    if (x->store != y->store)
        return x->store < y->store ? -1 : 1;
    if (x->last != y->last)
        return x->last ? 1 : -1;
    int order = strcmp(x->key, y->key);
    if (order != 0)
        return order;
    return x->id < y->id ? 1 : x->id > y->id ? -1 : 0;
}

static bool
is_same_path(const struct retained_row *a, const struct retained_row *b)
{
    return a->store == b->store && a->last == b->last && strcmp(a->key, b->key) == 0;
}

/* A mail server that deletes a folder empties its list of UIDs first: the versions are merged. */
static bool
is_uidlist(const struct retained_row *row)
{
    static const char name[] = "/dovecot-uidlist";
    size_t len = strlen(row->path);
    return len >= sizeof(name) - 1 && strcmp(row->path + len - (sizeof(name) - 1), name) == 0;
}

static void
add_version(struct retained_row *row, const struct retained_row *older)
{
    if (strlen(row->object) + strlen(older->object) > VERSIONS_BYTES)
        return;
    char *both = xasprintf("%s\n%s", row->object, older->object);
    free(row->object);
    row->object = both;
}

/* Of several of one path, or one message: the newest; with replace the oldest, which is from before
 * it all. */
static void
one_of_each(struct retained_rows *rows, bool oldest)
{
    size_t kept = 0;
    if (rows->count > 0)
        qsort(rows->list, rows->count, sizeof(rows->list[0]), by_path);
    for (size_t i = 0; i < rows->count; i++) {
        struct retained_row row = rows->list[i];
        if (kept == 0 || !is_same_path(&rows->list[kept - 1], &row)) {
            rows->list[kept++] = row;
            continue;
        }
        struct retained_row *before = &rows->list[kept - 1]; /* ids fall */
        if (is_uidlist(&row))
            add_version(before, &row);
        if (!oldest || is_uidlist(&row)) {
            retained_row_free(&row);
            continue;
        }
        retained_row_free(before);
        *before = row;
    }
    rows->count = kept;
}

static json_t *
next_batch(const struct restoring *x, size_t *at)
{
    const struct retained_row *rows = x->rows.list;
    unsigned store = rows[*at].store;
    json_t *objects = json_array();
    size_t bytes = 0;
    for (; *at < x->rows.count && rows[*at].store == store; (*at)++) {
        size_t size = strlen(rows[*at].object) * 2; /* JSON doubles each backslash */
        if (json_array_size(objects) == BATCH_OBJECTS || (bytes > 0 && bytes + size > BATCH_BYTES))
            break;
        json_array_append_new(objects, json_string(rows[*at].object));
        bytes += size;
    }
    return json_pack("{s:s, s:s, s:o, s:b, s:s}", "do", "retained-give", "store",
                     x->conf->stores[store].name, "objects", objects, "replace", x->replace,
                     "suffix", x->suffix);
}

static double
count_of(const json_t *reply, const char *key)
{
    return json_number_value(json_object_get(reply, key));
}

static int
give_batch(struct restoring *x, size_t *at, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *request = next_batch(x, at);
    if (line_sign(x->line, request, e) < 0 ||
        control_ask(x->conf->run_dir, CONTROL_SOCKET, request, GIVE_MS, NULL, NULL, &reply, e) < 0)
        return -1;
    x->created += count_of(reply, "created");
    x->exists += count_of(reply, "exists");
    x->failed += count_of(reply, "failed");
    x->refused += count_of(reply, "refused");
    x->gone += count_of(reply, "gone");
    if (x->why[0] == '\0')
        snprintf(x->why, sizeof(x->why), "%.500s", json_text(reply, "why"));
    json_array_extend(x->untaken, json_object_get(reply, "untaken"));
    _cleanup_json_ json_t *news = json_pack("{s:f, s:I, s:I}", "done",
                                            (double)*at / (double)x->rows.count, "objects",
                                            (json_int_t)*at, "of", (json_int_t)x->rows.count);
    progress_show(news, &x->progress);
    return 0;
}

static void
print_report(const struct restoring *x)
{
    size_t i;
    json_t *one;
    printf("%.0f restored, %.0f there already or with something else in their place", x->created,
           x->exists);
    if (x->failed + x->refused + x->gone > 0)
        printf(", %.0f failed, %.0f refused, %.0f expired", x->failed, x->refused, x->gone);
    putchar('\n');
    json_array_foreach(x->untaken, i, one)
    {
        printf("not put back: %s: %s\n", json_text(one, "path"), json_text(one, "why"));
    }
}

static int
report(const struct restoring *x)
{
    if (line_has(x->line, "json")) {
        _cleanup_json_ json_t *json = json_pack("{s:f, s:f, s:f, s:f, s:f, s:s, s:O}", "restored",
                                                x->created, "there_already", x->exists, "failed",
                                                x->failed, "refused", x->refused, "expired",
                                                x->gone, "why", x->why, "not_put_back", x->untaken);
        print_json(json);
    } else {
        print_report(x);
    }
    return x->failed + x->refused + x->gone > 0 ? EXIT_PARTLY : 0;
}

/* What the primary could not take just then, as a name was moving there, is given again; of what it
 * has by now it says so. */
static int
give_round(struct restoring *x, struct err *e)
{
    double exists = x->exists, refused = x->refused, gone = x->gone;
    bool again = x->failed > 0;
    if (again) {
        usleep(AGAIN_US);
        x->failed = 0;
        x->why[0] = '\0';
    }
    json_array_clear(x->untaken);
    for (size_t at = 0; at < x->rows.count;) {
        if (give_batch(x, &at, e) < 0)
            return -1;
    }
    if (again) {
        x->exists = exists;
        x->refused = refused;
        x->gone = gone;
    }
    return 0;
}

static int
give_all(struct restoring *x, struct err *e)
{
    progress_begin(&x->progress);
    int rc = give_round(x, e);
    for (int again = 0; rc == 0 && x->failed > 0 && again < AGAIN_MOST; again++)
        rc = give_round(x, e);
    progress_end(&x->progress);
    if (rc < 0)
        return err_wrap(e, "after %.0f objects; the same command goes on", x->created + x->exists);
    return report(x);
}

static bool
has_filter(const struct line *line)
{
    static const char *const names[] = { "user", "folder",  "since",      "until",
                                         "from", "subject", "message-id", "store" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (line_has(line, names[i]))
            return true;
    }
    return line->argument_count > 1;
}

static int
find_all(struct restoring *x, const struct retained_filter *filter, struct err *e)
{
    struct retained_filter f = *filter;
    f.members = true;
    if (retained_rows_find(x->line, x->conf, &f, RESTORED_MOST, &x->rows, e) < 0)
        return -1;
    if (x->rows.more)
        return err_set(e, ERR_USAGE,
                       "more than %d objects fit: narrow it down with --user, --since or --until",
                       RESTORED_MOST);
    if (x->suffix[0] != '\0')
        retained_rows_cut(&x->rows, x->suffix);
    one_of_each(&x->rows, x->replace);
    return 0;
}

static int
confirm_and_give(struct restoring *x, struct err *e)
{
    if (x->rows.count == 0) {
        puts("nothing that fits is retained on this node");
        return 0;
    }
    if (line_has(x->line, "plan")) {
        print_rows(x->conf, &x->rows);
        printf("%zu objects would be given to the primary. Nothing has been changed.\n",
               x->rows.count);
        return 0;
    }
    _cleanup_free_ char *question = xasprintf(
        "%zu objects are put into the stores of the primary%s.", x->rows.count,
        x->replace ? " and replace what has their names now" : "");
    if (line_confirm(x->line, "a restore puts objects into the stores of the primary", question,
                     e) < 0)
        return -1;
    return give_all(x, e);
}

static struct restoring
restoring_new(const struct line *line, const struct conf *conf, bool replace)
{
    const char *suffix = line_value(line, "suffix");
    return (struct restoring){ .line = line,
                               .conf = conf,
                               .replace = replace,
                               .suffix = suffix == NULL ? "" : suffix,
                               .untaken = json_array() };
}

static void
restoring_free(struct restoring *x)
{
    retained_rows_free(&x->rows);
    json_decref(x->untaken);
}
#define _cleanup_restoring_ _cleanup_(restoring_free)

static int
run_restore(const struct line *line, const struct conf *conf, struct err *e)
{
    _cleanup_restoring_ struct restoring x = restoring_new(line, conf, line_has(line, "replace"));
    struct retained_filter filter;
    if (!has_filter(line))
        return err_set(e, ERR_USAGE,
                       "restore what? Give ids as list shows them, or --user, --folder, --since, "
                       "--until, --from, --subject, --message-id");
    if (retained_filter_of(line, &filter, e) < 0)
        return -1;
    return find_all(&x, &filter, e) < 0 ? -1 : confirm_and_give(&x, e);
}

/* --- the mass-change guard --- */

static int
ask_status(const struct line *line, json_t **ret_status, struct err *e)
{
    return line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "status"), ANSWER_MS, ret_status,
                    e);
}

static int
run_release(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *status = NULL;
    _cleanup_json_ json_t *reply = NULL;
    if (ask_status(line, &status, e) < 0)
        return -1;
    const json_t *mass = json_object_get(status, "mass_change");
    if (strcmp(json_text(mass, "state"), "closed") != 0)
        return err_set(e, ERR_REFUSED, "applying is not paused by a mass change on this node");
    if (line_has(line, "plan")) {
        printf("%s\nIt would go on with all that happened up to now. Nothing has been changed.\n",
               json_text(mass, "why"));
        return 0;
    }
    _cleanup_free_ char *question = xasprintf("%s.\nThis node carries out all of it.",
                                              json_text(mass, "why"));
    if (line_confirm(line, "what was deleted is deleted here as well, and retained", question, e) <
        0)
        return -1;
    if (line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "retained-release"), ANSWER_MS,
                 &reply, e) < 0)
        return -1;
    puts("released: applying goes on");
    return 0;
}

/* Until this node has carried out all that happened up to now. */
static int
wait_level(struct restoring *x, struct err *e)
{
    for (;;) {
        _cleanup_json_ json_t *status = NULL;
        if (ask_status(x->line, &status, e) < 0)
            return -1;
        const json_t *mass = json_object_get(status, "mass_change");
        if (strcmp(json_text(mass, "state"), "closed") == 0)
            return err_set(e, ERR_REFUSED, "the mass change went on: %s", json_text(mass, "why"));
        if (json_is_true(json_object_get(mass, "level")))
            return 0;
        usleep(LEVEL_US);
    }
}

/* Lets it through, retained and pinned, and gives all of it back. */
static int
discard(struct restoring *x, const struct retained_filter *filter, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *end = NULL;
    if (line_ask(x->line, CONTROL_SOCKET, json_pack("{s:s}", "do", "retained-discard"), ANSWER_MS,
                 &reply, e) < 0 ||
        wait_level(x, e) < 0 || find_all(x, filter, e) < 0)
        return -1;
    int rc = give_all(x, e);
    if (rc < 0 || x->failed > 0) /* it stays pinned: the same command goes on */
        return rc;
    int ended = line_ask(x->line, CONTROL_SOCKET,
                         json_pack("{s:s, s:b}", "do", "retained-discard", "end", true), ANSWER_MS,
                         &end, e);
    return ended < 0 ? -1 : rc; /* what the primary refuses it refuses each time */
}

static int
run_discard(const struct line *line, const struct conf *conf, struct err *e)
{
    _cleanup_restoring_ struct restoring x = restoring_new(line, conf, true);
    struct retained_filter filter = { 0 };
    _cleanup_json_ json_t *status = NULL;
    if (ask_status(line, &status, e) < 0)
        return -1;
    const json_t *mass = json_object_get(status, "mass_change");
    if (!json_is_object(mass))
        return err_set(e, ERR_REFUSED, "applying is not paused by a mass change on this node");
    filter.since_ms = (uint64_t)count_of(mass, "began_ms");
    if (line_has(line, "plan")) {
        printf("%s\nIt would be carried out here and retained; then all that was deleted or "
               "overwritten since %s\nwould be given back to the primary. Nothing has been "
               "changed.\n",
               json_text(mass, "why"), json_text(mass, "began"));
        return 0;
    }
    _cleanup_free_ char *question = xasprintf(
        "What was deleted or overwritten since %s is put back on the primary and replaces what is "
        "there.",
        json_text(mass, "began"));
    if (line_confirm(line, "what was overwritten on the primary is replaced there", question, e) <
        0)
        return -1;
    return discard(&x, &filter, e);
}

int
cmd_retained(const struct line *line, struct err *e)
{
    const char *what = line->argument_count > 0 ? line->arguments[0] : "list";
    _cleanup_conf_ struct conf *conf = NULL;
    if (line_conf(line, &conf, e) < 0)
        return -1;
    if (strcmp(what, "list") == 0)
        return run_list(line, conf, e);
    if (strcmp(what, "restore") == 0)
        return run_restore(line, conf, e);
    if (strcmp(what, "release") == 0 && line->argument_count == 1)
        return run_release(line, e);
    if (strcmp(what, "discard") == 0 && line->argument_count == 1)
        return run_discard(line, conf, e);
    return err_set(e, ERR_USAGE,
                   "mailtwin retained list, restore, release or discard, not \"%.64s\"", what);
}
