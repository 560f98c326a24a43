/* kinds.h - the kinds of store: their words in the configuration and their numbers on the wire. */
#ifndef MAILTWIN_KINDS_H
#define MAILTWIN_KINDS_H

#include <stdbool.h>

enum store_kind {
#define KIND(name, number, word, help) STORE_##name = number,
#include "lib/base/kinds.def"
#undef KIND
};

/* Its tree is a spool below the state directory, filled and carried out by a daemon of its own. */
bool store_kind_is_spool(enum store_kind kind);
const char *store_kind_word(enum store_kind kind);
/* false: no such word */
bool store_kind_parse(const char *word, enum store_kind *ret_kind);

#endif
