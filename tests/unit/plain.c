/* No name steers the terminal of whoever reads it. */
#include "cli/plain.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

static const char *
plain(const char *text)
{
    static char copy[64];
    snprintf(copy, sizeof(copy), "%s", text);
    plain_text(copy);
    return copy;
}

TEST(control_characters_are_shown_as_question_marks_and_nothing_else_is)
{
    CHECK_STR(plain(""), "");
    CHECK_STR(plain("INBOX.Sent items"), "INBOX.Sent items");
    CHECK_STR(plain("\x1b[2Ja\nb\r\tc\x7f"), "?[2Ja?b??c?");
    CHECK_STR(plain("Entw\xc3\xbcrfe \xe2\x82\xac"), "Entw\xc3\xbcrfe \xe2\x82\xac");
    CHECK_STR(plain("\xc2\x9b"
                    "2J\xc2\xa0."),
              "??2J\xc2\xa0."); /* 8-bit CSI; a no-break space */
    CHECK_STR(plain("cut\xc2"), "cut\xc2");
}

TEST(every_text_of_a_reply_is_fit_for_a_terminal)
{
    json_t *reply = json_pack("{s:[{s:s, s:i}, s], s:s, s:n}", "rows", "path", "a\x1b[m", "n", 7,
                              "b\n", "user", "ann", "none");
    plain_json(reply);
    char *text = json_dumps(reply, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK_STR(text,
              "{\"none\":null,\"rows\":[{\"n\":7,\"path\":\"a?[m\"},\"b?\"],\"user\":\"ann\"}");
    free(text);
    json_decref(reply);
}
