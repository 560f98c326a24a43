/* spool.h - the files of one store: one for each directory entry, docs/formats/entry.md.
 *
 * On the primary they are written here and carried away by replication; on a standby replication
 * writes them and they are read here. Each call touches one file; what was written is durable after
 * spool_sync(). */
#ifndef MAILTWIN_DIRECTORY_SPOOL_H
#define MAILTWIN_DIRECTORY_SPOOL_H

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/store/ldapsync.h"

#define SPOOL_SUFFIX    ".entry"
#define SPOOL_FOLDERS   256
#define SPOOL_NAME_SIZE (LDAPSYNC_UUID_TEXT + sizeof(SPOOL_SUFFIX))

struct spool;

/* The folder must be there; those in it are made when they are needed. */
int spool_open(const char *path, struct spool **ret_spool, struct err *e) _must_check_;
void spool_close(struct spool **spool); /* NULL is fine */
const char *spool_path(const struct spool *spool);

/* 1 *ret_text is its text, 0 there is none, -1. */
int spool_read(struct spool *spool, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct buf *ret_text,
               struct err *e) _must_check_;
/* 1 written under a name that is not replicated, then renamed; 0 it was the same already; -1. */
int spool_write(struct spool *spool, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct span text,
                struct err *e) _must_check_;
/* 1 removed, 0 it was not there, -1. */
int spool_remove(struct spool *spool, const uint8_t uuid[LDAPSYNC_UUID_SIZE],
                 struct err *e) _must_check_;
/* All that was written and removed is durable. */
int spool_sync(struct spool *spool, struct err *e) _must_check_;
/* Gives the id of every file, in no order; give() returns -1 to end it. folder: 0 to 255, -1 all.
 */
int spool_each(struct spool *spool, int folder,
               int (*give)(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e),
               void *arg, struct err *e) _must_check_;
/* The id that a file is named for; false: it is no entry's. */
bool spool_name_read(const char *name, uint8_t ret_uuid[LDAPSYNC_UUID_SIZE]);
/* The folder "00" to "ff" by number; false: it is none. */
bool spool_folder_read(const char *name, int *ret_folder);

#endif
