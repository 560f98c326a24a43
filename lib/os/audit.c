#include "lib/os/audit.h"

#include "lib/base/buf.h"
#include "lib/os/event.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    int dirfd;
    dev_t dev;
    ino_t ino;
} trail = { .dirfd = -1 };

/* --- writing --- */

/* A new role closes what it inherited, and the number may be anything by now. */
static bool
is_ours(void)
{
    struct stat st;
    return trail.dirfd >= 0 && fstat(trail.dirfd, &st) == 0 && st.st_dev == trail.dev &&
           st.st_ino == trail.ino;
}

/* Does the last line lack its end? */
static bool
is_torn(int fd, off_t size)
{
    char last = '\n';
    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* The directory each time: whoever made the file may have died before it was in there for good. */
static int
append(int fd, struct span line, struct err *e)
{
    struct stat st;
    _cleanup_buf_ struct buf out = { 0 };
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at " AUDIT_FILE);
    if (is_torn(fd, st.st_size))
        buf_add_u8(&out, '\n');
    buf_add(&out, line.ptr, line.len);
    buf_add_u8(&out, '\n');
    if (file_write_full(fd, buf_span(&out), e) < 0 || file_sync(fd, e) < 0 ||
        file_sync(trail.dirfd, e) < 0)
        return err_wrap(e, "append to " AUDIT_FILE);
    return 0;
}

static int
keep(const char *line, void *arg, struct err *e)
{
    (void)arg;
    if (!is_ours())
        return 0;
    _cleanup_close_ int fd = openat(trail.dirfd, AUDIT_FILE,
                                    O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fault("append to the trail") < 0)
        return err_sys(e, ERR_IO, "open " AUDIT_FILE);
    return append(fd, span_str(line), e);
}

void
audit_begin(int state_dirfd)
{
    struct stat st;
    if (fstat(state_dirfd, &st) < 0)
        return;
    trail.dev = st.st_dev;
    trail.ino = st.st_ino;
    trail.dirfd = state_dirfd;
    event_keep_acts(keep, NULL);
}

/* --- reading --- */

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escaped character of a quoted value behind the backslash at *at. */
static bool
unescape(const char **at, struct buf *out)
{
    const char *c = *at + 1;
    if (*c == '"' || *c == '\\' || *c == 'n') {
        buf_add_u8(out, *c == 'n' ? '\n' : (uint8_t)*c);
        *at = c + 1;
        return true;
    }
    if (*c != 'x' || hex_digit(c[1]) < 0 || hex_digit(c[2]) < 0)
        return false;
    buf_add_u8(out, (uint8_t)(hex_digit(c[1]) * 16 + hex_digit(c[2])));
    *at = c + 3;
    return true;
}

static bool
read_value(const char **at, struct buf *out)
{
    const char *c = *at;
    bool quoted = *c == '"';
    c += quoted;
    while (*c != '\0' && (quoted ? *c != '"' : *c != ' ')) {
        if (quoted && *c == '\\') {
            if (!unescape(&c, out))
                return false;
            continue;
        }
        buf_add_u8(out, (uint8_t)*c++);
    }
    if (quoted && *c++ != '"')
        return false;
    *at = c;
    return *c == ' ' || *c == '\0';
}

/* Bytes that are no UTF-8 cannot stand in JSON. */
static json_t *
text_json(const struct buf *value)
{
    json_t *text = value->len == 0 ? json_string("")
                                   : json_stringn((const char *)value->ptr, value->len);
    if (text != NULL)
        return text;
    _cleanup_buf_ struct buf plain = { 0 };
    for (size_t i = 0; i < value->len; i++)
        buf_add_u8(&plain, value->ptr[i] < 0x80 ? value->ptr[i] : '?');
    return json_stringn((const char *)plain.ptr, plain.len);
}

/* NULL: not a line of ours. */
static json_t *
parse(const char *line)
{
    json_t *fields = json_object();
    const char *at = line;
    bool good = true;
    while (good && *at != '\0') {
        char key[64];
        _cleanup_buf_ struct buf value = { 0 };
        size_t len = strcspn(at, "= ");
        good = at[len] == '=' && len > 0 && len < sizeof(key);
        if (!good)
            break;
        memcpy(key, at, len);
        key[len] = '\0';
        at += len + 1;
        good = read_value(&at, &value) && json_object_set_new(fields, key, text_json(&value)) == 0;
        at += *at == ' ';
    }
    if (good && json_object_get(fields, "time") != NULL && json_object_get(fields, "event") != NULL)
        return fields;
    json_decref(fields);
    return NULL;
}

/* One of ours is far shorter, even with two escaped paths; another account may have written it. */
#define LINE_MAX_SIZE ((size_t)1 << 20)

/* False: the end. *ret_whole: text is a line with its end. */
static bool
next_line(FILE *stream, char *text, bool *ret_whole)
{
    size_t len = 0;
    bool good = true;
    int c;
    while ((c = getc_unlocked(stream)) != EOF && c != '\n') {
        good = good && c != '\0' && len + 1 < LINE_MAX_SIZE;
        if (good)
            text[len++] = (char)c;
    }
    text[len] = '\0';
    *ret_whole = good && c == '\n';
    return c != EOF || len > 0 || !good;
}

int
audit_read_stream(FILE *stream, void (*line)(json_t *fields, void *arg), void *arg,
                  size_t *ret_unreadable, struct err *e)
{
    _cleanup_free_ char *text = xmalloc(LINE_MAX_SIZE);
    bool whole;
    *ret_unreadable = 0;
    errno = 0;
    while (next_line(stream, text, &whole)) {
        json_t *fields = whole ? parse(text) : NULL;
        if (fields == NULL)
            ++*ret_unreadable;
        else
            line(fields, arg);
        json_decref(fields);
        errno = 0;
    }
    return ferror(stream) ? err_sys(e, ERR_IO, "read " AUDIT_FILE) : 0;
}

int
audit_read(int state_dirfd, void (*line)(json_t *fields, void *arg), void *arg,
           size_t *ret_unreadable, struct err *e)
{
    struct stat st;
    *ret_unreadable = 0;
    int fd = openat(state_dirfd, AUDIT_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "open " AUDIT_FILE);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        file_closep(&fd);
        return err_set(e, ERR_CORRUPT, AUDIT_FILE " is no file");
    }
    FILE *stream = fdopen(fd, "r");
    ASSERT(stream != NULL);
    int rc = audit_read_stream(stream, line, arg, ret_unreadable, e);
    fclose(stream);
    return rc;
}
