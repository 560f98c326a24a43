#include "plugin/dovecot/kinds.h"

#include <string.h>
#include <strings.h>

#define BLANKS    " \t,"
#define STORE_MAX 64
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

static const struct {
    const char *name;
    unsigned kinds;
} words_known[] = {
    { "append", KIND_APPEND },   { "copy", KIND_COPY },       { "flags", KIND_FLAGS },
    { "expunge", KIND_EXPUNGE }, { "deliver", KIND_DELIVER }, { "folders", KIND_FOLDERS },
};

static const struct {
    const char *name;
    unsigned kinds;
} commands[] = {
    { "APPEND", KIND_APPEND },       { "REPLACE", KIND_APPEND | KIND_EXPUNGE },
    { "COPY", KIND_COPY },           { "MOVE", KIND_COPY | KIND_EXPUNGE },
    { "STORE", KIND_FLAGS },         { "EXPUNGE", KIND_EXPUNGE },
    { "CLOSE", KIND_EXPUNGE },       { "CREATE", KIND_FOLDERS },
    { "DELETE", KIND_FOLDERS },      { "RENAME", KIND_FOLDERS },
    { "SUBSCRIBE", KIND_FOLDERS },   { "UNSUBSCRIBE", KIND_FOLDERS },
    { "SETACL", KIND_FOLDERS },      { "DELETEACL", KIND_FOLDERS },
    { "SETMETADATA", KIND_FOLDERS },
};

static bool
is_word(struct kinds_word word, const char *name)
{
    return strlen(name) == word.len && memcmp(word.at, name, word.len) == 0;
}

static unsigned
kind_of_word(struct kinds_word word)
{
    for (size_t i = 0; i < COUNT(words_known); i++)
        if (is_word(word, words_known[i].name))
            return words_known[i].kinds;
    return 0;
}

/* "all" and "none" stand alone: beside other words one of both is a mistake. */
static bool
parse_alone(const char *words, unsigned *ret_kinds)
{
    const char *from = words + strspn(words, BLANKS);
    struct kinds_word word = { .at = from, .len = strcspn(from, BLANKS) };
    if (from[word.len + strspn(from + word.len, BLANKS)] != '\0')
        return false;
    if (!is_word(word, "all") && !is_word(word, "none"))
        return false;
    *ret_kinds = is_word(word, "all") ? KINDS_ALL : KINDS_NONE;
    return true;
}

int
kinds_parse(const char *words, unsigned *ret_kinds, struct kinds_word *ret_bad)
{
    if (parse_alone(words, ret_kinds))
        return 0;
    unsigned kinds = 0;
    for (const char *at = words + strspn(words, BLANKS); *at != '\0'; at += strspn(at, BLANKS)) {
        struct kinds_word word = { .at = at, .len = strcspn(at, BLANKS) };
        unsigned kind = kind_of_word(word);
        *ret_bad = word;
        if (kind == 0)
            return -1;
        kinds |= kind;
        at += word.len;
    }
    if (kinds == 0) {
        *ret_bad = (struct kinds_word){ .at = words, .len = 0 };
        return -1;
    }
    *ret_kinds = kinds;
    return 0;
}

unsigned
kinds_of_command(const char *name)
{
    if (strncasecmp(name, "UID ", 4) == 0)
        name += 4;
    for (size_t i = 0; i < COUNT(commands); i++)
        if (strcasecmp(name, commands[i].name) == 0)
            return commands[i].kinds;
    return 0;
}

const char *
kinds_sentence(enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_SAFE:
        break;
    case VERDICT_LATE:
        return "Done on this server, but no other machine has confirmed it in time; it is lost if "
               "this server is lost now";
    case VERDICT_REFUSED:
        return "Done on this server, but no other machine protects it now";
    case VERDICT_DOWN:
        return "Done on this server, but whether another machine has it cannot be found out now";
    }
    return "Safe";
}

bool
kinds_store_fine(const char *store)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(store);
    return len > 0 && len <= STORE_MAX && strspn(store, allowed) == len;
}
