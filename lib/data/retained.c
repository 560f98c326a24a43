#include "lib/data/retained.h"

#include "lib/os/dir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MAX    96 /* of a name: numbers, letter, dots */
#define SLASH       '|'
#define NUMBERS_MAX 4

/* --- names --- */

static bool
must_escape(uint8_t c)
{
    return c == SLASH || c == '%';
}

static size_t
escaped_len(struct span path)
{
    size_t len = path.len;
    for (size_t i = 0; i < path.len; i++)
        len += must_escape(path.ptr[i]) ? 2 : 0;
    return len;
}

static char *
escape(struct span path, char *to)
{
    for (size_t i = 0; i < path.len; i++) {
        uint8_t c = path.ptr[i];
        if (must_escape(c))
            to += snprintf(to, 4, "%%%02X", c);
        else
            *to++ = c == '/' ? SLASH : (char)c;
    }
    *to = '\0';
    return to;
}

bool
retained_path_text(struct span path, char ret_text[PATH_NAME_MAX + 1])
{
    if (escaped_len(path) > PATH_NAME_MAX)
        return false;
    escape(path, ret_text);
    return true;
}

void
retained_name_encode(struct retained_name *name, char ret_text[PATH_NAME_MAX + 1])
{
    ASSERT(name->path.len > 0);
    char head[HEAD_MAX];
    int letter = (int)name->why;
    int len = snprintf(head, sizeof(head), "%" PRIx64 ".%" PRIx64 ".%" PRIx64 ".%" PRIx64 ".",
                       name->id, name->seq, name->epoch, name->time_ms);
    name->wrapped = (size_t)len + 2 + escaped_len(name->path) > PATH_NAME_MAX;
    if (name->wrapped)
        letter += 'A' - 'a';
    char *to = ret_text + snprintf(ret_text, PATH_NAME_MAX + 1, "%s%c.", head, letter);
    if (!name->wrapped)
        escape(name->path, to);
}

/* A number in hex as printf writes it, and the dot behind it. */
static bool
take_number(struct span *rest, uint64_t *ret_number)
{
    size_t len = 0;
    uint64_t n = 0;
    for (; len < rest->len && len < 16; len++) {
        uint8_t c = rest->ptr[len];
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            break;
        n = n << 4 | (unsigned)(digit ? c - '0' : c - 'a' + 10);
    }
    bool zeros = len > 1 && rest->ptr[0] == '0';
    if (len == 0 || len == rest->len || zeros || rest->ptr[len] != '.')
        return false;
    *rest = span_from(*rest, len + 1, rest->len - len - 1);
    *ret_number = n;
    return true;
}

static bool
take_why(struct span *rest, struct retained_name *name)
{
    if (rest->len < 2 || rest->ptr[1] != '.')
        return false;
    int letter = rest->ptr[0];
    name->wrapped = letter >= 'A' && letter <= 'Z';
    letter += name->wrapped ? 'a' - 'A' : 0;
    if (letter != RETAINED_DELETED && letter != RETAINED_OVERWRITTEN && letter != RETAINED_TREE)
        return false;
    name->why = (enum retained_why)letter;
    *rest = span_from(*rest, 2, rest->len - 2);
    return true;
}

static bool
unescape(struct span text, struct buf *path)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '/' || c == '\0')
            return false;
        if (c == '%') {
            struct span code = span_from(text, i, MIN(text.len - i, (size_t)3));
            bool slash = span_equal(code, span_str("%7C"));
            if (!slash && !span_equal(code, span_str("%25")))
                return false;
            c = slash ? SLASH : '%';
            i += 2;
        } else if (c == SLASH) {
            c = '/';
        }
        buf_add_u8(path, c);
    }
    return true;
}

int
retained_name_decode(struct span text, struct buf *path, struct retained_name *ret_name,
                     struct err *e)
{
    struct retained_name name = { 0 };
    struct span rest = text;
    uint64_t *const numbers[NUMBERS_MAX] = { &name.id, &name.seq, &name.epoch, &name.time_ms };
    buf_reset(path);
    if (text.len > PATH_NAME_MAX)
        return err_set(e, ERR_CORRUPT, "a retained name of %zu bytes", text.len);
    for (size_t i = 0; i < NUMBERS_MAX; i++) {
        if (!take_number(&rest, numbers[i]))
            return err_set(e, ERR_CORRUPT, "number %zu of a retained name is none", i + 1);
    }
    if (!take_why(&rest, &name))
        return err_set(e, ERR_CORRUPT, "a retained name does not say why");
    if (name.wrapped ? rest.len > 0 : !unescape(rest, path))
        return err_set(e, ERR_CORRUPT, "the path in a retained name is not written as ours are");
    name.path = buf_span(path);
    if (!name.wrapped && (name.path.len == 0 || !path_valid(name.path)))
        return err_set(e, ERR_CORRUPT, "the path in a retained name is not one in a store");
    *ret_name = name;
    return 0;
}

void
retained_bucket_name(uint64_t hour, char ret_text[RETAINED_BUCKET_SIZE])
{
    snprintf(ret_text, RETAINED_BUCKET_SIZE, "%08x", (unsigned)MIN(hour, (uint64_t)UINT32_MAX));
}

bool
retained_bucket_hour(const char *text, uint64_t *ret_hour)
{
    if (strlen(text) != RETAINED_BUCKET_SIZE - 1 ||
        strspn(text, "0123456789abcdef") != RETAINED_BUCKET_SIZE - 1)
        return false;
    *ret_hour = strtoull(text, NULL, 16);
    return true;
}

/* --- reading --- */

int
retained_bucket_next(int retained_fd, uint64_t hour, bool up, uint64_t *ret_hour, struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(retained_fd, ".", e);
    if (dir == NULL)
        return -1;
    bool any = false;
    const struct dirent *item;
    int more;
    while ((more = dir_next(dir, &item, e)) > 0) {
        uint64_t found;
        if (!retained_bucket_hour(item->d_name, &found) || (up ? found < hour : found >= hour))
            continue;
        if (!any || (up ? found < *ret_hour : found > *ret_hour))
            *ret_hour = found;
        any = true;
    }
    return more < 0 ? err_wrap(e, "read the retained objects") : any;
}

struct reading {
    const struct retained_read *read;
    struct buf path;
    uint64_t strange;
};

/* 1 read, 0 it is none, or gone again. */
static int
open_wrap(struct reading *x, struct retained_object *object, int *ret_fd, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    size_t len;
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    *ret_fd = openat(object->bucket_fd, object->file, flags);
    if (*ret_fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, ERR_IO, "open a wrap");
    int got = file_read(*ret_fd, RETAINED_WRAP_PATH, PATH_STORE_MAX, &path, &len, e);
    if (got <= 0)
        return got;
    buf_reset(&x->path);
    buf_add(&x->path, path, len);
    object->name.path = buf_span(&x->path);
    object->dirfd = *ret_fd;
    object->entry = RETAINED_WRAP_OBJECT;
    return len > 0 && path_valid(object->name.path);
}

static int
read_object(struct reading *x, struct retained_object *object, struct err *e)
{
    _cleanup_close_ int wrap_fd = -1;
    const struct retained_read *read = x->read;
    object->dirfd = object->bucket_fd;
    object->entry = object->file;
    if (object->name.wrapped) {
        int got = open_wrap(x, object, &wrap_fd, e);
        x->strange += got == 0;
        if (got <= 0)
            return got;
    }
    if (read->wanted != NULL && !read->wanted(read->arg, &object->name))
        return 0;
    if (fstatat(object->dirfd, object->entry, &object->st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at a retained object");
    return read->each(read->arg, object, e);
}

static int
read_bucket(struct reading *x, int retained_fd, uint64_t hour, struct err *e)
{
    char bucket[RETAINED_BUCKET_SIZE];
    _cleanup_dir_ DIR *dir = NULL;
    retained_bucket_name(hour, bucket);
    int found = dir_find(retained_fd, bucket, &dir, e);
    if (found <= 0) /* 0: it expired */
        return found < 0 ? err_wrap(e, "read the retained objects") : 0;
    int r = 0, more = 0;
    const struct dirent *item;
    while (r == 0 && (more = dir_next(dir, &item, e)) > 0) {
        struct retained_object object = { .hour = hour,
                                          .bucket_fd = dirfd(dir),
                                          .file = item->d_name };
        if (retained_name_decode(span_str(item->d_name), &x->path, &object.name, NULL) < 0)
            x->strange++;
        else
            r = read_object(x, &object, e);
    }
    return more < 0 ? err_wrap(e, "read the retained objects") : r;
}

int
retained_read(int retained_fd, const struct retained_read *read, uint64_t *ret_strange,
              struct err *e)
{
    struct reading x = { .read = read };
    uint64_t hour = UINT64_MAX;
    int r = 0, more = 0;
    while (r == 0 && (more = retained_bucket_next(retained_fd, hour, false, &hour, e)) > 0)
        r = read_bucket(&x, retained_fd, hour, e);
    *ret_strange = x.strange;
    buf_free(&x.path);
    return more < 0 ? -1 : r;
}
