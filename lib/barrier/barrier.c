/* Stands alone on purpose: it is linked into other people's programs. */
#include "include/mailtwin/barrier.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MAX   8 /* connections kept for the next waiters */
#define ANSWER_MAX 1024
#define STORE_MAX  64

/* Slots without a lock: a child of a fork must not wait for what another thread of its parent held.
 */
struct mailtwin_barrier {
    struct sockaddr_un address;
    atomic_int idle[IDLE_MAX]; /* -1: free */
    atomic_int pid;            /* whose connections these are */
};

int
mailtwin_barrier_open(const char *socket_path, struct mailtwin_barrier **ret_barrier)
{
    const char *path = socket_path != NULL ? socket_path : MAILTWIN_BARRIER_SOCKET;
    struct mailtwin_barrier *barrier = calloc(1, sizeof(*barrier));
    if (barrier == NULL)
        return -1;
    if (strlen(path) >= sizeof(barrier->address.sun_path)) {
        free(barrier);
        errno = ENAMETOOLONG;
        return -1;
    }
    barrier->address.sun_family = AF_UNIX;
    memcpy(barrier->address.sun_path, path, strlen(path) + 1);
    for (int i = 0; i < IDLE_MAX; i++)
        atomic_init(&barrier->idle[i], -1);
    atomic_init(&barrier->pid, getpid());
    *ret_barrier = barrier;
    return 0;
}

/* A connection kept from before, or -1. */
static int
take_any(struct mailtwin_barrier *barrier)
{
    for (int i = 0; i < IDLE_MAX; i++) {
        int fd = atomic_exchange(&barrier->idle[i], -1);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

static void
close_idle(struct mailtwin_barrier *barrier)
{
    for (int fd; (fd = take_any(barrier)) >= 0;)
        close(fd);
}

void
mailtwin_barrier_close(struct mailtwin_barrier *barrier)
{
    if (barrier == NULL)
        return;
    close_idle(barrier);
    free(barrier);
}

/* A child must not talk on its parent's connections. */
static int
take_idle(struct mailtwin_barrier *barrier)
{
    if (atomic_load(&barrier->pid) != getpid()) {
        close_idle(barrier);
        atomic_store(&barrier->pid, getpid());
    }
    return take_any(barrier);
}

static void
give_back(struct mailtwin_barrier *barrier, int fd)
{
    for (int i = 0; i < IDLE_MAX; i++) {
        int unused = -1;
        if (atomic_compare_exchange_strong(&barrier->idle[i], &unused, fd))
            return;
    }
    close(fd);
}

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* With a limit on connect() and send(): a daemon that does not accept must not hold us longer than
 * asked. EAGAIN: the time is over. */
static int
dial(const struct mailtwin_barrier *barrier, int64_t until_ms)
{
    int64_t left = until_ms - now_ms();
    left = left > 0 ? left : 1; /* 0 would be no limit */
    const struct timeval limit = { .tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
        connect(fd, (const struct sockaddr *)&barrier->address, sizeof(barrier->address)) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static bool
store_fine(const char *store)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(store);
    return len > 0 && len <= STORE_MAX && strspn(store, allowed) == len;
}

/* Short enough to go out in one piece on a connection whose last answer was read. */
static int
send_request(int fd, const char *store, unsigned timeout_ms)
{
    char line[160];
    int len;
    if (store != NULL)
        len = snprintf(line, sizeof(line),
                       "{\"do\":\"barrier\",\"store\":\"%s\",\"timeout_ms\":%u}\n", store,
                       timeout_ms);
    else
        len = snprintf(line, sizeof(line), "{\"do\":\"barrier\",\"timeout_ms\":%u}\n", timeout_ms);
    return send(fd, line, (size_t)len, MSG_NOSIGNAL) == len ? 0 : -1;
}

/* Reads one line into text. 1 read, 0 the time is over, -1 failed. */
static int
read_line(int fd, char text[ANSWER_MAX], int64_t until_ms)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, text + len, ANSWER_MAX - 1 - len, MSG_DONTWAIT);
        if (n == 0) {
            errno = ECONNRESET;
            return -1;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -1;
        len += n > 0 ? (size_t)n : 0;
        text[len] = '\0';
        if (len > 0 && text[len - 1] == '\n')
            return 1;
        if (len == ANSWER_MAX - 1 || memchr(text, '\n', len) != NULL) {
            errno = EPROTO;
            return -1;
        }
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };
        int64_t left = until_ms - now_ms();
        if (left <= 0)
            return 0;
        if (poll(&pollfd, 1, left < 1000000 ? (int)left : 1000000) < 0 && errno != EINTR)
            return -1;
    }
}

static const char *
skip_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* A string without escapes: what matters to us has none, what has some is skipped as it is. */
static const char *
parse_string(const char *at, const char **ret_text, size_t *ret_len)
{
    if (*at++ != '"')
        return NULL;
    const char *from = at;
    for (; *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        if ((unsigned char)*at < ' ')
            return NULL;
    }
    *ret_text = from;
    *ret_len = (size_t)(at - from);
    return at + 1;
}

struct answer {
    bool ok;
    const char *state;
    size_t state_len;
};

static bool
is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* One "key": value; values are strings, numbers, true, false and null. */
static const char *
parse_member(const char *at, struct answer *answer)
{
    const char *key, *value;
    size_t key_len, value_len;
    at = parse_string(at, &key, &key_len);
    if (at == NULL || *(at = skip_blanks(at)) != ':')
        return NULL;
    at = skip_blanks(at + 1);
    if (*at == '"') {
        at = parse_string(at, &value, &value_len);
        if (at != NULL && is_word(key, key_len, "state")) {
            answer->state = value;
            answer->state_len = value_len;
        }
        return at;
    }
    value = at;
    value_len = strspn(at, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");
    if (is_word(key, key_len, "ok"))
        answer->ok = is_word(value, value_len, "true");
    return value_len > 0 ? at + value_len : NULL;
}

static bool
parse_object(const char *at, struct answer *answer)
{
    at = skip_blanks(at);
    if (*at != '{')
        return false;
    do {
        at = parse_member(skip_blanks(at + 1), answer);
        if (at == NULL)
            return false;
        at = skip_blanks(at);
    } while (*at == ',');
    return *at == '}' && *skip_blanks(at + 1) == '\0';
}

static enum mailtwin_safety
safety_of(const char *text)
{
    struct answer answer = { .ok = false };
    if (parse_object(text, &answer) && answer.ok && answer.state != NULL) {
        if (is_word(answer.state, answer.state_len, "safe"))
            return MAILTWIN_SAFE;
        if (is_word(answer.state, answer.state_len, "degraded"))
            return MAILTWIN_DEGRADED;
        if (is_word(answer.state, answer.state_len, "late"))
            return MAILTWIN_LATE;
    }
    errno = EPROTO;
    return MAILTWIN_ERROR;
}

/* Only a connection whose answer was read to its end is used again. */
static enum mailtwin_safety
wait_on(struct mailtwin_barrier *barrier, int fd, const char *store, int64_t until_ms)
{
    char text[ANSWER_MAX];
    int64_t left = until_ms - now_ms();
    int r = send_request(fd, store, left > 0 ? (unsigned)left : 0);
    if (r == 0)
        r = read_line(fd, text, until_ms);
    if (r == 1) {
        give_back(barrier, fd);
        return safety_of(text);
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return r == 0 ? MAILTWIN_LATE : MAILTWIN_ERROR;
}

enum mailtwin_safety
mailtwin_barrier_wait(struct mailtwin_barrier *barrier, const char *store, unsigned timeout_ms)
{
    int64_t until_ms = now_ms() + timeout_ms;
    if (store != NULL && !store_fine(store)) {
        errno = EINVAL;
        return MAILTWIN_ERROR;
    }
    /* A kept connection may be that of a daemon which has ended since: ask again on the next. */
    for (int fd; (fd = take_idle(barrier)) >= 0;) {
        enum mailtwin_safety safety = wait_on(barrier, fd, store, until_ms);
        if (safety != MAILTWIN_ERROR || (errno != EPIPE && errno != ECONNRESET))
            return safety;
    }
    int fd = dial(barrier, until_ms);
    if (fd >= 0)
        return wait_on(barrier, fd, store, until_ms);
    return errno == EAGAIN ? MAILTWIN_LATE : MAILTWIN_ERROR;
}
