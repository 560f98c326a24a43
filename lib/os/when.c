#include "lib/os/when.h"

#include <time.h>

const char *
when_text(uint64_t seconds, char text[WHEN_SIZE])
{
    struct tm utc;
    time_t t = (time_t)seconds;
    if (seconds == 0 || gmtime_r(&t, &utc) == NULL ||
        strftime(text, WHEN_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        text[0] = '\0';
    return text;
}
