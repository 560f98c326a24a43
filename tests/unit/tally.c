/* Changes counted for each folder. */
#include "replicator/tally.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY 300

static const char *
word(const json_t *rows, size_t at, const char *key)
{
    return json_string_value(json_object_get(json_array_get(rows, at), key));
}

static json_int_t
changes(const json_t *rows, size_t at)
{
    return json_integer_value(json_object_get(json_array_get(rows, at), "changes"));
}

static const char *const kinds[] = { "changes", "others", NULL };

static void
add(struct tally *t, const char *store, const char *user, const char *folder)
{
    tally_add(t, &(struct tally_row){ store, span_str(user), span_str(folder), { 1 } });
}

TEST(each_folder_has_a_count_of_its_own)
{
    struct tally *t = tally_new(8, kinds);
    add(t, "mail", "ab", "c");
    add(t, "mail", "a", "bc"); /* the same letters */
    add(t, "more", "ab", "c");
    add(t, "mail", "ab", "c");
    tally_add(t, &(struct tally_row){ .store = "mail", .counts = { 1 } });
    json_t *rows = tally_json(t);
    CHECK_INT(json_array_size(rows), 4);
    CHECK_STR(word(rows, 0, "user"), "ab");
    CHECK_STR(word(rows, 0, "folder"), "c");
    CHECK_INT(changes(rows, 0), 2);
    CHECK_STR(word(rows, 1, "folder"), "bc");
    CHECK_INT(changes(rows, 1), 1);
    CHECK_STR(word(rows, 2, "store"), "more");
    CHECK_STR(word(rows, 3, "user"), "");
    json_decref(rows);
    tally_free(&t);
    tally_free(&t);
}

TEST(two_names_that_are_not_utf_8_are_two)
{
    struct tally *t = tally_new(8, kinds);
    for (int i = 0; i < 6; i++)
        add(t, "mail", "ada", i % 2 == 0 ? "\xff" : "\xfe");
    json_t *rows = tally_json(t);
    CHECK_INT(json_array_size(rows), 2);
    CHECK_STR(word(rows, 0, "folder"), "(a name that is not UTF-8)");
    CHECK_INT(changes(rows, 0), 3);
    CHECK_INT(changes(rows, 1), 3);
    json_decref(rows);
    tally_free(&t);
}

TEST(each_kind_has_a_count_of_its_own_and_the_further_folders_have_them_too)
{
    struct tally *t = tally_new(1, kinds);
    struct tally_row row;
    CHECK(!tally_row(t, 0, &row));
    tally_add(t, &(struct tally_row){ .store = "mail", .counts = { 2, 3 } });
    CHECK(!tally_row(t, 1, &row));
    tally_add(t, &(struct tally_row){ .store = "mail", .counts = { 0, 4 } });
    tally_add(t, &(struct tally_row){ .store = "more", .counts = { 5, 6 } });
    tally_add(t, &(struct tally_row){ .counts = { 0, 1 } }); /* of what somebody else counted */
    json_t *rows = tally_json(t);
    CHECK_INT(changes(rows, 0), 2);
    CHECK_INT(json_integer_value(json_object_get(json_array_get(rows, 0), "others")), 7);
    CHECK(json_is_null(json_object_get(json_array_get(rows, 1), "store")));
    CHECK_INT(changes(rows, 1), 5);
    CHECK_INT(json_integer_value(json_object_get(json_array_get(rows, 1), "others")), 7);
    CHECK(tally_row(t, 1, &row) && row.store == NULL && row.counts[1] == 7);
    CHECK(!tally_row(t, 2, &row));
    json_decref(rows);
    tally_clear(t);
    tally_add(t, &(struct tally_row){ .counts = { 8 } }); /* although there is room */
    tally_add(t, &(struct tally_row){ .store = "mail", .counts = { 1 } });
    CHECK(tally_row(t, 0, &row) && row.store != NULL);
    CHECK(tally_row(t, 1, &row) && row.store == NULL && row.counts[0] == 8);
    tally_free(&t);
}

TEST(no_count_is_above_what_json_has)
{
    struct tally *t = tally_new(1, kinds);
    for (int i = 0; i < 3; i++)
        tally_add(t, &(struct tally_row){ .store = "mail", .counts = { INT64_MAX - 1 } });
    json_t *rows = tally_json(t);
    CHECK(changes(rows, 0) == INT64_MAX);
    json_decref(rows);
    tally_free(&t);
}

static void
add_many(struct tally *t)
{
    for (int i = 0; i < 3 * MANY; i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%d", i % MANY);
        add(t, "mail", user, "");
    }
}

TEST(so_many_are_named_in_their_order_and_what_is_in_others_is_one_number)
{
    struct tally *t = tally_new(MANY - 7, kinds);
    add_many(t);
    tally_clear(t);
    add_many(t);
    json_t *rows = tally_json(t);
    CHECK_INT(json_array_size(rows), MANY - 7 + 1);
    for (size_t i = 0; i < MANY - 7; i++) {
        CHECK_INT(strtoul(word(rows, i, "user") + 1, NULL, 10), i);
        CHECK_INT(changes(rows, i), 3);
    }
    CHECK(word(rows, MANY - 7, "user") == NULL);
    CHECK_INT(changes(rows, MANY - 7), 7 * 3);
    json_decref(rows);
    tally_clear(t);
    rows = tally_json(t);
    CHECK_INT(json_array_size(rows), 0);
    json_decref(rows);
    tally_free(&t);
}
