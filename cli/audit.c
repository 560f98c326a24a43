/* audit.c - the audit trail as a person reads it. */
#include "lib/os/audit.h"
#include "cli/commands.h"
#include "cli/plain.h"
#include "lib/os/file.h"
#include "lib/os/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EXIT_IN_PART 4
#define DIRECTORYD   "directoryd"

struct reading {
    uint64_t since_ms, until_ms;
    bool json;
    /* Of mailtwin-directoryd's own trail, put between the lines of the node's by their times. */
    json_t *directory;
    size_t shown;
};

/* What a line begins with, and what every event of its kind has. */
static bool
is_shown_apart(const char *key)
{
    static const char *const keys[] = {
        "time", "level", "event", "no", "program", "text", "runbook"
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static bool
is_wanted(const struct reading *r, const json_t *fields)
{
    struct tm tm = { 0 };
    if (strptime(json_text(fields, "time"), "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
        return true;
    uint64_t ms = (uint64_t)timegm(&tm) * 1000;
    return ms + 999 >= r->since_ms && ms <= r->until_ms;
}

static void
print_fields(json_t *fields)
{
    const char *key;
    json_t *value;
    plain_json(fields);
    const char *program = json_text(fields, "program");
    printf("%s  %-16s", json_text(fields, "time"), json_text(fields, "event"));
    if (strcmp(program, DIRECTORYD) == 0)
        printf(" program: %s;", program);
    json_object_foreach(fields, key, value)
    {
        if (is_shown_apart(key))
            continue;
        printf(" %s: %s;", key, json_string_value(value));
    }
    putchar('\n');
}

static void
show(const struct reading *r, json_t *fields)
{
    if (!is_wanted(r, fields))
        return;
    if (r->json) {
        json_dumpf(fields, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_fields(fields);
    }
}

/* NULL: all that is left. */
static void
show_directory_until(struct reading *r, const char *time)
{
    for (; r->shown < json_array_size(r->directory); r->shown++) {
        json_t *fields = json_array_get(r->directory, r->shown);
        if (time != NULL && strcmp(json_text(fields, "time"), time) > 0)
            return;
        show(r, fields);
    }
}

static void
on_line(json_t *fields, void *arg)
{
    struct reading *r = arg;
    show_directory_until(r, json_text(fields, "time"));
    show(r, fields);
}

/* Its lines are its own, whatever program they name. */
static void
on_directory_line(json_t *fields, void *arg)
{
    struct reading *r = arg;
    if (!is_wanted(r, fields)) /* it is kept in memory */
        return;
    json_object_set_new(fields, "program", json_string(DIRECTORYD));
    json_array_append(r->directory, fields);
}

static int
read_directory(struct reading *r, int state, size_t *ret_unreadable, struct err *e)
{
    *ret_unreadable = 0;
    _cleanup_close_ int fd = openat(state, CONF_DIRECTORY_DIR,
                                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "open " CONF_DIRECTORY_DIR);
    return audit_read(fd, on_directory_line, r, ret_unreadable, e) < 0
               ? err_wrap(e, CONF_DIRECTORY_DIR)
               : 0;
}

static int
read_both(struct reading *r, const struct conf *conf, size_t *ret_unreadable, struct err *e)
{
    size_t of_directory;
    _cleanup_close_ int state = state_dir_open(conf, e);
    if (state < 0 || read_directory(r, state, &of_directory, e) < 0 ||
        audit_read(state, on_line, r, ret_unreadable, e) < 0)
        return -1;
    show_directory_until(r, NULL);
    *ret_unreadable += of_directory;
    return 0;
}

int
cmd_audit(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    _cleanup_json_ json_t *directory = json_array();
    struct reading r = { .until_ms = UINT64_MAX,
                         .json = line_has(line, "json"),
                         .directory = directory };
    size_t unreadable;
    if (line_time(line, "since", &r.since_ms, e) < 0 ||
        line_time(line, "until", &r.until_ms, e) < 0 || line_conf(line, &conf, e) < 0)
        return -1;
    if (read_both(&r, conf, &unreadable, e) < 0)
        return -1;
    if (unreadable == 0)
        return 0;
    fprintf(stderr, "mailtwin: %zu lines of the trail in %s cannot be read\n", unreadable,
            conf->state_dir);
    return EXIT_IN_PART;
}
