/* main.c - mailtwin-gate: reads its configuration, opens what it needs, gives up everything else,
 * runs. */
#include "gate/gate.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/program.h"
#include "lib/os/sandbox.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define WATCHDOG_MS 5000

static struct server server;
static uv_signal_t signals[2];
static uv_timer_t watchdog;

static void
on_signal(uv_signal_t *handle, int number)
{
    (void)handle, (void)number;
    sd_notify(0, "STOPPING=1");
    server_stop(&server);
}

static void
on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    sd_notify(0, "WATCHDOG=1");
}

static void
loop_begin(uv_loop_t *loop)
{
    const int numbers[] = { SIGTERM, SIGINT };
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        uv_signal_init(loop, &signals[i]);
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(loop, &watchdog);
    uv_timer_start(&watchdog, on_watchdog, WATCHDOG_MS, WATCHDOG_MS);
}

static void
loop_end(void)
{
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    uv_close((uv_handle_t *)&watchdog, NULL);
}

/* --- what it gives up --- */

static int
allow(struct sandbox_files *files, const struct conf *conf, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/gate", conf->state_dir);
    if (sandbox_landlock_allow(files, path, SANDBOX_READ | SANDBOX_WRITE, e) < 0)
        return -1;
    if (sandbox_landlock_allow(files, "/dev/null", SANDBOX_READ, e) < 0)
        return -1; /* libuv holds one, to have a descriptor when there are no more */
    for (size_t i = 0; i < server.gate_count; i++) {
        const struct endpoint *backend = &server.gates[i].backend;
        if (!backend->unix_path && sandbox_landlock_allow_connect(files, backend->port, e) < 0)
            return -1;
    }
    return 0;
}

/* The directory is the account's from here on. */
static int
drop_user(const struct conf *conf, struct err *e)
{
    struct sandbox_user user;
    if (geteuid() != 0)
        return sandbox_keep_caps(NULL, 0, e);
    if (sandbox_user_find(conf->gate_user, &user, e) < 0)
        return -1;
    const char *const names[] = { ".", "lock", MEMORY_FILE };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (fchownat(server.dirfd, names[i], user.uid, user.gid, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(e, ERR_IO, "give the gate's directory to %s", conf->gate_user);
    return sandbox_drop_user(&user, e);
}

static int
confine(const struct conf *conf, struct err *e)
{
    struct sandbox_files *files = NULL;
    unsigned all = SANDBOX_READ | SANDBOX_WRITE | SANDBOX_EXECUTE | SANDBOX_TCP;
    int has = sandbox_landlock_new(all, &files, e);
    if (has == 0)
        event(EV_UNCONFINED, F_ERR(e));
    if (has < 0 || allow(files, conf, e) < 0 || drop_user(conf, e) < 0 ||
        sandbox_hide_memory(e) < 0 || sandbox_landlock_enter(&files, e) < 0)
        return -1;
    return sandbox_seccomp(SANDBOX_GATE, e);
}

/* --- start --- */

static int
begin(const struct conf *conf, uv_loop_t *loop, struct err *e)
{
    if (server_open(&server, conf, loop, e) < 0)
        return -1;
    loop_begin(loop);
    tzset();             /* reads a file at its first call, and dates are printed later */
    json_object_seed(0); /* this too */
    if (confine(conf, e) < 0)
        return err_wrap(e, "confine this process");
    return server_serve(&server, e);
}

static int
run(const struct conf *conf)
{
    struct err e = { 0 };
    setenv("UV_USE_IO_URING", "0", 1); /* newer libuv would need calls we do not allow */
    uv_loop_t *loop = uv_default_loop();
    if (begin(conf, loop, &e) < 0) {
        event(EV_FAILED, F_ERR(&e));
        return err_exit_status(e.code);
    }
    event(EV_STARTED, F_STR("node", conf->self), F_STR("cluster", conf->cluster));
    sd_notify(0, "READY=1");
    uv_run(loop, UV_RUN_DEFAULT);
    loop_end();
    server_close(&server);
    event(EV_STOPPED);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct program program = { "mailtwin-gate",
                                            "Passes LMTP on and answers 250 when the mail is safe",
                                            run, NULL };
    return program_main(&program, argc, argv);
}
