#include "lib/store/mailhead.h"

#include "tests/unit/test.h"

#include <stdio.h>

static struct mailhead
head_of(const char *text)
{
    struct mailhead head;
    mailhead_read(span_str(text), &head);
    return head;
}

TEST(the_fields_by_which_people_find_a_message_are_read)
{
    struct mailhead h = head_of("Return-Path: <x@y>\r\nFROM: Ann <ann@example.org>\r\n"
                                "Subject:  hello\r\n\tworld  again \r\nsubject: not this\r\n"
                                "Message-ID:\r\n <1@mx>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n"
                                "\r\nSubject: nor this\r\n");
    CHECK_STR(h.from, "Ann <ann@example.org>");
    CHECK_STR(h.subject, "hello world again");
    CHECK_STR(h.message_id, "<1@mx>");
    CHECK_STR(h.date, "Mon, 1 Jan 2024 10:00:00 +0000");
    CHECK_STR(head_of("no header at all").subject, "");
    CHECK_STR(head_of("").from, "");
    CHECK_STR(head_of("\nSubject: behind the header\n").subject, "");
}

TEST(encoded_words_are_decoded)
{
    static const struct {
        const char *written, *read;
    } cases[] = {
        { "=?UTF-8?Q?Gr=C3=BC=C3=9Fe_aus?= Wien", "Gr\xc3\xbc\xc3\x9f"
                                                  "e aus Wien" },
        { "=?utf-8?B?R3LDvMOfZQ==?=", "Gr\xc3\xbc\xc3\x9f"
                                      "e" },
        { "=?iso-8859-1?q?caf=E9?=", "caf\xc3\xa9" },
        { "=?utf-8?q?one?= =?utf-8?q?two?=\r\n =?utf-8?q?_three?= four", "onetwo three four" },
        { "=?utf-8*de?q?sprache?=", "sprache" },
        { "=?koi8-r?q?=F0?=", "=?koi8-r?q?=F0?=" },
        { "=?utf-8?q?bad=Z?=", "=?utf-8?q?bad=Z?=" },
        { "=?utf-8?b?b@d?=", "=?utf-8?b?b@d?=" },
        { "=?utf-8?q?no end", "=?utf-8?q?no end" },
        { "=?utf-8?q?a=0Ab=1b[2J?=", "a b [2J" },
        { "raw \xe9 and \xc3\xa9", "raw \xc3\xa9 and \xc3\xa9" },
        { "\x1b[31mred\x7f", " [31mred " },
        { "=?", "=?" },
        { "a=?utf-8?q?b?=", "ab" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];
        snprintf(text, sizeof(text), "Subject: %s\n", cases[i].written);
        CHECK_STR(head_of(text).subject, cases[i].read);
    }
}

TEST(a_long_field_is_cut_at_the_end_of_a_character)
{
    char text[3 * MAILHEAD_FIELD] = "Subject: x";
    while (strlen(text) < 2 * MAILHEAD_FIELD)
        strcat(text, "\xc3\xa9");
    struct mailhead h = head_of(text);
    CHECK_INT(strlen(h.subject), MAILHEAD_FIELD - 1);
    CHECK(((unsigned char)h.subject[MAILHEAD_FIELD - 2]) == 0xa9);
}

TEST(searching_does_not_care_for_large_and_small_letters)
{
    CHECK(mailhead_contains("Re: Invoice 42", "invoice"));
    CHECK(mailhead_contains("\xc3\x9c"
                            "bersicht",
                            "\xc3\xbc"
                            "ber"));
    CHECK(mailhead_contains("anything", ""));
    CHECK(!mailhead_contains("short", "longer than it"));
    CHECK(!mailhead_contains("", "x"));
}
