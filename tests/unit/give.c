/* How objects go to the primary: in pieces, so that what else is to be said on the link waits for
 * one and not for the object. */
#include "tests/unit/intake_kit.h"

#define LARGE (3 * WIRE_DATA_MAX + 1)

static char *
large_bytes(void)
{
    char *bytes = malloc(LARGE + 1);
    assert_non_null(bytes);
    memset(bytes, 'x', LARGE);
    bytes[LARGE] = '\0';
    return bytes;
}

static void
give_once(struct kit *k)
{
    struct err e = { 0 };
    CHECK_INT(give_work(k->give, &k->peer, &e), 1);
    CHECK_INT(link_io_flush(k->ends[0], &e), 0);
}

TEST(a_large_object_goes_in_pieces)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    char *bytes = large_bytes();
    struct source *s = message(k, "d/ada/cur/1.M1:2,S", bytes);
    connect_ends(k);
    for (uint64_t i = 1; i < 4; i++) {
        give_once(k);
        CHECK(link_io_bytes_sent(k->ends[0]) < i * WIRE_DATA_MAX + 1024);
    }
    work_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    check_sh(k, "[ $(wc -c <mail/d/ada/cur/1.M1:2,S) = 786433 ]");
    disconnect_ends(k);
    free(bytes);
    kit_free(k);
}

TEST(an_order_that_ends_amid_an_object_leaves_the_link_to_the_next)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    char *bytes = large_bytes();
    message(k, "d/ada/cur/1.M1:2,S", "hello");
    message(k, "d/ada/cur/2.M2:2,S", bytes);
    connect_ends(k);
    give_once(k);
    take_all(k); /* is answered */
    give_once(k);
    k->give_up = true;
    hear_all(k);
    CHECK(k->ended);
    check_sh(k, "[ $(ls mail/d/ada/cur) = 1.M1:2,S ]");
    k->give_up = false;
    order_all(k);
    work_all(k);
    CHECK_INT(k->sources[0].result, WIRE_GIVEN_EXISTS);
    CHECK_INT(k->sources[1].result, WIRE_GIVEN_CREATED);
    check_sh(k, "[ $(wc -c <mail/d/ada/cur/2.M2:2,S) = 786433 ]");
    disconnect_ends(k);
    free(bytes);
    kit_free(k);
}

TEST(before_other_bytes_go_the_object_in_hand_is_complete)
{
    struct kit *k = kit_new();
    struct err e = { 0 };
    KIT_NEEDED(k);
    user(k);
    char *bytes = large_bytes();
    message(k, "d/ada/cur/2.M2:2,S", bytes);
    connect_ends(k);
    give_once(k);
    CHECK_INT(give_end_item(k->give, &e), 0);
    CHECK(link_io_bytes_sent(k->ends[0]) + 1024 > 3 * WIRE_DATA_MAX);
    work_all(k);
    CHECK_INT(k->sources[0].result, WIRE_GIVEN_CREATED);
    disconnect_ends(k);
    free(bytes);
    kit_free(k);
}
