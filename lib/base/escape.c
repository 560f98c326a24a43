#include "lib/base/escape.h"

#include "lib/base/base.h"

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
escape_read(const char *text, struct buf *ret_bytes)
{
    buf_reset(ret_bytes);
    for (; *text != '\0'; text++) {
        int high = *text == '\\' ? hex_digit(text[1]) : 0;
        int low = *text == '\\' && high >= 0 ? hex_digit(text[2]) : 0;
        if (high < 0 || low < 0)
            return false;
        buf_add_u8(ret_bytes, *text == '\\' ? (uint8_t)(high << 4 | low) : (uint8_t)*text);
        text += *text == '\\' ? 2 : 0;
    }
    return true;
}

char *
escape_text(struct span bytes)
{
    static const char hex[] = "0123456789abcdef";
    char *text = xmalloc(3 * bytes.len + 1), *to = text;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            *to++ = (char)c;
            continue;
        }
        *to++ = '\\';
        *to++ = hex[c >> 4];
        *to++ = hex[c & 15];
    }
    *to = '\0';
    return text;
}
