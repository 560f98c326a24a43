#include "lib/store/parked.h"

#include "lib/store/maildir.h"

#include <stdio.h>

void
parked_name(uint64_t ino, char ret_name[PARKED_SIZE])
{
    snprintf(ret_name, PARKED_SIZE, PARKED_PREFIX "%0*llx", PARKED_DIGITS, (unsigned long long)ino);
}

static bool
is_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool
parked_has_prefix(struct span name)
{
    size_t len = sizeof(PARKED_PREFIX) - 1;
    return name.len >= len && memcmp(name.ptr, PARKED_PREFIX, len) == 0;
}

bool
parked_is_name(struct span name)
{
    size_t at = sizeof(PARKED_PREFIX) - 1;
    if (name.len != at + PARKED_DIGITS || !parked_has_prefix(name))
        return false;
    while (at < name.len && is_digit(name.ptr[at]))
        at++;
    return at == name.len;
}

bool
parked_is_path(struct span path)
{
    struct span first;
    return path_next(&path, &first) && parked_is_name(first);
}

/* Not in the middle of a UTF-8 character. */
static size_t
cut(struct span text, size_t len)
{
    while (len > 0 && len < text.len && (text.ptr[len] & 0xC0) == 0x80)
        len--;
    return len;
}

void
parked_aside_name(struct span parked, struct span origin, unsigned again,
                  char ret_name[PATH_NAME_MAX + 1])
{
    char aside[64];
    size_t at = sizeof(PARKED_PREFIX) - 1;
    ASSERT(parked_is_name(parked));
    while (at + 1 < parked.len && parked.ptr[at] == '0')
        at++;
    int len = snprintf(aside, sizeof(aside), "%saside-%.*s", origin.len == 0 ? "" : "-",
                       (int)(parked.len - at), (const char *)parked.ptr + at);
    if (again > 0)
        snprintf(aside + len, sizeof(aside) - (size_t)len, "-%u", again);
    size_t base = maildir_base_len(origin);
    size_t rest = origin.len - base;
    if (rest > PATH_NAME_MAX / 2) { /* no flags are that long */
        base = origin.len;
        rest = 0;
    }
    size_t room = PATH_NAME_MAX - strlen(aside) - rest;
    if (base > room)
        base = cut(origin, room);
    snprintf(ret_name, PATH_NAME_MAX + 1, "%.*s%s%.*s", (int)base, (const char *)origin.ptr, aside,
             (int)rest, (const char *)origin.ptr + (origin.len - rest));
}
