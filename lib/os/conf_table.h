/* conf_table.h - options.def as arrays: what the configuration file may say. */
#ifndef MAILTWIN_CONF_TABLE_H
#define MAILTWIN_CONF_TABLE_H

#include "lib/base/base.h"

/*  type     what it is, for sentences and the manual */
#define CONF_TYPES                                                             \
    T(NAME, "a name of 1 to 64 letters, digits, dots, dashes and underscores") \
    T(PATH, "an absolute path without . and .. in it")                         \
    T(SIZE, "a size such as 64M or 1G")                                        \
    T(TIME, "a time such as 500ms, 5s, 10m or 14d")                            \
    T(PERCENT, "a percentage such as 20%")                                     \
    T(NUMBER, "a whole number")                                                \
    T(BOOL, "true or false")                                                   \
    T(WORD, "one of some words")                                               \
    T(ADDRESS, "an IP address or a host name")                                 \
    T(ACCOUNT, "the name of an account")                                       \
    T(ENDPOINT, "inet:ADDRESS:PORT or unix:PATH")                              \
    T(TEXT, "a text")                                                          \
    T(KEEP, "a time to keep such as 30d, or counts such as 24h 14d 8w 12m 7y") \
    T(LIST, "a list")                                                          \
    T(REF, "the name of another section")                                      \
    T(REFS, "a list of names of other sections")

enum conf_type {
#define T(name, what) CONF_##name,
    CONF_TYPES
#undef T
};

/* So begins the help of what is designed and not built. */
#define CONF_NOT_BUILT "Not built yet: "

struct conf_section {
    const char *inside;
    const char *name; /* "" is the file itself */
    bool named;
    const char *help;
};

struct conf_option {
    const char *section;
    const char *key;
    enum conf_type type;
    const char *def; /* NULL none */
    const char *from;
    const char *to;
    const char *help;
};

struct conf_need {
    const char *section;
    const char *kind; /* "" every kind */
    const char *key;
};

struct conf_example {
    const char *section;
    const char *name;
    const char *key;
    const char *value;
};

extern const struct conf_section conf_sections[];
extern const size_t conf_section_count;
extern const struct conf_option conf_options[];
extern const size_t conf_option_count;
extern const struct conf_need conf_needs[];
extern const size_t conf_need_count;
extern const struct conf_example conf_examples[];
extern const size_t conf_example_count;

const struct conf_section *conf_section_find(const char *name); /* NULL: none */
const struct conf_option *conf_option_find(const char *section, const char *key);
const char *conf_type_what(enum conf_type type);
bool conf_type_is_list(enum conf_type type);
/* The key or section of `section` closest to a mistyped word. */
const char *conf_nearest_key(const char *section, const char *word);

#endif
