/* What a standby answers when it is asked for what a power loss took: a lost name comes back, one
 * in doubt is compared byte by byte. */
#include "replicator/fetch.h"
#include "tests/unit/link_kit.h"
#include "tests/unit/recover_kit.h"

#define MTIME 1700000000
#define TEXT  "0123456789"

struct asking {
    struct cap *c;
    struct link_ends link;
    struct fetch *fetch;
    struct wire_msg msg;
};

/* `name` in ada/cur is what is asked for. */
static struct asking *
ask(const char *done, const char *left, const char *name)
{
    struct cap *c = begin();
    if (c == NULL)
        return NULL;
    start_after_loss(c, done, left);
    struct asking *a = calloc(1, sizeof(*a));
    assert_non_null(a);
    a->c = c;
    link_ends_open(&a->link);
    capture_heard(c->capture, "mx2", tail(c));
    cap_barrier(c);
    a->fetch = fetch_new(c->node, c->capture, "mx2", a->link.to);
    CHECK(fetch_pending(a->fetch));
    CHECK_INT(fetch_step(a->fetch, &c->e), 0);
    CHECK(!fetch_pending(a->fetch)); /* one is under way */
    const struct wire_msg *msg;
    CHECK_INT(link_io_receive(a->link.from, 60000, -1, &msg, &c->e), 1);
    CHECK_INT(msg->type, WIRE_FETCH);
    CHECK(span_equal(path_name(msg->fetch.path), span_str(name)));
    a->msg.rec.record = (struct record){ .op = OP_PUT };
    return a;
}

static void
asking_free(struct asking *a)
{
    fetch_free(&a->fetch);
    link_ends_close(&a->link);
    all_heard(a->c, 0);
    end(a->c);
    free(a);
}

static int
give_rec(struct asking *a, const char *path, enum wire_content content, uint64_t size)
{
    struct attr attr = { .mode = S_IFREG | 0644, .size = size, .mtime_ns = MTIME * 1000000000LL };
    a->msg = (struct wire_msg){ .type = WIRE_REC };
    a->msg.rec.record = (struct record){ .op = OP_PUT, .path = span_str(path), .attr = attr };
    a->msg.rec.content = (uint8_t)content;
    a->msg.rec.now = attr;
    return fetch_take(a->fetch, &a->msg, &a->c->e);
}

static void
give_data(struct asking *a, uint64_t offset, const char *bytes)
{
    a->msg = (struct wire_msg){ .type = WIRE_DATA };
    a->msg.data = (struct wire_data){ .offset = offset, .bytes = span_str(bytes) };
    CHECK_INT(fetch_take(a->fetch, &a->msg, &a->c->e), 0);
}

static void
give_end(struct asking *a, uint64_t size, const char *bytes, bool ok)
{
    a->msg = (struct wire_msg){ .type = WIRE_END };
    a->msg.end = (struct wire_end){ .size = size, .crc = crc32c(span_str(bytes)), .ok = ok };
    CHECK_INT(fetch_take(a->fetch, &a->msg, &a->c->e), 0);
    cap_barrier(a->c);
}

TEST(a_lost_file_comes_back_as_the_standby_has_it)
{
    struct asking *a = ask("echo new >n", "rm n", "n");
    CAP_NEEDED(a);
    CHECK_INT(give_rec(a, "ada/cur/n", WIRE_CONTENT_DATA, 10), 0);
    give_data(a, 0, TEXT);
    give_end(a, 10, TEXT, true);
    cap_sh(a->c, "test $(cat mail/ada/cur/n) = " TEXT);
    check_none_held(a->c);
    asking_free(a);
}

TEST(what_is_newer_is_not_replaced_by_what_comes_back)
{
    struct asking *a = ask("echo new >n", "rm n", "n");
    CAP_NEEDED(a);
    CHECK_INT(give_rec(a, "ada/cur/n", WIRE_CONTENT_DATA, 10), 0);
    give_data(a, 0, TEXT);
    cap_sh(a->c, "echo newer >mail/ada/cur/n");
    give_end(a, 10, TEXT, true);
    cap_sh(a->c, "test $(cat mail/ada/cur/n) = newer");
    check_none_held(a->c);
    asking_free(a);
}

TEST(a_node_that_has_it_not_is_not_asked_again)
{
    struct asking *a = ask("echo new >n", "rm n", "n");
    CAP_NEEDED(a);
    CHECK_INT(give_rec(a, "ada/cur/n", WIRE_CONTENT_GONE, 0), 0);
    cap_barrier(a->c);
    CHECK(!fetch_pending(a->fetch));
    check_held(a->c, "ada/cur/n\n"); /* dr may have it */
    asking_free(a);
}

TEST(an_answer_that_was_not_asked_for_is_refused)
{
    struct asking *a = ask("echo new >n", "rm n", "n");
    CAP_NEEDED(a);
    CHECK_INT(give_rec(a, "ada/cur/m", WIRE_CONTENT_DATA, 10), -1);
    CHECK_INT(a->c->e.code, ERR_PROTOCOL);
    asking_free(a);
}

TEST(what_is_in_doubt_is_right_only_when_every_byte_is)
{
    static const struct {
        const char *first, *second;
        uint64_t second_at, size;
        bool ok;
        const char *held, *doubt;
    } cases[] = {
        { "01234", "56789", 5, 10, true, "", "" },
        { "01234", "56780", 5, 10, true, "ada/cur/n\n", "" },
        { "0123", "56789", 5, 10, true, "ada/cur/n\n", "" }, /* a hole is zeros */
        { "01234", "5678", 5, 10, true, "ada/cur/n\n", "" },
        { "01234", "56789", 5, 11, true, "ada/cur/n\n", "" },
        { "012", "34", 3, 5, true, "ada/cur/n\n", "" },
        { "01234", "5", 5, 10, false, "", "ada/cur/n\n" }, /* it was changed while it was read */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct asking *a = ask("printf " TEXT " >n; touch -d @1700000000 n", "true", "n");
        CAP_NEEDED(a);
        print_message("%s %s\n", cases[i].first, cases[i].second);
        CHECK_INT(give_rec(a, "ada/cur/n", WIRE_CONTENT_DATA, cases[i].size), 0);
        give_data(a, 0, cases[i].first);
        give_data(a, cases[i].second_at, cases[i].second);
        give_end(a, cases[i].size, "", cases[i].ok);
        check_held(a->c, cases[i].held);
        check_doubt(a->c, cases[i].doubt);
        check_records(a->c, "");
        asking_free(a);
    }
}

TEST(holes_of_a_file_in_doubt_are_compared_as_zeros)
{
    struct asking *a = ask("truncate -s 200000 n; printf x >>n; touch -d @1700000000 n", "true",
                           "n");
    CAP_NEEDED(a);
    CHECK_INT(give_rec(a, "ada/cur/n", WIRE_CONTENT_DATA, 200001), 0);
    give_data(a, 200000, "x");
    give_end(a, 200001, "x", true);
    check_none_held(a->c);
    check_doubt(a->c, "");
    asking_free(a);
}
