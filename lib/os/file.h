/* file.h - the one place that makes things durable: nothing else calls rename, link or fsync.
 *
 * Every function names dirfd and name, never a path from the root; what is below a store is opened
 * with file_open_beneath(), which follows no symlink and does not leave the directory. */
#ifndef MAILTWIN_FILE_H
#define MAILTWIN_FILE_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The failing system call's errno goes into the sentence; ENOSPC and EDQUOT become ERR_NOSPACE,
 * ENOENT and ESTALE stay visible in e->sys. */
#define err_sys(e, code, ...) err_errnum(e, file_err_code(errno, code), errno, __VA_ARGS__)
enum err_code file_err_code(int errnum, enum err_code otherwise);
/* Was it the disk that failed (a bad sector, a damaged filesystem), and not a lack of something or
 * the other end of a link? */
bool file_disk_failed(const struct err *e);

void file_closep(int *fd); /* keeps errno; -1 is fine */
#define _cleanup_close_ _cleanup_(file_closep)

/* All of it, in spite of EINTR and short writes. */
int file_write_full(int fd, struct span data, struct err *e) _must_check_;
int file_pwrite_full(int fd, struct span data, uint64_t offset, struct err *e) _must_check_;
/* Up to len bytes; fewer only at the end of the file. Returns the count or -1. */
ssize_t file_pread_full(int fd, void *ptr, size_t len, uint64_t offset, struct err *e) _must_check_;
/* Have the two the same bytes from the beginning to the end? 1, 0, -1. */
int file_same_bytes(int a, int b, struct err *e) _must_check_;

int file_sync(int fd, struct err *e) _must_check_; /* fsync of a file or of a directory */
/* Waits until the file's bytes are on the disk. Where they lie there, and its size, is not durable
 * by that: a later sync of the filesystem's log makes it so, and never without the bytes. */
int file_write_out(int fd, struct err *e) _must_check_;
/* Begins that and waits for nothing. */
int file_write_out_begin(int fd, struct err *e) _must_check_;
int file_sync_fs(int fd, struct err *e) _must_check_; /* the whole filesystem fd lies on */

/* Replaces dirfd/name by data, durably: written beside it, synced, renamed, directory synced. After
 * a crash the file has the old content or the new one. */
int file_replace(int dirfd, const char *name, struct span data, mode_t mode,
                 struct err *e) _must_check_;
/* Reads a whole file of at most max bytes into *ret_data (NUL behind it, for free()). 1 read,
 * 0 no such file, -1 failed. */
int file_read(int dirfd, const char *name, size_t max, char **ret_data, size_t *ret_len,
              struct err *e) _must_check_;

/* Renames without syncing a directory: durable after file_sync() of both directories.
 * noreplace: EEXIST instead of replacing. Returns 0, or -1 with e->sys set. */
int file_rename(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name,
                bool noreplace, struct err *e) _must_check_;
int file_link(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name,
              struct err *e) _must_check_;

/* A new file in the directory, to read and write, that has no name: it vanishes with its last
 * descriptor unless file_link_unnamed() gives it one (needs CAP_DAC_READ_SEARCH). Returns the
 * descriptor, or -1 with e->sys: EOPNOTSUPP, this filesystem has none. */
int file_open_unnamed(int dirfd, mode_t mode, struct err *e) _must_check_;
int file_link_unnamed(int fd, int dirfd, const char *name, struct err *e) _must_check_;

/* Opens `path` (a store path, "" for the root itself) below root_fd: no symlink is followed, no
 * mount is crossed, nothing outside is reached. Paths beyond PATH_MAX are walked in pieces. Returns
 * the descriptor or -1 with e->sys. */
int file_open_beneath(int root_fd, struct span path, int flags, mode_t mode,
                      struct err *e) _must_check_;

#endif
