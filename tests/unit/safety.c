/* Is what is accepted safe? Every combination of durability, when-alone and standbys. */
#include "replicator/safety.h"
#include "tests/unit/test.h"

#define SEQ 10

/* The standby: connected and behind, received, durable; and the same, paused; and gone. */
static const struct safety_peer behind = { .follows = true, .received = 9, .durable = 9 };
static const struct safety_peer received = { .follows = true, .received = 10, .durable = 9 };
static const struct safety_peer durable = { .follows = true, .received = 10, .durable = 10 };
static const struct safety_peer paused = {
    .follows = true, .paused = true, .received = 10, .durable = 9
};
static const struct safety_peer gone = { .received = 10, .durable = 10 };

static struct safety_peer
marked(const struct safety_peer *peer, enum conf_durability durability)
{
    struct safety_peer copy = *peer;
    copy.durability = durability;
    return copy;
}

TEST(a_barrier_opens_when_a_standby_has_what_store_and_node_ask_for)
{
    static const struct {
        enum conf_durability store, node;
        enum protection behind, received, durable, paused, gone;
    } rows[] = {
#define ROW(store, node, ...) { DURABILITY_##store, DURABILITY_##node, __VA_ARGS__ }
#define SAFE                  PROTECTED
#define WAIT                  PROTECTION_PENDING
#define NONE                  PROTECTION_NONE
        ROW(ASYNC, ASYNC, SAFE, SAFE, SAFE, SAFE, SAFE),
        ROW(ASYNC, RECEIVED, SAFE, SAFE, SAFE, SAFE, SAFE),
        ROW(ASYNC, DURABLE, SAFE, SAFE, SAFE, SAFE, SAFE),
        ROW(RECEIVED, ASYNC, NONE, NONE, NONE, NONE, NONE),
        ROW(RECEIVED, RECEIVED, WAIT, SAFE, SAFE, SAFE, NONE),
        ROW(RECEIVED, DURABLE, WAIT, SAFE, SAFE, SAFE, NONE),
        ROW(DURABLE, ASYNC, NONE, NONE, NONE, NONE, NONE),
        ROW(DURABLE, RECEIVED, WAIT, SAFE, SAFE, SAFE, NONE),
        ROW(DURABLE, DURABLE, WAIT, WAIT, SAFE, NONE, NONE),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct {
            const struct safety_peer *peer;
            enum protection want;
        } cases[] = {
            { &behind, rows[i].behind },   { &received, rows[i].received },
            { &durable, rows[i].durable }, { &paused, rows[i].paused },
            { &gone, rows[i].gone },
        };
        for (size_t j = 0; j < ARRAY_LEN(cases); j++) {
            struct safety_peer peer = marked(cases[j].peer, rows[i].node);
            CHECK_INT(safety_reach(rows[i].store, &peer, SEQ), cases[j].want);
        }
    }
}

TEST(a_role_is_handed_over_when_everything_is_on_a_standbys_disk)
{
    for (enum conf_durability node = DURABILITY_RECEIVED; node <= DURABILITY_DURABLE; node++) {
        for (int only_async = 0; only_async < 2; only_async++) {
            struct safety_peer peer = marked(&received, node);
            CHECK_INT(safety_handed_over(&peer, only_async != 0, SEQ), WAIT);
            peer = marked(&durable, node);
            CHECK_INT(safety_handed_over(&peer, only_async != 0, SEQ), SAFE);
            peer = marked(&paused, node);
            CHECK_INT(safety_handed_over(&peer, only_async != 0, SEQ), NONE);
            peer = marked(&gone, node);
            CHECK_INT(safety_handed_over(&peer, only_async != 0, SEQ), NONE);
        }
    }
    CHECK_INT(safety_handed_over(&durable, true, SEQ), SAFE); /* marked async */
    CHECK_INT(safety_handed_over(&behind, true, SEQ), WAIT);
    CHECK_INT(safety_handed_over(&durable, false, SEQ), NONE);
}

#define ASYNC                                                      \
    {                                                              \
        .durability = DURABILITY_ASYNC, .when_alone = ALONE_REFUSE \
    }
#define CONTINUE                                                        \
    {                                                                   \
        .durability = DURABILITY_RECEIVED, .when_alone = ALONE_CONTINUE \
    }
#define REFUSE                                                       \
    {                                                                \
        .durability = DURABILITY_DURABLE, .when_alone = ALONE_REFUSE \
    }

TEST(a_node_is_what_its_least_protected_store_is_and_async_hides_nothing)
{
    static const struct {
        struct conf_store stores[3];
        const char *alone, *with_a_standby;
    } rows[] = {
        { { ASYNC, ASYNC, ASYNC }, "async", "async" },
        { { ASYNC, ASYNC, REFUSE }, "refusing", "protected" },
        { { CONTINUE, ASYNC, ASYNC }, "degraded", "protected" },
        { { REFUSE, REFUSE, REFUSE }, "refusing", "protected" },
        { { CONTINUE, CONTINUE, CONTINUE }, "degraded", "protected" },
        { { REFUSE, CONTINUE, REFUSE }, "degraded", "protected" },
        { { CONTINUE, REFUSE, ASYNC }, "degraded", "protected" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_STR(safety_word(safety_of_node(rows[i].stores, 3, true)), rows[i].alone);
        CHECK_STR(safety_word(safety_of_node(rows[i].stores, 3, false)), rows[i].with_a_standby);
    }
}
