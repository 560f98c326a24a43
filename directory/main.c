/* main.c - mailtwin-directoryd: reads its configuration, opens what needs rights, gives the rights
 * up, runs one thread for each directory. */
#include "directory/probe.h"
#include "directory/status.h"
#include "directory/worker.h"
#include "lib/os/audit.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/order.h"
#include "lib/os/program.h"
#include "lib/os/sandbox.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define PASSWORD_MAX   1024
#define TICK_MS        1000
#define REACH_MS       5000
#define LEVEL_MS       300000
#define TIMEOUT_MAX_MS (24ull * 60 * 60 * 1000)

struct directoryd {
    const struct conf *conf;
    uv_loop_t *loop;
    struct control_server *control;
    struct roles roles;
    struct dir_store *stores;
    struct worker **workers;
    size_t count;
    uv_timer_t tick;
    uv_signal_t signals[2];
};

/* --- what is asked --- */

static void
do_status(struct directoryd *d, struct control_call *call)
{
    json_t *stores = json_array();
    struct role_state role = roles_now(&d->roles);
    for (size_t i = 0; i < d->count; i++)
        json_array_append_new(stores, worker_status(d->workers[i]));
    control_reply(call, json_pack("{s:s, s:s, s:o}", "node", d->conf->self, "role",
                                  role_name(role.role), "stores", stores));
}

static struct worker *
worker_of(struct directoryd *d, const json_t *request, struct err *e)
{
    const char *name = json_string_value(json_object_get(request, "store"));
    if (name == NULL && d->count == 1)
        return d->workers[0];
    for (size_t i = 0; name != NULL && i < d->count; i++)
        if (strcmp(worker_name(d->workers[i]), name) == 0)
            return d->workers[i];
    if (name == NULL)
        err_set(e, ERR_USAGE, "there are %zu directories: name the store", d->count);
    else
        err_set(e, ERR_USAGE, "the configuration has no store \"%.64s\" of kind ldap", name);
    return NULL;
}

static void
give_order(struct directoryd *d, struct worker *worker, enum order_kind kind,
           struct control_call *call, const json_t *request)
{
    json_int_t ms = json_integer_value(json_object_get(request, "timeout_ms"));
    json_int_t epoch = json_integer_value(json_object_get(request, "epoch"));
    struct order_for what = { .kind = kind,
                              .epoch = epoch > 0 ? (uint64_t)epoch : 0,
                              .timeout_ms = kind == ORDER_LEVEL ? LEVEL_MS : REACH_MS };
    if (ms > 0)
        what.timeout_ms = MIN((uint64_t)ms, TIMEOUT_MAX_MS);
    worker_order(worker, &what, call);
    if (kind == ORDER_LEVEL) /* behind a promotion, of which this daemon may not know yet */
        roles_look(&d->roles);
}

static void
on_request(struct control_call *call, const json_t *request, const struct control_peer *peer,
           void *arg)
{
    static const struct {
        const char *word;
        enum order_kind kind;
        bool changes;
    } orders[] = { { "reach", ORDER_REACH, false },    { "handover", ORDER_HANDOVER, false },
                   { "resume", ORDER_RESUME, false },  { "level", ORDER_LEVEL, false },
                   { "release", ORDER_RELEASE, true }, { "retry", ORDER_RETRY, true } };
    struct directoryd *d = arg;
    struct err e = { 0 };
    const char *word = json_string_value(json_object_get(request, "do"));
    if (strcmp(word, "status") == 0) {
        do_status(d, call);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        if (strcmp(word, orders[i].word) != 0)
            continue;
        struct worker *worker = worker_of(d, request, &e);
        if (worker == NULL)
            break;
        if (orders[i].changes)
            order_note(call, request, peer);
        give_order(d, worker, orders[i].kind, call, request);
        return;
    }
    if (e.code == ERR_NONE)
        err_set(&e, ERR_USAGE, "the daemon knows no order \"%.64s\"", word);
    control_fail(call, &e);
}

/* --- opening what needs rights --- */

static int
make_dir(const char *path, mode_t mode, struct err *e)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_sys(e, ERR_CONFIG, "make %s", path);
    return 0;
}

static int
make_dirs(const struct conf *conf, struct err *e)
{
    _cleanup_free_ char *spool = xasprintf("%s/" CONF_SPOOL_DIR, conf->state_dir);
    _cleanup_free_ char *own = xasprintf("%s/" CONF_DIRECTORY_DIR, conf->state_dir);
    return make_dir(conf->state_dir, 0700, e) < 0 || make_dir(spool, 0711, e) < 0 ||
                   make_dir(own, 0700, e) < 0
               ? -1
               : 0;
}

/* The first line of a file that nobody but its owner may read. */
static int
read_password(const char *path, char **ret_password, struct err *e)
{
    struct stat st;
    char *text = NULL;
    size_t len = 0;
    if (path == NULL)
        return 0;
    if (lstat(path, &st) < 0)
        return err_sys(e, ERR_CONFIG, "read the password-file %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return err_set(e, ERR_CONFIG,
                       "the password-file %s must be a file that only its owner may read: chmod "
                       "0600",
                       path);
    int got = file_read(AT_FDCWD, path, PASSWORD_MAX, &text, &len, e);
    if (got <= 0)
        return got < 0 ? -1 : err_set(e, ERR_CONFIG, "the password-file %s is gone", path);
    text[strcspn(text, "\r\n")] = '\0';
    *ret_password = text;
    return 0;
}

static void
forget_password(char **password)
{
    if (*password != NULL)
        explicit_bzero(*password, strlen(*password));
    freep(password);
}

static int
open_store(struct directoryd *d, const struct conf_store *conf, struct err *e)
{
    _cleanup_free_ char *own = xasprintf("%s/" CONF_DIRECTORY_DIR, d->conf->state_dir);
    struct dir_store *s = &d->stores[d->count++];
    *s = (struct dir_store){ .conf = conf,
                             .roles = &d->roles,
                             .state_dir = d->conf->state_dir,
                             .run_dir = d->conf->run_dir,
                             .apply = { .inotify_fd = -1 } };
    s->state_fd = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->state_fd < 0)
        return err_sys(e, ERR_IO, "open %s", own);
    if (make_dir(conf->path, 0700, e) < 0 || spool_open(conf->path, &s->spool, e) < 0 ||
        read_password(conf->ldap.password_file, &s->password, e) < 0)
        return err_wrap(e, "store %s", conf->name);
    return 0;
}

/* Its own, for root's is not to be written by an account without rights; `mailtwin audit` shows
 * both. Open to the end: acts may come until then. */
static int
begin_trail(const struct conf *conf, struct err *e)
{
    _cleanup_free_ char *own = xasprintf("%s/" CONF_DIRECTORY_DIR, conf->state_dir);
    int fd = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", own);
    audit_begin(fd);
    return 0;
}

static int
open_stores(struct directoryd *d, struct err *e)
{
    const struct conf *conf = d->conf;
    d->stores = xcalloc(conf->store_count + 1, sizeof(d->stores[0]));
    d->workers = xcalloc(conf->store_count + 1, sizeof(struct worker *));
    if (make_dirs(conf, e) < 0 || begin_trail(conf, e) < 0)
        return -1;
    for (size_t i = 0; i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_LDAP && open_store(d, &conf->stores[i], e) < 0)
            return -1;
    if (d->count == 0)
        return err_set(e, ERR_CONFIG, "the configuration has no store of kind ldap");
    return 0;
}

/* --- giving rights up --- */

/* Where libldap and the resolver look. What is not there is not needed. */
static const char *const readable[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/lib",
    "/lib",
    "/usr/share",
    "/run/systemd/resolve",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/etc/passwd",
};

static int
allow(struct sandbox_files *files, const char *path, unsigned access, struct err *e)
{
    if (path == NULL || access == 0)
        return 0;
    if (faccessat(AT_FDCWD, path, F_OK, 0) < 0 && errno == ENOENT)
        return 0;
    return sandbox_landlock_allow(files, path, access, e);
}

static int
allow_all(const struct directoryd *d, struct sandbox_files *files, struct err *e)
{
    const unsigned both = SANDBOX_READ | SANDBOX_WRITE;
    _cleanup_free_ char *own = xasprintf("%s/" CONF_DIRECTORY_DIR, d->conf->state_dir);
    if (allow(files, own, both, e) < 0 || allow(files, d->conf->run_dir, both, e) < 0)
        return -1;
    for (size_t i = 0; i < d->count; i++)
        if (allow(files, d->stores[i].conf->path, both, e) < 0 ||
            allow(files, d->stores[i].conf->ldap.ca, SANDBOX_READ, e) < 0)
            return -1;
    for (size_t i = 0; i < ARRAY_LEN(readable); i++)
        if (allow(files, readable[i], SANDBOX_READ, e) < 0)
            return -1;
    return 0;
}

/* Files that replication brought to a standby belong to whoever they belong to on the primary: to
 * read and replace them takes DAC_OVERRIDE, which Landlock confines to the spool and the state. */
static int
confine(const struct directoryd *d, struct err *e)
{
    static const int caps[] = { CAP_DAC_OVERRIDE };
    struct sandbox_files *files = NULL;
    struct sandbox_user user;
    int ready = sandbox_landlock_new(SANDBOX_READ | SANDBOX_WRITE, &files, e);
    if (ready < 0)
        return -1;
    if (ready == 0)
        event(EV_UNCONFINED, F_ERR(e));
    if (sandbox_user_find(d->conf->directory_user, &user, e) < 0 || allow_all(d, files, e) < 0)
        return -1;
    if (sandbox_become(&user, caps, ARRAY_LEN(caps), e) < 0 || sandbox_hide_memory(e) < 0 ||
        sandbox_landlock_enter(&files, e) < 0)
        return -1;
    return sandbox_seccomp(SANDBOX_DIRECTORY, e);
}

/* --- running --- */

static void
role_changed(void *arg)
{
    struct directoryd *d = arg;
    for (size_t i = 0; i < d->count; i++)
        worker_wake(d->workers[i]);
}

static void
on_tick(uv_timer_t *timer)
{
    (void)timer;
    sd_notify(0, "WATCHDOG=1");
}

static void
on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    uv_stop(handle->loop);
}

static int
begin(struct directoryd *d, struct err *e)
{
    if (open_stores(d, e) < 0)
        return -1;
    if (control_server_open_own(d->loop, d->conf->run_dir, CONTROL_DIRECTORY, on_request, d,
                                &d->control, e) < 0)
        return -1;
    if (geteuid() == 0 && confine(d, e) < 0)
        return err_wrap(e, "confine this process");
    for (size_t i = 0; i < d->count; i++)
        if (worker_start(&d->stores[i], d->control, &d->workers[i], e) < 0)
            return -1;
    return roles_start(&d->roles, d->conf->run_dir, role_changed, d, e);
}

static void
loop_run(struct directoryd *d)
{
    static const int numbers[] = { SIGTERM, SIGINT };
    uv_timer_init(d->loop, &d->tick);
    uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
    for (size_t i = 0; i < ARRAY_LEN(d->signals); i++) {
        uv_signal_init(d->loop, &d->signals[i]);
        uv_signal_start(&d->signals[i], on_signal, numbers[i]);
    }
    uv_run(d->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&d->tick, NULL);
    for (size_t i = 0; i < ARRAY_LEN(d->signals); i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
}

static void
close_stores(struct directoryd *d)
{
    for (size_t i = 0; i < d->count; i++) {
        struct dir_store *s = &d->stores[i];
        worker_stop(&d->workers[i]);
        spool_close(&s->spool);
        file_closep(&s->state_fd);
        forget_password(&s->password);
        free(s->trouble);
        free(s->level);
    }
    free(d->stores);
    free(d->workers);
}

static int
run(const struct conf *conf)
{
    struct directoryd d = { .conf = conf, .loop = uv_default_loop() };
    struct err e = { 0 };
    bool started = begin(&d, &e) == 0;
    if (started) {
        event(EV_STARTED, F_STR("node", conf->self), F_STR("cluster", conf->cluster));
        sd_notify(0, "READY=1");
        loop_run(&d);
        sd_notify(0, "STOPPING=1");
        roles_stop(&d.roles);
    } else {
        event(EV_FAILED, F_ERR(&e));
    }
    close_stores(&d);
    control_server_close(&d.control);
    uv_run(d.loop, UV_RUN_DEFAULT);
    if (started)
        event(EV_STOPPED);
    return started ? 0 : err_exit_status(e.code);
}

/* --- mailtwin check --- */

/* As the account that the daemon is: a server knows it by that. */
static int
become_account(const struct conf *conf, struct err *e)
{
    struct sandbox_user user;
    if (geteuid() != 0)
        return 0;
    return sandbox_user_find(conf->directory_user, &user, e) < 0 ? -1 : sandbox_drop_user(&user, e);
}

static json_t *
checked(const char *state, const char *text)
{
    json_t *said = json_string(text); /* a server's words may be no UTF-8 */
    return json_pack("{s:s, s:o}", "state", state, "text",
                     said != NULL ? said : json_string("the server's words are not UTF-8"));
}

static json_t *
check_store(const struct conf_store *store, const char *password)
{
    struct probe probe;
    probe_ask(store, password, &probe);
    struct probe_word word = probe_judge(store, &probe);
    return checked(word.state, word.text);
}

/* Prints {"checks":[{"state","text"}]}: passwords are read first, then root's rights go. */
static int
check(const struct conf *conf)
{
    struct err e = { 0 };
    json_t *list = json_array();
    char **passwords = xcalloc(conf->store_count + 1, sizeof(char *));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_LDAP)
            rc = read_password(conf->stores[i].ldap.password_file, &passwords[i], &e);
    if (rc == 0)
        rc = become_account(conf, &e);
    for (size_t i = 0; rc == 0 && i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_LDAP)
            json_array_append_new(list, check_store(&conf->stores[i], passwords[i]));
    if (rc < 0)
        json_array_append_new(list, checked("fail", e.text));
    json_t *all = json_pack("{s:o}", "checks", list);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
    for (size_t i = 0; i < conf->store_count; i++)
        forget_password(&passwords[i]);
    free(passwords);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct program program = { "mailtwin-directoryd",
                                            "Captures and applies changes of directories", run,
                                            check };
    setenv("LDAPNOINIT", "1", 1); /* what ldap.conf and ~/.ldaprc say is not for us */
    return program_main(&program, argc, argv);
}
