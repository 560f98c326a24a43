#include "lib/os/conf_value.h"

#include "lib/os/endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#define NAME_MAX_LEN    64
#define ACCOUNT_MAX_LEN 32
#define HOST_MAX_LEN    253

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit size_units[] = {
    { "", 1 }, { "K", 1ull << 10 }, { "M", 1ull << 20 }, { "G", 1ull << 30 }, { "T", 1ull << 40 },
};

#define DAY_MS (24ull * 60 * 60 * 1000)
static const struct unit time_units[] = {
    { "ms", 1 },     { "s", 1000 },       { "m", 60 * 1000 },    { "h", 60 * 60 * 1000 },
    { "d", DAY_MS }, { "w", 7 * DAY_MS }, { "y", 365 * DAY_MS },
};

static const struct unit percent_units[] = { { "%", 1 } };
static const struct unit number_units[] = { { "", 1 } };

/* Digits and one of the units, nothing else; no more than 63 bits. */
static bool
parse_units(const char *text, const struct unit *units, size_t count, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *c = text;
    for (; isdigit((unsigned char)*c); c++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            return false;
    if (c == text)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(c, units[i].suffix) != 0)
            continue;
        return !__builtin_mul_overflow(value, units[i].factor, ret_value) &&
               *ret_value <= INT64_MAX;
    }
    return false;
}

bool
conf_value_size(const char *text, uint64_t *ret_bytes)
{
    return parse_units(text, size_units, ARRAY_LEN(size_units), ret_bytes);
}

bool
conf_value_time(const char *text, uint64_t *ret_ms)
{
    return parse_units(text, time_units, ARRAY_LEN(time_units), ret_ms);
}

bool
conf_value_percent(const char *text, uint64_t *ret_percent)
{
    return parse_units(text, percent_units, ARRAY_LEN(percent_units), ret_percent);
}

bool
conf_value_number(const char *text, uint64_t *ret_number)
{
    return parse_units(text, number_units, ARRAY_LEN(number_units), ret_number);
}

/* Up to max characters, each a letter, a digit or one of `others`. */
static bool
made_of(const char *text, const char *others, size_t max)
{
    size_t len = 0;
    for (; text[len] != '\0'; len++)
        if (!isalnum((unsigned char)text[len]) && strchr(others, text[len]) == NULL)
            return false;
    return len > 0 && len <= max;
}

bool
conf_value_name(const char *text)
{
    return made_of(text, "._-", NAME_MAX_LEN) && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static bool
is_path(const char *text)
{
    if (text[0] != '/')
        return false;
    for (const char *c = text; c != NULL; c = strchr(c, '/')) {
        c++;
        size_t len = strcspn(c, "/");
        if ((len == 1 && c[0] == '.') || (len == 2 && c[0] == '.' && c[1] == '.'))
            return false;
    }
    return true;
}

bool
conf_value_address(const char *text)
{
    struct in6_addr any;
    if (inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, text, &any) == 1)
        return true;
    bool numeric = text[strspn(text, "0123456789.")] == '\0';
    return !numeric && text[0] != '-' && made_of(text, ".-", HOST_MAX_LEN);
}

static bool
is_bool(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

static bool
is_keep(const char *text)
{
    while (*text != '\0') {
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 9 || text[digits] == '\0' ||
            strchr("hdwmy", text[digits]) == NULL)
            return false;
        text += digits + 1;
        if (*text == ' ' && text[1] != '\0')
            text++;
        else if (*text != '\0')
            return false;
    }
    return true;
}

static bool
has_word(const char *words, const char *word)
{
    size_t len = strcspn(word, " ");
    for (const char *at = words; len > 0 && word[len] == '\0' && (at = strstr(at, word)) != NULL;
         at++)
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

static bool
parse_of_type(enum conf_type type, const char *text, uint64_t *ret_value)
{
    switch (type) {
    case CONF_SIZE:
        return conf_value_size(text, ret_value);
    case CONF_TIME:
        return conf_value_time(text, ret_value);
    case CONF_PERCENT:
        return conf_value_percent(text, ret_value);
    case CONF_NUMBER:
        return conf_value_number(text, ret_value);
    default:
        return false;
    }
}

static bool
is_of_type(const struct conf_option *option, const char *text)
{
    uint64_t ignored;
    switch (option->type) {
    case CONF_NAME:
    case CONF_REF:
    case CONF_REFS:
        return conf_value_name(text);
    case CONF_PATH:
        return is_path(text);
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_PERCENT:
    case CONF_NUMBER:
        return parse_of_type(option->type, text, &ignored);
    case CONF_BOOL:
        return is_bool(text);
    case CONF_WORD:
        return has_word(option->from, text);
    case CONF_LIST:
        return option->from == NULL ? text[0] != '\0' : has_word(option->from, text);
    case CONF_ADDRESS:
        return conf_value_address(text);
    case CONF_ACCOUNT:
        return made_of(text, "_-.", ACCOUNT_MAX_LEN) && text[0] != '-';
    case CONF_ENDPOINT:
        return endpoint_parse(text, &(struct endpoint){ 0 });
    case CONF_KEEP:
        return is_keep(text) && text[0] != '\0';
    case CONF_TEXT:
        return text[0] != '\0';
    }
    return false;
}

static int
fail_type(const struct conf_option *option, const char *value, struct err *e)
{
    if ((option->type == CONF_WORD || option->type == CONF_LIST) && option->from != NULL)
        return err_set(e, ERR_CONFIG, "%s = \"%s\" is not one of: %s", option->key, value,
                       option->from);
    if (value[0] == '\0')
        return err_set(e, ERR_CONFIG, "%s is empty", option->key);
    if (option->type == CONF_REF || option->type == CONF_REFS)
        return err_set(e, ERR_CONFIG, "%s = \"%s\" is not %s", option->key, value,
                       conf_type_what(CONF_NAME));
    return err_set(e, ERR_CONFIG, "%s = \"%s\" is not %s", option->key, value,
                   conf_type_what(option->type));
}

static int
check_range(const struct conf_option *option, const char *value, struct err *e)
{
    uint64_t number, from, to;
    if (!parse_of_type(option->type, value, &number))
        return 0;
    if (!parse_of_type(option->type, option->from, &from) ||
        !parse_of_type(option->type, option->to, &to))
        return err_set(e, ERR_CONFIG, "options.def: the range of %s is malformed", option->key);
    if (number >= from && number <= to)
        return 0;
    return err_set(e, ERR_CONFIG, "%s = \"%s\" is out of range, allowed is %s to %s", option->key,
                   value, option->from, option->to);
}

int
conf_value_check(const struct conf_option *option, const char *value, struct err *e)
{
    if (!is_of_type(option, value))
        return fail_type(option, value, e);
    if (option->from == NULL || option->to == NULL)
        return 0;
    return check_range(option, value, e);
}
