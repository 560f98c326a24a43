#include "tests/unit/test.h"

#include "replicator/proof.h"

#define DAY_MS (24ull * 3600 * 1000)

static struct proof
again(const struct proof *proof)
{
    _cleanup_buf_ struct buf row = { 0 };
    struct proof got;
    proof_encode(proof, &row);
    proof_decode(buf_span(&row), &got);
    return got;
}

TEST(a_row_is_read_as_it_was_written)
{
    struct proof proof = {
        .at = 1, .differences = 2, .part = 3, .parts = 4, .turn_began = 5, .contents_since = 6
    };
    struct proof got = again(&proof);
    assert_memory_equal(&got, &proof, sizeof(got));
}

TEST(the_row_of_an_earlier_version_has_its_date_and_any_other_is_none)
{
    uint8_t row[48] = { 0 };
    struct proof got;
    put_le64(row, 77);
    put_le64(row + 8, 3);
    proof_decode(span_of(row, 16), &got);
    CHECK_INT(got.at, 77);
    CHECK_INT(got.differences, 3);
    CHECK_INT(got.contents_since, 0);
    for (size_t len = 0; len <= sizeof(row); len++) {
        proof_decode(span_of(row, len), &got);
        CHECK_INT(got.at, len == 16 || len == 40 ? 77 : 0);
    }
}

TEST(the_date_of_the_last_comparison_decides)
{
    static const struct {
        uint64_t at, every_ms, now, up_ms;
        bool due;
    } rows[] = {
        { 1000, DAY_MS, 1000 + 86399, 0, false },
        { 1000, DAY_MS, 1000 + 86400, 0, true },
        { 1000, DAY_MS, 999, 0, true }, /* the clock was set back */
        { 1000, 0, 1000 + 864000, 1000000000, false },
        { 0, DAY_MS, 5000, 3600 * 1000 - 1, false }, /* never: an hour after the start */
        { 0, DAY_MS, 5000, 3600 * 1000, true },
        { 0, 2000, 5000, 2000, true },
        { 0, 2000, 5000, 1999, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proof proof = { .at = rows[i].at };
        CHECK_INT(proof_is_due(&proof, rows[i].every_ms, rows[i].now, rows[i].up_ms), rows[i].due);
    }
}

TEST(all_contents_have_been_compared_after_as_many_as_there_are_parts)
{
    struct proof proof = { 0 };
    for (uint64_t i = 0; i < 9; i++) {
        struct proof_plan plan;
        proof_next(&proof, 7 * DAY_MS, 28 * DAY_MS, &plan);
        CHECK(plan.content);
        CHECK_INT(plan.parts, 4);
        CHECK_INT(plan.part, i % 4);
        proof_done(&proof, &plan, 1000 * i + 100, 1000 * i + 200, i);
        proof = again(&proof);
        CHECK_INT(proof.at, 1000 * i + 200);
        CHECK_INT(proof.differences, i);
        CHECK_INT(proof.contents_since, i < 3 ? 0 : i < 7 ? 100 : 4100);
    }
}

TEST(another_schedule_begins_anew_and_none_compares_no_contents)
{
    struct proof proof = { .part = 2, .parts = 4 };
    struct proof_plan plan;
    static const struct {
        uint64_t every_ms, contents_ms;
        bool content;
        uint32_t parts, part;
    } rows[] = {
        { 7 * DAY_MS, 28 * DAY_MS, true, 4, 2 },
        { 7 * DAY_MS, 22 * DAY_MS, true, 4, 2 },
        { 7 * DAY_MS, 29 * DAY_MS, true, 5, 0 },
        { 7 * DAY_MS, DAY_MS, true, 1, 0 }, /* sooner than it is compared at all: each time */
        { 7 * DAY_MS, 0, false, 0, 0 },
        { 0, 28 * DAY_MS, false, 0, 0 },
        { 1000, 365 * DAY_MS, true, 10000, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        proof_next(&proof, rows[i].every_ms, rows[i].contents_ms, &plan);
        CHECK_INT(plan.content, rows[i].content);
        CHECK_INT(plan.parts, rows[i].parts);
        CHECK_INT(plan.part, rows[i].part);
    }
    proof.part = 9; /* of a row that lies */
    proof_next(&proof, 7 * DAY_MS, 28 * DAY_MS, &plan);
    CHECK_INT(plan.part, 0);
}

TEST(a_comparison_of_everything_proves_all_contents_and_leaves_the_turn_alone)
{
    struct proof proof = { .part = 2, .parts = 4, .turn_began = 5, .contents_since = 3 };
    struct proof_plan all = { .content = true }, names = { 0 };
    proof_done(&proof, &names, 10, 20, 0);
    CHECK_INT(proof.contents_since, 3);
    proof_done(&proof, &all, 30, 40, 0);
    CHECK_INT(proof.contents_since, 30);
    CHECK_INT(proof.part, 2);
    CHECK_INT(proof.turn_began, 5);
}
