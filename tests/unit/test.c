#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#define TESTS_MAX 512

static struct CMUnitTest tests[TESTS_MAX];
static size_t test_count;

void
test_register(const char *name, CMUnitTestFunction body)
{
    if (test_count == TESTS_MAX)
        abort();
    tests[test_count++] = (struct CMUnitTest){ .name = name, .test_func = body };
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests("mailtwin", tests, test_count, NULL, NULL) == 0 ? 0 : 1;
}
