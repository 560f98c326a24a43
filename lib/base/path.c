#include "lib/base/path.h"

bool
path_name_valid(struct span name)
{
    if (name.len == 0 || name.len > PATH_NAME_MAX)
        return false;
    if (memchr(name.ptr, '/', name.len) != NULL || memchr(name.ptr, '\0', name.len) != NULL)
        return false;
    return !span_equal(name, span_str(".")) && !span_equal(name, span_str(".."));
}

bool
path_next(struct span *rest, struct span *ret_name)
{
    if (rest->len == 0)
        return false;
    const uint8_t *slash = memchr(rest->ptr, '/', rest->len);
    size_t len = slash == NULL ? rest->len : (size_t)(slash - rest->ptr);
    *ret_name = span_of(rest->ptr, len);
    size_t skip = slash == NULL ? len : len + 1;
    *rest = span_of(rest->ptr + skip, rest->len - skip);
    return true;
}

bool
path_valid(struct span path)
{
    if (path.len == 0)
        return true;
    if (path.len > PATH_STORE_MAX || path.ptr[path.len - 1] == '/')
        return false;
    struct span rest = path;
    struct span name;
    while (path_next(&rest, &name)) {
        if (!path_name_valid(name))
            return false;
    }
    return true;
}

static size_t
last_slash(struct span path)
{
    size_t i = path.len;
    while (i > 0 && path.ptr[i - 1] != '/')
        i--;
    return i; /* the length up to and with the slash, 0 when there is none */
}

struct span
path_parent(struct span path)
{
    size_t head = last_slash(path);
    return span_of(path.ptr, head == 0 ? 0 : head - 1);
}

struct span
path_name(struct span path)
{
    size_t head = last_slash(path);
    return head == 0 ? path : span_of(path.ptr + head, path.len - head);
}

const char *
path_name_text(struct span name, char text[PATH_NAME_MAX + 1])
{
    ASSERT(name.len <= PATH_NAME_MAX);
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return text;
}

bool
path_is_below(struct span path, struct span dir)
{
    if (dir.len == 0)
        return true;
    if (path.len < dir.len || memcmp(path.ptr, dir.ptr, dir.len) != 0)
        return false;
    return path.len == dir.len || path.ptr[dir.len] == '/';
}

void
path_join(struct buf *out, struct span dir, struct span name)
{
    buf_reset(out);
    buf_add(out, dir.ptr, dir.len);
    if (dir.len > 0)
        buf_add_u8(out, '/');
    buf_add(out, name.ptr, name.len);
}

bool
path_move(struct buf *path, struct span from, struct span to)
{
    if (from.len == 0 || !path_is_below(buf_span(path), from))
        return false;
    struct buf moved = { 0 };
    buf_add(&moved, to.ptr, to.len);
    buf_add(&moved, path->ptr + from.len, path->len - from.len);
    buf_free(path);
    *path = moved;
    return true;
}
