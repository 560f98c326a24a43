/* line_sign.h - an order says who gives it and why. */
#ifndef MAILTWIN_CLI_LINE_SIGN_H
#define MAILTWIN_CLI_LINE_SIGN_H

#include "cli/line.h"

/* Adds "by" and, where the line has --reason, "reason". ERR_USAGE: a reason that cannot be written
 * down. */
int line_sign(const struct line *line, json_t *request, struct err *e) _must_check_;

#endif
