/* test.h - a unit test is a promise with a name:
 *
 *   TEST(path_keeps_newlines_in_names) { CHECK(path_valid(span_str("a\nb"))); }
 *
 * Each tests/unit/X.c becomes one program; tests register themselves. Run one by name:
 * build/gcc/tests/X NAME. */
#ifndef MAILTWIN_TEST_H
#define MAILTWIN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void test_register(const char *name, CMUnitTestFunction body);

/* A folder in /tmp that a test made: it goes with the program at the latest, also when the test
 * failed before it could remove it. What a program leaves that was killed is removed by one that
 * begins hours later. */
void test_scratch(const char *path);

#define TEST(name)                                                 \
    static void name(void **state);                                \
    __attribute__((constructor)) static void register_##name(void) \
    {                                                              \
        test_register(#name, name);                                \
    }                                                              \
    static void name(__attribute__((unused)) void **state)

#define CHECK(condition)           assert_true(condition)
#define CHECK_INT(value, expected) assert_int_equal(value, expected)
#define CHECK_STR(value, expected) assert_string_equal(value, expected)
#define CHECK_CONTAINS(text, part)                                              \
    do {                                                                        \
        const char *check_text = (text); /* once: it may be what just came */   \
        const char *check_part = (part);                                        \
        if (strstr(check_text, check_part) == NULL)                             \
            fail_msg("\"%s\" does not contain \"%s\"", check_text, check_part); \
    } while (0)

#endif
