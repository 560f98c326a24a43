#include "lib/os/conf_table.h"

#include "lib/base/nearest.h"

#include <string.h>

enum {
    PLAIN = 0,
    NAMED = 1
};
#define OPT(...)
#define SECTION(...)
#define NEED(...)
#define EXAMPLE(...)

const struct conf_section conf_sections[] = {
#undef SECTION
#define SECTION(inside, name, named, help) { inside, name, named, help },
#include "lib/os/options.def"
#undef SECTION
#define SECTION(...)
};
const size_t conf_section_count = ARRAY_LEN(conf_sections);

const struct conf_option conf_options[] = {
#undef OPT
#define OPT(section, key, type, def, from, to, help) \
    { section, key, CONF_##type, def, from, to, help },
#include "lib/os/options.def"
#undef OPT
#define OPT(...)
};
const size_t conf_option_count = ARRAY_LEN(conf_options);

const struct conf_need conf_needs[] = {
#undef NEED
#define NEED(section, kind, key) { section, kind, key },
#include "lib/os/options.def"
#undef NEED
#define NEED(...)
};
const size_t conf_need_count = ARRAY_LEN(conf_needs);

const struct conf_example conf_examples[] = {
#undef EXAMPLE
#define EXAMPLE(section, name, key, value) { section, name, key, value },
#include "lib/os/options.def"
};
const size_t conf_example_count = ARRAY_LEN(conf_examples);

const struct conf_section *
conf_section_find(const char *name)
{
    for (size_t i = 0; i < conf_section_count; i++)
        if (strcmp(conf_sections[i].name, name) == 0)
            return &conf_sections[i];
    return NULL;
}

const struct conf_option *
conf_option_find(const char *section, const char *key)
{
    for (size_t i = 0; i < conf_option_count; i++)
        if (strcmp(conf_options[i].section, section) == 0 && strcmp(conf_options[i].key, key) == 0)
            return &conf_options[i];
    return NULL;
}

const char *
conf_type_what(enum conf_type type)
{
    static const char *const what[] = {
#define T(name, what) [CONF_##name] = what,
        CONF_TYPES
#undef T
    };
    return what[type];
}

bool
conf_type_is_list(enum conf_type type)
{
    return type == CONF_LIST || type == CONF_REFS;
}

const char *
conf_nearest_key(const char *section, const char *word)
{
    const char *known[ARRAY_LEN(conf_options) + ARRAY_LEN(conf_sections) + 1];
    size_t count = 0;
    for (size_t i = 0; i < conf_option_count; i++)
        if (strcmp(conf_options[i].section, section) == 0)
            known[count++] = conf_options[i].key;
    for (size_t i = 0; i < conf_section_count; i++)
        if (strcmp(conf_sections[i].inside, section) == 0 && conf_sections[i].name[0] != '\0')
            known[count++] = conf_sections[i].name;
    known[count++] = "include";
    return nearest_word(word, known, count);
}
