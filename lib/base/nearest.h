/* nearest.h - what somebody meant who mistyped a word. */
#ifndef MAILTWIN_NEAREST_H
#define MAILTWIN_NEAREST_H

#include "lib/base/base.h"

#define NEAREST_MAX 64 /* longer words are compared by their beginning */

/* Levenshtein: how many letters are added, left out or changed between the two. */
unsigned nearest_distance(const char *a, const char *b);
/* The closest of the words, the first of several; NULL when there is none. */
const char *nearest_word(const char *word, const char *const *words, size_t count);

#endif
