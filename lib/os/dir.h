/* dir.h - the names in a directory, read one by one. An error in the middle is told: a list that
 * ends early must not pass for a whole one. */
#ifndef MAILTWIN_DIR_H
#define MAILTWIN_DIR_H

#include "lib/base/err.h"

#include <dirent.h>

/* `name` in dirfd, no symlink followed; "." is dirfd itself, which may be open for its path alone
 * and keeps its own place. NULL: e->sys tells ENOENT. */
DIR *dir_open(int dirfd, const char *name, struct err *e) _must_check_;
/* The same: 1 in *ret_dir, 0 nothing has the name, -1. */
int dir_find(int dirfd, const char *name, DIR **ret_dir, struct err *e) _must_check_;
void dir_closep(DIR **dir); /* NULL is fine; leaves NULL behind */
#define _cleanup_dir_ _cleanup_(dir_closep)
/* The next one, but for "." and "..", until the next call: 1, at the end 0, -1. */
int dir_next(DIR *dir, const struct dirent **ret_item, struct err *e) _must_check_;
/* A directory, by what reading it said, else by looking. What is gone is none. */
bool dir_item_is_dir(DIR *dir, const struct dirent *item);

#endif
