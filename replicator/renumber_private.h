/* renumber_private.h - what renumber.c (the order, and which folders there are) and
 * renumber_folder.c (what is done to one) share. */
#ifndef MAILTWIN_RENUMBER_PRIVATE_H
#define MAILTWIN_RENUMBER_PRIVATE_H

#include "lib/store/identity.h"
#include "replicator/renumber.h"

/* A directory that has something of a mailbox in it, as the index has it. */
struct renumber_folder {
    int fd;
    bool messages; /* it has a cur: a folder */
    bool uidlist, courier, sizes, validity;
    struct attr owner; /* of its list of UIDs, else of the directory */
    int64_t
        locks_since; /* a lock from before then, of a mail server that was killed, is nobody's */
};

enum renumber_lists {
    RENUMBER_UIDLIST = 1,
    RENUMBER_COURIER = 2,
    RENUMBER_SIZES = 4
};

struct renumber_result {
    unsigned raised; /* lists whose next UID was raised */
    unsigned busy;   /* lists that somebody has locked: enum renumber_lists */
};

/* What is done with it. The first thing that fails is in *e; the rest is done all the same.
 * ERR_BUSY: it was nothing but locks. */
int renumber_folder(const struct renumber_folder *folder, const struct renumber_order *order,
                    bool live, struct renumber_result *ret_result, struct err *e) _must_check_;
/* A moment later, of these lists alone; no mail server is expected to run. */
int renumber_again(const struct renumber_folder *folder, const struct renumber_order *order,
                   unsigned lists, struct renumber_result *ret_result, struct err *e) _must_check_;

/* On a standby: makes the file that is written over then, where there is none. */
int renumber_make_log(const struct renumber_folder *folder, struct err *e) _must_check_;

#endif
