#include "lib/store/mailhead.h"

#include "lib/base/buf.h"

#define WORD_MAX 1000 /* of an encoded word; RFC 2047 allows 75 */

static uint8_t
lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool
equal_fold(struct span a, const char *b)
{
    size_t i = 0;
    for (; i < a.len && b[i] != '\0'; i++) {
        if (lower(a.ptr[i]) != lower((uint8_t)b[i]))
            return false;
    }
    return i == a.len && b[i] == '\0';
}

/* --- characters --- */

/* The length of the UTF-8 character at the beginning, 0 when there is none. */
static size_t
utf8_len(struct span s)
{
    uint8_t c = s.ptr[0];
    size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : 4;
    if (len > s.len || (c >= 0x80 && c < 0xc2) || c > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s.ptr[i] & 0xc0) != 0x80)
            return 0;
    }
    bool overlong = (c == 0xe0 && s.ptr[1] < 0xa0) || (c == 0xf0 && s.ptr[1] < 0x90);
    bool beyond = (c == 0xed && s.ptr[1] >= 0xa0) || (c == 0xf4 && s.ptr[1] >= 0x90);
    return overlong || beyond ? 0 : len;
}

/* A control character, of either kind, is a space. */
static void
add_latin1(struct buf *out, uint8_t c)
{
    if (c < 0x20 || (c >= 0x7f && c < 0xa0))
        c = ' ';
    if (c < 0x80) {
        buf_add_u8(out, c);
        return;
    }
    buf_add_u8(out, (uint8_t)(0xc0 | c >> 6));
    buf_add_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
}

static void
add_text(struct buf *out, struct span text, bool utf8)
{
    for (size_t i = 0; i < text.len;) {
        struct span rest = span_from(text, i, text.len - i);
        size_t len = utf8 ? utf8_len(rest) : 0;
        bool c1 = len == 2 && rest.ptr[0] == 0xc2 && rest.ptr[1] < 0xa0;
        if (len > 1 && !c1)
            buf_add(out, rest.ptr, len);
        else
            add_latin1(out, c1 ? ' ' : rest.ptr[0]);
        i += MAX(len, (size_t)1);
    }
}

/* --- encoded words --- */

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
decode_q(struct span text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '=') {
            int high = text.len - i > 2 ? hex_digit(text.ptr[i + 1]) : -1;
            int low = text.len - i > 2 ? hex_digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '_') {
            c = ' ';
        }
        buf_add_u8(out, c);
    }
    return true;
}

static int
b64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool
decode_b(struct span text, struct buf *out)
{
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++) {
        int digit = b64_digit(text.ptr[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6 | (uint32_t)digit) & 0xffffff;
        count += 6;
        if (count < 8)
            continue;
        count -= 8;
        buf_add_u8(out, (uint8_t)(bits >> count));
    }
    return true;
}

/* Up to the character: *ret_part; what is behind it stays in *rest. */
static bool
take_until(struct span *rest, char end, struct span *ret_part)
{
    const uint8_t *at = rest->len == 0 ? NULL : memchr(rest->ptr, end, rest->len);
    if (at == NULL)
        return false;
    size_t len = (size_t)(at - rest->ptr);
    *ret_part = span_from(*rest, 0, len);
    *rest = span_from(*rest, len + 1, rest->len - len - 1);
    return true;
}

/* 1 and 2: known, and UTF-8; 0 no. */
static unsigned
charset_of(struct span name)
{
    static const char *const latin[] = { "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252" };
    struct span language;
    struct span rest = name;
    if (take_until(&rest, '*', &language)) /* RFC 2231 */
        name = language;
    if (equal_fold(name, "utf-8") || equal_fold(name, "utf8"))
        return 2;
    for (size_t i = 0; i < ARRAY_LEN(latin); i++) {
        if (equal_fold(name, latin[i]))
            return 1;
    }
    return 0;
}

/* "=?charset?b?text?=" at the beginning: its length, 0 none that can be decoded. */
static size_t
take_word(struct span s, struct buf *out)
{
    struct span rest = s, charset, how, text;
    if (s.len < 8 || s.ptr[0] != '=' || s.ptr[1] != '?')
        return 0;
    rest = span_from(s, 2, MIN(s.len, (size_t)WORD_MAX) - 2);
    if (!take_until(&rest, '?', &charset) || !take_until(&rest, '?', &how) ||
        !take_until(&rest, '?', &text) || rest.len == 0 || rest.ptr[0] != '=' || how.len != 1)
        return 0;
    unsigned known = charset_of(charset);
    _cleanup_buf_ struct buf bytes = { 0 };
    bool b = lower(how.ptr[0]) == 'b';
    if (known == 0 || (!b && lower(how.ptr[0]) != 'q') ||
        !(b ? decode_b(text, &bytes) : decode_q(text, &bytes)))
        return 0;
    add_text(out, buf_span(&bytes), known == 2);
    return (size_t)(rest.ptr + 1 - s.ptr);
}

static bool
is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t
spaces_at(struct span s)
{
    size_t len = 0;
    while (len < s.len && is_space(s.ptr[len]))
        len++;
    return len;
}

/* A field's text as people read it: unfolded, decoded, in UTF-8. */
static void
decode_field(struct span raw, struct buf *out)
{
    bool behind_word = false;
    for (size_t i = 0; i < raw.len && out->len < MAILHEAD_FIELD;) {
        struct span rest = span_from(raw, i, raw.len - i);
        size_t spaces = spaces_at(rest);
        struct span next = span_from(rest, spaces, rest.len - spaces);
        size_t before = out->len;
        if (spaces > 0 && next.len > 0 && out->len > 0)
            buf_add_u8(out, ' ');
        size_t with_space = out->len;
        size_t word = next.len > 0 ? take_word(next, out) : 0;
        if (word > 0 && behind_word && with_space > before) { /* no space between two of them */
            memmove(out->ptr + before, out->ptr + with_space, out->len - with_space);
            out->len -= with_space - before;
        }
        behind_word = word > 0;
        if (word == 0 && next.len > 0) {
            word = 1;
            while (word < next.len && !is_space(next.ptr[word]) &&
                   !(next.ptr[word] == '=' && word + 1 < next.len && next.ptr[word + 1] == '?'))
                word++;
            add_text(out, span_from(next, 0, word), true);
        }
        i += spaces + word;
    }
}

/* --- fields --- */

/* Cut at the end of a character. */
static void
keep_field(struct span raw, char field[MAILHEAD_FIELD])
{
    _cleanup_buf_ struct buf text = { 0 };
    decode_field(raw, &text);
    size_t len = MIN(text.len, (size_t)MAILHEAD_FIELD - 1);
    while (len > 0 && len < text.len && (text.ptr[len] & 0xc0) == 0x80)
        len--;
    if (len > 0)
        memcpy(field, text.ptr, len);
    field[len] = '\0';
}

/* A line with those that continue it; false: the header ends here. */
static bool
take_field(struct span *rest, struct span *ret_field)
{
    size_t len = 0;
    if (rest->len == 0 || rest->ptr[0] == '\n' || rest->ptr[0] == '\r')
        return false;
    for (;;) {
        const uint8_t *end = memchr(rest->ptr + len, '\n', rest->len - len);
        len = end == NULL ? rest->len : (size_t)(end - rest->ptr) + 1;
        if (len == rest->len || (rest->ptr[len] != ' ' && rest->ptr[len] != '\t'))
            break;
    }
    *ret_field = span_from(*rest, 0, len);
    *rest = span_from(*rest, len, rest->len - len);
    return true;
}

void
mailhead_read(struct span head, struct mailhead *ret_head)
{
    *ret_head = (struct mailhead){ 0 };
    const struct {
        const char *name;
        char *field;
    } fields[] = {
        { "from", ret_head->from },
        { "subject", ret_head->subject },
        { "date", ret_head->date },
        { "message-id", ret_head->message_id },
    };
    struct span rest = span_from(head, 0, MIN(head.len, (size_t)MAILHEAD_MAX));
    struct span line, name;
    while (take_field(&rest, &line)) {
        struct span value = line;
        if (!take_until(&value, ':', &name))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
            if (fields[i].field[0] == '\0' && equal_fold(name, fields[i].name))
                keep_field(value, fields[i].field);
        }
    }
}

/* In UTF-8 the letters of ISO-8859-1 are c3 80 to c3 9e, the small ones c3 a0 to c3 be. */
static uint8_t
fold(const char *text, size_t i)
{
    uint8_t c = (uint8_t)text[i];
    bool latin = i > 0 && (uint8_t)text[i - 1] == 0xc3 && c >= 0x80 && c <= 0x9e && c != 0x97;
    return latin ? (uint8_t)(c + 0x20) : lower(c);
}

bool
mailhead_contains(const char *field, const char *text)
{
    size_t field_len = strlen(field), len = strlen(text);
    for (size_t at = 0; at + len <= field_len; at++) {
        size_t i = 0;
        while (i < len && fold(field, at + i) == fold(text, i))
            i++;
        if (i == len)
            return true;
    }
    return false;
}
