/* conf_parse.h - the configuration file through libconfuse: values of the right type, under known
 * keys, with the place of each. What values mean for each other is conf_check.c's. */
#ifndef MAILTWIN_CONF_PARSE_H
#define MAILTWIN_CONF_PARSE_H

#include "lib/base/err.h"

#include <confuse.h>

/* Where a section (key NULL) begins or a key was set. */
struct conf_mark {
    const cfg_t *section;
    const char *key;
    char *file;
    int line;
};

struct conf_tree {
    char *file;
    cfg_t *root;
    struct conf_mark *marks;
    size_t mark_count;
};

/* One at a time in a process: libconfuse's scanner is global, calls wait for each other. */
int conf_parse(const char *file, struct conf_tree *ret_tree, struct err *e) _must_check_;
void conf_tree_free(struct conf_tree *tree);

/* The name of a section as options.def has it; "" for the file itself. */
const char *conf_section_word(const cfg_t *section);
/* Was it set, not left to its default? */
bool conf_tree_has(const struct conf_tree *tree, const cfg_t *section, const char *key);
/* "FILE:LINE: node "dr": " and the sentence; key NULL: the place is the section's. Returns -1. */
int conf_tree_fail(const struct conf_tree *tree, const cfg_t *section, const char *key,
                   struct err *e, const char *fmt, ...) _printf_(5, 6);

#endif
