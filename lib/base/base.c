#include "lib/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "mailtwin: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}

void
freep(void *ptr)
{
    void **slot = ptr;
    free(*slot);
    *slot = NULL;
}

void *
xmalloc(size_t size)
{
    void *ptr = malloc(size == 0 ? 1 : size);
    ASSERT(ptr != NULL);
    return ptr;
}

void *
xcalloc(size_t count, size_t size)
{
    void *ptr = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    ASSERT(ptr != NULL);
    return ptr;
}

void *
xrealloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size == 0 ? 1 : size);
    ASSERT(grown != NULL);
    return grown;
}

char *
xstrdup(const char *text)
{
    char *copy = strdup(text);
    ASSERT(copy != NULL);
    return copy;
}

char *
xasprintf(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    ASSERT(len >= 0);
    return text;
}
