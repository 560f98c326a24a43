/* check.h - findings of `mailtwin check`: what is fine, what may hurt, what must be changed. */
#ifndef MAILTWIN_CLI_CHECK_H
#define MAILTWIN_CLI_CHECK_H

#include "lib/os/conf.h"

#include <jansson.h>

enum finding {
    FINDING_OK,
    FINDING_WARN,
    FINDING_FAIL
};

struct check {
    const struct conf *conf;
    json_t *findings;
    enum finding worst;
};

/* One finding: `name` is for scripts, the sentence for people. */
void check_found(struct check *check, enum finding finding, const char *name, const char *fmt, ...)
    _printf_(4, 5);

void check_kernel(struct check *check);
void check_clock(struct check *check);
void check_account(struct check *check);
void check_stores(struct check *check);
void check_programs(struct check *check);
void check_mail(struct check *check);
void check_directories(struct check *check);
void check_papers(struct check *check);

#endif
