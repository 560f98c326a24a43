/* loop_kit.h - an event loop in a thread of its own, as a daemon has one: loop_run() when its
 * servers are open, loop_join() when they were told to close. */
#ifndef MAILTWIN_TEST_LOOP_KIT_H
#define MAILTWIN_TEST_LOOP_KIT_H

#include "tests/unit/test.h"

#include "lib/os/control.h"

#include <pthread.h>

static inline void *
loop_main(void *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline pthread_t
loop_run(uv_loop_t *loop)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, loop_main, loop), 0);
    return thread;
}

static inline void
loop_join(pthread_t thread, uv_loop_t *loop)
{
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK_INT(uv_loop_close(loop), 0);
}

#endif
