/* err.h - failure is -1 plus one sentence.
 *
 * The callee says what broke, each caller adds what it was doing; the program prints the whole
 * sentence once and turns the code into its exit status. Codes: errors.def. */
#ifndef MAILTWIN_ERR_H
#define MAILTWIN_ERR_H

#include "lib/base/base.h"

#define ERR_TEXT_MAX 1024

enum err_code {
    ERR_NONE = 0,
#define ERR(name, exit_status, help) ERR_##name,
#include "lib/base/errors.def"
#undef ERR
};

struct err {
    enum err_code code;
    int sys; /* the errno behind it, 0 when there is none */
    char text[ERR_TEXT_MAX];
};

/* Each returns -1, so that a caller can write `return err_set(...)`. A NULL e is allowed: the
 * caller does not want the sentence. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) _printf_(3, 4);
/* The same, with the system's words for errnum behind the sentence. */
int err_errnum(struct err *e, enum err_code code, int errnum, const char *fmt, ...) _printf_(4, 5);
/* Puts "what was being done: " before the sentence; code and sys stay. */
int err_wrap(struct err *e, const char *fmt, ...) _printf_(2, 3);

void err_clear(struct err *e);
/* The exit status of interface.md for this failure. */
int err_exit_status(enum err_code code);
/* The name of a code as errors.def has it ("IO", "CONFIG"), for logs and JSON. */
const char *err_name(enum err_code code);

#endif
