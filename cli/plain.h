/* plain.h - what a terminal is shown: names come from mailboxes and other machines, and a control
 * character in one may steer the terminal of whoever reads it. UTF-8 stays. */
#ifndef MAILTWIN_PLAIN_H
#define MAILTWIN_PLAIN_H

#include <jansson.h>

/* Each control character becomes '?', that of a line's end too. */
void plain_text(char *text);
/* Every text in it, at any depth; keys are ours. */
void plain_json(json_t *json);

#endif
