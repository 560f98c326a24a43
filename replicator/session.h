/* session.h - the life of one link, in its own thread: HELLO, decision, then sending or receiving
 * until it ends. */
#ifndef MAILTWIN_SESSION_H
#define MAILTWIN_SESSION_H

#include "replicator/daemon.h"
#include "replicator/link.h"
#include "replicator/link_io.h"

struct session {
    struct daemon *daemon;
    struct peer *peer;
    struct link_io *io;
    struct wire_hello *ours, *theirs; /* as exchanged */
    uint64_t applied;                 /* daemon.applied when ours was made */
    struct salvage_permission permission;
    struct link_decision decision;
    struct tally *found; /* what FOUND_IN told, until its FOUND comes; NULL nothing */
};

struct tally;

/* Runs until the link ends or the peer is told to stop. link_fd stays the caller's. */
void session_run(struct peer *peer, int link_fd);

/* The two halves; each returns -1 with why it ended. */
int sender_run(struct session *s, struct err *e) _must_check_;
int receiver_run(struct session *s, struct err *e) _must_check_;

/* What two nodes do with each other follows from what they were when they greeted. 1: this one is
 * no longer that; position: nor may its journal have moved. */
int session_changed(struct session *s, bool position, struct err *e) _must_check_;

/* The sender decided by two HELLOs: what they said must be so still, position and all. Else the
 * peer is told that the two greet again, and -1. */
int session_greeting_holds(struct session *s, struct err *e) _must_check_;
/* How far a sync is, for the peer's status. */
int session_say_progress(struct session *s, const struct wire_sync_progress *told,
                         struct err *e) _must_check_;
/* That this node lives, and how far it is. */
int session_say_tail(struct session *s, uint64_t seq, struct err *e) _must_check_;
/* START of the primary of this epoch has come. */
void session_note_served(struct session *s, uint64_t epoch);
/* The peer hears why the link ends, for its status. */
void session_bye(struct session *s, const struct err *why);

/* How far the peer has come in this node's history, as a whole: what a power loss took here it can
 * have up to there. 0: nobody can say. */
uint64_t session_shared(const struct session *s);
bool session_stopped(const struct session *s);
uint64_t session_now_ms(void);

#endif
