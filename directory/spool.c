#include "directory/spool.h"

#include "lib/os/dir.h"
#include "lib/os/file.h"
#include "lib/store/ldif.h"
#include "lib/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct spool {
    char *path;
    int fd;
};

int
spool_open(const char *path, struct spool **ret_spool, struct err *e)
{
    int fd = open(path, FOLDER_FLAGS);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open the spool %s", path);
    struct spool *spool = xcalloc(1, sizeof(*spool));
    *spool = (struct spool){ .path = xstrdup(path), .fd = fd };
    *ret_spool = spool;
    return 0;
}

void
spool_close(struct spool **spool)
{
    if (*spool != NULL) {
        file_closep(&(*spool)->fd);
        free((*spool)->path);
    }
    freep(spool);
}

const char *
spool_path(const struct spool *spool)
{
    return spool->path;
}

/* --- names --- */

static void
name_of(const uint8_t uuid[LDAPSYNC_UUID_SIZE], char ret_name[SPOOL_NAME_SIZE])
{
    ldapsync_uuid_write(uuid, ret_name);
    memcpy(ret_name + LDAPSYNC_UUID_TEXT, SPOOL_SUFFIX, sizeof(SPOOL_SUFFIX));
}

bool
spool_name_read(const char *name, uint8_t ret_uuid[LDAPSYNC_UUID_SIZE])
{
    return strlen(name) == SPOOL_NAME_SIZE - 1 &&
           strcmp(name + LDAPSYNC_UUID_TEXT, SPOOL_SUFFIX) == 0 &&
           ldapsync_uuid_read(span_of(name, LDAPSYNC_UUID_TEXT), ret_uuid);
}

bool
spool_folder_read(const char *name, int *ret_folder)
{
    static const char hex[] = "0123456789abcdef";
    if (strlen(name) != 2)
        return false;
    const char *high = strchr(hex, name[0]);
    const char *low = strchr(hex, name[1]);
    if (high == NULL || low == NULL)
        return false;
    *ret_folder = (int)((high - hex) << 4 | (low - hex));
    return true;
}

/* The descriptor, or -1 with errno. */
static int
open_folder(const struct spool *spool, int folder, bool make)
{
    char name[3];
    snprintf(name, sizeof(name), "%02x", (unsigned)folder & 0xff);
    int fd = openat(spool->fd, name, FOLDER_FLAGS);
    if (fd >= 0 || errno != ENOENT || !make)
        return fd;
    if (mkdirat(spool->fd, name, 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(spool->fd, name, FOLDER_FLAGS);
}

/* --- files --- */

int
spool_read(struct spool *spool, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct buf *ret_text,
           struct err *e)
{
    char name[SPOOL_NAME_SIZE];
    char *data = NULL;
    size_t len = 0;
    name_of(uuid, name);
    buf_reset(ret_text);
    _cleanup_close_ int folder = open_folder(spool, uuid[0], false);
    if (folder < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "open the spool's folder of %s", name);
    int got = file_read(folder, name, LDIF_TEXT_MAX, &data, &len, e);
    if (got <= 0)
        return got;
    buf_add(ret_text, data, len);
    free(data);
    return 1;
}

/* 1 the same, 0 another or none. What cannot be read is written anew. */
static bool
is_same(int folder, const char *name, struct span text)
{
    char *data = NULL;
    size_t len = 0;
    struct err ignored = { 0 };
    if (file_read(folder, name, LDIF_TEXT_MAX, &data, &len, &ignored) <= 0)
        return false;
    bool same = span_equal(span_of(data, len), text);
    free(data);
    return same;
}

static int
write_new(int folder, const char *name, struct span text, struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = openat(folder, name, flags, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "create %s in the spool", name);
    if (file_write_full(fd, text, e) < 0)
        return -1;
    /* its bytes are on their way before its name is: a crash leaves the old one or the new one */
    return file_write_out_begin(fd, e);
}

int
spool_write(struct spool *spool, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct span text,
            struct err *e)
{
    char name[SPOOL_NAME_SIZE], temporary[SPOOL_NAME_SIZE + sizeof(STORE_SPOOL_TMP)];
    name_of(uuid, name);
    snprintf(temporary, sizeof(temporary), STORE_SPOOL_TMP "%.36s", name);
    _cleanup_close_ int folder = open_folder(spool, uuid[0], true);
    if (folder < 0)
        return err_sys(e, ERR_IO, "open the spool's folder of %s", name);
    if (is_same(folder, name, text))
        return 0;
    if (write_new(folder, temporary, text, e) < 0 ||
        file_rename(folder, temporary, folder, name, false, e) < 0) {
        unlinkat(folder, temporary, 0); /* best effort: the next one truncates it */
        return err_wrap(e, "write the entry %s", name);
    }
    return 1;
}

int
spool_remove(struct spool *spool, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e)
{
    char name[SPOOL_NAME_SIZE];
    name_of(uuid, name);
    _cleanup_close_ int folder = open_folder(spool, uuid[0], false);
    if (folder >= 0 && unlinkat(folder, name, 0) == 0)
        return 1;
    return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "remove %s from the spool", name);
}

int
spool_sync(struct spool *spool, struct err *e)
{
    return file_sync_fs(spool->fd, e);
}

/* --- all of them --- */

static int
each_in(struct spool *spool, int folder,
        int (*give)(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e), void *arg,
        struct err *e)
{
    _cleanup_close_ int fd = open_folder(spool, folder, false);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "open the spool's folder %d", folder);
    _cleanup_dir_ DIR *dir = dir_open(fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        uint8_t uuid[LDAPSYNC_UUID_SIZE];
        if (spool_name_read(item->d_name, uuid) && uuid[0] == folder && give(arg, uuid, e) < 0)
            return -1;
    }
    return more < 0 ? err_wrap(e, "read the spool's folder %d", folder) : 0;
}

int
spool_each(struct spool *spool, int folder,
           int (*give)(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e), void *arg,
           struct err *e)
{
    if (folder >= 0)
        return each_in(spool, folder, give, arg, e);
    for (int i = 0; i < SPOOL_FOLDERS; i++)
        if (each_in(spool, i, give, arg, e) < 0)
            return -1;
    return 0;
}
