/* main.c - mailtwin-dumpd: on the primary, runs the commands of the dump stores when they are due.
 *
 * What runs as another user, and writes the spool, needs more than a daemon should keep; so it
 * keeps four capabilities and nothing listens. Landlock would bind the commands as well, whose
 * files we do not know. */
#include "dumps/dumper.h"
#include "lib/os/event.h"
#include "lib/os/program.h"
#include "lib/os/sandbox.h"

#include <linux/capability.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 500

/* Becoming the command's user, ending it, and the spool in a directory that may be another's. */
static const int kept_caps[] = { CAP_SETUID, CAP_SETGID, CAP_KILL, CAP_DAC_OVERRIDE };

/* Blocked but for the moments in which the loop sleeps: none is missed. */
static void
block_ends(sigset_t *ret_ends)
{
    sigemptyset(ret_ends);
    sigaddset(ret_ends, SIGTERM);
    sigaddset(ret_ends, SIGINT);
    sigprocmask(SIG_BLOCK, ret_ends, NULL);
}

static void
serve(const struct conf *conf)
{
    const struct timespec tick = { .tv_nsec = TICK_MS * 1000000L };
    struct dumper *dumper = dumper_new(conf);
    sigset_t ends;
    block_ends(&ends);
    event(EV_STARTED, F_STR("node", conf->self), F_U64("stores", dumper_count(dumper)));
    sd_notify(0, "READY=1");
    do {
        dumper_tick(dumper);
        sd_notify(0, "WATCHDOG=1");
    } while (sigtimedwait(&ends, NULL, &tick) < 0);
    sd_notify(0, "STOPPING=1");
    dumper_free(&dumper);
    event(EV_STOPPED);
}

static int
run(const struct conf *conf)
{
    struct err e = { 0 };
    if (geteuid() == 0 && sandbox_keep_caps(kept_caps, ARRAY_LEN(kept_caps), &e) < 0) {
        err_wrap(&e, "confine this process");
        event(EV_FAILED, F_ERR(&e));
        return err_exit_status(e.code);
    }
    serve(conf);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct program program = { "mailtwin-dumpd",
                                            "Makes the dumps of the dump stores on the primary",
                                            run, NULL };
    return program_main(&program, argc, argv);
}
