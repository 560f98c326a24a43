/* What a node answers when its sender asks for a name that it lost with the power. */
#include "replicator/answer.h"
#include "tests/unit/capture_kit.h"
#include "tests/unit/link_kit.h"

#include <sys/eventfd.h>
#include <sys/resource.h>

struct asked {
    struct cap *c;
    struct link_ends link;
    struct answers answers;
    struct wire_msg out;
};

static struct asked *
asked_new(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    struct asked *a = calloc(1, sizeof(*a));
    assert_non_null(a);
    a->c = c;
    cap_open(c);
    link_ends_open(&a->link);
    a->answers = (struct answers){ .node = c->node, .io = a->link.to, .out = &a->out };
    return a;
}

static void
asked_free(struct asked *a)
{
    link_ends_close(&a->link);
    cap_free(a->c);
    free(a);
}

/* The answer must fit the socket: nobody takes it meanwhile. */
static void
ask(struct asked *a, const char *path)
{
    struct wire_fetch fetch = { .path = span_str(path) };
    if (answer_fetch(&a->answers, &fetch, &a->c->e) < 0)
        fail_msg("%s", a->c->e.text);
}

static const struct wire_msg *
next(struct asked *a)
{
    const struct wire_msg *msg = NULL;
    if (link_io_receive(a->link.from, 60000, -1, &msg, &a->c->e) != 1) {
        fail_msg("no answer: %s", a->c->e.text);
        abort(); /* never: for the compiler */
    }
    return msg;
}

/* A file that ends before its first byte: it is asked for again. */
static void
check_later(struct asked *a, const char *path)
{
    const struct wire_msg *msg = next(a);
    CHECK_INT(msg->type, WIRE_REC);
    CHECK(span_equal(msg->rec.record.path, span_str(path)));
    CHECK_INT(msg->rec.content, WIRE_CONTENT_DATA);
    msg = next(a);
    CHECK_INT(msg->type, WIRE_END);
    CHECK_INT(msg->end.ok, 0);
}

static void
check_rec(struct asked *a, enum record_op op, enum wire_content content)
{
    const struct wire_msg *msg = next(a);
    CHECK_INT(msg->type, WIRE_REC);
    CHECK_INT(msg->rec.record.op, op);
    CHECK_INT(msg->rec.content, content);
}

static void
check_file(struct asked *a, const char *text)
{
    check_rec(a, OP_PUT, WIRE_CONTENT_DATA);
    const struct wire_msg *msg = next(a);
    CHECK_INT(msg->type, WIRE_DATA);
    CHECK(span_equal(msg->data.bytes, span_str(text)));
    msg = next(a);
    CHECK_INT(msg->type, WIRE_END);
    CHECK_INT(msg->end.ok, 1);
}

/* From now on this process can open so many descriptors more; what the limit was comes back. */
static struct rlimit
leave_descriptors(unsigned more)
{
    struct rlimit was;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &was), 0);
    int lowest = dup(0);
    CHECK(lowest >= 0);
    close(lowest);
    struct rlimit now = { .rlim_cur = (rlim_t)lowest + more, .rlim_max = was.rlim_max };
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &now), 0);
    return was;
}

TEST(what_is_asked_for_comes_as_it_is_here_or_is_told_to_be_gone)
{
    struct asked *a = asked_new();
    CAP_NEEDED(a);
    cap_sh(a->c, "cd mail; mkdir d; printf mail >d/n; ln -s to d/l");
    ask(a, "d");
    check_rec(a, OP_MKDIR, WIRE_CONTENT_NONE);
    ask(a, "d/n");
    check_file(a, "mail");
    ask(a, "d/l");
    check_rec(a, OP_SYMLINK, WIRE_CONTENT_NONE);
    ask(a, "d/none");
    check_rec(a, OP_PUT, WIRE_CONTENT_GONE);
    ask(a, "none/n");
    check_rec(a, OP_PUT, WIRE_CONTENT_GONE);
    asked_free(a);
}

TEST(what_cannot_be_opened_now_is_asked_for_later_and_the_link_goes_on)
{
    struct asked *a = asked_new();
    CAP_NEEDED(a);
    cap_sh(a->c, "cd mail; mkdir d; printf mail >d/n");
    for (unsigned descriptors = 0; descriptors < 2; descriptors++) { /* 1: only for its directory */
        struct rlimit was = leave_descriptors(descriptors);
        ask(a, "d/n");
        ask(a, "d");
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &was), 0);
        check_later(a, "d/n");
        check_later(a, "d");
    }
    ask(a, "d/n");
    check_file(a, "mail");
    asked_free(a);
}

/* What a verify asked for, until all is told. Nobody takes it meanwhile: it must fit the socket. */
static unsigned
tell(struct asked *a, struct scrub *scrub, struct answer_reading *reading, size_t *ret_names)
{
    unsigned pieces = 0;
    *ret_names = 0;
    for (int more = 1; more > 0; pieces++) {
        more = answer_reading(&a->answers, scrub, reading, &a->c->e);
        CHECK(more >= 0);
        CHECK_INT(link_io_flush(a->answers.io, &a->c->e), 0);
        const struct wire_msg *msg = next(a);
        CHECK_INT(msg->type, WIRE_DIGEST_ANSWER);
        CHECK_INT(msg->digest_answer.verdict, WIRE_DIR_DIFFERENT);
        CHECK_INT(msg->digest_answer.more, more);
        *ret_names += msg->digest_answer.entry_count;
    }
    return pieces;
}

TEST(a_long_list_is_told_in_pieces_between_which_others_are_heard)
{
    struct asked *a = asked_new();
    CAP_NEEDED(a);
    cap_sh(a->c, "mkdir mail/d; cd mail/d; seq -f 'a-rather-long-name-%%g' 6000 | xargs touch");
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    eventfd_t count;
    struct scrub *scrub = scrub_new(a->c->node, 0, wake_fd);
    struct answer_reading reading = { 0 };
    struct wire_digest_ask *ask = xcalloc(1, sizeof(*ask));
    ask->count = 1;
    ask->dirs[0] = (struct wire_dir){ .dir = 7, .path = span_str("d") };
    CHECK_INT(answer_later(scrub, ask, &a->c->e), 0);
    free(ask);
    CHECK_INT(eventfd_read(wake_fd, &count), 0); /* its thread has read it */
    size_t names;
    int room = 4 * 1024 * 1024;
    CHECK_INT(
        setsockopt(link_io_fd(a->answers.io), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)), 0);
    CHECK(tell(a, scrub, &reading, &names) > 1);
    CHECK_INT(names, 6000);
    CHECK(reading.item == NULL);
    CHECK_INT(answer_reading(&a->answers, scrub, &reading, &a->c->e), 0); /* nothing more */
    scrub_free(&scrub);
    close(wake_fd);
    asked_free(a);
}
