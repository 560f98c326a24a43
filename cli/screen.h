/* screen.h - the status as one screen for a human. */
#ifndef MAILTWIN_CLI_SCREEN_H
#define MAILTWIN_CLI_SCREEN_H

#include <jansson.h>
#include <stdio.h>

/* Fields that are not there are left out: other versions of the daemon know more or less. */
void screen_print(const json_t *status, FILE *out);

#endif
