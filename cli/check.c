#include "cli/check.h"

#include "cli/commands.h"

#include <stdarg.h>
#include <stdio.h>

#define EXIT_UNSUITABLE 2

static const char *const words[] = {
    [FINDING_OK] = "ok", [FINDING_WARN] = "warn", [FINDING_FAIL] = "fail"
};

/* A path may hold any bytes, JSON is UTF-8. */
static json_t *
any_string(char *text)
{
    json_t *json = json_string(text);
    if (json != NULL)
        return json;
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(text);
}

void
check_found(struct check *check, enum finding finding, const char *name, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    check->worst = MAX(check->worst, finding);
    json_array_append_new(check->findings, json_pack("{s:s, s:s, s:o}", "name", name, "state",
                                                     words[finding], "text", any_string(text)));
}

static void
print_text(const json_t *findings)
{
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *f = json_array_get(findings, i);
        printf("%-4s  %-14s %s\n", json_string_value(json_object_get(f, "state")),
               json_string_value(json_object_get(f, "name")),
               json_string_value(json_object_get(f, "text")));
    }
}

static void
run_checks(struct check *check, const struct line *line, struct conf **conf)
{
    struct err e = { 0 };
    check_kernel(check);
    check_clock(check);
    if (line_conf(line, conf, &e) < 0) {
        check_found(check, FINDING_FAIL, "configuration", "%s", e.text);
        return;
    }
    check->conf = *conf;
    check_found(check, FINDING_OK, "configuration", "%s: cluster %s, this is node %s",
                check->conf->file, check->conf->cluster, check->conf->self);
    check_account(check);
    check_directories(check);
    check_stores(check);
    check_programs(check);
    check_mail(check);
    check_papers(check);
}

int
cmd_check(const struct line *line, struct err *e)
{
    (void)e;
    _cleanup_conf_ struct conf *conf = NULL;
    _cleanup_json_ json_t *findings = json_array();
    struct check check = { .findings = findings };
    run_checks(&check, line, &conf);
    if (line_has(line, "json")) {
        _cleanup_json_ json_t *all = json_pack("{s:b, s:O}", "ok", check.worst != FINDING_FAIL,
                                               "checks", findings);
        print_json(all);
    } else {
        print_text(findings);
    }
    return check.worst == FINDING_FAIL ? EXIT_UNSUITABLE : 0;
}
