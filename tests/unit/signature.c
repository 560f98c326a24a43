#include "tests/unit/link_kit.h"

#include "replicator/signature.h"

#include <sys/stat.h>

static const struct record large = { .op = OP_PUT,
                                     .path = { (const uint8_t *)"list", 4 },
                                     .attr = { .mode = S_IFREG | 0600, .size = 1000 } };

static int
take(struct signature *s, size_t bytes, bool last, struct err *e)
{
    static const uint8_t some[2000];
    struct wire_sig sig = { .ok = 1, .last = last, .bytes = span_of(some, bytes) };
    return signature_take(s, &sig, e);
}

static void
ask(struct signature *s, struct link_ends *l)
{
    struct err e = { 0 };
    const struct wire_msg *msg = NULL;
    CHECK_INT(signature_ask(s, l->to, &large, &e), 0);
    CHECK_INT(link_io_receive(l->from, 60000, -1, &msg, &e), 1);
    CHECK_INT(msg->type, WIRE_SIG_ASK);
    CHECK(span_equal(msg->sig_ask.path, large.path));
    CHECK(s->awaited);
}

TEST(a_signature_comes_in_pieces_up_to_its_last)
{
    struct link_ends l;
    struct signature s = { 0 };
    struct err e = { 0 };
    link_ends_open(&l);
    for (int round = 0; round < 2; round++) {
        ask(&s, &l);
        CHECK_INT(take(&s, 600, false, &e), 0);
        CHECK(s.awaited);
        CHECK_INT(take(&s, 400, true, &e), 0);
        CHECK(!s.awaited && s.ok);
        CHECK_INT(s.bytes.len, 1000);
    }
    signature_free(&s);
    link_ends_close(&l);
}

TEST(a_signature_that_nobody_asked_for_ends_the_link)
{
    struct link_ends l;
    struct signature s = { 0 };
    struct err e = { 0 };
    link_ends_open(&l);
    CHECK_INT(take(&s, 10, false, &e), -1);
    CHECK_INT(e.code, ERR_PROTOCOL);
    ask(&s, &l);
    CHECK_INT(take(&s, 10, true, &e), 0);
    CHECK_INT(take(&s, 10, true, &e), -1);
    CHECK_CONTAINS(e.text, "a signature that was not asked for");
    signature_free(&s);
    link_ends_close(&l);
}

TEST(a_signature_larger_than_its_file_is_not_kept_however_much_comes)
{
    struct link_ends l;
    struct signature s = { 0 };
    struct err e = { 0 };
    link_ends_open(&l);
    ask(&s, &l);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(take(&s, 999, false, &e), 0);
        CHECK(s.bytes.len <= 1000);
    }
    CHECK_INT(take(&s, 1, true, &e), 0);
    CHECK(!s.awaited && !s.ok); /* the whole file goes */
    CHECK_INT(s.bytes.len, 0);
    signature_free(&s);
    link_ends_close(&l);
}
