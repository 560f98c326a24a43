#include "gate/lmtp.h"

#include <ctype.h>

static const struct {
    const char *word;
    enum lmtp_verb verb;
} verbs[] = {
    { "LHLO", LMTP_HELLO },      { "EHLO", LMTP_HELLO }, { "HELO", LMTP_HELLO },
    { "MAIL", LMTP_MAIL },       { "RCPT", LMTP_RCPT },  { "DATA", LMTP_DATA },
    { "BDAT", LMTP_BDAT },       { "RSET", LMTP_RSET },  { "QUIT", LMTP_QUIT },
    { "XCLIENT", LMTP_XCLIENT }, { "AUTH", LMTP_AUTH },  { "STARTTLS", LMTP_HIDDEN },
    { "BURL", LMTP_HIDDEN },
};

static bool
word_is(struct span word, const char *upper)
{
    size_t len = strlen(upper);
    if (word.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (toupper(word.ptr[i]) != upper[i])
            return false;
    return true;
}

static struct span
behind(struct span s, size_t count)
{
    return span_from(s, count, s.len - count);
}

/* --- lines --- */

int
lmtp_line(struct span in, struct span *ret_line, size_t *ret_used, struct err *e)
{
    size_t looked = MIN(in.len, (size_t)LMTP_LINE_MAX);
    const uint8_t *end = looked > 0 ? memchr(in.ptr, '\n', looked) : NULL;
    if (end == NULL && looked == LMTP_LINE_MAX)
        return err_set(e, ERR_PROTOCOL, "the line is longer than %d bytes", LMTP_LINE_MAX);
    if (end == NULL)
        return 0;
    size_t len = (size_t)(end - in.ptr);
    *ret_used = len + 1;
    if (len > 0 && in.ptr[len - 1] == '\r')
        len--;
    *ret_line = span_from(in, 0, len);
    return 1;
}

/* --- commands --- */

static bool
has_control(struct span line)
{
    for (size_t i = 0; i < line.len; i++)
        if ((line.ptr[i] < ' ' && line.ptr[i] != '\t') || line.ptr[i] == 0x7f)
            return true;
    return false;
}

/* Up to the first blank. */
static struct span
first_word(struct span line)
{
    size_t len = 0;
    while (len < line.len && line.ptr[len] != ' ' && line.ptr[len] != '\t')
        len++;
    return span_from(line, 0, len);
}

/* Between the brackets, where a quoted string may have brackets of its own; without brackets up
 * to the first blank. Two ways to write one address are two addresses: that costs a delivery that
 * is made twice after a failure, never one that is not made. */
static struct span
path_of(struct span line)
{
    const uint8_t *colon = memchr(line.ptr, ':', line.len);
    if (colon == NULL)
        return span_of(NULL, 0);
    struct span rest = behind(line, (size_t)(colon - line.ptr) + 1);
    while (rest.len > 0 && (rest.ptr[0] == ' ' || rest.ptr[0] == '\t'))
        rest = behind(rest, 1);
    if (rest.len == 0 || rest.ptr[0] != '<')
        return first_word(rest);
    bool quoted = false;
    for (size_t i = 1; i < rest.len; i++) {
        if (quoted && rest.ptr[i] == '\\')
            i++;
        else if (rest.ptr[i] == '"')
            quoted = !quoted;
        else if (rest.ptr[i] == '>' && !quoted)
            return span_from(rest, 1, i - 1);
    }
    return behind(rest, 1);
}

/* "BDAT" SP number [SP "LAST"], and nothing that one server reads and another does not. */
static int
read_bdat(struct span line, struct lmtp_command *c, struct err *e)
{
    size_t at = 5;
    unsigned digits = 0;
    for (; at < line.len && isdigit(line.ptr[at]) && digits < 18; at++, digits++)
        c->size = c->size * 10 + (uint64_t)(line.ptr[at] - '0');
    struct span rest = at <= line.len ? behind(line, at) : span_of(NULL, 0);
    c->last = rest.len == 5 && rest.ptr[0] == ' ' && word_is(behind(rest, 1), "LAST");
    if (digits == 0 || line.ptr[4] != ' ' || (rest.len != 0 && !c->last))
        return err_set(e, ERR_PROTOCOL, "BDAT takes a number of bytes, and LAST behind it");
    return 0;
}

int
lmtp_command(struct span line, struct lmtp_command *ret_command, struct err *e)
{
    *ret_command = (struct lmtp_command){ .verb = LMTP_OTHER };
    if (has_control(line))
        return err_set(e, ERR_PROTOCOL, "the line has control characters in it");
    struct span word = first_word(line);
    if (word.len == 0)
        return err_set(e, ERR_PROTOCOL, "the line begins with no command");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (word_is(word, verbs[i].word))
            ret_command->verb = verbs[i].verb;
    if (ret_command->verb == LMTP_MAIL || ret_command->verb == LMTP_RCPT)
        ret_command->path = path_of(line);
    if (ret_command->verb == LMTP_BDAT)
        return read_bdat(line, ret_command, e);
    return 0;
}

/* --- replies --- */

/* 1 the line is the last of its reply, 0 others follow, -1 it is none. */
static int
reply_line(struct span line, unsigned *ret_code)
{
    if (line.len < 3 || line.ptr[0] < '2' || line.ptr[0] > '5' || !isdigit(line.ptr[1]) ||
        !isdigit(line.ptr[2]))
        return -1;
    *ret_code = (unsigned)(line.ptr[0] - '0') * 100 + (unsigned)(line.ptr[1] - '0') * 10 +
                (unsigned)(line.ptr[2] - '0');
    if (line.len > 3 && line.ptr[3] == '-')
        return 0;
    return line.len == 3 || line.ptr[3] == ' ' ? 1 : -1;
}

int
lmtp_reply(struct span in, struct lmtp_reply *ret_reply, struct err *e)
{
    size_t at = 0;
    unsigned first = 0;
    for (;;) {
        struct span rest = behind(in, at);
        const uint8_t *end = rest.len > 0 ? memchr(rest.ptr, '\n', rest.len) : NULL;
        size_t len = end != NULL ? (size_t)(end - rest.ptr) + 1 : rest.len;
        if (at + len > LMTP_REPLY_MAX || len > LMTP_LINE_MAX)
            return err_set(e, ERR_PROTOCOL, "the reply is longer than %d bytes, or a line than %d",
                           LMTP_REPLY_MAX, LMTP_LINE_MAX);
        if (end == NULL)
            return 0;
        size_t text = len - 1 - (len > 1 && rest.ptr[len - 2] == '\r');
        int last = reply_line(span_from(rest, 0, text), &ret_reply->code);
        if (last < 0 || (first != 0 && ret_reply->code != first))
            return err_set(e, ERR_PROTOCOL, "the answer is not of LMTP");
        first = ret_reply->code;
        at += len;
        if (last == 0)
            continue;
        ret_reply->text = span_from(in, 0, at);
        return 1;
    }
}

/* At the end of one line: an address with these words in it, which a server repeats, stands before
 * what the server has to say. */
bool
lmtp_is_stored(const struct lmtp_reply *reply)
{
    static const char begin[] = "451 4.2.0 ", end[] = LMTP_STORED "\r\n";
    const size_t before = sizeof(begin) - 1, after = sizeof(end) - 1;
    struct span text = reply->text;
    return text.len >= before + after && memcmp(text.ptr, begin, before) == 0 &&
           memcmp(text.ptr + text.len - after, end, after) == 0;
}

/* The extension that a line of the reply to LHLO names. */
static bool
is_hidden(struct span line)
{
    if (line.len <= 4)
        return false;
    struct span word = first_word(behind(line, 4));
    return word_is(word, "STARTTLS") || word_is(word, "BURL");
}

void
lmtp_hide(struct span reply, struct buf *out)
{
    size_t begin = out->len, last = out->len;
    bool greeting = true; /* the first line names the server */
    while (reply.len > 0) {
        struct span line;
        size_t used;
        if (lmtp_line(reply, &line, &used, NULL) <= 0)
            line = span_from(reply, 0, used = reply.len);
        reply = behind(reply, used);
        if (!greeting && is_hidden(line))
            continue;
        greeting = false;
        last = out->len;
        buf_add(out, line.ptr, line.len);
        if (line.len == 3)
            buf_add_u8(out, ' ');
        out->ptr[last + 3] = '-';
        buf_add(out, "\r\n", 2);
    }
    if (out->len > begin)
        out->ptr[last + 3] = ' ';
}

/* --- the message --- */

/* Inside a line, up to its end or that of `in`; returns how much. */
static size_t
decode_line(enum lmtp_place *place, struct span in, struct buf *out)
{
    const uint8_t *lf = memchr(in.ptr, '\n', in.len);
    size_t len = lf != NULL ? (size_t)(lf - in.ptr) : in.len;
    buf_add(out, in.ptr, len);
    bool cr = len > 0 ? in.ptr[len - 1] == '\r' : *place == LMTP_CR;
    if (lf == NULL) {
        *place = cr ? LMTP_CR : LMTP_IN_LINE;
        return len;
    }
    if (!cr)
        buf_add_u8(out, '\r');
    buf_add_u8(out, '\n');
    *place = cr ? LMTP_LINE_START : LMTP_IN_LINE;
    return len + 1;
}

size_t
lmtp_decode(enum lmtp_place *place, struct span in, struct buf *out, bool *ret_end)
{
    size_t at = 0;
    *ret_end = false;
    while (at < in.len) {
        uint8_t c = in.ptr[at];
        if (*place == LMTP_LINE_START && c == '.') {
            *place = LMTP_DOT;
            at++;
        } else if (*place == LMTP_DOT && c == '\r') {
            *place = LMTP_DOT_CR;
            at++;
        } else if (*place == LMTP_DOT_CR && c == '\n') {
            *place = LMTP_LINE_START;
            *ret_end = true;
            return at + 1;
        } else if (*place == LMTP_DOT_CR) { /* a line that begins with a dot and a CR */
            buf_add_u8(out, '\r');
            *place = LMTP_CR;
        } else {
            if (*place != LMTP_CR)
                *place = LMTP_IN_LINE;
            at += decode_line(place, behind(in, at), out);
        }
    }
    return at;
}

void
lmtp_encode(bool *at_start, struct span content, struct buf *out)
{
    while (content.len > 0) {
        if (*at_start && content.ptr[0] == '.')
            buf_add_u8(out, '.');
        const uint8_t *lf = memchr(content.ptr, '\n', content.len);
        size_t len = lf != NULL ? (size_t)(lf - content.ptr) + 1 : content.len;
        buf_add(out, content.ptr, len);
        *at_start = lf != NULL;
        content = behind(content, len);
    }
}

void
lmtp_encode_end(bool at_start, struct buf *out)
{
    if (!at_start)
        buf_add(out, "\r\n", 2);
    buf_add(out, ".\r\n", 3);
}
