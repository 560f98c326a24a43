/* conf_check.h - what the values of a configuration mean for each other. */
#ifndef MAILTWIN_CONF_CHECK_H
#define MAILTWIN_CONF_CHECK_H

#include "lib/os/conf_parse.h"

#define CONF_STORES_MAX 64

/* Keys that must be there, names that must exist, stores that must not lie in each other. */
int conf_check(const struct conf_tree *tree, struct err *e) _must_check_;

#endif
