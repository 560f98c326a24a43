/* restore_text.c - paths as text, for requests and answers. */
#include "replicator/restore.h"

#include <stdio.h>

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
restore_unescape(const char *text, struct buf *ret_bytes)
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
restore_escape(struct span path)
{
    char *text = xmalloc(3 * path.len + 1), *to = text;
    for (size_t i = 0; i < path.len; i++) {
        uint8_t c = path.ptr[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '\\';
        to += snprintf(to, 4, plain ? "%c" : "\\%02x", c);
    }
    *to = '\0';
    return text;
}
