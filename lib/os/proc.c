#include "lib/os/proc.h"

#include "lib/os/file.h"

#include <linux/ioprio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int
proc_close_others(int keep, struct err *e)
{
    unsigned first = STDERR_FILENO + 1;
    if (keep >= (int)first) {
        unsigned kept = (unsigned)keep;
        if (kept > first && close_range(first, kept - 1, 0) < 0)
            return err_sys(e, ERR_IO, "close inherited descriptors");
        first = kept + 1;
    }
    if (close_range(first, ~0U, 0) < 0)
        return err_sys(e, ERR_IO, "close inherited descriptors");
    return 0;
}

int
proc_die_with_parent(struct err *e)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return err_sys(e, ERR_IO, "ask to end with the parent");
    return 0;
}

void
proc_be_last(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

/* Handlers and masks of the parent are none of the role's. */
static void
reset_signals(void)
{
    for (int number = 1; number < SIGRTMIN; number++)
        (void)signal(number, SIG_DFL); /* fails for SIGKILL and SIGSTOP alone */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int
prepare_child(const char *name, pid_t parent, int control_fd, struct err *e)
{
    reset_signals();
    if (proc_close_others(control_fd, e) < 0 || proc_die_with_parent(e) < 0)
        return -1;
    if (getppid() != parent)
        return err_set(e, ERR_PEER, "the parent ended while the role was being started");
    if (prctl(PR_SET_NAME, name) < 0)
        return err_sys(e, ERR_IO, "name the process");
    return 0;
}

int
proc_spawn(const char *name, int (*body)(int control_fd, const void *arg), const void *arg,
           struct proc *ret_proc, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(e, ERR_IO, "make the control channel of %s", name);
    _cleanup_close_ int ours = pair[0];
    _cleanup_close_ int theirs = pair[1];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(e, ERR_IO, "fork %s", name);
    if (pid == 0) {
        struct err failed = { 0 };
        if (prepare_child(name, parent, theirs, &failed) < 0) {
            dprintf(STDERR_FILENO, "%s: %s\n", name, failed.text);
            _exit(1);
        }
        _exit(body(theirs, arg));
    }
    *ret_proc = (struct proc){ .pid = pid, .control_fd = ours };
    ours = -1; /* belongs to *ret_proc now */
    return 0;
}

static int
reap(pid_t pid, int *ret_status, struct err *e)
{
    pid_t got;
    do
        got = waitpid(pid, ret_status, 0);
    while (got < 0 && errno == EINTR);
    return got == pid ? 1 : err_sys(e, ERR_IO, "wait for process %d", (int)pid);
}

int
proc_wait(pid_t pid, int timeout_ms, int *ret_status, struct err *e)
{
    _cleanup_close_ int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return err_sys(e, ERR_IO, "watch process %d", (int)pid);
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    int ready;
    do
        ready = poll(&ended, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready < 0)
        return err_sys(e, ERR_IO, "wait for process %d", (int)pid);
    return ready > 0 ? reap(pid, ret_status, e) : 0;
}

int
proc_stop(struct proc *proc, int timeout_ms, int *ret_status, struct err *e)
{
    file_closep(&proc->control_fd);
    int ended = proc_wait(proc->pid, timeout_ms, ret_status, e);
    if (ended != 0)
        return ended < 0 ? -1 : 0;
    if (kill(proc->pid, SIGKILL) < 0)
        return err_sys(e, ERR_IO, "kill process %d", (int)proc->pid);
    return reap(proc->pid, ret_status, e) < 0 ? -1 : 0;
}

void
proc_status_text(int status, char *ret_text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(ret_text, size, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(ret_text, size, "ended with status %d", WEXITSTATUS(status));
}

/* Room for one descriptor, aligned as the kernel wants it. */
union passed {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

int
proc_send(int fd, struct span packet, int pass_fd, struct err *e)
{
    union passed passed = { .room = { 0 } };
    uint8_t *bytes = NULL;
    memcpy(&bytes, &packet.ptr, sizeof(bytes)); /* iovec has no const; sendmsg() only reads */
    struct iovec part = { .iov_base = bytes, .iov_len = packet.len };
    struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
    if (pass_fd >= 0) {
        msg.msg_control = passed.room;
        msg.msg_controllen = sizeof(passed.room);
        passed.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS,
                                          .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(&passed.header), &pass_fd, sizeof(pass_fd));
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return 0;
    if (sent < 0)
        return err_sys(e, errno == EPIPE || errno == ECONNRESET ? ERR_PEER : ERR_IO,
                       "send on the control channel");
    return 1;
}

static int
passed_fd(struct msghdr *msg)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(msg);
    int fd = -1;
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

int
proc_receive(int fd, void *packet, size_t size, int *ret_fd, struct err *e)
{
    union passed passed = { .room = { 0 } };
    struct iovec part = { .iov_base = packet, .iov_len = size };
    struct msghdr msg = { .msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = passed.room,
                          .msg_controllen = sizeof(passed.room) };
    *ret_fd = -1;
    ssize_t got;
    do
        got = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return err_set(e, ERR_PEER, "the other end of the control channel is closed");
    if (got < 0)
        return err_sys(e, ERR_IO, "receive on the control channel");
    _cleanup_close_ int attached = passed_fd(&msg);
    if ((size_t)got != size || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return err_set(e, ERR_PROTOCOL,
                       "a packet of %zd bytes on the control channel, expected %zu", got, size);
    *ret_fd = attached;
    attached = -1;
    return 1;
}
