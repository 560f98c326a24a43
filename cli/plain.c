#include "cli/plain.h"

#include "lib/base/base.h"

#include <stdlib.h>

/* Those of one byte, and the 32 of two in UTF-8. */
static bool
is_control(const char *text)
{
    unsigned char c = (unsigned char)text[0], next = c == 0 ? 0 : (unsigned char)text[1];
    return c < ' ' || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

void
plain_text(char *text)
{
    for (; *text != '\0'; text++) {
        if (!is_control(text))
            continue;
        if ((unsigned char)*text == 0xc2)
            *text++ = '?';
        *text = '?';
    }
}

static void
plain_string(json_t *json)
{
    _cleanup_free_ char *text = xstrdup(json_string_value(json));
    plain_text(text);
    json_string_set(json, text);
}

void
plain_json(json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_string(json))
        plain_string(json);
    json_array_foreach(json, i, value)
    {
        plain_json(value);
    }
    json_object_foreach(json, key, value)
    {
        plain_json(value);
    }
}
