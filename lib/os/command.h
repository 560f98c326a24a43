/* command.h - runs a program that an administrator named, to its end: without a shell, as a user,
 * with a clean environment, in a session of its own, within a time.
 *
 * The caller ignores SIGPIPE, as our programs do. The program has nothing of ours: no terminal,
 * no descriptor above standard error, no signal mask, no environment but PATH, HOME, USER, LOGNAME,
 * LANG and what is given. It dies with the thread that runs it. */
#ifndef MAILTWIN_COMMAND_H
#define MAILTWIN_COMMAND_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define COMMAND_TAIL_MAX 2000 /* bytes kept of the end of what it says */

struct command {
    char *const *words;     /* NULL-ended; words[0] is looked for in PATH */
    const char *user;       /* the account it runs as; NULL: the caller's */
    const char *const *env; /* NULL-ended "NAME=value" besides; NULL: none */
    bool last;              /* gets processor and disk when nobody else wants them */
    unsigned timeout_ms;
    /* Bytes for its standard input: called until it returns 0; NULL: it gets none. -1 ends it. */
    int (*source)(void *arg, void *ptr, size_t size, size_t *ret_len, struct err *e);
    /* What it writes to standard output; NULL: it goes to the tail like standard error. -1 ends it.
     */
    int (*sink)(void *arg, struct span bytes, struct err *e);
    void *arg;
};

struct command_result {
    int status;                      /* as from waitpid() */
    char tail[COMMAND_TAIL_MAX + 1]; /* printable, lines parted by "; " */
};

/* 0: it ended, whatever its status. -1: it could not be started (ERR_CONFIG: no such account),
 * source or sink failed, or ERR_TIMEOUT; it and its process group are gone then. */
int command_run(const struct command *command, struct command_result *ret_result,
                struct err *e) _must_check_;
/* The same, and a status other than 0 is ERR_IO with the status and the tail in the sentence. */
int command_succeed(const struct command *command, struct command_result *ret_result,
                    struct err *e) _must_check_;

#endif
