/* analyzer.h - tells analysers, which look at one file at a time, that err_*() return -1. Included
 * before a file that is analysed, never in a build. */
#ifndef MAILTWIN_ANALYZER_H
#define MAILTWIN_ANALYZER_H

#include "lib/base/err.h"

#define err_set(...)    ((err_set)(__VA_ARGS__), -1)
#define err_errnum(...) ((err_errnum)(__VA_ARGS__), -1)
#define err_wrap(...)   ((err_wrap)(__VA_ARGS__), -1)

#endif
