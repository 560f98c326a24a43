/* words.h - a command line of the configuration as words, without a shell. Pure.
 *
 * Words stand apart by spaces and tabs. Between ' and ' all stands as it is; between " and " a
 * backslash gives the next " or backslash; elsewhere a backslash gives the next character. Nothing
 * else has a meaning: no variables, no patterns, no pipes. Whoever wants those writes sh -c '...'.
 */
#ifndef MAILTWIN_WORDS_H
#define MAILTWIN_WORDS_H

#include "lib/base/err.h"

#define WORDS_MAX 256

/* NULL-ended, for words_free(). ERR_CONFIG: a quote without its end, a backslash at the end, no
 * word, more than WORDS_MAX. */
int words_split(const char *text, char ***ret_words, struct err *e) _must_check_;
void words_free(char ***words); /* NULL is fine; leaves NULL behind */
#define _cleanup_words_ _cleanup_(words_free)

#endif
