#include "lib/os/file.h"

#include "lib/base/path.h"
#include "lib/os/fault.h"

#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAME_CHUNK 65536

enum err_code
file_err_code(int errnum, enum err_code otherwise)
{
    return errnum == ENOSPC || errnum == EDQUOT ? ERR_NOSPACE : otherwise;
}

bool
file_disk_failed(const struct err *e)
{
    return e->sys == EIO || e->sys == EUCLEAN || e->sys == EBADMSG;
}

void
file_closep(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

int
file_write_full(int fd, struct span data, struct err *e)
{
    while (data.len > 0) {
        size_t len = 0;
        ssize_t n = fault_write("write", data.len, &len) < 0 ? -1 : write(fd, data.ptr, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, ERR_IO, "write %zu bytes", data.len);
        data = span_of(data.ptr + n, data.len - (size_t)n);
    }
    return 0;
}

int
file_pwrite_full(int fd, struct span data, uint64_t offset, struct err *e)
{
    if (offset > INT64_MAX - data.len)
        return err_set(e, ERR_IO, "write at %ju: beyond what a file can hold", (uintmax_t)offset);
    while (data.len > 0) {
        size_t len = 0;
        ssize_t n = fault_write("pwrite", data.len, &len) < 0
                        ? -1
                        : pwrite(fd, data.ptr, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, ERR_IO, "write %zu bytes at %ju", data.len, (uintmax_t)offset);
        data = span_of(data.ptr + n, data.len - (size_t)n);
        offset += (size_t)n;
    }
    return 0;
}

ssize_t
file_pread_full(int fd, void *ptr, size_t len, uint64_t offset, struct err *e)
{
    uint8_t *to = ptr;
    size_t got = 0;
    while (got < len) {
        size_t want = 0;
        ssize_t n = fault_write("pread", len - got, &want) < 0
                        ? -1
                        : pread(fd, to + got, want, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, ERR_IO, "read %zu bytes at %ju", len, (uintmax_t)offset);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

int
file_same_bytes(int a, int b, struct err *e)
{
    static _Thread_local uint8_t left[SAME_CHUNK], right[SAME_CHUNK];
    for (uint64_t at = 0;; at += SAME_CHUNK) {
        ssize_t of_a = file_pread_full(a, left, SAME_CHUNK, at, e);
        ssize_t of_b = of_a < 0 ? -1 : file_pread_full(b, right, SAME_CHUNK, at, e);
        if (of_b < 0)
            return -1;
        if (of_a != of_b || memcmp(left, right, (size_t)of_a) != 0)
            return 0;
        if (of_a < SAME_CHUNK)
            return 1;
    }
}

int
file_sync(int fd, struct err *e)
{
    while (fault("fsync") < 0 || fsync(fd) < 0) {
        if (errno != EINTR) /* anything else may have dropped the pages: never tried again */
            return err_sys(e, ERR_IO, "sync");
    }
    return 0;
}

static int
write_out(int fd, unsigned how, struct err *e)
{
    while (fault("sync_file_range") < 0 || sync_file_range(fd, 0, 0, how) < 0) {
        if (errno != EINTR)
            return err_sys(e, ERR_IO, "write out");
    }
    return 0;
}

int
file_write_out_begin(int fd, struct err *e)
{
    return write_out(fd, SYNC_FILE_RANGE_WRITE, e);
}

int
file_write_out(int fd, struct err *e)
{
    return write_out(
        fd, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER, e);
}

int
file_sync_fs(int fd, struct err *e)
{
    while (fault("syncfs") < 0 || syncfs(fd) < 0) {
        if (errno != EINTR)
            return err_sys(e, ERR_IO, "sync the filesystem");
    }
    return 0;
}

static int
file_write_new(int dirfd, const char *name, struct span data, mode_t mode, struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = fault("open") < 0 ? -1 : openat(dirfd, name, flags, mode);
    if (fd < 0)
        return err_sys(e, ERR_IO, "create %s", name);
    if (fault("fchmod") < 0 || fchmod(fd, mode) < 0) /* whatever the umask, or an old left-over */
        return err_sys(e, ERR_IO, "set the mode of %s", name);
    if (file_write_full(fd, data, e) < 0 || file_sync(fd, e) < 0)
        return err_wrap(e, "write %s", name);
    return 0;
}

int
file_replace(int dirfd, const char *name, struct span data, mode_t mode, struct err *e)
{
    _cleanup_free_ char *new_name = xasprintf("%s.new", name);
    if (file_write_new(dirfd, new_name, data, mode, e) < 0 ||
        file_rename(dirfd, new_name, dirfd, name, false, e) < 0) {
        unlinkat(dirfd, new_name, 0); /* best effort: the next replace truncates it */
        return err_wrap(e, "replace %s", name);
    }
    if (file_sync(dirfd, e) < 0) /* makes the rename itself durable */
        return err_wrap(e, "replace %s: its directory", name);
    return 0;
}

int
file_read(int dirfd, const char *name, size_t max, char **ret_data, size_t *ret_len, struct err *e)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    _cleanup_close_ int fd = fault("open") < 0 ? -1 : openat(dirfd, name, flags);
    if (fd < 0 && errno == ENOENT)
        return 0;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "open %s", name);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_IO, "%s is not a regular file", name);
    if (st.st_size < 0 || (uintmax_t)st.st_size > max)
        return err_set(e, ERR_CORRUPT, "%s has %jd bytes, at most %zu were expected", name,
                       (intmax_t)st.st_size, max);
    size_t size = (size_t)st.st_size;
    _cleanup_free_ char *data = xmalloc(size + 1);
    ssize_t got = file_pread_full(fd, data, size, 0, e);
    if (got < 0)
        return err_wrap(e, "read %s", name);
    data[got] = '\0';
    *ret_len = (size_t)got;
    *ret_data = data;
    data = NULL;
    return 1;
}

int
file_rename(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name,
            bool noreplace, struct err *e)
{
    unsigned flags = noreplace ? RENAME_NOREPLACE : 0;
    if (fault("rename") < 0 || renameat2(old_dirfd, old_name, new_dirfd, new_name, flags) < 0)
        return err_sys(e, ERR_IO, "rename %.255s to %.255s", old_name, new_name);
    return 0;
}

int
file_link(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name, struct err *e)
{
    if (fault("link") < 0 || linkat(old_dirfd, old_name, new_dirfd, new_name, 0) < 0)
        return err_sys(e, ERR_IO, "link %.255s to %.255s", old_name, new_name);
    return 0;
}

int
file_open_unnamed(int dirfd, mode_t mode, struct err *e)
{
    int fd = fault("open") < 0 ? -1 : openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd < 0 && (errno == EISDIR || errno == ENOENT)) /* a kernel that does not know the flag */
        errno = EOPNOTSUPP;
    return fd < 0 ? err_sys(e, ERR_IO, "make a file without a name") : fd;
}

int
file_link_unnamed(int fd, int dirfd, const char *name, struct err *e)
{
    if (fault("link") < 0 || linkat(fd, "", dirfd, name, AT_EMPTY_PATH) < 0)
        return err_sys(e, ERR_IO, "give a new file the name %.255s", name);
    return 0;
}

/* One openat2(); path is shorter than PATH_MAX. */
static int
open_piece(int dirfd, struct span path, int flags, mode_t mode)
{
    char text[PATH_MAX];
    memcpy(text, path.len == 0 ? "." : (const char *)path.ptr, MAX(path.len, (size_t)1));
    text[MAX(path.len, (size_t)1)] = '\0';
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    long fd;
    do {
        fd = fault("open") < 0 ? -1 : syscall(SYS_openat2, dirfd, text, &how, sizeof(how));
    } while (fd < 0 && errno == EINTR);
    return (int)fd;
}

/* The longest head of whole components that fits into one call. */
static size_t
piece_len(struct span path)
{
    if (path.len < PATH_MAX)
        return path.len;
    size_t len = PATH_MAX - 1;
    while (path.ptr[len] != '/')
        len--; /* ends: a component has at most PATH_NAME_MAX bytes */
    return len;
}

static int
open_failed(struct span path, struct err *e)
{
    return err_sys(e, ERR_IO, "open %.*s", (int)MIN(path.len, (size_t)PATH_NAME_MAX), path.ptr);
}

int
file_open_beneath(int root_fd, struct span path, int flags, mode_t mode, struct err *e)
{
    if (!path_valid(path))
        return err_set(e, ERR_PROTOCOL, "open a path below the store: not a valid path");
    struct span rest = path;
    _cleanup_close_ int held = -1; /* the directory reached so far, when it takes pieces */
    for (size_t len = piece_len(rest); len < rest.len; len = piece_len(rest)) {
        int dirfd = open_piece(held < 0 ? root_fd : held, span_from(rest, 0, len),
                               O_PATH | O_DIRECTORY, 0);
        if (dirfd < 0)
            return open_failed(path, e);
        file_closep(&held);
        held = dirfd;
        rest = span_from(rest, len + 1, rest.len - len - 1);
    }
    int fd = open_piece(held < 0 ? root_fd : held, rest, flags, mode);
    return fd < 0 ? open_failed(path, e) : fd;
}
