/* intake_letters.c - a folder's dovecot-keywords.
 *
 * Dovecot changes the file while it holds the lock of the folder's uidlist (dovecot-uidlist.lock,
 * made exclusively), and replaces it; its time must grow by whole seconds, for that is what tells
 * a process that has the folder open to read it again. */
#include "replicator/intake_private.h"

#include "lib/os/attrs.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define KEYWORDS_NAME "dovecot-keywords"

static int
read_text(struct intake_folder *f, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int found = file_read(f->fd, KEYWORDS_NAME, KEYWORDS_SIZE, &text, &len, e);
    if (found < 0)
        return -1;
    buf_reset(&f->keywords);
    buf_add(&f->keywords, text, found > 0 ? len : 0);
    f->keywords_read = true;
    return 0;
}

/* mtime_ns: of the file that is replaced; 0 none was. Written and named by hand, for owner and time
 * must be right before it has its name. */
static int
write_text(struct intake_folder *f, struct span text, const struct stat *old, struct err *e)
{
    static const char fresh[] = KEYWORDS_NAME ".lock"; /* as Dovecot's: it is no other's business */
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = openat(f->fd, fresh, flags, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "create %s", fresh);
    if (attrs_set_owner(fd, f->uid, f->gid, e) < 0 ||
        attrs_set_mode(fd, old->st_mode == 0 ? 0600 : old->st_mode & 0777, e) < 0 ||
        file_write_full(fd, text, e) < 0)
        return -1;
    time_t now = time(NULL);
    int64_t next = (int64_t)MAX(now, old->st_mtime + 1);
    if (attrs_set_mtime(fd, next * 1000000000, e) < 0 || file_sync(fd, e) < 0)
        return -1;
    return file_rename(f->fd, fresh, f->fd, KEYWORDS_NAME, false, e);
}

static int
add_locked(struct intake_folder *f, const struct wire_give *give, struct err *e)
{
    struct keywords keywords;
    _cleanup_buf_ struct buf text = { 0 };
    struct stat old = { 0 };
    if (read_text(f, e) < 0)
        return -1;
    if (fstatat(f->fd, KEYWORDS_NAME, &old, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "look at %s", KEYWORDS_NAME);
    keywords_read(buf_span(&f->keywords), &keywords);
    for (size_t i = 0; i < give->keyword_count; i++) {
        struct span name = give->keywords[i].name;
        if (keywords_find(&keywords, name) < 0 && keywords_add(&keywords, name) < 0)
            break;
    }
    keywords_write(&keywords, &text);
    if (span_equal(buf_span(&text), buf_span(&f->keywords)))
        return 0; /* there was no letter left, or another process was first */
    if (write_text(f, buf_span(&text), &old, e) < 0)
        return -1;
    buf_free(&f->keywords);
    f->keywords = text;
    text = (struct buf){ 0 };
    return 0;
}

static bool
lacks(const struct intake_folder *f, const struct wire_give *give)
{
    struct keywords keywords;
    keywords_read(buf_span(&f->keywords), &keywords);
    bool full = keywords_add(&keywords, span_str("-")) < 0;
    for (size_t i = 0; !full && i < give->keyword_count; i++) {
        if (keywords_find(&keywords, give->keywords[i].name) < 0)
            return true;
    }
    return false;
}

/* A lock that was not to be had once is not waited for again by each message of the batch. */
static int
add(struct intake_folder *f, const struct wire_give *give, struct err *e)
{
    struct intake_lock lock = { f->fd, INTAKE_UIDLIST_LOCK, f->uid, f->gid };
    if (f->locked_out.code == ERR_NONE && intake_lock(&lock, &f->locked_out) < 0)
        ASSERT(f->locked_out.code != ERR_NONE);
    if (f->locked_out.code != ERR_NONE) {
        *e = f->locked_out;
        return -1;
    }
    int rc = add_locked(f, give, e);
    intake_unlock(&lock);
    return rc;
}

int
intake_letters(struct intake_folder *f, const struct wire_give *give, struct buf *ret_letters,
               bool *ret_full, struct err *e)
{
    struct keywords keywords;
    *ret_full = false;
    if (give->keyword_count == 0)
        return 0;
    if ((!f->keywords_read && read_text(f, e) < 0) || (lacks(f, give) && add(f, give, e) < 0))
        return -1;
    keywords_read(buf_span(&f->keywords), &keywords);
    for (size_t i = 0; i < give->keyword_count; i++) {
        int place = keywords_find(&keywords, give->keywords[i].name);
        if (place >= 0)
            buf_add_u8(ret_letters, (uint8_t)('a' + place));
        *ret_full |= place < 0;
    }
    return 0;
}

int
intake_letter_names(struct intake_folder *f, struct span flags, struct wire_give *give,
                    struct buf *names, struct err *e)
{
    struct keywords keywords;
    if (!f->keywords_read && read_text(f, e) < 0)
        return -1;
    keywords_read(buf_span(&f->keywords), &keywords);
    buf_reserve(names, names->len + f->keywords.len + 1); /* so that nothing moves below */
    for (size_t i = 0; i < KEYWORDS_MAX && give->keyword_count < WIRE_KEYWORDS_MAX; i++) {
        struct span name = keywords.names[i];
        bool has = flags.len > 0 && memchr(flags.ptr, 'a' + (int)i, flags.len) != NULL;
        if (!has || name.len == 0)
            continue;
        size_t at = names->len;
        buf_add(names, name.ptr, name.len);
        give->keywords[give->keyword_count++].name = span_of(names->ptr + at, name.len);
    }
    return 0;
}
