/* What the Dovecot plugin decides without Dovecot: its setting's words, IMAP's commands, one wait.
 */
#include "tests/unit/test.h"

#include "plugin/dovecot/kinds.h"
#include "plugin/dovecot/wait.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void
expect_kinds(const char *words, unsigned want)
{
    unsigned kinds = 1000;
    struct kinds_word bad;
    CHECK_INT(kinds_parse(words, &kinds, &bad), 0);
    CHECK_INT(kinds, want);
}

static void
expect_bad(const char *words, const char *want)
{
    unsigned kinds = 1000;
    struct kinds_word bad;
    char text[32];
    CHECK_INT(kinds_parse(words, &kinds, &bad), -1);
    snprintf(text, sizeof(text), "%.*s", (int)bad.len, bad.at);
    CHECK_STR(text, want);
    CHECK_INT(kinds, 1000);
}

TEST(one_setting_names_what_waits_and_a_word_that_is_not_known_is_refused)
{
    expect_kinds("all", KINDS_ALL);
    expect_kinds(" none\t", KINDS_NONE);
    expect_kinds("append", KIND_APPEND);
    expect_kinds("append,copy, flags\texpunge  deliver ,folders,", KINDS_ALL);
    expect_kinds("flags flags", KIND_FLAGS);
    expect_bad("", "");
    expect_bad(" , ", "");
    expect_bad("appendd", "appendd");
    expect_bad("Append", "Append");
    expect_bad("append al", "al");
    expect_bad("all flags", "all");
    expect_bad("flags none", "none");
    expect_bad("none none", "none");
}

TEST(every_command_that_changes_mail_waits_and_no_command_that_reads)
{
    static const char *const reads[] = { "SELECT", "EXAMINE", "FETCH", "UID FETCH", "SEARCH",
                                         "NOOP",   "IDLE",    "LIST",  "STATUS",    "LOGOUT",
                                         "STOREX", "UID ",    "UID",   "" };
    CHECK_INT(kinds_of_command("APPEND"), KIND_APPEND);
    CHECK_INT(kinds_of_command("append"), KIND_APPEND);
    CHECK_INT(kinds_of_command("uid store"), KIND_FLAGS);
    CHECK_INT(kinds_of_command("STORE"), KIND_FLAGS);
    CHECK_INT(kinds_of_command("UID COPY"), KIND_COPY);
    CHECK_INT(kinds_of_command("MOVE"), KIND_COPY | KIND_EXPUNGE);
    CHECK_INT(kinds_of_command("UID REPLACE"), KIND_APPEND | KIND_EXPUNGE);
    CHECK_INT(kinds_of_command("UID EXPUNGE"), KIND_EXPUNGE);
    CHECK_INT(kinds_of_command("CLOSE"), KIND_EXPUNGE);
    static const char *const folders[] = { "CREATE",      "DELETE", "RENAME",    "SUBSCRIBE",
                                           "UNSUBSCRIBE", "SETACL", "DELETEACL", "SETMETADATA" };
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        CHECK_INT(kinds_of_command(folders[i]), KIND_FOLDERS);
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
        CHECK_INT(kinds_of_command(reads[i]), 0);
}

TEST(a_client_is_told_that_it_is_done_and_why_it_is_not_safe)
{
    for (enum verdict v = VERDICT_LATE; v <= VERDICT_DOWN; v++) {
        CHECK_CONTAINS(kinds_sentence(v), "Done on this server, but ");
        CHECK(strpbrk(kinds_sentence(v), "\r\n]") == NULL);
    }
    CHECK_STR(kinds_sentence(VERDICT_SAFE), "Safe");
}

TEST(a_stores_name_is_one_that_the_daemon_takes)
{
    char name[66];
    memset(name, 'a', sizeof(name) - 1);
    name[65] = '\0';
    CHECK(kinds_store_fine("mail"));
    CHECK(kinds_store_fine("A.b-c_9"));
    CHECK(kinds_store_fine(name + 1));
    CHECK(!kinds_store_fine(name));
    CHECK(!kinds_store_fine(""));
    CHECK(!kinds_store_fine("a/b"));
    CHECK(!kinds_store_fine("a\"b"));
}

/* --- a wait --- */

static char path[64];

/* A daemon that begins to listen after start_ms and answers each request of `answers` once, one a
 * connection; NULL ends a connection without an answer. */
static pid_t
daemon_begin(unsigned start_ms, const char *const *answers, size_t count)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    usleep(start_ms * 1000);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
        _exit(1);
    for (size_t i = 0; i < count; i++) {
        char line[256];
        int client = accept(fd, NULL, NULL);
        ssize_t n = recv(client, line, sizeof(line), 0);
        if (n > 0 && answers[i] != NULL)
            n = send(client, answers[i], strlen(answers[i]), MSG_NOSIGNAL);
        close(client);
    }
    _exit(0);
}

static enum verdict
ask(unsigned timeout_ms, int *ret_errno)
{
    struct mailtwin_barrier *barrier;
    CHECK_INT(mailtwin_barrier_open(path, &barrier), 0);
    enum verdict verdict = wait_until_safe(barrier, "mail", timeout_ms, ret_errno);
    mailtwin_barrier_close(barrier);
    return verdict;
}

static void
expect_verdict(const char *answer, enum verdict want, int want_errno)
{
    const char *const answers[] = { answer };
    int error;
    pid_t pid = daemon_begin(0, answers, 1);
    CHECK_INT(ask(10000, &error), want);
    if (want != VERDICT_SAFE)
        CHECK_INT(error, want_errno);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    unlink(path);
}

TEST(safe_and_degraded_are_safe_and_nothing_else_is)
{
    snprintf(path, sizeof(path), "/tmp/mailtwin-plugin-%d", getpid());
    expect_verdict("{\"ok\":true,\"state\":\"safe\"}\n", VERDICT_SAFE, 0);
    expect_verdict("{\"ok\":true,\"state\":\"degraded\"}\n", VERDICT_SAFE, 0);
    expect_verdict("{\"ok\":true,\"state\":\"late\"}\n", VERDICT_LATE, 0);
    expect_verdict("{\"ok\":false,\"state\":\"safe\"}\n", VERDICT_REFUSED, EPROTO);
    expect_verdict("{\"ok\":true}\n", VERDICT_REFUSED, EPROTO);
    expect_verdict("safe\n", VERDICT_REFUSED, EPROTO);
}

TEST(a_daemon_that_is_not_there_yet_or_dies_while_it_is_asked_is_waited_for)
{
    static const char *const answers[] = { NULL, NULL, "{\"ok\":true,\"state\":\"safe\"}\n" };
    int error;
    snprintf(path, sizeof(path), "/tmp/mailtwin-plugin-%d", getpid());
    pid_t pid = daemon_begin(200, answers, 3);
    CHECK_INT(ask(10000, &error), VERDICT_SAFE);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    unlink(path);
}

TEST(a_daemon_that_does_not_come_back_is_down_when_the_time_is_over)
{
    int error;
    snprintf(path, sizeof(path), "/tmp/mailtwin-plugin-%d", getpid());
    CHECK_INT(ask(120, &error), VERDICT_DOWN);
    CHECK_INT(error, ENOENT);
    CHECK_INT(ask(0, &error), VERDICT_DOWN);
}

TEST(a_daemon_that_says_nothing_is_late)
{
    int error;
    snprintf(path, sizeof(path), "/tmp/mailtwin-plugin-%d", getpid());
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_INT(listen(fd, 1), 0);
    CHECK_INT(ask(50, &error), VERDICT_LATE);
    close(fd);
    unlink(path);
}
