/* sample.h - reads a sample of tests/golden/v1: hexadecimal digits; '#' and what is behind it on
 * the line are for people. */
#ifndef MAILTWIN_TEST_SAMPLE_H
#define MAILTWIN_TEST_SAMPLE_H

#include "lib/base/buf.h"
#include "tests/unit/test.h"

#include <ctype.h>
#include <stdio.h>

static inline unsigned
sample_digit(int c)
{
    CHECK(isxdigit(c));
    return (unsigned)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
}

static inline void
sample_load(const char *name, struct buf *out)
{
    char path[256];
    snprintf(path, sizeof(path), "tests/golden/v1/%s.hex", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("cannot open %s: run from the top of the tree", path);
    char line[256];
    while (fgets(line, sizeof(line), file) != NULL) {
        for (const char *at = line; *at != '#' && !isspace(*at); at += 2)
            buf_add_u8(out, (uint8_t)(sample_digit(at[0]) << 4 | sample_digit(at[1])));
    }
    fclose(file);
}

#endif
