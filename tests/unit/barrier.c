#include "tests/unit/test.h"

#include "include/mailtwin/barrier.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* A daemon that answers what it is told, one client at a time in a thread each. */
static struct {
    char path[64];
    int fd;
    pthread_t thread;
    const char *answer; /* NULL: none */
    unsigned connections, requests;
    char last[256];
    pthread_mutex_t mutex;
    int clients[64];
} d = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void *
serve_client(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char line[256];
    for (ssize_t n; (n = recv(fd, line, sizeof(line) - 1, 0)) > 0;) {
        line[n] = '\0';
        pthread_mutex_lock(&d.mutex);
        d.requests++;
        snprintf(d.last, sizeof(d.last), "%s", line);
        const char *answer = d.answer;
        pthread_mutex_unlock(&d.mutex);
        if (answer == NULL)
            continue;
        if (answer[0] == '\0')
            break;
        for (const char *c = answer; *c != '\0'; c++) /* in as many pieces as can be */
            if (send(fd, c, 1, MSG_NOSIGNAL) < 0)
                break;
    }
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

static void *
serve(void *arg)
{
    pthread_t threads[64];
    unsigned count = 0;
    int fd;
    (void)arg;
    while (count < 64 && (fd = accept(d.fd, NULL, NULL)) >= 0) {
        pthread_mutex_lock(&d.mutex);
        d.connections++;
        d.clients[count] = fd;
        pthread_mutex_unlock(&d.mutex);
        pthread_create(&threads[count++], NULL, serve_client, (void *)(intptr_t)fd);
    }
    for (unsigned i = 0; i < count; i++) {
        shutdown(d.clients[i], SHUT_RDWR);
        pthread_join(threads[i], NULL);
        close(d.clients[i]);
    }
    return NULL;
}

static void
answer_with(const char *answer)
{
    pthread_mutex_lock(&d.mutex);
    d.answer = answer;
    pthread_mutex_unlock(&d.mutex);
}

static void
start(const char *answer)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    answer_with(answer);
    d.connections = d.requests = 0;
    snprintf(d.path, sizeof(d.path), "/tmp/mailtwin-barrier-%d", getpid());
    memcpy(address.sun_path, d.path, sizeof(d.path));
    unlink(d.path);
    d.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(d.fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_INT(listen(d.fd, 16), 0);
    CHECK_INT(pthread_create(&d.thread, NULL, serve, NULL), 0);
}

static void
stop(void)
{
    shutdown(d.fd, SHUT_RDWR);
    pthread_join(d.thread, NULL);
    close(d.fd);
    unlink(d.path);
}

static unsigned
number(const unsigned *counter)
{
    pthread_mutex_lock(&d.mutex);
    unsigned value = *counter;
    pthread_mutex_unlock(&d.mutex);
    return value;
}

static struct mailtwin_barrier *
open_barrier(void)
{
    struct mailtwin_barrier *barrier;
    CHECK_INT(mailtwin_barrier_open(d.path, &barrier), 0);
    return barrier;
}

#define SAFE "{\"ok\":true,\"state\":\"safe\",\"seconds\":0.003,\"seq\":12}\n"

TEST(each_state_the_daemon_names_comes_back)
{
    start(SAFE);
    struct mailtwin_barrier *barrier = open_barrier();
    CHECK_INT(mailtwin_barrier_wait(barrier, "mail", 5000), MAILTWIN_SAFE);
    CHECK_CONTAINS(d.last, "{\"do\":\"barrier\",\"store\":\"mail\",\"timeout_ms\":");
    answer_with("{\"ok\":true,\"state\":\"degraded\"}\n");
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_DEGRADED);
    CHECK_CONTAINS(d.last, "{\"do\":\"barrier\",\"timeout_ms\":");
    answer_with(" { \"x\" : \"a\\\"}{\" , \"state\" : \"late\",\"n\":null,\"ok\" : true } \n");
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_LATE);
    answer_with("{\"ok\":true,\"state\":\"alone\",\"seconds\":0.1,\"seq\":12}\n");
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_ERROR);
    CHECK_INT(errno, EPROTO);
    CHECK_INT(number(&d.connections), 1);
    mailtwin_barrier_close(barrier);
    stop();
}

TEST(no_answer_but_a_complete_one_means_safe)
{
    static const char *const answers[] = {
        "{\"ok\":false,\"code\":\"REFUSED\",\"error\":\"\\\"state\\\":\\\"safe\\\"\"}\n",
        "{\"ok\":false,\"state\":\"safe\"}\n",
        "{\"state\":\"safe\"}\n",
        "{\"ok\":true}\n",
        "{\"ok\":true,\"state\":\"safer\"}\n",
        "{\"ok\":true,\"state\":safe}\n",
        "{\"ok\":true,\"state\":\"safe\"\n",
        "{\"ok\":true,\"state\":\"safe\"}x\n",
        "{\"ok\":true \"state\":\"safe\"}\n",
        "{\"ok\":\"true\",\"state\":\"safe\"}\n",
        "{\"ok\":true,\"state\":\"safe\",}\n",
        "{\"ok\":,\"state\":\"safe\"}\n",
        "{\"ok\" true,\"state\":\"safe\"}\n",
        "[{\"ok\":true,\"state\":\"safe\"}]\n",
        "\n",
        "{\n",
        "{\"ok\n",
        "safe\n",
    };
    start("\n");
    struct mailtwin_barrier *barrier = open_barrier();
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        answer_with(answers[i]);
        errno = 0;
        if (mailtwin_barrier_wait(barrier, NULL, 5000) != MAILTWIN_ERROR || errno != EPROTO)
            fail_msg("%s", answers[i]);
    }
    mailtwin_barrier_close(barrier);
    stop();
}

TEST(an_answer_without_end_is_given_up)
{
    static char flood[3000];
    memset(flood, ' ', sizeof(flood) - 1);
    start(flood);
    struct mailtwin_barrier *barrier = open_barrier();
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_ERROR);
    CHECK_INT(errno, EPROTO);
    mailtwin_barrier_close(barrier);
    stop();
}

TEST(a_late_answer_is_never_taken_for_the_next_one)
{
    start(NULL);
    struct mailtwin_barrier *barrier = open_barrier();
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 10), MAILTWIN_LATE);
    answer_with("{\"ok\":true,\"state\":\"degraded\"}\n");
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_DEGRADED);
    CHECK_INT(number(&d.connections), 2);
    mailtwin_barrier_close(barrier);
    stop();
}

TEST(a_restarted_daemon_is_found_again)
{
    start(SAFE);
    struct mailtwin_barrier *barrier = open_barrier();
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_SAFE);
    stop();
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_ERROR);
    CHECK_INT(errno, ENOENT);
    start(SAFE);
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_SAFE);
    answer_with("");
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_ERROR);
    CHECK_INT(errno, ECONNRESET);
    mailtwin_barrier_close(barrier);
    stop();
}

TEST(a_daemon_that_does_not_accept_holds_nobody_longer_than_asked)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/mailtwin-barrier-%d", getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_INT(listen(fd, 0), 0);
    int first = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(first, (const struct sockaddr *)&address, sizeof(address)), 0);
    struct mailtwin_barrier *barrier;
    CHECK_INT(mailtwin_barrier_open(address.sun_path, &barrier), 0);
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 10), MAILTWIN_LATE);
    mailtwin_barrier_close(barrier);
    close(first);
    close(fd);
    unlink(address.sun_path);
}

TEST(a_wrong_name_or_path_is_refused_before_anything_is_sent)
{
    char path[200];
    struct mailtwin_barrier *barrier;
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    CHECK_INT(mailtwin_barrier_open(path, &barrier), -1);
    CHECK_INT(errno, ENAMETOOLONG);
    start(SAFE);
    barrier = open_barrier();
    static const char *const names[] = { "", "a b", "a\"", "a\n", "\xc3\xa4" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CHECK_INT(mailtwin_barrier_wait(barrier, names[i], 5000), MAILTWIN_ERROR);
        CHECK_INT(errno, EINVAL);
    }
    CHECK_INT(number(&d.requests), 0);
    mailtwin_barrier_close(barrier);
    mailtwin_barrier_close(NULL);
    stop();
}

#define THREADS 8
#define EACH    50

static void *
wait_often(void *arg)
{
    for (int i = 0; i < EACH; i++)
        assert_int_equal(mailtwin_barrier_wait(arg, "mail", 20000), MAILTWIN_SAFE);
    return NULL;
}

TEST(many_threads_share_a_handle_and_few_connections)
{
    pthread_t threads[THREADS];
    start(SAFE);
    struct mailtwin_barrier *barrier = open_barrier();
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, wait_often, barrier), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(number(&d.requests), THREADS * EACH);
    mailtwin_barrier_close(barrier);
    stop();
}

TEST(a_child_does_not_talk_on_its_parents_connection)
{
    start(SAFE);
    struct mailtwin_barrier *barrier = open_barrier();
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_SAFE);
    pid_t pid = fork();
    if (pid == 0)
        _exit(mailtwin_barrier_wait(barrier, NULL, 5000) == MAILTWIN_SAFE ? 0 : 1);
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    CHECK_INT(number(&d.connections), 2);
    CHECK_INT(mailtwin_barrier_wait(barrier, NULL, 5000), MAILTWIN_SAFE);
    CHECK_INT(number(&d.connections), 2);
    mailtwin_barrier_close(barrier);
    stop();
}
