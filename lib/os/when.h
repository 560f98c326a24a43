/* when.h - dates as they are shown: UTC, RFC 3339, to the second. */
#ifndef MAILTWIN_WHEN_H
#define MAILTWIN_WHEN_H

#include <stdint.h>

#define WHEN_SIZE 32

/* "2026-11-22T23:22:11Z" of seconds since 1970; "" of 0, which stands for never. Returns text. */
const char *when_text(uint64_t seconds, char text[WHEN_SIZE]);

#endif
