#include "replicator/hints.h"
#include "tests/unit/dies.h"
#include "tests/unit/test.h"

#include <stdio.h>

static bool
name_is(const struct hints *h, const struct hint *hint, const char *name)
{
    return strcmp(hints_name(h, hint), name) == 0;
}

TEST(a_name_is_kept_once_in_the_order_of_its_first_mention)
{
    struct hints h;
    hints_init(&h);
    CHECK_INT(hints_count(&h), 0);
    CHECK_INT(hints_what(&h, 1, span_str("a")), 0);
    hints_add(&h, 2, span_str("b"), 1);
    hints_add(&h, 1, span_str("b"), 2);
    hints_add(&h, 2, span_str("a"), 4);
    hints_add(&h, 2, span_str("b"), 8);
    hints_add(&h, 2, span_str(""), 16);
    CHECK_INT(hints_count(&h), 4);
    CHECK(hints_at(&h, 0)->dir == 2 && name_is(&h, hints_at(&h, 0), "b"));
    CHECK(hints_at(&h, 1)->dir == 1 && name_is(&h, hints_at(&h, 1), "b"));
    CHECK(hints_at(&h, 2)->dir == 2 && name_is(&h, hints_at(&h, 2), "a"));
    CHECK(name_is(&h, hints_at(&h, 3), ""));
    CHECK_INT(hints_what(&h, 2, span_str("b")), 9);
    CHECK_INT(hints_what(&h, 1, span_str("b")), 2);
    CHECK_INT(hints_what(&h, 1, span_str("a")), 0);
    hints_free(&h);
}

TEST(many_names_are_found_again)
{
    struct hints h;
    char name[32];
    hints_init(&h);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 100000; i++) {
            snprintf(name, sizeof(name), "%u", i / 10);
            hints_add(&h, i % 10, span_str(name), 1u << round);
        }
        CHECK_INT(hints_count(&h), 100000);
    }
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(name, sizeof(name), "%u", i / 10);
        CHECK_INT(hints_what(&h, i % 10, span_str(name)), 7);
        CHECK(hints_at(&h, i)->dir == i % 10 && name_is(&h, hints_at(&h, i), name));
    }
    hints_clear(&h); /* gives the memory of a burst back */
    CHECK(h.slot_count < 2000);
    CHECK_INT(hints_count(&h), 0);
    CHECK_INT(hints_what(&h, 1, span_str("1")), 0);
    hints_add(&h, 1, span_str("1"), 3);
    hints_clear(&h);
    CHECK_INT(hints_what(&h, 1, span_str("1")), 0);
    hints_free(&h);
}

TEST(the_last_name_is_forgotten_first)
{
    struct hints h;
    char name[32];
    hints_init(&h);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "name %u", i);
        hints_add(&h, i % 3, span_str(name), 1);
    }
    for (unsigned i = 5000; i-- > 0;) {
        snprintf(name, sizeof(name), "name %u", i);
        CHECK_INT(hints_what(&h, i % 3, span_str(name)), 1);
        hints_pop(&h);
        CHECK_INT(hints_count(&h), i);
        CHECK_INT(hints_what(&h, i % 3, span_str(name)), 0);
    }
    hints_add(&h, 9, span_str("again"), 2);
    CHECK_INT(hints_what(&h, 9, span_str("again")), 2);
    CHECK(name_is(&h, hints_at(&h, 0), "again"));
    hints_free(&h);
}

static void
pop_nothing(void)
{
    struct hints h;
    hints_init(&h);
    hints_pop(&h);
}

static void
read_behind_the_end(void)
{
    struct hints h;
    hints_init(&h);
    hints_add(&h, 1, span_str("a"), 1);
    if (hints_at(&h, 1)->what == 0)
        _exit(0);
}

TEST(there_is_nothing_behind_the_end)
{
    CHECK(dies(pop_nothing));
    CHECK(dies(read_behind_the_end));
}
