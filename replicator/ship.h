/* ship.h - sends records to one peer, in runs. Belongs to the peer's session thread.
 *
 * A run is a stretch of the journal and one COMMIT. Files that name messages (late records) are
 * read and sent at its end, after every message they can name. A run that meets a file which was
 * replaced before it could be read holds what replaced it as well, or the peer would have neither.
 */
#ifndef MAILTWIN_SHIP_H
#define MAILTWIN_SHIP_H

#include "replicator/content.h"
#include "replicator/reclist.h"

struct ship {
    const struct node *node;
    struct link_io *io;
    void *owner; /* the session, for the calls below */
    /* All changes up to now are in the journal: the tail then. */
    uint64_t (*settle)(void *owner);
    /* The signature of the peer's copy; 1 got it, 0 it has none, -1. */
    int (*signature)(void *owner, const struct record *record, struct buf *ret_signature,
                     struct err *e);
    /* A name was shipped: an answer about its directory that is under way does not count for it. */
    void (*touched)(void *owner, const struct record *record);
    /* The disk does not give this record's object, and the peer was told to go on without it: it
     * has to be tried again some time. */
    void (*unreadable)(void *owner, const struct record *record);

    uint64_t cursor; /* newest seq shipped */
    uint64_t run;
    uint64_t acked_run;    /* newest run that is durable at the peer */
    uint64_t window_bytes; /* shipped and not acknowledged */
    uint64_t began_ns;     /* when the first record of the run in hand was captured; 0 none yet */
    uint64_t start_ns;     /* of the session: what was captured before waited for the link */
    double acked_seconds;  /* from then until it was acknowledged, of the newest run; 0 none was */
    uint64_t records, bytes;
    struct reclist list; /* the run in hand */
    struct reclist late;
    struct reclist gone; /* of the run: files sent as gone, by the name they had or got last */
    bool replaced; /* since the run's newest stretch began something was sent as gone whose name
                      has another object by now */
    struct buf in_flight; /* struct flight of each COMMIT not acknowledged */
    /* What the owner wants to know of when all shipped so far is durable at the peer: the place of
     * its walk. */
    uint64_t note, acked_note;
};

void ship_free(struct ship *s);
/* Ships what lies behind the cursor, up to tail and up to a bound, and its COMMIT. */
int ship_run(struct ship *s, uint64_t tail, struct err *e) _must_check_;
/* Ships fix-ups (seq 0) as they stand in the list; no COMMIT. */
int ship_fixups(struct ship *s, const struct reclist *list, struct err *e) _must_check_;
/* Ends what was shipped: the position is the cursor. */
int ship_commit(struct ship *s, uint64_t time_ns, uint64_t tail, struct err *e) _must_check_;
void ship_acked(struct ship *s, const struct wire_ack *ack);

#endif
