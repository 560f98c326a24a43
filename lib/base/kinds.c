#include "lib/base/kinds.h"

#include "lib/base/base.h"

#include <string.h>

static const char *const kind_words[] = {
#define KIND(name, number, word, help) [STORE_##name] = word,
#include "lib/base/kinds.def"
#undef KIND
};

const char *
store_kind_word(enum store_kind kind)
{
    bool known = (size_t)kind < ARRAY_LEN(kind_words) && kind_words[kind] != NULL;
    return known ? kind_words[kind] : "?";
}

bool
store_kind_parse(const char *word, enum store_kind *ret_kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kind_words); i++) {
        if (kind_words[i] != NULL && strcmp(kind_words[i], word) == 0) {
            *ret_kind = (enum store_kind)i;
            return true;
        }
    }
    return false;
}

bool
store_kind_is_spool(enum store_kind kind)
{
    return kind == STORE_LDAP || kind == STORE_DUMP;
}
