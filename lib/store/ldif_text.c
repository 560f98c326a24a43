/* ldif_text.c - an entry's one text, and back. */
#include "lib/store/ldif.h"

#define HEAD "version: 1\n"
#define TAIL "# end\n" /* a text that was cut off at the end of a line is seen */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* --- writing --- */

static void
add_text(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

/* RFC 2849's SAFE-STRING, without the spaces at the end that editors cut off. */
static bool
is_safe(struct span value)
{
    if (value.len == 0)
        return true;
    if (strchr(" :<", value.ptr[0]) != NULL || value.ptr[value.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] == '\0' || value.ptr[i] == '\n' || value.ptr[i] == '\r' ||
            value.ptr[i] >= 0x80)
            return false;
    return true;
}

static void
add_base64(struct buf *out, struct span value)
{
    buf_reserve(out, (value.len + 2) / 3 * 4);
    for (size_t i = 0; i < value.len; i += 3) {
        size_t left = MIN(value.len - i, (size_t)3);
        uint32_t three = (uint32_t)value.ptr[i] << 16;
        three |= left > 1 ? (uint32_t)value.ptr[i + 1] << 8 : 0;
        three |= left > 2 ? value.ptr[i + 2] : 0;
        buf_add_u8(out, (uint8_t)digits[three >> 18]);
        buf_add_u8(out, (uint8_t)digits[three >> 12 & 63]);
        buf_add_u8(out, (uint8_t)(left > 1 ? digits[three >> 6 & 63] : '='));
        buf_add_u8(out, (uint8_t)(left > 2 ? digits[three & 63] : '='));
    }
}

static void
add_line(struct buf *out, struct span name, struct span value)
{
    buf_add(out, name.ptr, name.len);
    if (is_safe(value)) {
        add_text(out, ": ");
        buf_add(out, value.ptr, value.len);
    } else {
        add_text(out, ":: ");
        add_base64(out, value);
    }
    add_text(out, "\n");
}

void
ldif_write(const struct ldif_entry *entry, struct buf *out)
{
    add_text(out, HEAD);
    add_line(out, span_str("dn"), ldif_dn(entry));
    for (size_t i = 0; i < entry->count; i++)
        add_line(out, ldif_name(entry, i), ldif_value(entry, i));
    add_text(out, TAIL);
}

/* --- reading --- */

struct text {
    struct span rest;
    unsigned line;
};

static int
corrupt(const struct text *text, struct err *e, const char *what)
{
    return err_set(e, ERR_CORRUPT, "line %u of the entry: %s", text->line, what);
}

static bool
take_line(struct text *text, struct span *ret_line)
{
    const uint8_t *end = text->rest.len == 0 ? NULL : memchr(text->rest.ptr, '\n', text->rest.len);
    if (end == NULL)
        return false;
    size_t len = (size_t)(end - text->rest.ptr);
    *ret_line = span_from(text->rest, 0, len);
    text->rest = span_from(text->rest, len + 1, text->rest.len - len - 1);
    text->line++;
    return true;
}

static int
digit_of(uint8_t c)
{
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* Only what add_base64() writes; false: something else. */
static bool
read_base64(struct span text, struct buf *out)
{
    if (text.len % 4 != 0)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        const uint8_t *c = text.ptr + i;
        size_t pad = i + 4 < text.len || c[3] != '=' ? 0 : c[2] == '=' ? 2 : 1;
        int d[4] = { digit_of(c[0]), digit_of(c[1]), pad == 2 ? 0 : digit_of(c[2]),
                     pad > 0 ? 0 : digit_of(c[3]) };
        if (d[0] < 0 || d[1] < 0 || d[2] < 0 || d[3] < 0)
            return false;
        uint32_t three = (uint32_t)d[0] << 18 | (uint32_t)d[1] << 12 | (uint32_t)d[2] << 6 |
                         (uint32_t)d[3];
        const uint8_t bytes[3] = { (uint8_t)(three >> 16), (uint8_t)(three >> 8), (uint8_t)three };
        for (size_t k = 3 - pad; k < 3; k++)
            if (bytes[k] != 0)
                return false;
        buf_add(out, bytes, 3 - pad);
    }
    return true;
}

/* "name: value" or "name:: base64"; the value is put into scratch where it has to be decoded. */
static int
read_line(const struct text *text, struct span line, struct buf *scratch, struct span *ret_name,
          struct span *ret_value, struct err *e)
{
    const uint8_t *colon = line.len == 0 ? NULL : memchr(line.ptr, ':', line.len);
    if (colon == NULL)
        return corrupt(text, e, "there is no colon in it");
    size_t len = (size_t)(colon - line.ptr);
    *ret_name = span_from(line, 0, len);
    struct span rest = span_from(line, len + 1, line.len - len - 1);
    bool coded = rest.len > 0 && rest.ptr[0] == ':';
    if (coded)
        rest = span_from(rest, 1, rest.len - 1);
    if (rest.len == 0 || rest.ptr[0] != ' ')
        return corrupt(text, e, "there is no space behind the colon");
    *ret_value = span_from(rest, 1, rest.len - 1);
    if (!coded)
        return is_safe(*ret_value) ? 0 : corrupt(text, e, "its value should be in base64");
    buf_reset(scratch);
    if (!read_base64(*ret_value, scratch))
        return corrupt(text, e, "it is no base64");
    *ret_value = buf_span(scratch);
    return is_safe(*ret_value) ? corrupt(text, e, "its value needs no base64") : 0;
}

static int
read_dn(struct text *text, struct buf *scratch, struct ldif_entry *entry, struct err *e)
{
    struct span line, name, dn;
    if (!take_line(text, &line) || !span_equal(line, span_of(HEAD, sizeof(HEAD) - 2)))
        return corrupt(text, e, "it does not begin with \"version: 1\"");
    if (!take_line(text, &line))
        return corrupt(text, e, "it is cut off");
    if (read_line(text, line, scratch, &name, &dn, e) < 0)
        return -1;
    if (!span_equal(name, span_str("dn")))
        return corrupt(text, e, "it is not the DN");
    ldif_begin(entry, dn);
    return 0;
}

static int
read_values(struct text *text, struct buf *scratch, struct ldif_entry *entry, struct err *e)
{
    struct span line, name, value;
    for (;;) {
        if (!take_line(text, &line))
            return corrupt(text, e, "it is cut off behind this one");
        if (span_equal(line, span_of(TAIL, sizeof(TAIL) - 2)))
            return 0;
        if (read_line(text, line, scratch, &name, &value, e) < 0)
            return -1;
        ldif_add(entry, name, value);
    }
}

int
ldif_read(struct span text, struct ldif_entry *ret_entry, struct err *e)
{
    struct text rest = { .rest = text };
    _cleanup_buf_ struct buf scratch = { 0 };
    if (text.len > LDIF_TEXT_MAX)
        return err_set(e, ERR_CORRUPT, "the entry has %zu bytes, at most %u can be", text.len,
                       LDIF_TEXT_MAX);
    if (read_dn(&rest, &scratch, ret_entry, e) < 0 ||
        read_values(&rest, &scratch, ret_entry, e) < 0)
        return -1;
    if (rest.rest.len > 0)
        return corrupt(&rest, e, "there is more behind the end");
    if (ldif_end(ret_entry, e) < 0)
        return -1;
    buf_reset(&scratch);
    ldif_write(ret_entry, &scratch);
    return span_equal(buf_span(&scratch), text)
               ? 0
               : err_set(e, ERR_CORRUPT, "the entry's values are not in their order");
}
