/* status.h - what is told about one store. */
#ifndef MAILTWIN_DIRECTORY_STATUS_H
#define MAILTWIN_DIRECTORY_STATUS_H

#include "directory/dir.h"

#define STATUS_PROBLEMS_MAX 100

/* In the store's thread. */
json_t *dir_status(const struct dir_store *s);
const char *dir_mode_name(enum dir_mode mode);
/* The position that a promoted node's server is level with, as JSON text for free(). */
char *dir_level_text(const struct dir_store *s, const struct role_state *role);

#endif
