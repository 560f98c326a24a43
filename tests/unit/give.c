/* How objects go to the primary: in pieces, so that what else is to be said on the link waits for
 * one and not for the object. */
#include "tests/unit/intake_kit.h"

#include <sys/eventfd.h>

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
    CHECK_INT(give_work(k->give, &k->peer, 0, &e), 1);
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

/* --- an order that waits until what it gave has come back --- */

static unsigned confirmations; /* pieces of it that are left */

static int
confirmed(struct give_order *order)
{
    (void)order;
    CHECK(confirmations > 0);
    return --confirmations > 0;
}

/* Where the journal is then; it may be further by now. */
static uint64_t
wait_reached(struct kit *k)
{
    while (seq_mark_get(k->reach.mark) == UINT64_MAX)
        usleep(1000);
    return seq_mark_get(k->reach.mark);
}

/* One message is answered, and the primary has said where its journal is. */
static struct kit *
given_and_reached(uint64_t *ret_seq)
{
    struct kit *k = kit_new();
    struct err e = { 0 };
    if (k == NULL)
        return NULL;
    user(k);
    message(k, "d/ada/cur/1.M1:2,S", "hello");
    connect_ends(k);
    k->order.confirmed = confirmed;
    confirmations = 2;
    k->reach = (struct reach){ k->c->capture, k->ends[1], eventfd(0, EFD_NONBLOCK), 0, NULL };
    while (give_work(k->give, &k->peer, 0, &e) > 0)
        continue;
    take_all(k);
    hear_all(k);
    take_all(k); /* the question */
    *ret_seq = wait_reached(k);
    CHECK_INT(reach_answer(&k->reach, &e), 0);
    hear_all(k);
    CHECK(!k->ended);
    return k;
}

static void
end_reached(struct kit *k)
{
    close(k->reach.wake_fd);
    reach_free(&k->reach);
    disconnect_ends(k);
    kit_free(k);
}

TEST(an_order_is_confirmed_when_all_that_the_primary_took_is_durable_here)
{
    uint64_t seq = 0;
    struct err e = { 0 };
    struct kit *k = given_and_reached(&seq);
    KIT_NEEDED(k);
    CHECK_INT(give_work(k->give, &k->peer, 0, &e), 0); /* nobody can say */
    CHECK_INT(give_work(k->give, &k->peer, seq - 1, &e), 0);
    CHECK_INT(confirmations, 2);
    CHECK_INT(give_work(k->give, &k->peer, seq, &e), 1);
    CHECK(!k->ended);
    CHECK_INT(give_work(k->give, &k->peer, seq, &e), 1);
    CHECK_INT(confirmations, 0);
    CHECK(k->ended && k->why.code == ERR_NONE);
    end_reached(k);
}

TEST(an_order_that_waits_to_be_confirmed_lets_others_go_first)
{
    struct give_order other = { 0 };
    for (int hurry = 0; hurry < 2; hurry++) {
        uint64_t seq = 0;
        struct err e = { 0 };
        struct kit *k = given_and_reached(&seq);
        KIT_NEEDED(k);
        k->peer.gives = hurry != 0 ? NULL : &other;
        atomic_store(&k->order.hurry, hurry != 0);
        CHECK_INT(give_work(k->give, &k->peer, seq - 1, &e), 1);
        CHECK(k->ended && k->why.code == ERR_NONE);
        CHECK_INT(confirmations, 2);
        k->peer.gives = NULL;
        end_reached(k);
    }
}

TEST(an_answer_to_an_earlier_question_says_nothing)
{
    uint64_t seq = 0;
    struct err e = { 0 };
    struct kit *k = given_and_reached(&seq);
    KIT_NEEDED(k);
    atomic_store(&k->order.hurry, true);
    CHECK_INT(give_work(k->give, &k->peer, 0, &e), 1);
    order_all(k);
    k->order.confirmed = confirmed;
    k->next = k->count; /* it has nothing to give: asks at once */
    CHECK_INT(give_work(k->give, &k->peer, seq, &e), 0);
    give_reached(k->give, &(struct wire_reached){ 1, 1 });
    CHECK_INT(give_work(k->give, &k->peer, seq, &e), 0);
    CHECK(!k->ended);
    take_all(k);
    seq = wait_reached(k);
    CHECK_INT(reach_answer(&k->reach, &e), 0);
    hear_all(k);
    while (give_work(k->give, &k->peer, seq, &e) > 0)
        continue;
    CHECK(k->ended);
    end_reached(k);
}
