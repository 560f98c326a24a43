/* apply.h - the standby: what replication brings into the spool is carried out on the server.
 *
 * An entry is known by its id. What exists under another DN is renamed, never deleted and added
 * again; what differs is modified attribute by attribute. Parents go before children; what cannot
 * be carried out waits, is told once, and holds up nothing else. */
#ifndef MAILTWIN_DIRECTORY_APPLY_H
#define MAILTWIN_DIRECTORY_APPLY_H

#include "directory/dir.h"

#define APPLY_RETRY_MS UINT64_C(180000)

int apply_begin(struct dir_store *s, struct err *e) _must_check_;
void apply_end(struct dir_store *s);
/* As capture_step(); woken by the inotify descriptor. */
int apply_step(struct dir_store *s);
/* Is the server as the spool is now, but for what it refused? Valid right after apply_step(). */
bool apply_level(const struct dir_store *s);
/* What was refused is tried again at the next step. */
void apply_retry(struct dir_store *s);

/* For compare.c and settle.c. */
void apply_mark(struct dir_store *s, const uint8_t uuid[LDAPSYNC_UUID_SIZE]);
/* Carries out all that is pending. -1: the connection is lost. */
int settle(struct dir_store *s, struct err *e) _must_check_;
/* Compares all of it; marks what differs. -1: the connection is lost. */
int compare(struct dir_store *s, struct err *e) _must_check_;

#endif
