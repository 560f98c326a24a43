#include "tests/unit/test.h"

#include "lib/os/file.h"
#include "lib/os/proc.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PACKET 8

static void
wait_readable(int fd)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    CHECK_INT(poll(&ready, 1, 10000), 1);
}

static int
receive(int fd, char packet[PACKET], int *ret_fd, struct err *e)
{
    wait_readable(fd);
    return proc_receive(fd, packet, PACKET, ret_fd, e);
}

/* Waits for a packet and answers it with the descriptor that came along, then for the end. */
static int
echo_body(int control_fd, const void *arg)
{
    char packet[PACKET];
    int fd = -1;
    struct err e;
    struct pollfd ready = { .fd = control_fd, .events = POLLIN };
    while (poll(&ready, 1, 10000) == 1 && proc_receive(control_fd, packet, PACKET, &fd, &e) == 1)
        if (proc_send(control_fd, span_of(packet, PACKET), fd, &e) != 1)
            return 9;
    return *(const int *)arg;
}

static struct proc
spawn(int (*body)(int, const void *), const void *arg)
{
    struct proc proc;
    struct err e;
    CHECK_INT(proc_spawn("mt-test", body, arg, &proc, &e), 0);
    return proc;
}

TEST(role_talks_over_its_channel_and_ends_when_it_closes)
{
    int answer = 7, passed = -1, status = -1;
    struct err e;
    char packet[PACKET];
    struct proc proc = spawn(echo_body, &answer);
    CHECK_INT(proc_receive(proc.control_fd, packet, PACKET, &passed, &e), 0);
    CHECK_INT(proc_send(proc.control_fd, span_str("12345678"), -1, &e), 1);
    CHECK_INT(receive(proc.control_fd, packet, &passed, &e), 1);
    CHECK(memcmp(packet, "12345678", PACKET) == 0 && passed == -1);
    CHECK_INT(proc_stop(&proc, 10000, &status, &e), 0);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 7);
}

TEST(descriptor_travels_both_ways_and_is_close_on_exec)
{
    int answer = 0, passed = -1, status, ends[2];
    struct err e;
    char packet[PACKET];
    struct proc proc = spawn(echo_body, &answer);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK_INT(proc_send(proc.control_fd, span_str("12345678"), ends[1], &e), 1);
    CHECK_INT(receive(proc.control_fd, packet, &passed, &e), 1);
    CHECK(passed >= 0 && passed != ends[1]);
    CHECK(fcntl(passed, F_GETFD) == FD_CLOEXEC);
    CHECK(write(passed, "!", 1) == 1 && read(ends[0], packet, 1) == 1 && packet[0] == '!');
    close(passed);
    close(ends[0]);
    close(ends[1]);
    CHECK_INT(proc_stop(&proc, 10000, &status, &e), 0);
}

TEST(packet_of_another_size_is_refused_and_its_descriptor_closed)
{
    int pair[2], passed;
    struct err e;
    char packet[PACKET];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK_INT(proc_send(pair[0], span_str("123"), pair[0], &e), 1);
    int next = dup(pair[0]);
    CHECK(next >= 0);
    CHECK_INT(proc_receive(pair[1], packet, PACKET, &passed, &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    int after = dup(pair[0]);
    CHECK_INT(after, next + 1);
    CHECK_INT(proc_send(pair[0], span_str("123456789"), -1, &e), 1);
    CHECK_INT(proc_receive(pair[1], packet, PACKET, &passed, &e), -1);
    close(next);
    close(after);
    close(pair[0]);
    CHECK_INT(proc_receive(pair[1], packet, PACKET, &passed, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
    CHECK_INT(proc_send(pair[1], span_str("12345678"), -1, &e), -1);
    CHECK_INT(e.code, ERR_PEER);
    close(pair[1]);
}

TEST(full_channel_says_so_and_does_not_block)
{
    int pair[2];
    struct err e;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    int sent = 0, got;
    while ((got = proc_send(pair[0], span_str("12345678"), -1, &e)) == 1)
        sent++;
    CHECK_INT(got, 0);
    CHECK(sent > 0);
    close(pair[0]);
    close(pair[1]);
}

/* Exits with the number of descriptors it has beside the three and its channel. */
static int
count_fds(int control_fd, const void *arg)
{
    (void)arg;
    int count = 0;
    for (int fd = 3; fd < 1024; fd++)
        count += fd != control_fd && fcntl(fd, F_GETFD) >= 0;
    return count;
}

TEST(role_inherits_nothing_but_its_channel)
{
    int low = open("/dev/null", O_RDONLY), status;
    int high = fcntl(low, F_DUPFD, 500);
    struct err e;
    struct proc proc = spawn(count_fds, NULL);
    CHECK_INT(proc_stop(&proc, 10000, &status, &e), 0);
    CHECK_INT(status, 0);
    close(low);
    close(high);
}

static int
deaf_body(int control_fd, const void *arg)
{
    (void)arg;
    struct err e;
    if (proc_send(control_fd, span_str("deafened"), -1, &e) != 1)
        return 1;
    while (control_fd >= 0)
        pause();
    return 0;
}

TEST(role_that_does_not_end_is_killed)
{
    int status;
    struct err e;
    char text[64];
    struct proc proc = spawn(deaf_body, NULL);
    wait_readable(proc.control_fd);
    CHECK_INT(proc_wait(proc.pid, 0, &status, &e), 0);
    CHECK_INT(proc_stop(&proc, 10, &status, &e), 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    proc_status_text(status, text, sizeof(text));
    CHECK_STR(text, "killed by signal 9 (Killed)");
    proc_status_text(2 << 8, text, sizeof(text));
    CHECK_STR(text, "ended with status 2");
}

/* Starts a role that never ends by itself, tells its pid, and is gone. */
static int
orphaning_body(int control_fd, const void *arg)
{
    struct proc grandchild;
    struct err e;
    char packet[PACKET] = { 0 };
    if (proc_spawn("mt-orphan", deaf_body, arg, &grandchild, &e) < 0)
        return 1;
    struct pollfd ready = { .fd = grandchild.control_fd, .events = POLLIN };
    if (poll(&ready, 1, 10000) != 1)
        return 3;
    memcpy(packet, &grandchild.pid, sizeof(grandchild.pid));
    return proc_send(control_fd, span_of(packet, PACKET), -1, &e) == 1 ? 0 : 2;
}

TEST(role_dies_with_the_process_that_started_it)
{
    int status, passed;
    struct err e;
    char packet[PACKET];
    pid_t orphan;
    struct proc proc = spawn(orphaning_body, NULL);
    CHECK_INT(receive(proc.control_fd, packet, &passed, &e), 1);
    memcpy(&orphan, packet, sizeof(orphan));
    CHECK_INT(proc_stop(&proc, 10000, &status, &e), 0);
    CHECK_INT(status, 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)orphan);
    bool gone = false;
    for (int tries = 0; !gone && tries < 2000; tries++) {
        char line[256] = "";
        FILE *stat = fopen(path, "re");
        gone = stat == NULL || fgets(line, sizeof(line), stat) == NULL || strstr(line, ") Z ");
        if (stat != NULL)
            fclose(stat);
        poll(NULL, 0, gone ? 0 : 5);
    }
    CHECK(gone);
}
