#include "lib/os/conf_text.h"

#include "lib/os/file.h"

#include <stdlib.h>

#define END_CALL "\n" CONF_TEXT_END "()\n"

struct scan {
    const char *file;
    char *at;
    unsigned line;
};

static int
check_characters(const struct scan *s, size_t len, struct err *e)
{
    unsigned line = 1;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s->at[i];
        line += c == '\n';
        if ((c < ' ' && c != '\n' && c != '\t' && c != '\r') || c == 0x7f)
            return err_set(e, ERR_CONFIG, "%s:%u: the control character 0x%02x", s->file, line, c);
    }
    return 0;
}

static int
skip_string(struct scan *s, struct err *e)
{
    unsigned first = s->line;
    char quote = *s->at;
    for (s->at++; *s->at != quote; s->at++) {
        if (*s->at == '\\' && s->at[1] != '\0')
            s->at++;
        if (*s->at == '\0')
            return err_set(e, ERR_CONFIG, "%s:%u: the string is not closed", s->file, first);
        s->line += *s->at == '\n';
    }
    s->at++;
    return 0;
}

static void
blank_line(struct scan *s)
{
    while (*s->at != '\0' && *s->at != '\n')
        *s->at++ = ' ';
}

static int
blank_block(struct scan *s, struct err *e)
{
    unsigned first = s->line;
    s->at[0] = s->at[1] = ' ';
    for (s->at += 2; !(s->at[0] == '*' && s->at[1] == '/'); s->at++) {
        if (*s->at == '\0')
            return err_set(e, ERR_CONFIG, "%s:%u: the comment is not closed", s->file, first);
        s->line += *s->at == '\n';
        if (*s->at != '\n')
            *s->at = ' ';
    }
    s->at[0] = s->at[1] = ' ';
    s->at += 2;
    return 0;
}

/* A slash within a word, as in a path without quotes, begins no comment. */
static bool
at_word_start(const struct scan *s, const char *begin)
{
    return s->at == begin || strchr(" \t\r\n={}(),\"'", s->at[-1]) != NULL;
}

static int
blank_comments(struct scan *s, struct err *e)
{
    const char *begin = s->at;
    while (*s->at != '\0') {
        bool slash = *s->at == '/' && at_word_start(s, begin);
        if (*s->at == '"' || *s->at == '\'') {
            if (skip_string(s, e) < 0)
                return -1;
        } else if (slash && s->at[1] == '*') {
            if (blank_block(s, e) < 0)
                return -1;
        } else if (*s->at == '#' || (slash && s->at[1] == '/')) {
            blank_line(s);
        } else {
            s->line += *s->at++ == '\n';
        }
    }
    return 0;
}

/* Unlike file_read() it follows a symbolic link: administrators link their configuration. */
static int
read_whole(const char *file, char **ret_text, size_t *ret_len, struct err *e)
{
    struct stat st;
    _cleanup_close_ int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ERR_CONFIG, "there is no configuration file %s", file);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errnum(e, ERR_CONFIG, errno, "%s: it cannot be opened", file);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_CONFIG, "%s: it is not a regular file", file);
    if (st.st_size > CONF_TEXT_MAX)
        return err_set(e, ERR_CONFIG, "%s: it has more than %d bytes", file, CONF_TEXT_MAX);
    size_t size = (size_t)st.st_size;
    _cleanup_free_ char *text = xmalloc(size + sizeof(END_CALL));
    ssize_t got = file_pread_full(fd, text, size, 0, e);
    if (got < 0)
        return err_wrap(e, "%s", file);
    text[got] = '\0';
    *ret_len = (size_t)got;
    *ret_text = text;
    text = NULL;
    return 0;
}

int
conf_text_read(const char *file, char **ret_text, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (read_whole(file, &text, &len, e) < 0)
        return -1;
    struct scan s = { .file = file, .at = text, .line = 1 };
    if (check_characters(&s, len, e) < 0 || blank_comments(&s, e) < 0)
        return -1;
    memcpy(text + len, END_CALL, sizeof(END_CALL));
    *ret_text = text;
    text = NULL;
    return 0;
}
