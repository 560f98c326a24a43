/* queue_disk.h - a Postfix queue on the disk of this node: what waits in it, and whether a Postfix
 * uses it. Nothing is changed. */
#ifndef MAILTWIN_QUEUE_DISK_H
#define MAILTWIN_QUEUE_DISK_H

#include "lib/base/err.h"

struct queue_count {
    uint64_t messages; /* complete ones: mail that was taken and is not delivered */
    uint64_t foreign;  /* of these: the name tells another inode than the file has */
};

/* Reads incoming, active, deferred and hold. A part that is not there is empty. */
int queue_count(const char *path, struct queue_count *ret_count, struct err *e) _must_check_;
/* 1 a Postfix master runs on it (it holds the lock of pid/master.pid), 0 none, -1. */
int queue_in_use(const char *path, struct err *e) _must_check_;

#endif
