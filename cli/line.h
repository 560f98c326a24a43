/* line.h - a command line, taken apart by what commands.def says. */
#ifndef MAILTWIN_CLI_LINE_H
#define MAILTWIN_CLI_LINE_H

#include "lib/base/err.h"
#include "lib/os/conf.h"

#include <jansson.h>

#define LINE_SWITCHES_MAX  16
#define LINE_ARGUMENTS_MAX 4

struct command;

struct line {
    const struct command *command; /* NULL: not one of the table's */
    const char *word;              /* the command as given; NULL: none was */
    struct {
        const char *name;
        const char *value; /* "" when it takes none */
    } switches[LINE_SWITCHES_MAX];
    size_t switch_count;
    const char *arguments[LINE_ARGUMENTS_MAX];
    size_t argument_count;
    char **rest; /* what follows the word of a program of its own, as it stands */
};

int line_parse(char **argv, struct line *ret_line, struct err *e) _must_check_;
const char *line_value(const struct line *line, const char *name); /* NULL: not given */
bool line_has(const struct line *line, const char *name);

/* A point in time: "2h" is two hours ago, or a date. *ret_ms since 1970 stays when it is not given.
 */
int line_time(const struct line *line, const char *name, uint64_t *ret_ms,
              struct err *e) _must_check_;

/* The configuration that the line names. */
int line_conf(const struct line *line, struct conf **ret_conf, struct err *e) _must_check_;
/* Asks the daemon of that configuration, with progress on the terminal; takes the reference to
 * request. The reason that the line gives, and who gives the order, go with it. Without --json the
 * reply's texts are fit for a terminal. */
int line_ask(const struct line *line, const char *socket, json_t *request, int timeout_ms,
             json_t **ret_reply, struct err *e) _must_check_;

/* What this process does by itself from here on is in the audit trail of the configuration's node.
 */
int line_audit(const struct conf *conf, struct err *e) _must_check_;
/* After line_audit(): what this process is about to do, who wants it, and why. */
void line_note(const struct line *line, const char *what, const char *store);

/* Before what deletes or overwrites: asks once on a terminal; elsewhere wants --yes, which does not
 * ask. `what` is a sentence for the refusal, without a full stop. */
int line_confirm(const struct line *line, const char *what, const char *question,
                 struct err *e) _must_check_;

void conf_freep(struct conf **conf);
void json_freep(json_t **json);
#define _cleanup_conf_ _cleanup_(conf_freep)
#define _cleanup_json_ _cleanup_(json_freep)

/* The text under the key, "" when there is none. */
const char *json_text(const json_t *object, const char *key);
/* One JSON document on standard output. */
void print_json(const json_t *json);

#endif
