/* base.h - the attributes, assertions and small macros every file uses. */
#ifndef MAILTWIN_BASE_H
#define MAILTWIN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define _must_check_          __attribute__((warn_unused_result))
#define _printf_(fmt, args)   __attribute__((format(printf, fmt, args)))
#define _cleanup_(destructor) __attribute__((cleanup(destructor)))
#define _noreturn_            __attribute__((noreturn))
#define _unused_              __attribute__((unused))
#define ARRAY_LEN(array)      (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)             ((a) < (b) ? (a) : (b))
#define MAX(a, b)             ((a) > (b) ? (a) : (b))

/* Always on: a broken invariant in a program that guards mail must stop it, not go on.
 * For bugs in mailtwin only; whatever comes from outside is an error, never an assertion. */
#define ASSERT(condition)                                  \
    do {                                                   \
        if (!(condition))                                  \
            assert_failed(#condition, __FILE__, __LINE__); \
    } while (0)

_noreturn_ void assert_failed(const char *condition, const char *file, int line);

/* Frees *ptr and leaves NULL behind; for _cleanup_(freep). */
void freep(void *ptr);
#define _cleanup_free_ _cleanup_(freep)

/* Allocation that cannot fail for its caller: a daemon without memory for a few hundred bytes stops
 * and is restarted; sizes that come from outside are bounded before they get here. */
void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *xrealloc(void *ptr, size_t size) __attribute__((alloc_size(2)));
char *xstrdup(const char *text) __attribute__((malloc));
char *xasprintf(const char *fmt, ...) _printf_(1, 2);

#endif
