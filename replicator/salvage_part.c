#include "replicator/salvage_part.h"

#include "lib/os/attrs.h"
#include "lib/os/dir.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BOOT_SIZE    16
#define COPY_BYTES   (256 * 1024)
#define SYNC_BYTES   (64 * 1024 * 1024) /* so that the last sync is not a long one */
#define CONTENT_NAME "%08x"

static int
go_on(const struct salvage_part *part, uint64_t bytes, struct err *e)
{
    return part->watch.go_on == NULL ? 0 : part->watch.go_on(part->watch.arg, bytes, e);
}

/* --- the directory --- */

static int
sub_dir(int parent, const char *name, int *ret_fd, struct err *e)
{
    if ((fault("mkdir") < 0 || mkdirat(parent, name, 0700) < 0) && errno != EEXIST)
        return err_sys(e, ERR_IO, "make the directory %s", name);
    *ret_fd = file_open_beneath(parent, span_str(name), O_RDONLY | O_DIRECTORY, 0, e);
    return *ret_fd < 0 ? -1 : 0;
}

/* Contents of this number and above, and what else an earlier attempt left; not its log. */
static bool
is_left_over(const char *name, uint32_t from)
{
    char *end;
    unsigned long number = strtoul(name, &end, 16);
    if (name[0] == '.' || strcmp(name, SALVAGE_LOG) == 0)
        return false;
    return *end != '\0' || number >= from;
}

static int
wipe(const struct salvage_part *part, uint32_t from, struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(part->dirfd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        if (!is_left_over(item->d_name, from))
            continue;
        if (go_on(part, 0, e) < 0)
            return -1;
        if (fault("unlink") < 0 || unlinkat(part->dirfd, item->d_name, 0) < 0)
            return err_sys(e, ERR_IO, "remove what an earlier attempt left");
    }
    return more < 0 ? err_wrap(e, "read what an earlier attempt left") : 0;
}

/* --- the log: the boot, then items --- */

static int
log_begin(struct salvage_part *part, struct err *e)
{
    uint8_t boot[BOOT_SIZE];
    node_boot_id(boot);
    part->log_fd = openat(part->dirfd, SALVAGE_LOG,
                          O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (part->log_fd < 0)
        return err_sys(e, ERR_IO, "begin the log of what is copied");
    return file_write_full(part->log_fd, span_of(boot, sizeof(boot)), e);
}

/* What was copied before the power went may be names without bytes. */
static int
log_read(struct salvage_part *part, struct err *e)
{
    uint8_t boot[BOOT_SIZE];
    size_t len = 0;
    _cleanup_free_ char *text = NULL;
    node_boot_id(boot);
    int found = file_read(part->dirfd, SALVAGE_LOG, SALVAGE_MAX, &text, &len, e);
    if (found <= 0)
        return found;
    if (len >= BOOT_SIZE && memcmp(text, boot, BOOT_SIZE) == 0)
        buf_add(&part->before, text + BOOT_SIZE, len - BOOT_SIZE);
    return 0;
}

/* From here on the two attempts differ, or this one is further. */
static int
diverge(struct salvage_part *part, struct err *e)
{
    buf_reset(&part->before);
    if (wipe(part, part->count, e) < 0 || log_begin(part, e) < 0)
        return -1;
    struct span items = span_of(part->manifest.ptr + part->head_len, part->same);
    return file_write_full(part->log_fd, items, e);
}

int
salvage_part_open(struct salvage_part *part, const struct node_store *store, const char *id,
                  const struct salvage_head *head, struct err *e)
{
    _cleanup_close_ int private = -1;
    _cleanup_close_ int all = -1;
    struct salvage_head named = *head;
    if (sub_dir(store->root_fd, STORE_PRIVATE_DIR, &private, e) < 0 ||
        sub_dir(private, SALVAGE_DIR, &all, e) < 0 || sub_dir(all, id, &part->dirfd, e) < 0)
        return -1;
    if ((fault("unlink") < 0 || unlinkat(part->dirfd, "manifest", 0) < 0) &&
        errno != ENOENT) /* first: it speaks of all */
        return err_sys(e, ERR_IO, "remove an earlier manifest");
    if (wipe(part, UINT32_MAX, e) < 0 || log_read(part, e) < 0) /* all but contents */
        return -1;
    named.store = span_str(store->conf->name);
    salvage_begin(&named, &part->manifest);
    part->head_len = part->manifest.len;
    return part->before.len > 0 ? 0 : diverge(part, e);
}

/* --- items --- */

static int
sync_some(struct salvage_part *part, int fd, uint64_t bytes, struct err *e)
{
    part->unsynced += bytes;
    if (part->unsynced < SYNC_BYTES)
        return 0;
    part->unsynced = 0;
    return file_sync_fs(fd, e);
}

static int
copy_bytes(struct salvage_part *part, int from, int to, uint64_t size, struct err *e)
{
    _cleanup_free_ uint8_t *chunk = xmalloc(COPY_BYTES);
    for (uint64_t at = 0; at < size;) {
        ssize_t got = file_pread_full(from, chunk, (size_t)MIN(size - at, COPY_BYTES), at, e);
        if (got < 0)
            return -1;
        if (got == 0)
            return err_set(e, ERR_IO, "it became shorter while it was copied");
        if (file_write_full(to, span_of(chunk, (size_t)got), e) < 0)
            return -1;
        at += (uint64_t)got;
        if (sync_some(part, to, (uint64_t)got, e) < 0 || go_on(part, (uint64_t)got, e) < 0)
            return -1;
    }
    return 0;
}

static int
copy_content(struct salvage_part *part, uint32_t number, int from, uint64_t size, struct err *e)
{
    char name[16];
    snprintf(name, sizeof(name), CONTENT_NAME, number);
    _cleanup_xattrs_ struct attrs_xattrs xattrs = { 0 };
    _cleanup_close_ int to = file_open_unnamed(part->dirfd, 0600, e);
    if (to < 0 || copy_bytes(part, from, to, size, e) < 0 ||
        attrs_xattrs_read(from, &xattrs, e) < 0 ||
        attrs_xattrs_write(to, xattrs.list, xattrs.count, e) < 0)
        return -1;
    return file_link_unnamed(to, part->dirfd, name, e);
}

/* Did the earlier attempt come to this item as well, and have its bytes? They are named in the log
 * only when they are whole. */
static bool
is_copied(const struct salvage_part *part, struct span bytes, const struct salvage_item *item,
          bool has_content)
{
    char name[16];
    struct stat st;
    size_t left = part->before.len - MIN(part->same, part->before.len);
    snprintf(name, sizeof(name), CONTENT_NAME, item->number);
    if (left < bytes.len || memcmp(part->before.ptr + part->same, bytes.ptr, bytes.len) != 0)
        return false;
    return !has_content || (fstatat(part->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                            S_ISREG(st.st_mode) && (uint64_t)st.st_size == item->attr.size);
}

static int
add_new(struct salvage_part *part, const struct salvage_item *item, struct span bytes, int fd,
        struct err *e)
{
    if (part->before.len > 0 && diverge(part, e) < 0)
        return -1;
    if (fd >= 0 && copy_content(part, item->number, fd, item->attr.size, e) < 0)
        return -1;
    return file_write_full(part->log_fd, bytes, e);
}

int
salvage_part_add(struct salvage_part *part, struct salvage_item *item, int fd, struct err *e)
{
    if (go_on(part, 0, e) < 0)
        return -1;
    size_t at = part->manifest.len;
    item->number = part->count;
    salvage_add(item, &part->manifest);
    if (part->manifest.len > SALVAGE_MAX)
        return err_set(e, ERR_REFUSED, "there is more than one manifest can hold");
    struct span bytes = span_of(part->manifest.ptr + at, part->manifest.len - at);
    bool copied = is_copied(part, bytes, item, fd >= 0);
    int rc = copied ? go_on(part, fd >= 0 ? item->attr.size : 0, e)
                    : add_new(part, item, bytes, fd, e);
    if (rc < 0)
        return -1;
    part->same += bytes.len;
    part->count++;
    part->messages += item->kind == SALVAGE_MESSAGE || item->kind == SALVAGE_COPY;
    return 0;
}

/* Contents and their names first: a manifest speaks of nothing that could be missing. */
int
salvage_part_finish(struct salvage_part *part, struct err *e)
{
    if (wipe(part, part->count, e) < 0) /* an earlier attempt may have been further */
        return -1;
    salvage_end(&part->manifest, part->count);
    if (file_sync_fs(part->dirfd, e) < 0)
        return -1;
    return file_replace(part->dirfd, "manifest", buf_span(&part->manifest), 0600, e);
}

void
salvage_part_forget(struct salvage_part *part)
{
    if (part->dirfd >= 0)
        unlinkat(part->dirfd, SALVAGE_LOG, 0); /* best effort: it goes with the directory */
}

void
salvage_part_free(struct salvage_part *part)
{
    file_closep(&part->dirfd);
    file_closep(&part->log_fd);
    buf_free(&part->manifest);
    buf_free(&part->before);
}
