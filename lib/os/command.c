#include "lib/os/command.h"

#include "lib/os/file.h"
#include "lib/os/proc.h"

#include <ctype.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK      65536
#define GROUPS_MAX 64
#define ENV_MAX    32
#define NOT_RUN    127

struct account {
    bool given;
    uid_t uid;
    gid_t gid;
    gid_t groups[GROUPS_MAX];
    int group_count;
    char *env[ENV_MAX + 1];
};

struct run {
    const struct command *command;
    pid_t pid;
    int pidfd, in, out, said; /* our ends */
    int64_t until_ms;
    char *chunk; /* on its way to standard input */
    size_t at, len;
    struct command_result *result;
    size_t tail_len;
};

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- the child --- */

static void
account_free(struct account *account)
{
    for (char **one = account->env; *one != NULL; one++)
        free(*one);
}

static int
account_find(const struct command *command, struct account *account, struct err *e)
{
    errno = 0;
    const struct passwd *pw = command->user != NULL ? getpwnam(command->user) : getpwuid(geteuid());
    if (pw == NULL)
        return err_set(e, ERR_CONFIG, "there is no account \"%.64s\" to run %s as",
                       command->user != NULL ? command->user : "of ours", command->words[0]);
    account->given = command->user != NULL && pw->pw_uid != geteuid();
    account->uid = pw->pw_uid;
    account->gid = pw->pw_gid;
    account->group_count = GROUPS_MAX;
    if (account->given &&
        getgrouplist(pw->pw_name, pw->pw_gid, account->groups, &account->group_count) < 0)
        return err_set(e, ERR_CONFIG, "%s is in more than %d groups", pw->pw_name, GROUPS_MAX);
    size_t count = 0;
    account->env[count++] = xstrdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
                                    "/bin");
    account->env[count++] = xstrdup("LANG=C.UTF-8");
    account->env[count++] = xasprintf("HOME=%s", pw->pw_dir);
    account->env[count++] = xasprintf("USER=%s", pw->pw_name);
    account->env[count++] = xasprintf("LOGNAME=%s", pw->pw_name);
    for (const char *const *one = command->env; one != NULL && *one != NULL; one++) {
        ASSERT(count < ENV_MAX);
        account->env[count++] = xstrdup(*one);
    }
    return 0;
}

static int
become(const struct account *account)
{
    if (!account->given)
        return 0;
    if (setgroups((size_t)account->group_count, account->groups) < 0 ||
        setresgid(account->gid, account->gid, account->gid) < 0 ||
        setresuid(account->uid, account->uid, account->uid) < 0)
        return -1;
    return 0;
}

static void
default_signals(void)
{
    sigset_t none;
    for (int number = 1; number < SIGRTMIN; number++)
        (void)signal(number, SIG_DFL); /* fails for SIGKILL and SIGSTOP alone */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

_noreturn_ static void
child(const struct command *command, const struct account *account, pid_t parent, const int fds[3])
{
    char *const *words = command->words;
    (void)setsid(); /* a forked process leads no group: it cannot fail */
    default_signals();
    if (dup2(fds[0], STDIN_FILENO) < 0 || dup2(fds[1], STDOUT_FILENO) < 0 ||
        dup2(fds[2], STDERR_FILENO) < 0 || proc_close_others(-1, NULL) < 0)
        _exit(NOT_RUN);
    if (command->last)
        proc_be_last();
    if (become(account) < 0 || chdir("/") < 0)
        dprintf(STDERR_FILENO, "cannot become uid %u: %m\n", (unsigned)account->uid);
    else if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
        execvpe(words[0], words, account->env);
    dprintf(STDERR_FILENO, "cannot run %s: %m\n", words[0]);
    _exit(NOT_RUN);
}

/* --- starting --- */

static void
close_pair(int pair[2])
{
    file_closep(&pair[0]);
    file_closep(&pair[1]);
}

/* ours: which end stays here and does not block. */
static int
make_pipe(int pair[2], int ours, struct err *e)
{
    if (pipe2(pair, O_CLOEXEC) < 0 || fcntl(pair[ours], F_SETFL, O_NONBLOCK) < 0)
        return err_sys(e, ERR_IO, "make a pipe");
    return 0;
}

/* pipes: standard input, output, error. */
static int
open_pipes(const struct command *command, int pipes[3][2], struct err *e)
{
    if (command->source == NULL) {
        pipes[0][0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (pipes[0][0] < 0)
            return err_sys(e, ERR_IO, "open /dev/null");
    } else if (make_pipe(pipes[0], 1, e) < 0) {
        return -1;
    }
    return make_pipe(pipes[1], 0, e) < 0 || make_pipe(pipes[2], 0, e) < 0 ? -1 : 0;
}

static int
start(struct run *run, const struct account *account, int pipes[3][2], struct err *e)
{
    pid_t parent = getpid();
    run->pid = fork();
    if (run->pid < 0)
        return err_sys(e, ERR_IO, "fork for %s", run->command->words[0]);
    if (run->pid == 0)
        child(run->command, account, parent,
              (const int[]){ pipes[0][0], pipes[1][1], pipes[2][1] });
    file_closep(&pipes[0][0]);
    file_closep(&pipes[1][1]);
    file_closep(&pipes[2][1]);
    run->in = pipes[0][1];
    run->out = pipes[1][0];
    run->said = pipes[2][0];
    pipes[0][1] = pipes[1][0] = pipes[2][0] = -1;
    run->pidfd = pidfd_open(run->pid, 0);
    return run->pidfd < 0 ? err_sys(e, ERR_IO, "watch %s", run->command->words[0]) : 0;
}

/* --- talking --- */

static void
tail_add(struct run *run, const char *text, size_t len)
{
    char *tail = run->result->tail;
    for (size_t i = 0; i < len; i++) {
        if (run->tail_len == COMMAND_TAIL_MAX) { /* the first half goes */
            run->tail_len = COMMAND_TAIL_MAX / 2;
            memmove(tail, tail + COMMAND_TAIL_MAX - run->tail_len, run->tail_len);
        }
        bool shown = isprint((unsigned char)text[i]);
        tail[run->tail_len++] = shown ? text[i] : text[i] == '\n' ? ';' : ' ';
    }
    tail[run->tail_len] = '\0';
}

static void
tail_end(struct run *run)
{
    char *tail = run->result->tail;
    while (run->tail_len > 0 && (tail[run->tail_len - 1] == ';' || tail[run->tail_len - 1] == ' '))
        tail[--run->tail_len] = '\0';
}

/* Some of what is there: the clock and the other pipes have their turn behind it. Closes *fd at its
 * end. */
static int
take(struct run *run, int *fd, bool to_sink, struct err *e)
{
    _cleanup_free_ char *chunk = xmalloc(CHUNK);
    ssize_t got = read(*fd, chunk, CHUNK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        return err_sys(e, ERR_IO, "read from %s", run->command->words[0]);
    if (got == 0)
        file_closep(fd);
    else if (to_sink)
        return run->command->sink(run->command->arg, span_of(chunk, (size_t)got), e);
    else
        tail_add(run, chunk, (size_t)got);
    return 0;
}

/* Who closes its standard input wants no more. */
static int
give(struct run *run, struct err *e)
{
    if (run->at == run->len) {
        run->at = run->len = 0;
        if (run->command->source(run->command->arg, run->chunk, CHUNK, &run->len, e) < 0)
            return -1;
        if (run->len == 0)
            file_closep(&run->in);
    }
    if (run->in < 0)
        return 0;
    ssize_t n = write(run->in, run->chunk + run->at, run->len - run->at);
    if (n >= 0)
        run->at += (size_t)n;
    else if (errno == EPIPE)
        file_closep(&run->in);
    else if (errno != EAGAIN && errno != EINTR)
        return err_sys(e, ERR_IO, "write to %s", run->command->words[0]);
    return 0;
}

static int
timed_out(const struct run *run, struct err *e)
{
    return err_set(e, ERR_TIMEOUT, "%s did not end within %u s and was killed",
                   run->command->words[0], run->command->timeout_ms / 1000);
}

/* 1 it ended, 0 go on. */
static int
turn(struct run *run, struct err *e)
{
    struct pollfd fds[] = { { run->in, POLLOUT, 0 },
                            { run->out, POLLIN, 0 },
                            { run->said, POLLIN, 0 },
                            { run->pidfd, POLLIN, 0 } };
    int64_t left = run->until_ms - now_ms();
    if (left <= 0)
        return timed_out(run, e);
    if (poll(fds, ARRAY_LEN(fds), (int)MIN(left, (int64_t)INT_MAX)) < 0 && errno != EINTR)
        return err_sys(e, ERR_IO, "wait for %s", run->command->words[0]);
    bool to_sink = run->command->sink != NULL;
    if ((fds[1].revents != 0 && take(run, &run->out, to_sink, e) < 0) ||
        (fds[2].revents != 0 && take(run, &run->said, false, e) < 0) ||
        (fds[0].revents != 0 && give(run, e) < 0))
        return -1;
    return fds[3].revents != 0 && fds[1].revents == 0 && fds[2].revents == 0;
}

static int
talk(struct run *run, struct err *e)
{
    int ended = 0;
    run->until_ms = now_ms() + run->command->timeout_ms;
    while (ended == 0)
        ended = turn(run, e);
    return ended < 0 ? -1 : 0;
}

/* Its group goes with it, before its number can be another's. */
static void
finish(struct run *run)
{
    kill(-run->pid, SIGKILL);
    kill(run->pid, SIGKILL); /* it may not have made its group yet; a zombie does not mind */
    while (waitpid(run->pid, &run->result->status, 0) < 0 && errno == EINTR)
        ;
}

int
command_run(const struct command *command, struct command_result *ret_result, struct err *e)
{
    struct account account = { 0 };
    int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
    struct run run = {
        .command = command, .pid = -1, .pidfd = -1, .in = -1, .out = -1, .said = -1
    };
    *ret_result = (struct command_result){ 0 };
    run.result = ret_result;
    run.chunk = xmalloc(CHUNK);
    int rc = account_find(command, &account, e);
    if (rc == 0)
        rc = open_pipes(command, pipes, e);
    if (rc == 0)
        rc = start(&run, &account, pipes, e);
    if (rc == 0)
        rc = talk(&run, e);
    if (run.pid > 0)
        finish(&run);
    tail_end(&run);
    for (size_t i = 0; i < ARRAY_LEN(pipes); i++)
        close_pair(pipes[i]);
    file_closep(&run.in);
    file_closep(&run.out);
    file_closep(&run.said);
    file_closep(&run.pidfd);
    free(run.chunk);
    account_free(&account);
    return rc;
}

int
command_succeed(const struct command *command, struct command_result *ret_result, struct err *e)
{
    char text[128];
    if (command_run(command, ret_result, e) < 0)
        return -1;
    if (WIFEXITED(ret_result->status) && WEXITSTATUS(ret_result->status) == 0)
        return 0;
    proc_status_text(ret_result->status, text, sizeof(text));
    return err_set(e, ERR_IO, "%s %s%s%.600s", command->words[0], text,
                   ret_result->tail[0] != '\0' ? ": " : " and says nothing", ret_result->tail);
}
