/* dies.h - for tests of assertions: does what is called stop the process? */
#ifndef MAILTWIN_DIES_H
#define MAILTWIN_DIES_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIES_ASSERTED 7

static inline void
dies_exit(int signal_number)
{
    (void)signal_number;
    exit(DIES_ASSERTED); /* not abort(): no core, and what was said is flushed */
}

/* The child's exit status, -1 when a signal ended it. */
static inline int
dies_status(void (*act)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        signal(SIGABRT, dies_exit);
        act();
        _exit(0);
    }
    int status = 0;
    bool waited = child > 0 && waitpid(child, &status, 0) == child;
    return waited && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* By an assertion, and by nothing else. */
static inline bool
dies(void (*act)(void))
{
    return dies_status(act) == DIES_ASSERTED;
}

#endif
