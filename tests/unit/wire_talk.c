#include "tests/unit/wire_kit.h"

#include <stdio.h>

TEST(hello_checks_its_versions_and_names)
{
    make(WIRE_HELLO);
    msg.hello.version_min = 2;
    check_refused("malformed HELLO: version_min 2 is above version_max 1");
    make(WIRE_HELLO);
    msg.hello.cluster = span_str("");
    check_refused("malformed HELLO: cluster is not a name");
    make(WIRE_HELLO);
    msg.hello.node = span_str("mx 1");
    check_refused("malformed HELLO: node is not a name");
    make(WIRE_HELLO);
    msg.hello.follow = span_str("mx/2");
    check_refused("malformed HELLO: follow is not a name");
    make(WIRE_HELLO);
    msg.hello.follow = span_str("");
    check_accepted();
}

TEST(a_name_has_up_to_64_bytes_of_the_allowed_ones)
{
    static char name[WIRE_NAME_MAX + 1];
    memset(name, 'x', sizeof(name));
    make(WIRE_HELLO);
    msg.hello.node = span_str("m");
    check_accepted();
    msg.hello.node = span_of(name, WIRE_NAME_MAX);
    check_accepted();
    msg.hello.node = span_of(name, WIRE_NAME_MAX + 1);
    check_refused("malformed HELLO: node is not a name");
    for (unsigned c = 0; c < 256; c++) {
        bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
        name[5] = (char)c;
        msg.hello.node = span_of(name, 10);
        if (allowed)
            check_accepted();
        else
            check_refused("malformed HELLO: node is not a name");
    }
}

TEST(hello_checks_its_role_and_position)
{
    make(WIRE_HELLO);
    msg.hello.role = 3;
    check_refused("malformed HELLO: role is 3, allowed are 0 to 2");
    make(WIRE_HELLO);
    msg.hello.accept_sync = 2;
    check_refused("malformed HELLO: accept_sync is 2, allowed are 0 to 1");
    make(WIRE_HELLO);
    msg.hello.oldest = 12;
    check_refused("malformed HELLO: oldest lies behind the tail");
    msg.hello.oldest = 0;
    check_accepted();
    msg.hello.tail = UINT64_MAX;
    msg.hello.oldest = UINT64_MAX;
    check_accepted();
    make(WIRE_HELLO);
    msg.hello.epoch = 8;
    check_refused("malformed HELLO: epoch is older than the list of epochs");
    msg.hello.epoch_count = 0;
    check_accepted();
}

TEST(epochs_rise)
{
    make(WIRE_HELLO);
    msg.hello.epochs[1].epoch = 3;
    check_refused("malformed HELLO: the epochs do not rise at place 1");
    make(WIRE_HELLO);
    msg.hello.epochs[1].first_seq = 0;
    check_refused("malformed HELLO: the epochs do not rise at place 1");
    make(WIRE_START);
    msg.start.epoch_count = 2;
    check_refused("malformed START: the epochs do not rise at place 1");
}

TEST(lists_are_as_long_as_they_may_be_and_no_longer)
{
    _cleanup_buf_ struct buf body = { 0 };
    struct err e;
    make(WIRE_START);
    msg.start.epoch_count = WIRE_EPOCHS_MAX;
    for (size_t i = 0; i < WIRE_EPOCHS_MAX; i++)
        msg.start.epochs[i].epoch = i;
    check_accepted();
    put_body(&body);
    put_le16(body.ptr + 41, WIRE_EPOCHS_MAX + 1);
    for (size_t i = 0; i < 4; i++)
        buf_add_le32(&body, UINT32_MAX);
    CHECK_INT(decode(WIRE_START, buf_span(&body), &e), -1);
    CHECK_STR(e.text, "malformed START: the number of epochs is 257, allowed are 0 to 256");
}

static struct span
store_name(size_t i)
{
    static char names[WIRE_STORES_MAX][8];
    snprintf(names[i], sizeof(names[i]), "s%zu", i);
    return span_str(names[i]);
}

TEST(hello_checks_its_stores)
{
    make(WIRE_HELLO);
    msg.hello.stores[1].name = span_str("mail");
    check_refused("malformed HELLO: two stores have the same name");
    msg.hello.stores[1].name = span_str("m:l");
    check_refused("malformed HELLO: store is not a name");
    make(WIRE_HELLO);
    msg.hello.stores[1].kind = 0;
    check_refused("malformed HELLO: the kind of a store is 0, allowed are 1 to 255");
    make(WIRE_HELLO);
    msg.hello.store_count = WIRE_STORES_MAX;
    for (size_t i = 0; i < WIRE_STORES_MAX; i++)
        msg.hello.stores[i] = (struct wire_store){ store_name(i), 200 };
    check_accepted();
    _cleanup_buf_ struct buf body = { 0 };
    msg.hello.store_count = 0;
    put_body(&body);
    put_le16(body.ptr + body.len - 2, WIRE_STORES_MAX + 1);
    for (size_t i = 0; i <= WIRE_STORES_MAX; i++) {
        wire_put_span8(&body, span_str("s"));
        buf_add_u8(&body, 1);
    }
    struct err e;
    CHECK_INT(decode(WIRE_HELLO, buf_span(&body), &e), -1);
    CHECK_STR(e.text, "malformed HELLO: the number of stores is 65, allowed are 0 to 64");
}

TEST(start_and_refuse_know_their_codes)
{
    make(WIRE_START);
    msg.start.mode = 0;
    check_refused("malformed START: mode is 0, allowed are 1 to 2");
    msg.start.mode = 3;
    check_refused("malformed START: mode is 3, allowed are 1 to 2");
    make(WIRE_REFUSE);
    msg.refuse.code = 0;
    check_refused("malformed REFUSE: code is 0, allowed are 1 to 8");
    msg.refuse.code = WIRE_REFUSE_INTERNAL + 1;
    check_refused("malformed REFUSE: code is 9, allowed are 1 to 8");
    make(WIRE_REFUSE);
    msg.refuse.node = span_str("\n");
    check_refused("malformed REFUSE: node is not a name");
    msg.refuse.node = span_str("");
    check_accepted();
}

TEST(stall_names_a_code_that_exists)
{
    make(WIRE_STALL);
    msg.stall.code = ERR_DEGRADED; /* the last of errors.def */
    check_accepted();
    CHECK_STR(err_name((enum err_code)got.stall.code), "DEGRADED");
    msg.stall.code++;
    check_refused("malformed STALL: code is 16, allowed are 0 to 15");
}

TEST(a_sentence_is_cut_and_cleaned_when_it_is_sent)
{
    static char text[WIRE_TEXT_MAX + 5];
    static const char head[] = "a\nb\x7f\xe2\x80\x94\x1b[";
    memset(text, 'x', sizeof(text));
    memcpy(text, head, sizeof(head) - 1);
    make(WIRE_BYE);
    msg.bye.text = span_of(text, sizeof(text));
    check_accepted();
    CHECK_INT(got.bye.text.len, WIRE_TEXT_MAX);
    CHECK(memcmp(got.bye.text.ptr, "a?b?\xe2\x80\x94?[x", 10) == 0);
}

static void
check_text_refused(struct span text)
{
    _cleanup_buf_ struct buf body = { 0 };
    struct err e;
    buf_add_span16(&body, text);
    CHECK_INT(decode(WIRE_BYE, buf_span(&body), &e), -1);
    CHECK_STR(e.text, "malformed BYE: text is above 1000 bytes or has control bytes in it");
}

TEST(a_sentence_that_comes_otherwise_is_refused)
{
    static char text[WIRE_TEXT_MAX + 1];
    memset(text, 'x', sizeof(text));
    check_text_refused(span_of(text, sizeof(text)));
    check_text_refused(span_str("a\x1b[2J"));
    check_text_refused(span_str("a\x7f"));
    check_text_refused(span_of("a\0", 2));
}
