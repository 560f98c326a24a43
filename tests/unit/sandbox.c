#include "tests/unit/test.h"

#include "lib/os/file.h"
#include "lib/os/sandbox.h"

#include <grp.h>
#include <linux/capability.h>
#include <lmdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <linux/openat2.h>

/* A check inside a confined child: its number becomes the exit status. */
#define MUST(condition)                \
    do {                               \
        if (!(condition))              \
            _exit(__LINE__ % 250 + 1); \
    } while (0)

static char base[] = "/tmp/mailtwin-sandbox.XXXXXX";

/* Runs body in a process of its own, told by the wait status. */
static int
in_child(void (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status = -1;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    return status;
}

static void
make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, "mail", 4) == 4);
    close(fd);
}

/* in/ is allowed by the tests, out/ is not; works in the new base directory. */
static void
enter_base(void)
{
    strcpy(base + strlen(base) - 6, "XXXXXX");
    CHECK(mkdtemp(base) != NULL);
    test_scratch(base);
    CHECK(chdir(base) == 0);
    CHECK(mkdir("in", 0700) == 0 && mkdir("in/new", 0700) == 0 && mkdir("in/cur", 0700) == 0);
    CHECK(mkdir("out", 0700) == 0);
    make_file("in/new/one");
    make_file("out/two");
}

static void
leave_base(void)
{
    CHECK(chdir("/") == 0);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", base);
    CHECK_INT(system(command), 0);
}

static void
need_root(void)
{
    if (geteuid() != 0)
        skip();
}

static void
drop_all(void)
{
    struct err e;
    struct sandbox_user user;
    struct sandbox_files *files = NULL;
    MUST(sandbox_user_find("nobody", &user, &e) == 0);
    MUST(sandbox_chroot_empty(base, &e) == 0);
    MUST(sandbox_drop_user(&user, &e) == 0);
    MUST(sandbox_hide_memory(&e) == 0);
    MUST(sandbox_landlock_new(SANDBOX_READ | SANDBOX_WRITE | SANDBOX_EXECUTE | SANDBOX_TCP, &files,
                              &e) >= 0);
    MUST(sandbox_landlock_enter(&files, &e) == 0);
}

static void
try_after_drop(void)
{
    MUST(setgroups(1, &(gid_t){ 12 }) == 0);
    drop_all();
    MUST(geteuid() == 65534 && getegid() == 65534 && getgroups(0, NULL) == 0);
    MUST(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0);
    MUST(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0);
    MUST(mkdir("/x", 0700) < 0);
    MUST(setuid(0) < 0);
    MUST(chroot("/") < 0);
    MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        MUST(prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 0);
    MUST(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
}

TEST(dropped_role_has_no_user_no_file_and_no_way_back)
{
    need_root();
    enter_base();
    CHECK_INT(in_child(try_after_drop), 0);
    leave_base();
}

static void
try_connect_denied(void)
{
    drop_all();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(1),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    MUST(connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == EACCES);
}

TEST(dropped_role_connects_only_to_allowed_ports)
{
    need_root();
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 4)
        skip();
    enter_base();
    CHECK_INT(in_child(try_connect_denied), 0);
    leave_base();
}

TEST(user_that_is_missing_or_root_is_refused)
{
    struct err e;
    struct sandbox_user user;
    CHECK_INT(sandbox_user_find("no-such-account", &user, &e), -1);
    CHECK_CONTAINS(e.text, "no user no-such-account");
    CHECK_INT(sandbox_user_find("root", &user, &e), -1);
    CHECK_CONTAINS(e.text, "root");
}

static void
enter_net_filter(void)
{
    struct err e;
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(sandbox_seccomp(SANDBOX_NET, &e) == 0);
}

static void
use_net_calls(void)
{
    enter_net_filter();
    int pair[2];
    char byte = 0;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    MUST(write(pair[0], "x", 1) == 1 && read(pair[1], &byte, 1) == 1 && byte == 'x');
    MUST(socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_INET6, SOCK_STREAM, 0) >= 0);
    free(malloc(64UL << 20));
}

static void
open_a_file(void)
{
    enter_net_filter();
    (void)!open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NOATIME);
}

static void
run_a_program(void)
{
    enter_net_filter();
    execl("/bin/true", "true", (char *)NULL);
}

static void
make_unix_socket(void)
{
    enter_net_filter();
    (void)!socket(AF_UNIX, SOCK_STREAM, 0);
}

static void
fork_off(void)
{
    enter_net_filter();
    (void)!fork();
}

static void
map_code(void)
{
    enter_net_filter();
    (void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST(network_filter_ends_the_role_at_any_other_call)
{
    CHECK_INT(in_child(use_net_calls), 0);
    CHECK_INT(WTERMSIG(in_child(run_a_program)), SIGSYS);
    CHECK_INT(WTERMSIG(in_child(make_unix_socket)), SIGSYS);
#ifndef MAILTWIN_FAULTS /* sanitizers need these themselves */
    CHECK_INT(WTERMSIG(in_child(open_a_file)), SIGSYS);
    CHECK_INT(WTERMSIG(in_child(fork_off)), SIGSYS);
    CHECK_INT(WTERMSIG(in_child(map_code)), SIGSYS);
#else
    (void)open_a_file, (void)fork_off, (void)map_code;
#endif
}

static int
by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void
sort_much(enum sandbox_profile profile)
{
    struct err e;
    double *values = xcalloc(1000, sizeof(*values));
    for (unsigned i = 0; i < 1000; i++)
        values[i] = (double)(i * 7919U % 1000U);
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(sandbox_seccomp(profile, &e) == 0);
    qsort(values, 1000, sizeof(*values), by_value);
    MUST(values[0] < 0.5 && values[999] > 998.5);
}

static void
sort_in_gate(void)
{
    sort_much(SANDBOX_GATE);
}

static void
sort_in_directoryd(void)
{
    sort_much(SANDBOX_DIRECTORY);
}

static void
sort_in_store(void)
{
    sort_much(SANDBOX_STORE);
}

/* The library asks for the size of the memory when it is more than a kilobyte. */
TEST(every_role_that_sorts_may_sort_much)
{
    CHECK_INT(in_child(sort_in_gate), 0);
    CHECK_INT(in_child(sort_in_directoryd), 0);
    CHECK_INT(in_child(sort_in_store), 0);
}

static const int store_caps[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE, CAP_CHOWN,
                                  CAP_FOWNER,    CAP_FSETID,          CAP_MKNOD };

static void
keep_store_caps(void)
{
    struct err e;
    MUST(sandbox_keep_caps(store_caps, ARRAY_LEN(store_caps), &e) == 0);
    uint64_t want = 0;
    for (size_t i = 0; i < ARRAY_LEN(store_caps); i++)
        want |= 1ULL << store_caps[i];
    FILE *status = fopen("/proc/self/status", "re");
    MUST(status != NULL);
    char line[256];
    unsigned seen = 0;
    while (fgets(line, sizeof(line), status) != NULL)
        if (strncmp(line, "CapPrm", 6) == 0 || strncmp(line, "CapEff", 6) == 0 ||
            strncmp(line, "CapBnd", 6) == 0)
            seen += strtoull(line + 7, NULL, 16) == want;
    fclose(status);
    MUST(seen == 3);
    MUST(geteuid() == 0 && setuid(65534) < 0);
}

static void
keep_missing_cap(void)
{
    struct err e;
    MUST(sandbox_keep_caps(store_caps, 2, &e) == 0);
    MUST(sandbox_keep_caps(store_caps, 3, &e) < 0);
    MUST(strstr(e.text, "dac_override") != NULL);
}

TEST(keeping_capabilities_leaves_exactly_those)
{
    need_root();
    CHECK_INT(in_child(keep_store_caps), 0);
    CHECK_INT(in_child(keep_missing_cap), 0);
}

static void
enter_store_landlock(void)
{
    struct err e;
    struct sandbox_files *files = NULL;
    MUST(sandbox_landlock_new(SANDBOX_WRITE, &files, &e) == 1);
    MUST(sandbox_landlock_allow(files, "in", SANDBOX_WRITE, &e) == 0);
    MUST(sandbox_landlock_enter(&files, &e) == 0);
}

struct handle {
    struct file_handle head;
    unsigned char room[MAX_HANDLE_SZ];
};

static void
read_by_handle(const char *path)
{
    struct handle handle = { .head.handle_bytes = MAX_HANDLE_SZ };
    int mount_id, mount_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char got[4];
    MUST(name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0) == 0);
    int fd = open_by_handle_at(mount_fd, &handle.head, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0 && read(fd, got, 4) == 4 && memcmp(got, "mail", 4) == 0);
    close(fd);
    close(mount_fd);
}

static int
open_beneath(const char *dir, const char *path, uint64_t flags)
{
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(dirfd >= 0);
    struct open_how how = { .flags = flags | O_CLOEXEC,
                            .mode = flags & O_CREAT ? 0600 : 0,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
    int saved = errno;
    close(dirfd);
    errno = saved;
    return fd;
}

static void
work_inside(void)
{
    enter_store_landlock();
    read_by_handle("in/new/one");
    int fd = open_beneath("in", "new/three", O_WRONLY | O_CREAT | O_EXCL);
    MUST(fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0 && fsync(fd) == 0);
    MUST(rename("in/new/three", "in/cur/three") == 0);
    MUST(link("in/cur/three", "in/new/four") == 0);
    MUST(symlink("target", "in/cur/symlink") == 0);
    MUST(mkfifo("in/cur/fifo", 0600) == 0);
    MUST(mkdir("in/sub", 0700) == 0 && rename("in/cur", "in/sub/cur") == 0);
    MUST(truncate("in/new/one", 1) == 0);
    MUST(unlink("in/new/one") == 0);
    MUST(mknod("in/null", S_IFCHR | 0666, 0x103) < 0 && errno == EACCES);
}

static void
work_outside(void)
{
    enter_store_landlock();
    read_by_handle("out/two");
    MUST(open("out/two", O_RDONLY | O_CLOEXEC) >= 0);
    MUST(open_beneath("out", "two", O_WRONLY) < 0 && errno == EACCES);
    MUST(open_beneath("out", "new", O_WRONLY | O_CREAT) < 0 && errno == EACCES);
    MUST(rename("in/new/one", "out/one") < 0);
    MUST(rename("out/two", "in/two") < 0);
    MUST(unlink("out/two") < 0 && mkdir("out/dir", 0700) < 0);
    MUST(link("out/two", "out/three") < 0 && symlink("x", "out/x") < 0);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 3)
        MUST(truncate("out/two", 0) < 0 && errno == EACCES);
}

TEST(landlocked_store_role_writes_below_its_stores_and_nowhere_else)
{
    need_root();
    enter_base();
    CHECK_INT(in_child(work_inside), 0);
    leave_base();
    enter_base();
    CHECK_INT(in_child(work_outside), 0);
    leave_base();
}

static void *
count_up(void *arg)
{
    *(int *)arg += 1;
    return arg;
}

static void
use_thread(void)
{
    pthread_t thread;
    int count = 0;
    MUST(pthread_create(&thread, NULL, count_up, &count) == 0);
    MUST(pthread_join(thread, NULL) == 0 && count == 1);
}

static void
use_lmdb(void)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = { 1, &(char[]){ 'k' } }, value = { 1, &(char[]){ 'v' } };
    MUST(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, 64UL << 20) == 0);
    MUST(mdb_env_open(env, "in", MDB_WRITEMAP | MDB_NOMETASYNC, 0600) == 0);
    MUST(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
    MUST(mdb_put(txn, dbi, &key, &value, 0) == 0 && mdb_txn_commit(txn) == 0);
    MUST(mdb_env_sync(env, 1) == 0);
    mdb_env_close(env);
}

static void
use_fanotify(void)
{
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE |
                               FAN_REPORT_DFID_NAME,
                           O_RDONLY);
    MUST(fd >= 0);
    MUST(fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_CREATE | FAN_ONDIR, AT_FDCWD,
                       "in") == 0);
    MUST(mkdir("in/seen", 0700) == 0);
    char events[4096];
    MUST(read(fd, events, sizeof(events)) > 0);
}

static void
nothing(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
}

static void
use_loop(void)
{
    uv_loop_t loop;
    uv_timer_t timer;
    MUST(uv_loop_init(&loop) == 0 && uv_timer_init(&loop, &timer) == 0);
    MUST(uv_timer_start(&timer, nothing, 1, 0) == 0);
    MUST(uv_run(&loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&loop) == 0);
}

static void
work_as_store_role(void)
{
    struct err e;
    MUST(sandbox_keep_caps(store_caps, ARRAY_LEN(store_caps), &e) == 0);
    enter_store_landlock();
    MUST(sandbox_seccomp(SANDBOX_STORE, &e) == 0);
    use_thread();
    use_lmdb();
    use_fanotify();
    use_loop();
    read_by_handle("out/two");
    MUST(open_beneath("in", "new/three", O_WRONLY | O_CREAT) >= 0);
    MUST(fchownat(AT_FDCWD, "in/new/three", 1000, 1000, AT_SYMLINK_NOFOLLOW) == 0);
    MUST(open_beneath("out", "two", O_WRONLY) < 0 && errno == EACCES);
    execl("/bin/true", "true", (char *)NULL);
    MUST(errno == ENOSYS);
    MUST(unshare(0) < 0 && errno == ENOSYS);
}

TEST(confined_store_role_can_still_do_its_work)
{
    need_root();
    enter_base();
    CHECK_INT(in_child(work_as_store_role), 0);
    leave_base();
}
