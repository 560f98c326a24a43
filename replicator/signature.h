/* signature.h - the sender's question for what the peer has of a large file (librsync). Session
 * thread. */
#ifndef MAILTWIN_SIGNATURE_H
#define MAILTWIN_SIGNATURE_H

#include "lib/data/record.h"
#include "replicator/link_io.h"

struct signature {
    struct buf bytes;
    size_t max;   /* of them: a signature larger than the file saves nothing */
    bool awaited; /* not all of it is here */
    bool ok;      /* the peer has such a file */
};

void signature_free(struct signature *s);
/* Asks, and forgets the one before. */
int signature_ask(struct signature *s, struct link_io *io, const struct record *record,
                  struct err *e) _must_check_;
/* A piece of the answer. Too much of it is dropped, and none of it is ok; -1: nobody asked. */
int signature_take(struct signature *s, const struct wire_sig *sig, struct err *e) _must_check_;

#endif
