/* audit.c - the audit trail as a person reads it. */
#include "lib/os/audit.h"
#include "cli/commands.h"
#include "lib/os/file.h"
#include "lib/os/state_dir.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define EXIT_IN_PART 4

struct reading {
    uint64_t since_ms, until_ms;
    bool json;
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

/* A name may steer the terminal of whoever reads it. */
static void
print_plain(const char *text)
{
    for (; *text != '\0'; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void
print_fields(json_t *fields)
{
    const char *key;
    json_t *value;
    printf("%s  %-16s", json_text(fields, "time"), json_text(fields, "event"));
    json_object_foreach(fields, key, value)
    {
        if (is_shown_apart(key))
            continue;
        printf(" %s: ", key);
        print_plain(json_string_value(value));
        putchar(';');
    }
    putchar('\n');
}

static void
on_line(json_t *fields, void *arg)
{
    const struct reading *r = arg;
    if (!is_wanted(r, fields))
        return;
    if (r->json) {
        json_dumpf(fields, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_fields(fields);
    }
}

int
cmd_audit(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    struct reading r = { .until_ms = UINT64_MAX, .json = line_has(line, "json") };
    size_t unreadable;
    if (line_time(line, "since", &r.since_ms, e) < 0 ||
        line_time(line, "until", &r.until_ms, e) < 0 || line_conf(line, &conf, e) < 0)
        return -1;
    _cleanup_close_ int state = state_dir_open(conf, e);
    if (state < 0 || audit_read(state, on_line, &r, &unreadable, e) < 0)
        return -1;
    if (unreadable == 0)
        return 0;
    fprintf(stderr, "mailtwin: %zu lines of %s/" AUDIT_FILE " cannot be read\n", unreadable,
            conf->state_dir);
    return EXIT_IN_PART;
}
