#include "tests/unit/test.h"

#include "lib/base/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words with bars between them. */
static const char *
split(const char *text)
{
    static char joined[1024];
    _cleanup_words_ char **words = NULL;
    struct err e = { 0 };
    joined[0] = '\0';
    if (words_split(text, &words, &e) < 0) {
        CHECK_INT(e.code, ERR_CONFIG);
        snprintf(joined, sizeof(joined), "error: %.1000s", e.text);
        return joined;
    }
    for (char **word = words; *word != NULL; word++) {
        strcat(joined, word == words ? "" : "|");
        strcat(joined, *word);
    }
    return joined;
}

TEST(words_stand_apart_by_spaces)
{
    CHECK_STR(split("pg_dump -Fc web"), "pg_dump|-Fc|web");
    CHECK_STR(split("  a \t b\nc  "), "a|b|c");
    CHECK_STR(split("a"), "a");
}

TEST(what_is_quoted_is_one_word)
{
    CHECK_STR(split("sh -c 'a | b > \"c d\"'"), "sh|-c|a | b > \"c d\"");
    CHECK_STR(split("a \"b 'c' \\\" \\\\ \\n\" d"), "a|b 'c' \" \\ \\n|d");
    CHECK_STR(split("a'b c'd\" e\"f"), "ab cd ef");
    CHECK_STR(split("a '' b"), "a||b");
    CHECK_STR(split("a '\\'"), "a|\\");
}

TEST(a_backslash_gives_the_next_character)
{
    CHECK_STR(split("a\\ b \\'c \\\\ \\\"d"), "a b|'c|\\|\"d");
}

TEST(nothing_else_has_a_meaning)
{
    CHECK_STR(split("a $HOME `b` *.c ; d && e > f #g"), "a|$HOME|`b`|*.c|;|d|&&|e|>|f|#g");
}

TEST(what_has_no_end_is_refused)
{
    static const char *const texts[] = { "a 'b", "a \"b", "a \"b\\", "a \\", "'", "\"", "a 'b\"" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        CHECK_CONTAINS(split(texts[i]), "has no end");
}

TEST(a_program_must_be_named)
{
    CHECK_CONTAINS(split(""), "names no program");
    CHECK_CONTAINS(split(" \t\n"), "names no program");
    CHECK_CONTAINS(split("'' a"), "names no program");
}

TEST(the_number_of_words_is_bounded)
{
    char text[2 * WORDS_MAX + 3];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 == 0 ? 'a' : ' ';
    text[2 * WORDS_MAX] = '\0';
    CHECK(strncmp(split(text), "a|a", 3) == 0);
    text[2 * WORDS_MAX] = 'a';
    text[2 * WORDS_MAX + 1] = '\0';
    CHECK_CONTAINS(split(text), "more than");
}
