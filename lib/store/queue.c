#include "lib/store/queue.h"

#include "lib/base/path.h"

#include <sys/stat.h>

#define TIME_DIGITS 5
#define INO_DIGITS  16

static const struct {
    const char *name;
    bool messages;
} parts[] = {
    { "incoming", true }, { "active", true }, { "deferred", true },  { "hold", true },
    { "corrupt", false }, { "defer", false }, { "bounce", false },   { "trace", false },
    { "flush", false },   { "saved", false }, { "maildrop", false },
};

bool
queue_is_part(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (span_equal(name, span_str(parts[i].name)))
            return true;
    return false;
}

bool
queue_has_messages(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i].messages && span_equal(name, span_str(parts[i].name)))
            return true;
    return false;
}

bool
queue_is_taken_into(struct span dir)
{
    struct span part;
    if (!path_next(&dir, &part))
        return false;
    return span_equal(part, span_str("incoming")) || span_equal(part, span_str("maildrop"));
}

bool
queue_is_unfinished(struct span dir, uint32_t mode)
{
    return S_ISREG(mode) && (mode & S_IXUSR) == 0 && queue_is_taken_into(dir);
}

/* Capital letters alone: so Postfix writes them. */
static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool
queue_name_ino(struct span name, uint64_t *ret_ino)
{
    uint64_t ino = 0;
    if (name.len <= TIME_DIGITS || name.len > TIME_DIGITS + INO_DIGITS)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        int digit = hex_digit(name.ptr[i]);
        if (digit < 0)
            return false;
        if (i >= TIME_DIGITS)
            ino = ino << 4 | (uint64_t)digit;
    }
    *ret_ino = ino;
    return true;
}
