/* line_time.c - points in time as an administrator types them. */
#include "cli/line.h"
#include "lib/os/conf_value.h"

#include <time.h>

static bool
parse_date(const char *text, uint64_t *ret_ms)
{
    static const char *const forms[] = { "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S",
                                         "%Y-%m-%d %H:%M:%S",  "%Y-%m-%d %H:%M",
                                         "%Y-%m-%dT%H:%M",     "%Y-%m-%d" };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm tm = { .tm_isdst = -1 };
        const char *end = strptime(text, forms[i], &tm);
        if (end == NULL || *end != '\0')
            continue;
        time_t seconds = i == 0 ? timegm(&tm) : mktime(&tm);
        *ret_ms = seconds < 0 ? 0 : (uint64_t)seconds * 1000;
        return seconds >= 0;
    }
    return false;
}

int
line_time(const struct line *line, const char *name, uint64_t *ret_ms, struct err *e)
{
    const char *text = line_value(line, name);
    uint64_t ago, now = (uint64_t)time(NULL) * 1000;
    if (text == NULL || parse_date(text, ret_ms))
        return 0;
    if (!conf_value_time(text, &ago))
        return err_set(e, ERR_USAGE,
                       "--%s %.64s is neither a time ago such as 30m or 2d nor a date such as "
                       "2026-11-22 or \"2026-11-22 10:30\"",
                       name, text);
    *ret_ms = now > ago ? now - ago : 0;
    return 0;
}
