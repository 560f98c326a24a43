#include "lib/store/keywords.h"

#include <stdio.h>
#include <strings.h>

static struct span
line_of(struct span text)
{
    const uint8_t *end = text.len == 0 ? NULL : memchr(text.ptr, '\n', text.len);
    return span_from(text, 0, end == NULL ? text.len : (size_t)(end - text.ptr));
}

/* "12 Name" */
static void
read_line(struct span line, struct keywords *k)
{
    size_t place = 0;
    size_t at = 0;
    for (; at < line.len && at < 3 && line.ptr[at] >= '0' && line.ptr[at] <= '9'; at++)
        place = place * 10 + (size_t)(line.ptr[at] - '0');
    bool fits = at > 0 && place < KEYWORDS_MAX && at + 1 < line.len && line.ptr[at] == ' ';
    if (fits)
        k->names[place] = span_from(line, at + 1, line.len - at - 1);
}

void
keywords_read(struct span text, struct keywords *ret_keywords)
{
    *ret_keywords = (struct keywords){ 0 };
    while (text.len > 0) {
        struct span line = line_of(text);
        read_line(line, ret_keywords);
        size_t used = MIN(line.len + 1, text.len);
        text = span_from(text, used, text.len - used);
    }
}

int
keywords_find(const struct keywords *keywords, struct span name)
{
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        struct span have = keywords->names[i];
        if (have.len > 0 && have.len == name.len &&
            strncasecmp((const char *)have.ptr, (const char *)name.ptr, name.len) == 0)
            return i;
    }
    return -1;
}

int
keywords_add(struct keywords *keywords, struct span name)
{
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        if (keywords->names[i].len > 0)
            continue;
        keywords->names[i] = name;
        return i;
    }
    return -1;
}

void
keywords_write(const struct keywords *keywords, struct buf *out)
{
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        char number[8];
        if (keywords->names[i].len == 0)
            continue;
        snprintf(number, sizeof(number), "%d ", i);
        buf_add(out, number, strlen(number));
        buf_add(out, keywords->names[i].ptr, keywords->names[i].len);
        buf_add_u8(out, '\n');
    }
}
