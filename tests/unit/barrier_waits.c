/* Callers of replicator/barrier.c: a daemon whose capture the test holds still. */
#include "tests/unit/capture_kit.h"
#include "tests/unit/control_kit.h"
#include "tests/unit/lone_kit.h"

#include "replicator/barrier.h"
#include "replicator/protection.h"
#include "replicator/session.h"

#define CROWD 200 /* connections, fewer than a socket takes */

struct waits {
    struct cap *c;
    struct daemon daemon;
};

static void
serve_barrier(struct control_call *call, const json_t *request, const struct control_peer *peer,
              void *arg)
{
    struct waits *w = arg;
    (void)peer;
    json_int_t timeout = json_integer_value(json_object_get(request, "timeout_ms"));
    barriers_wait(w->daemon.barriers, call,
                  &(struct barrier_for){ .store = -1, .timeout_ms = (uint64_t)timeout });
}

/* A node without a standby, as protection_update() finds it. */
struct alone {
    enum conf_alone when_alone;
    int64_t lost_since_ms; /* -: it will be called lost so much later */
};

static bool
waits_begin_alone(struct waits *w, const struct alone *alone)
{
    struct err e = { 0 };
    w->c = cap_new();
    if (w->c == NULL)
        return false;
    if (alone != NULL) {
        w->c->stores[0].durability = DURABILITY_DURABLE;
        w->c->stores[0].when_alone = alone->when_alone;
    }
    cap_start(w->c);
    make_dir();
    CHECK_INT(uv_loop_init(&d.loop), 0);
    w->daemon = (struct daemon){ .conf = &w->c->conf, .loop = &d.loop };
    w->daemon.capture = w->c->capture;
    w->daemon.barriers = barriers_new(&w->daemon);
    if (alone != NULL)
        w->daemon.protection.alone_ms = (uint64_t)((int64_t)session_now_ms() - PROTECTION_LOST_MS -
                                                   alone->lost_since_ms);
    if (control_server_open(&d.loop, d.dir, serve_barrier, w, &d.server, &e) < 0)
        fail_msg("%s", e.text);
    w->daemon.control = d.server;
    CHECK_INT(pthread_create(&d.thread, NULL, run_daemon, NULL), 0);
    return true;
}

static bool
waits_begin(struct waits *w)
{
    return waits_begin_alone(w, NULL);
}

static void
free_barriers(void *arg)
{
    struct waits *w = arg;
    barriers_free(&w->daemon.barriers);
}

static void
waits_end(struct waits *w)
{
    cap_stop(w->c);
    control_post(d.server, free_barriers, w);
    stop_daemon();
    remove_dir();
    cap_free(w->c);
}

static void
say_barrier(int fd, unsigned timeout_ms)
{
    char line[64];
    snprintf(line, sizeof(line), "{\"do\":\"barrier\",\"timeout_ms\":%u}\n", timeout_ms);
    say(fd, line);
}

static void
check_answer(unsigned timeout_ms, const char *part)
{
    int fd = dial(CONTROL_BARRIER);
    say_barrier(fd, timeout_ms);
    CHECK_CONTAINS(hear(fd, 1), part);
    close(fd);
}

TEST(who_hung_up_while_waiting_keeps_no_place)
{
    struct waits w;
    if (!waits_begin(&w)) {
        skip();
        return;
    }
    cap_hold(w.c);
    for (int round = 0; round < 4; round++) { /* together more than a socket takes */
        int fds[CROWD];
        for (int i = 0; i < CROWD; i++) {
            fds[i] = dial(CONTROL_BARRIER);
            say_barrier(fds[i], 3600000);
        }
        for (int i = 0; i < CROWD; i++)
            close(fds[i]);
        check_answer(100, "\"state\":\"late\"");
    }
    cap_release(w.c);
    check_answer(60000, "\"state\":\"safe\"");
    waits_end(&w);
}

TEST(barriers_asked_for_in_one_breath_are_all_answered)
{
    struct waits w;
    if (!waits_begin(&w)) {
        skip();
        return;
    }
    int fd = dial(CONTROL_BARRIER);
    say(fd, "{\"do\":\"barrier\",\"timeout_ms\":60000}\n{\"do\":\"barrier\",\"timeout_ms\":60000}\n"
            "{\"do\":\"barrier\",\"timeout_ms\":60000}\n");
    for (unsigned i = 0; i < 3; i++)
        CHECK_CONTAINS(hear(fd, 1), "\"state\":\"safe\"");
    close(fd);
    waits_end(&w);
}

TEST(a_lost_standby_is_not_waited_for_where_mail_is_refused_without_one)
{
    static const struct {
        struct alone alone;
        unsigned timeout_ms;
        const char *state;
    } rows[] = {
        { { ALONE_REFUSE, -3600000 }, 200, "\"state\":\"late\"" }, /* the link is made again */
        { { ALONE_REFUSE, -300 }, 60000, "\"state\":\"alone\"" },
        { { ALONE_REFUSE, 0 }, 60000, "\"state\":\"alone\"" },
        { { ALONE_CONTINUE, -3600000 }, 60000, "\"state\":\"degraded\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct waits w;
        if (!waits_begin_alone(&w, &rows[i].alone)) {
            skip();
            return;
        }
        check_answer(rows[i].timeout_ms, rows[i].state);
        waits_end(&w);
    }
}

/* What a standby has is safe, whether or not it goes on: so the journal is asked first. */
TEST(nobody_is_refused_before_it_is_known_what_has_to_be_safe)
{
    struct waits w;
    if (!waits_begin_alone(&w, &(struct alone){ ALONE_REFUSE, 0 })) {
        skip();
        return;
    }
    cap_hold(w.c);
    check_answer(300, "\"state\":\"late\"");
    cap_release(w.c);
    check_answer(60000, "\"state\":\"alone\"");
    waits_end(&w);
}

/* Asks on all connections at once; the answers, of which `part` is counted. */
static unsigned
ask_crowd(const int fds[CROWD], const char *part)
{
    unsigned found = 0;
    for (int i = 0; i < CROWD; i++)
        say_barrier(fds[i], 1);
    for (int i = 0; i < CROWD; i++)
        found += strstr(hear(fds[i], 1), part) != NULL;
    return found;
}

/* The capture has answered; the server takes that off its list in a moment of its own. */
static void
check_room_again(void)
{
    uint64_t until = session_now_ms() + 60000;
    bool busy = true;
    while (busy && session_now_ms() < until) {
        int fd = dial(CONTROL_BARRIER);
        say_barrier(fd, 60000);
        const char *answer = hear(fd, 1);
        close(fd);
        busy = strstr(answer, "\"code\":\"BUSY\"") != NULL;
        if (!busy)
            CHECK_CONTAINS(answer, "\"state\":\"safe\"");
    }
    CHECK(!busy);
}

TEST(barriers_that_ended_late_are_bounded_while_the_journal_cannot_answer)
{
    struct waits w;
    int fds[CROWD];
    unsigned late = 0, all = 0;
    if (!waits_begin(&w)) {
        skip();
        return;
    }
    cap_hold(w.c);
    for (int i = 0; i < CROWD; i++)
        fds[i] = dial(CONTROL_BARRIER);
    while (all == late && all < 100000) {
        late += ask_crowd(fds, "\"state\":\"late\"");
        all += CROWD;
    }
    CHECK_INT(late, 4096);
    CHECK_INT(ask_crowd(fds, "4096 barriers wait for the journal already"), CROWD);
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
    cap_release(w.c);
    check_room_again();
    waits_end(&w);
}
