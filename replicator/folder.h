/* folder.h - the folders in a store's .mailtwin: opening one, reading one, and emptying one of what
 * was thrown away, whatever its size. */
#ifndef MAILTWIN_FOLDER_H
#define MAILTWIN_FOLDER_H

#include "lib/os/file.h"

#include <stdatomic.h>

#define FOLDER_NUMBER_SIZE 24 /* a number in 16 hex digits, a suffix, NUL */

void folder_number_name(uint64_t number, char ret_name[FOLDER_NUMBER_SIZE]);
/* Opens a folder of this daemon's own below dirfd, makes it (0700, durably) where it is missing. */
int folder_open(int dirfd, const char *name, int *ret_fd, struct err *e) _must_check_;
/* Calls each() for every name in dirfd until it returns something else than 0; returns that. */
int folder_each(int dirfd, int (*each)(void *arg, const char *name, struct err *e), void *arg,
                struct err *e) _must_check_;

/* A folder whose content is of no use any more. */
struct trash {
    int fd;                      /* borrowed */
    atomic_uint_fast64_t number; /* of the newest name in it */
    const atomic_bool *stop;
};

void trash_init(struct trash *trash, int fd, const atomic_bool *stop);
/* Moves dirfd/name there, at once and without syncing. From any thread. */
int trash_take(struct trash *trash, int dirfd, const char *name, struct err *e) _must_check_;
/* Deletes all that is there, until *stop. One thread at a time. */
int trash_clear(struct trash *trash, struct err *e) _must_check_;

#endif
