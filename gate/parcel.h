/* parcel.h - the message under way in a session: its hash, its spool, and what is remembered of it.
 *
 * Rows of the memory that it has claimed are given back or forgotten by it, however it ends. */
#ifndef MAILTWIN_GATE_PARCEL_H
#define MAILTWIN_GATE_PARCEL_H

#include "gate/dialogue.h"
#include "gate/memory.h"

#include <openssl/evp.h>

#define PARCEL_SPOOL_MAX (1ULL << 30) /* bytes of a message that is kept until its end */
#define PARCEL_SMALL     (64 * 1024)  /* so much is kept in memory, a larger one in a file */

struct parcel {
    EVP_MD_CTX *hash;
    bool hashed; /* content is complete */
    uint8_t content[MEMORY_HASH];
    struct buf small;
    int spool_fd; /* -1: none, or all of it is in small */
    uint64_t spool_size, replayed;
    struct memory_key *claims; /* claimed in the memory */
    size_t claim_count;
    size_t recalled; /* of these, from an attempt before */
    bool unsynced;   /* a row was written for it */
};

void parcel_init(struct parcel *p);
void parcel_free(struct parcel *p);

/* Its recipients are known: must it be kept? */
bool parcel_begin(struct parcel *p, const struct dialogue *d, const struct memory *m);
/* Content as it comes. -1: the spool cannot be written. */
int parcel_add(struct parcel *p, int dirfd, bool spool, struct span content,
               struct err *e) _must_check_;
/* Marks the recipients whom the server has delivered it to before, and claims that. */
size_t parcel_recall(struct parcel *p, struct dialogue *d, struct memory *m);
/* The next piece of the spool, 0 at its end. */
ssize_t parcel_replay(struct parcel *p, void *ptr, size_t len, struct err *e) _must_check_;
/* The server has taken it for recipient i. */
int parcel_taken(struct parcel *p, const struct dialogue *d, size_t i, struct memory *m,
                 uint64_t now_s, struct err *e) _must_check_;

/* The end: its client was told, and all of it is forgotten; or it was not, and is told after a
 * retry. */
void parcel_confirmed(struct parcel *p, struct memory *m, uint64_t now_s);
void parcel_given_back(struct parcel *p, struct memory *m);

#endif
