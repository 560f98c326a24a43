/* What the capture's thread is asked: for whom it commits before its time. */
#include "tests/unit/test.h"

#include "replicator/capture_private.h"

#include <sys/eventfd.h>
#include <unistd.h>

struct asked {
    struct capture c;
    struct request requests[4];
    size_t count;
};

static void
asked_init(struct asked *a)
{
    *a = (struct asked){ .c.wake_fd = -1 };
    a->c.queue_end = &a->c.queue;
    pthread_mutex_init(&a->c.lock, NULL);
}

/* By another thread; the capture's has not seen it yet. */
static void
ask(struct asked *a, enum request_kind kind, bool hurry)
{
    struct request *r = &a->requests[a->count++];
    *r = (struct request){ .kind = kind, .hurry = hurry };
    *a->c.queue_end = r;
    a->c.queue_end = &r->next;
}

/* It is one of those who are answered by the next turn. */
static void
take(struct asked *a)
{
    a->c.waiting = capture_take(&a->c);
}

TEST(nobody_who_only_leaves_a_note_or_has_time_makes_the_journal_commit_before_its_time)
{
    struct asked a;
    asked_init(&a);
    CHECK(!capture_is_urgent(&a.c));
    ask(&a, REQ_PEER, false); /* with each acknowledgement of a standby */
    CHECK(!capture_is_urgent(&a.c));
    ask(&a, REQ_SETTLE, false);
    CHECK(!capture_is_urgent(&a.c));
    take(&a);
    CHECK(!capture_is_urgent(&a.c));
    CHECK(!capture_hurries(&a.c));
}

TEST(who_waits_at_a_barrier_waits_for_no_pace_and_neither_does_the_run_that_he_waits_for)
{
    const struct {
        enum request_kind kind;
        bool hurry;
    } cases[] = { { REQ_BARRIER, false }, { REQ_SETTLE, true } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asked a;
        asked_init(&a);
        ask(&a, REQ_PEER, false);
        ask(&a, cases[i].kind, cases[i].hurry);
        CHECK(capture_is_urgent(&a.c));
        CHECK(!capture_hurries(&a.c)); /* of the turn that is being committed nobody is one */
        take(&a);
        CHECK(capture_is_urgent(&a.c));
        CHECK(capture_hurries(&a.c));
    }
}

TEST(an_order_about_a_name_is_carried_out_at_once)
{
    struct asked a;
    asked_init(&a);
    ask(&a, REQ_FORCE, false);
    CHECK(capture_is_urgent(&a.c));
}

TEST(who_asks_for_more_than_can_be_kept_is_told_so)
{
    struct asked a;
    struct err e = { 0 };
    struct wire_need need = { .path = span_str("ada/cur/1") };
    asked_init(&a);
    a.c.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < CAPTURE_NEEDS_MAX; i++)
            CHECK_INT(capture_need(&a.c, &need, &e), 0);
        CHECK_INT(capture_need(&a.c, &need, &e), -1);
        CHECK_INT(e.code, ERR_PROTOCOL);
        struct request *list = capture_take(&a.c);
        CHECK(a.c.queue == NULL); /* there is room again */
        while (list != NULL) {
            struct request *next = list->next;
            request_free(list);
            list = next;
        }
    }
    close(a.c.wake_fd);
}
