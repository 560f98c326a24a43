/* intake_list.c - an earlier version of a file that carries identity comes back. What then stands
 * there: listback.h.
 *
 * A mail server may be at work: it changes such a file under the file's lock, so this reads and
 * replaces it under the same one. It reads a file anew that is another one, and the list of
 * keywords when its time has grown by a whole second. */
#include "replicator/intake_private.h"

#include "lib/os/attrs.h"
#include "lib/store/listback.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LIST_MAX (256 * 1024 * 1024)

static struct intake_lock
lock_of(const struct intake_item *item, enum listback_kind kind)
{
    struct intake_lock lock = { item->to_fd, "", item->give.attr.uid, item->give.attr.gid };
    const char *name = kind == LISTBACK_KEYWORDS ? "dovecot-uidlist" : intake_name_text(&item->to);
    snprintf(lock.name, sizeof(lock.name), "%s.lock", name);
    return lock;
}

/* Of what is there. One that is too large to be a list is none. */
static int
read_here(const struct intake_item *item, struct stat *ret_st, char **ret_text, size_t *ret_len,
          struct err *e)
{
    const char *name = intake_name_text(&item->to);
    *ret_st = (struct stat){ 0 };
    *ret_len = 0;
    if (fstatat(item->to_fd, name, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at a list");
    if (!S_ISREG(ret_st->st_mode))
        return err_set(e, ERR_REFUSED, "what has the name there is no file");
    if (ret_st->st_size > LIST_MAX)
        return 1;
    return file_read(item->to_fd, name, LIST_MAX, ret_text, ret_len, e);
}

static int
read_given(const struct intake_item *item, struct buf *out, struct err *e)
{
    if (item->received > LIST_MAX)
        return err_set(e, ERR_REFUSED, "what is retained of it is larger than any list");
    buf_reserve(out, (size_t)item->received + 1);
    ssize_t got = file_pread_full(item->fd, out->ptr, (size_t)item->received, 0, e);
    out->len = got > 0 ? (size_t)got : 0;
    return got < 0 ? -1 : 0;
}

static int
write_text(const struct intake_item *item, int root_fd, struct span text, const struct stat *old,
           struct err *e)
{
    struct wire_give give = item->give;
    _cleanup_close_ int fd = file_open_unnamed(root_fd, 0600, e);
    give.attr.mtime_ns = (int64_t)MAX(time(NULL), old->st_mtime + 1) * 1000000000;
    if (fd < 0 || file_pwrite_full(fd, text, 0, e) < 0 || intake_set_attrs(fd, &give, e) < 0 ||
        file_sync(fd, e) < 0)
        return -1;
    return intake_replace(root_fd, fd, item->to_fd, intake_name_text(&item->to), e);
}

/* Of one that is missing, the list of a folder that was deleted, what is given is as it was. */
static int
bring_back(const struct intake_item *item, int root_fd, struct listback *x, struct err *e)
{
    _cleanup_free_ char *here = NULL;
    _cleanup_buf_ struct buf back = { 0 };
    _cleanup_buf_ struct buf text = { 0 };
    struct stat old;
    size_t len;
    int found = read_here(item, &old, &here, &len, e);
    if (found < 0 || read_given(item, &back, e) < 0)
        return -1;
    x->here = span_of(here, len);
    x->back = buf_span(&back);
    if (found == 0 && !x->merge)
        x->gap = 0;
    int got = listback_text(x, &text, e);
    if (got < 0 || (got > 0 && write_text(item, root_fd, buf_span(&text), &old, e) < 0))
        return -1;
    if (x->moved > 0)
        return err_set(e, ERR_REFUSED,
                       "%zu messages have got other UIDs there by now, and keep them", x->moved);
    return got;
}

int
intake_list(const struct intake_places *places, const struct intake_item *item, struct err *e)
{
    struct listback x = { .kind = listback_kind_of(path_name(item->give.path)),
                          .merge = item->give.mode == WIRE_GIVE_REPLACE,
                          .gap = places->node->conf->uid_gap };
    struct intake_lock lock = lock_of(item, x.kind);
    if (intake_lock(&lock, e) < 0)
        return -1;
    int rc = bring_back(item, places->node->stores[item->give.store].root_fd, &x, e);
    intake_unlock(&lock);
    return rc;
}
