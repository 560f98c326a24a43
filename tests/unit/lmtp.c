/* LMTP as bytes: what is a line, a command, a reply, and above all where a message ends. */
#include "gate/lmtp.h"
#include "plugin/dovecot/kinds.h"
#include "tests/unit/test.h"

#include <stdio.h>

static struct err e;

static void
check_span(struct span s, const char *expected)
{
    CHECK(span_equal(s, span_str(expected)));
}

/* What a server has for content that reads data as old ones do (lenient: a line ends with LF) or as
 * RFC 5321 does; *ret_used: where it believes that commands go on. */
static void
server_reads(struct span data, bool lenient, struct buf *content, size_t *ret_used)
{
    bool start = true;
    *ret_used = 0;
    for (size_t i = 0; i < data.len;) {
        const char *p = (const char *)data.ptr + i;
        size_t left = data.len - i;
        if (start && left >= 3 && memcmp(p, ".\r\n", 3) == 0) {
            *ret_used = i + 3;
            return;
        }
        if (start && lenient && left >= 2 && memcmp(p, ".\n", 2) == 0) {
            *ret_used = i + 2;
            return;
        }
        if (start && p[0] == '.') {
            start = false;
            i++;
            continue;
        }
        buf_add_u8(content, data.ptr[i]);
        start = p[0] == '\n' && (lenient || (i > 0 && p[-1] == '\r'));
        i++;
    }
}

static const char *const messages[] = {
    "",
    "a\r\n",
    "..\r\n",
    "a\r\n..b\r\n...\r\n",
    "a\n.\nMAIL FROM:<x>\r\n",
    "a\r\n..\nRCPT TO:<x>\r\n",
    "a\n.\r\nMAIL FROM:<x>\r\n",
    "a\r\r\n..\r\nb\r\n",
    "\n.\n\n.\r\n\r\n..\r",
    "a\r\n..\rb\r\n",
    "\r\n..\r\r\n",
    "a\rb\n\r\n",
    "\r.\r.\r\n",
    "\n\n..\n\r\n",
};

/* As a client that obeys RFC 5321 sends it: the entries have their dots doubled behind CRLF. */
static void
add_message(struct buf *out, const char *message)
{
    buf_add(out, message, strlen(message));
    size_t len = out->len;
    if (len > 0 && (len < 2 || memcmp(out->ptr + len - 2, "\r\n", 2) != 0))
        buf_add(out, "\r\n", 2);
    buf_add(out, ".\r\n", 3);
}

TEST(no_server_finds_another_end_of_a_message_than_the_gate)
{
    for (size_t m = 0; m < ARRAY_LEN(messages); m++) {
        _cleanup_buf_ struct buf in = { 0 };
        _cleanup_buf_ struct buf content = { 0 };
        _cleanup_buf_ struct buf out = { 0 };
        enum lmtp_place place = LMTP_LINE_START;
        bool end, at_start = true;
        add_message(&in, messages[m]);
        buf_add(&in, "NEXT\r\n", 6);
        CHECK_INT(lmtp_decode(&place, buf_span(&in), &content, &end), in.len - 6);
        CHECK(end);
        lmtp_encode(&at_start, buf_span(&content), &out);
        lmtp_encode_end(at_start, &out);
        for (int lenient = 0; lenient < 2; lenient++) {
            _cleanup_buf_ struct buf seen = { 0 };
            size_t used;
            server_reads(buf_span(&out), lenient == 1, &seen, &used);
            CHECK_INT(used, out.len);
            CHECK(span_equal(buf_span(&seen), buf_span(&content)));
        }
    }
}

TEST(a_message_is_the_same_however_its_bytes_come)
{
    for (size_t m = 0; m < ARRAY_LEN(messages); m++) {
        _cleanup_buf_ struct buf in = { 0 };
        _cleanup_buf_ struct buf whole = { 0 };
        enum lmtp_place place = LMTP_LINE_START;
        bool end;
        add_message(&in, messages[m]);
        CHECK_INT(lmtp_decode(&place, buf_span(&in), &whole, &end), in.len);
        for (size_t a = 0; a <= in.len; a++) {
            for (size_t b = a; b <= in.len; b++) {
                _cleanup_buf_ struct buf parts = { 0 };
                bool ended = false;
                size_t cuts[] = { 0, a, b, in.len };
                place = LMTP_LINE_START;
                for (size_t i = 0; i < 3; i++) {
                    struct span part = span_from(buf_span(&in), cuts[i], cuts[i + 1] - cuts[i]);
                    CHECK(!ended || part.len == 0);
                    if (part.len > 0)
                        CHECK_INT(lmtp_decode(&place, part, &parts, &ended), part.len);
                }
                CHECK(ended);
                CHECK(span_equal(buf_span(&parts), buf_span(&whole)));
            }
        }
    }
}

TEST(content_without_an_end_of_line_gets_one_before_the_dot)
{
    _cleanup_buf_ struct buf out = { 0 };
    bool at_start = true;
    lmtp_encode(&at_start, span_str(".a"), &out);
    lmtp_encode_end(at_start, &out);
    check_span(buf_span(&out), "..a\r\n.\r\n");
}

TEST(a_line_ends_with_lf_with_or_without_cr_and_has_a_limit)
{
    static char much[LMTP_LINE_MAX + 1];
    struct span line;
    size_t used;
    CHECK_INT(lmtp_line(span_str("NOOP\r\nX"), &line, &used, &e), 1);
    check_span(line, "NOOP");
    CHECK_INT(used, 6);
    CHECK_INT(lmtp_line(span_str("NOOP\n"), &line, &used, &e), 1);
    check_span(line, "NOOP");
    CHECK_INT(lmtp_line(span_str("NOOP\r"), &line, &used, &e), 0);
    memset(much, 'x', sizeof(much));
    CHECK_INT(lmtp_line(span_of(much, LMTP_LINE_MAX - 1), &line, &used, &e), 0);
    CHECK_INT(lmtp_line(span_of(much, LMTP_LINE_MAX), &line, &used, &e), -1);
    much[LMTP_LINE_MAX - 1] = '\n';
    CHECK_INT(lmtp_line(span_of(much, LMTP_LINE_MAX), &line, &used, &e), 1);
}

TEST(what_servers_may_read_differently_is_no_command)
{
    static const char *const bad[] = { "",
                                       " DATA",
                                       "\tDATA",
                                       "NOOP\rDATA",
                                       "NOOP\x01",
                                       "MAIL FROM:<\x7f>",
                                       "BDAT",
                                       "BDAT ",
                                       "BDAT x",
                                       "BDAT 1x",
                                       "BDAT 1 LAST ",
                                       "BDAT 1  LAST",
                                       "BDAT\t1",
                                       "BDAT -1",
                                       "BDAT 1 LASTLY",
                                       "BDAT +1",
                                       "BDAT 1 ",
                                       "BDAT 1 FIRST",
                                       "BDAT 1234567890123456789" };
    struct lmtp_command c;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_INT(lmtp_command(span_str(bad[i]), &c, &e), -1);
    CHECK_INT(lmtp_command(span_of("NOOP\0", 5), &c, &e), -1);
}

TEST(a_command_is_known_by_its_first_word)
{
    static const struct {
        const char *line;
        enum lmtp_verb verb;
    } known[] = {
        { "lhlo x", LMTP_HELLO },    { "DATA", LMTP_DATA },           { "data x", LMTP_DATA },
        { "rSeT", LMTP_RSET },       { "QUIT", LMTP_QUIT },           { "DATAX", LMTP_OTHER },
        { "DAT", LMTP_OTHER },       { "XCLIENT A=b", LMTP_XCLIENT }, { "AUTH PLAIN", LMTP_AUTH },
        { "STARTTLS", LMTP_HIDDEN }, { "burl x", LMTP_HIDDEN },       { "VRFY x", LMTP_OTHER },
    };
    struct lmtp_command c;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        CHECK_INT(lmtp_command(span_str(known[i].line), &c, &e), 0);
        CHECK_INT(c.verb, known[i].verb);
    }
    CHECK_INT(lmtp_command(span_str("bdat 17 last"), &c, &e), 0);
    CHECK(c.verb == LMTP_BDAT && c.size == 17 && c.last);
    CHECK_INT(lmtp_command(span_str("BDAT 0"), &c, &e), 0);
    CHECK(c.size == 0 && !c.last);
}

TEST(an_address_is_what_stands_between_the_brackets)
{
    static const struct {
        const char *line, *path;
    } known[] = {
        { "MAIL FROM:<a@b> SIZE=7", "a@b" },
        { "MAIL FROM:<>", "" },
        { "RCPT TO: <a@b>", "a@b" },
        { "RCPT TO:<\"a>b\"@c> NOTIFY=NEVER", "\"a>b\"@c" },
        { "RCPT TO:<\"a\\\">\"@c>", "\"a\\\">\"@c" },
        { "RCPT TO:a@b X=y", "a@b" },
        { "RCPT TO:<a@b", "a@b" },
        { "RCPT TO", "" },
        { "RCPT TO:", "" },
        { "RCPT TO:<\xc3\xa4@b>", "\xc3\xa4@b" },
    };
    struct lmtp_command c;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        CHECK_INT(lmtp_command(span_str(known[i].line), &c, &e), 0);
        check_span(c.path, known[i].path);
    }
}

TEST(a_reply_has_any_number_of_lines_of_one_code)
{
    struct lmtp_reply reply;
    const char *whole = "250-a\r\n250-b\n250 c\r\nrest";
    for (size_t len = 0; len < 20; len++)
        CHECK_INT(lmtp_reply(span_of(whole, len), &reply, &e), 0);
    CHECK_INT(lmtp_reply(span_str(whole), &reply, &e), 1);
    CHECK_INT(reply.code, 250);
    CHECK_INT(reply.text.len, 20);
    CHECK_INT(lmtp_reply(span_str("354\r\n"), &reply, &e), 1);
    CHECK_INT(reply.code, 354);
    static const char *const bad[] = { "hello\r\n", "25\r\n", "150 x\r\n",         "650 x\r\n",
                                       "250x\r\n",  "\r\n",   "250-a\r\n251 b\r\n" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_INT(lmtp_reply(span_str(bad[i]), &reply, &e), -1);
    static char endless[LMTP_LINE_MAX + 2];
    memset(endless, '2', sizeof(endless));
    CHECK_INT(lmtp_reply(span_of(endless, sizeof(endless)), &reply, &e), -1);
}

static bool
is_stored(const char *text)
{
    struct lmtp_reply reply;
    CHECK_INT(lmtp_reply(span_str(text), &reply, &e), 1);
    return lmtp_is_stored(&reply);
}

/* Who believes it of any other reply loses the mail. */
TEST(only_the_plugins_own_words_say_that_a_refused_mail_is_stored)
{
    CHECK_STR(LMTP_STORED, KINDS_STORED);
    CHECK(is_stored("451 4.2.0 <a@b> Done on this server, but ..." KINDS_STORED "\r\n"));
    static const char *const others[] = {
        "451 4.2.0 <a@b> Done on this server, but ...\r\n",
        "451 4.2.0 <\"a" KINDS_STORED "\"@b> Internal error\r\n",
        "451 4.2.0 x" KINDS_STORED ".\r\n",
        "451 4.3.0 x" KINDS_STORED "\r\n",
        "452 4.2.0 x" KINDS_STORED "\r\n",
        "551 4.2.0 x" KINDS_STORED "\r\n",
        "451-4.2.0 x" KINDS_STORED "\r\n451 4.2.0 y\r\n",
        "451-4.2.0 x\r\n451 4.2.0 y" KINDS_STORED "\r\n",
        "451" KINDS_STORED "\r\n",
        "451 4.2.0" KINDS_STORED "\r\n",
        "451\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(!is_stored(others[i]));
}

TEST(extensions_that_hide_the_message_are_not_announced)
{
    static const struct {
        const char *reply, *shown;
    } known[] = {
        { "250-x\r\n250-STARTTLS\r\n250 SIZE\r\n", "250-x\r\n250 SIZE\r\n" },
        { "250-x\r\n250-SIZE\r\n250 starttls\r\n", "250-x\r\n250 SIZE\r\n" },
        { "250-x\r\n250-BURL imap\r\n250 STARTTLS\r\n", "250 x\r\n" },
        { "250 STARTTLS\r\n", "250 STARTTLS\r\n" }, /* the server's name */
        { "250-x\n250\n", "250-x\r\n250 \r\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        _cleanup_buf_ struct buf out = { 0 };
        lmtp_hide(span_str(known[i].reply), &out);
        check_span(buf_span(&out), known[i].shown);
    }
}
