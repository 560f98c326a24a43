/* conf_text.h - a configuration file as text, made ready for libconfuse.
 *
 * libconfuse counts lines wrongly behind a C comment, takes no comment inside a list, and takes an
 * open comment or section at the end of the file for a complete one. So comments are blanked here,
 * and a call that nobody can type is put at the end: it is reached only when all is closed. */
#ifndef MAILTWIN_CONF_TEXT_H
#define MAILTWIN_CONF_TEXT_H

#include "lib/base/err.h"

#define CONF_TEXT_MAX (1024 * 1024)
#define CONF_TEXT_END "\001end" /* the function called at the end */

/* Reads the file; *ret_text is for free(). Control characters, an open string or comment and a
 * missing or too large file are errors that name file and line. */
int conf_text_read(const char *file, char **ret_text, struct err *e) _must_check_;

#endif
