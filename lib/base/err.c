#include "lib/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_status;
} codes[] = {
    [ERR_NONE] = { "NONE", 0 },
#define ERR(name, exit_status, help) [ERR_##name] = { #name, exit_status },
#include "lib/base/errors.def"
#undef ERR
};

int
err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    if (e == NULL)
        return -1;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, args);
    va_end(args);
    e->code = code;
    e->sys = 0;
    return -1;
}

int
err_errnum(struct err *e, enum err_code code, int errnum, const char *fmt, ...)
{
    if (e == NULL)
        return -1;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, args);
    va_end(args);
    size_t len = strlen(e->text);
    snprintf(e->text + len, sizeof(e->text) - len, ": %s", strerror(errnum));
    e->code = code;
    e->sys = errnum;
    return -1;
}

int
err_wrap(struct err *e, const char *fmt, ...)
{
    if (e == NULL)
        return -1;
    char inner[ERR_TEXT_MAX];
    memcpy(inner, e->text, sizeof(inner));
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, args);
    va_end(args);
    size_t len = strlen(e->text);
    snprintf(e->text + len, sizeof(e->text) - len, ": %s", inner);
    return -1;
}

void
err_clear(struct err *e)
{
    *e = (struct err){ .code = ERR_NONE };
}

int
err_exit_status(enum err_code code)
{
    ASSERT((size_t)code < ARRAY_LEN(codes));
    return codes[code].exit_status;
}

const char *
err_name(enum err_code code)
{
    ASSERT((size_t)code < ARRAY_LEN(codes));
    return codes[code].name;
}
