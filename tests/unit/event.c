#include "tests/unit/test.h"

#include "lib/os/event.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char heard[4096];

static void
hear(enum event_id id, const char *line, void *arg)
{
    (void)id;
    (void)arg;
    snprintf(heard, sizeof(heard), "%s", line);
}

static void
listen_to_events(enum event_level lowest)
{
    heard[0] = '\0';
    event_init("tester", lowest);
    event_tap(hear, NULL);
}

TEST(an_event_is_one_logfmt_line_with_number_level_text_and_runbook)
{
    listen_to_events(EVENT_INFO);
    event(EV_ACK_LATE, F_STR("peer", "mx2"), F_U64("seq", 7), F_I64("delta", -3),
          F_SECONDS("late", 1.25));
    CHECK_CONTAINS(heard, " level=warn event=ACK_LATE no=1204 program=tester "
                          "text=\"the standby confirms later than allowed\" "
                          "peer=mx2 seq=7 delta=-3 late=1.250 runbook=standby-behind");
    unsigned y, m, d, h, min, s, ms;
    char z;
    CHECK_INT(
        sscanf(heard, "time=%4u-%2u-%2uT%2u:%2u:%2u.%3u%c ", &y, &m, &d, &h, &min, &s, &ms, &z), 8);
    CHECK_INT(z, 'Z');
}

TEST(no_byte_of_a_value_can_forge_a_line_or_a_field)
{
    static const char nasty[] = "a\nlevel=crit \"b\"\\\x1b[2J\xff\0z";
    listen_to_events(EVENT_INFO);
    event(EV_SKIPPED, F_SPAN("path", span_of(nasty, sizeof(nasty) - 1)), F_STR("empty", ""),
          F_STR("none", NULL), F_STR("plain", "cur/1:2,S"));
    CHECK_CONTAINS(heard, " path=\"a\\nlevel=crit \\\"b\\\"\\\\\\x1b[2J\\xff\\x00z\" empty=\"\" "
                          "none=\"\" plain=cur/1:2,S");
    CHECK(strchr(heard, '\n') == NULL);
}

TEST(an_event_below_the_lowest_level_is_silent)
{
    listen_to_events(EVENT_WARN);
    event(EV_STARTED);
    CHECK_STR(heard, "");
    event(EV_OVERFLOW);
    CHECK_CONTAINS(heard, "event=OVERFLOW");
}

/* Runs body with stderr going to fd. */
static void
with_stderr(int fd, void (*body)(void))
{
    int keep = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    body();
    dup2(keep, STDERR_FILENO);
    close(keep);
}

static void
say_once(void)
{
    errno = EXDEV;
    event(EV_STARTED);
    assert_int_equal(errno, EXDEV);
}

TEST(a_full_disk_under_the_log_stops_nobody)
{
    listen_to_events(EVENT_INFO);
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    with_stderr(fd, say_once);
    CHECK_CONTAINS(heard, "event=STARTED");
    close(fd);
}

/* Makes stderr a pipe and JOURNAL_STREAM name it, as systemd does; *ret_read is the other end. */
static void
stderr_as_under_systemd(int *ret_read)
{
    int fds[2];
    struct stat st;
    char stream[64];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    CHECK_INT(fstat(fds[1], &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    *ret_read = fds[0];
}

/* Runs body in a child with a /run of its own; its checks are the child's exit status. Skipped
 * without the right to mount. */
static void
in_private_run(void (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
            _exit(77);
        body();
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
expect(bool ok, int code)
{
    if (!ok)
        _exit(code);
}

static void
no_journald(void)
{
    int from;
    char got[1024] = "";
    stderr_as_under_systemd(&from);
    event_init("tester", EVENT_INFO);
    event(EV_STARTED);
    expect(read(from, got, sizeof(got) - 1) > 0, 1);
    expect(strstr(got, "event=STARTED") != NULL, 2);
}

TEST(a_journal_that_is_not_there_leaves_the_line_on_stderr)
{
    in_private_run(no_journald);
}

static void
journald_and_a_chroot(void)
{
    int from;
    char got[1024] = "";
    const struct sockaddr_un address = { .sun_family = AF_UNIX,
                                         .sun_path = "/run/systemd/journal/socket" };
    mkdir("/run/systemd", 0755);
    mkdir("/run/systemd/journal", 0755);
    int journald = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    expect(bind(journald, (const struct sockaddr *)&address, sizeof(address)) == 0, 1);
    stderr_as_under_systemd(&from);
    event_init("tester", EVENT_INFO);
    expect(chroot("/run/systemd") == 0, 2);
    event(EV_ACK_LATE, F_STR("late-peer", "a\nb"));
    ssize_t len = recv(journald, got, sizeof(got), MSG_DONTWAIT);
    static const char field[] = "\nMAILTWIN_LATE_PEER\n\3\0\0\0\0\0\0\0a\nb\n";
    expect(len > 0 && memmem(got, (size_t)len, field, sizeof(field) - 1) != NULL, 3);
    static const char priority[] = "\nPRIORITY\n\1\0\0\0\0\0\0\0004\n";
    expect(memmem(got, (size_t)len, priority, sizeof(priority) - 1) != NULL, 4);
    int pair[2];
    for (int fd = 3; fd < 64; fd++)
        if (fd != from && fd != journald)
            close(fd);
    expect(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0, 6);
    event(EV_STARTED); /* the journal's number is one of the pair's now */
    expect(recv(pair[0], got, sizeof(got), MSG_DONTWAIT) < 0, 7);
    expect(recv(pair[1], got, sizeof(got), MSG_DONTWAIT) < 0, 8);
    expect(read(from, got, sizeof(got) - 1) > 0 && strstr(got, "event=STARTED") != NULL, 5);
}

TEST(the_journal_is_reached_from_a_chroot_and_stderr_takes_over_when_it_is_lost)
{
    in_private_run(journald_and_a_chroot);
}

#define THREADS 4
#define EACH    200

static void *
talk(void *arg)
{
    for (unsigned i = 0; i < EACH; i++)
        event(EV_NEED, F_STR("who", arg), F_U64("i", i));
    return NULL;
}

static void
talk_together(void)
{
    pthread_t threads[THREADS];
    static char names[THREADS][2] = { "a", "b", "c", "d" };
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, talk, names[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

TEST(lines_of_many_threads_stay_whole)
{
    char path[] = "/tmp/mailtwin-event-XXXXXX", line[1024];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    listen_to_events(EVENT_INFO);
    with_stderr(fd, talk_together);
    CHECK_INT(lseek(fd, 0, SEEK_SET), 0);
    FILE *file = fdopen(fd, "r");
    unsigned lines = 0;
    for (; fgets(line, sizeof(line), file) != NULL; lines++)
        CHECK(strncmp(line, "time=", 5) == 0 && strstr(line + 5, "time=") == NULL);
    CHECK_INT(lines, THREADS * EACH);
    fclose(file);
}

TEST(numbers_of_events_are_given_once)
{
    static const unsigned numbers[] = {
#define EVENT(name, number, level, runbook, text) number,
#include "lib/os/events.def"
#undef EVENT
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        for (size_t k = 0; k < i; k++)
            CHECK(numbers[i] != numbers[k]);
    CHECK_STR(event_name(EV_ACK_LATE), "ACK_LATE");
}
